//! Requests that only the coordinator of a group answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{CallTo, CoordinatorType, FindCoordinator, FoundCoordinator};
use kavka_net::{Endpoint, To, clock};
use kavka_wire::messages::FindCoordinatorResponse;
use kavka_wire::{ByteString, ErrorCode};
use litemap::LiteMap;

use super::{Admin, PAUSE, all};
use crate::{Error, ErrorKind, Result};

const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A question to coordinators.
pub(super) struct Question<'a> {
    /// What has failed if it fails.
    pub(super) what: &'static str,
    pub(super) groups: &'a [Arc<str>],
    /// Whether it changes something: then it is not asked again when an answer is lost.
    pub(super) changes: bool,
    pub(super) deadline: Instant,
}

/// What a broker says when it does not do what it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: Option<ByteString>,
}

/// What a coordinator answered about some of the groups that it was asked for, by their place in the call.
pub(super) type Answers<T> = Vec<(usize, Result<T, Refusal>)>;

/// What is known of each group so far.
type Results<T> = Vec<Option<Result<T>>>;

impl Refusal {
    /// `Ok` if the code is no error.
    pub(super) fn check(code: ErrorCode, message: Option<ByteString>) -> Result<(), Refusal> {
        code.ok().map_err(|code| Refusal { code, message })
    }

    /// As the user is told it; `what` names the group.
    pub(super) fn into_error(self, what: String) -> Error {
        let what = match self.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{what} ({message})"),
            _ => what,
        };
        let error = Error::broker(self.code, what);
        match self.code {
            ErrorCode::NON_EMPTY_GROUP => error.remedy("stop its members, and wait until they have left"),
            ErrorCode::GROUP_ID_NOT_FOUND => error.remedy("check its name: no coordinator knows it"),
            ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
                error.remedy("stop the members that consume the topic first")
            }
            _ => error,
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal { code, message: None }
    }
}

impl Admin {
    /// Asks the coordinator of each group, and again while it is moving, loading or cannot be reached. One result for each
    /// group, in order.
    ///
    /// What is asked takes what it owns: if it borrowed its arguments, the compiler would not see that it can be sent to
    /// another thread.
    pub(super) async fn ask_coordinators<T, F>(
        &self,
        question: Question<'_>,
        ask: impl Fn(Endpoint, Vec<usize>) -> F,
    ) -> Vec<Result<T>>
    where
        F: Future<Output = Result<Answers<T>>>,
    {
        let mut results: Results<T> = question.groups.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..question.groups.len()).collect();
        let mut pause = PAUSE;
        while !pending.is_empty() {
            pending = self.ask_once(&question, pending, &ask, &mut results).await;
            if pending.is_empty() || clock::after(pause) >= question.deadline {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
        let or_left_out =
            |(result, group): (Option<Result<T>>, &Arc<str>)| result.unwrap_or_else(|| Err(left_out(group)));
        results.into_iter().zip(question.groups).map(or_left_out).collect()
    }

    /// Asks about some of the groups, and says which of them are worth another attempt.
    async fn ask_once<T, F>(
        &self,
        question: &Question<'_>,
        items: Vec<usize>,
        ask: &impl Fn(Endpoint, Vec<usize>) -> F,
        results: &mut Results<T>,
    ) -> Vec<usize>
    where
        F: Future<Output = Result<Answers<T>>>,
    {
        let Question { what, groups, changes, deadline } = *question;
        let mut again = Vec::new();
        let mut settle = |item: usize, result: Result<T>, repeat: bool| {
            if result.is_err() && repeat {
                again.push(item);
            }
            keep(&mut results[item], result);
        };
        let mut by_coordinator: LiteMap<i32, (Endpoint, Vec<usize>)> = LiteMap::new();
        for (item, found) in self.find_coordinators(what, groups, &items, deadline).await {
            match found {
                Ok(node) => by_coordinator.entry(node.id).or_insert_with(|| (node, Vec::new())).1.push(item),
                // Looking for it changes nothing.
                Err(error) => {
                    let repeat = may_repeat(&error, false);
                    settle(item, Err(error), repeat);
                }
            }
        }
        let calls = by_coordinator.values().map(|(node, items)| ask(node.clone(), items.clone())).collect();
        for ((_, items), outcome) in by_coordinator.values().zip(all(calls).await) {
            match outcome {
                Err(error) => {
                    for item in items {
                        let error = unanswered(what, &groups[*item], &error);
                        let repeat = may_repeat(&error, changes);
                        settle(*item, Err(error), repeat);
                    }
                }
                Ok(answers) => {
                    for (item, answer) in answers.into_iter().filter(|(item, _)| items.contains(item)) {
                        let repeat = answer.as_ref().is_err_and(|refused| is_moving(refused.code));
                        let named = |refused: Refusal| refused.into_error(about(what, &groups[item]));
                        settle(item, answer.map_err(named), repeat);
                    }
                }
            }
        }
        again
    }

    /// Like [`ask_coordinators`](Self::ask_coordinators), for a change of one group.
    pub(super) async fn ask_coordinator<T, F>(
        &self,
        what: &'static str,
        group: &Arc<str>,
        ask: impl Fn(Endpoint, Instant) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Result<T, Refusal>>>,
    {
        let deadline = clock::after(self.timeout);
        let question = Question { what, groups: std::slice::from_ref(group), changes: true, deadline };
        let one = |node: Endpoint, _| {
            let asked = ask(node, deadline);
            async move { Ok(vec![(0, asked.await?)]) }
        };
        self.ask_coordinators(question, one).await.remove(0)
    }

    async fn find_coordinators(
        &self,
        what: &'static str,
        groups: &[Arc<str>],
        items: &[usize],
        deadline: Instant,
    ) -> Vec<(usize, Result<Endpoint>)> {
        let mut found = Vec::with_capacity(items.len());
        let mut left: &[usize] = items;
        while !left.is_empty() {
            let mut asked = left.len();
            let keys = left.iter().map(|item| groups[*item].clone());
            let question = FindCoordinator::new(CoordinatorType::Group, keys);
            let form = |version| {
                asked = question.fit(version);
                question.at(version)
            };
            let answer: Result<FindCoordinatorResponse> =
                self.ask_in(To::Any, 0..=i16::MAX, deadline, form).await;
            let (these, rest) = left.split_at(asked);
            left = rest;
            for item in these {
                let group = &groups[*item];
                let node = match &answer {
                    Err(error) => Err(unanswered(what, group, error)),
                    Ok(answer) => match FoundCoordinator::of(answer, group) {
                        Some(found) => endpoint(what, group, found),
                        None => Err(left_out(group)),
                    },
                };
                found.push((*item, node));
            }
        }
        found
    }
}

fn endpoint(what: &str, group: &Arc<str>, found: FoundCoordinator) -> Result<Endpoint> {
    let address = found.address();
    Refusal::check(found.code, found.message).map_err(|refused| refused.into_error(about(what, group)))?;
    match address {
        Some(CallTo::Coordinator { node, host, port }) => Ok(Endpoint { id: node, host, port }),
        _ => {
            let (node, host, port) = (found.node, found.host, found.port);
            let what =
                format!("group {group}: the answer names no coordinator, but broker {node} at {host}:{port}");
            Err(Error::new(ErrorKind::Bug, what))
        }
    }
}

fn about(what: &str, group: &str) -> String {
    format!("group {group}: {what}")
}

/// A failure of the way to the coordinator, told of a group.
fn unanswered(what: &str, group: &str, error: &Error) -> Error {
    Error::new(error.kind(), about(what, group)).caused_by(error.clone())
}

fn left_out(group: &str) -> Error {
    Error::new(ErrorKind::Bug, format!("group {group}: the broker's answer left it out"))
}

/// That the last attempt came too late says less than what a broker said before.
fn keep<T>(result: &mut Option<Result<T>>, new: Result<T>) {
    let is_less = matches!((&*result, &new), (Some(Err(old)), Err(new))
        if old.code().is_some() && new.code().is_none() && new.is_retriable());
    if !is_less {
        *result = Some(new);
    }
}

fn may_repeat(error: &Error, changes: bool) -> bool {
    match (error.code(), error.kind()) {
        (Some(code), _) => is_moving(code),
        (None, ErrorKind::UnknownOutcome) => !changes,
        (None, _) => error.is_retriable(),
    }
}

/// Whether a code says that the group is not to be had just now, and nothing has been done.
pub(super) fn is_moving(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::NOT_COORDINATOR
            | ErrorCode::UNSTABLE_OFFSET_COMMIT
    )
}
