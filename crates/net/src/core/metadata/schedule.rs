//! When to ask for metadata, for which topics, and who waits for it.
//!
//! ```text
//!            due, asked for                 answer
//!    Idle ───────────────────▶ Asking(token) ─────▶ Idle: due at max age
//!      ▲                            │ failure
//!      └────────────────────────────┘ due after backoff; waiters keep waiting until their deadline
//! ```

use litemap::LiteMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::ErrorCode;
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::{MetadataRequest, MetadataResponse};

use super::merge;
use super::snapshot::{Cluster, Endpoint, Topic};
use crate::core::backoff::Range;
use crate::core::rng::Rng;
use crate::core::versions::Features;
use crate::error::{Asks, Error, ErrorKind, Result};

/// How long the first broker may take; each one that takes longer doubles it, up to the request timeout.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) max_age: Duration,
    pub(crate) rebootstrap_after: Duration,
    pub(crate) retry: Range,
    /// The most that one request may take.
    pub(crate) request_timeout: Duration,
    pub(crate) allow_auto_topic_creation: bool,
}

#[derive(Debug)]
pub(crate) enum Input<W> {
    /// Ask soon; nobody waits.
    Request,
    /// Tell the waiter the outcome of a refresh that starts after this.
    Refresh {
        waiter: W,
        deadline: Instant,
    },
    Track(Vec<Arc<str>>),
    Untrack(Vec<Arc<str>>),
    TrackAll(bool),
    Hint {
        topic: Arc<str>,
        partition: i32,
        leader: i32,
        epoch: i32,
        endpoints: Vec<Endpoint>,
    },
    /// A broker told its features.
    Features(Features),
    /// The known brokers belong to another cluster by now.
    Rebootstrap,
    /// The answer to [`Output::Ask`] with this token.
    Answer(u64, Result<MetadataResponse>),
    Timeout,
}

#[derive(Debug)]
pub(crate) enum Output<W> {
    /// Send this to any broker, or only to the bootstrap addresses, and wait no longer than `patience`.
    Ask {
        token: u64,
        request: MetadataRequest,
        bootstrap: bool,
        patience: Duration,
    },
    Changed(Arc<Cluster>),
    Done(W, Result<Arc<Cluster>>),
}

#[derive(Debug)]
struct Waiter<W> {
    waiter: W,
    asked: Instant,
    deadline: Instant,
}

pub(crate) struct Metadata<W> {
    settings: Settings,
    rng: Rng,
    cluster: Arc<Cluster>,
    /// Topics in use, and by how many.
    tracked: LiteMap<Arc<str>, usize>,
    track_all: usize,
    /// The token of the request under way.
    asking: Option<u64>,
    tokens: u64,
    /// When to ask next.
    due: Instant,
    last_start: Option<Instant>,
    /// Since when there has been no metadata although it was asked for.
    failing_since: Option<Instant>,
    failures: u32,
    /// Brokers in a row that did not answer in time.
    hung: u32,
    /// Requests in a row that changed nothing.
    unchanged: u32,
    bootstrap: bool,
    last_error: Option<Error>,
    /// A topic was added since the last start.
    grown: bool,
    /// Waiters that the request under way answers, and those that want a later one.
    served: Vec<Waiter<W>>,
    waiting: Vec<Waiter<W>>,
    outputs: VecDeque<Output<W>>,
}

impl<W> Metadata<W> {
    pub(crate) fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Metadata {
            settings,
            rng: Rng::new(seed),
            cluster: Arc::default(),
            tracked: LiteMap::new(),
            track_all: 0,
            asking: None,
            tokens: 0,
            // Nothing is contacted before somebody asks.
            due: far(now),
            last_start: None,
            failing_since: None,
            failures: 0,
            hung: 0,
            unchanged: 0,
            bootstrap: false,
            last_error: None,
            grown: false,
            served: Vec::new(),
            waiting: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.cluster.clone()
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<W>) {
        match input {
            Input::Request => self.ask_within(now, self.unchanged),
            Input::Refresh { waiter, deadline } => {
                self.waiting.push(Waiter { waiter, asked: now, deadline });
                self.ask_within(now, 0);
            }
            Input::Track(topics) => self.track(now, topics),
            Input::Untrack(topics) => self.untrack(topics),
            Input::TrackAll(on) => self.set_track_all(now, on),
            Input::Hint { topic, partition, leader, epoch, endpoints } => {
                self.change(|cluster| merge::hint(cluster, &topic, partition, leader, epoch, &endpoints));
            }
            Input::Features(features) => {
                if features.epoch > self.cluster.features.epoch {
                    self.change(|cluster| {
                        let news = *cluster.features != features;
                        cluster.features = Arc::new(features);
                        news
                    });
                }
            }
            Input::Rebootstrap => {
                self.bootstrap = true;
                self.ask_within(now, 0);
            }
            Input::Answer(token, answer) if self.asking == Some(token) => self.on_answer(now, answer),
            Input::Answer(..) | Input::Timeout => {}
        }
        self.expire(now);
        self.start(now);
    }

    pub(crate) fn poll(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let waiters = self.served.iter().chain(&self.waiting).map(|waiter| waiter.deadline).min();
        let due = self.asking.is_none().then_some(self.due);
        waiters.into_iter().chain(due).min()
    }

    /// Brings the next request forward, but not closer to the last one than the backoff allows.
    fn ask_within(&mut self, now: Instant, quiet: u32) {
        let at = match self.last_start {
            _ if self.grown => now,
            // After a failure the backoff is in `due` already.
            _ if self.failures > 0 => return,
            Some(last) => now.max(last + self.settings.retry.after(quiet, &mut self.rng)),
            None => now,
        };
        self.due = self.due.min(at);
    }

    fn track(&mut self, now: Instant, topics: Vec<Arc<str>>) {
        for topic in topics {
            let known = self.cluster.topic(&topic).is_some_and(|topic| topic.error == ErrorCode::NONE);
            let count = self.tracked.entry(topic).or_default();
            *count += 1;
            self.grown |= *count == 1 && !known;
        }
        if self.grown {
            self.ask_within(now, 0);
        }
    }

    fn untrack(&mut self, topics: Vec<Arc<str>>) {
        for topic in topics {
            if let Some(count) = self.tracked.get_mut(&topic) {
                *count -= 1;
                if *count == 0 {
                    self.tracked.remove(&topic);
                }
            }
        }
    }

    fn set_track_all(&mut self, now: Instant, on: bool) {
        if on {
            self.track_all += 1;
            self.grown |= self.track_all == 1;
            self.ask_within(now, 0);
        } else {
            self.track_all = self.track_all.saturating_sub(1);
        }
    }

    fn start(&mut self, now: Instant) {
        if self.asking.is_some() || now < self.due {
            return;
        }
        let lost = self
            .failing_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.settings.rebootstrap_after);
        self.bootstrap |= lost;
        self.tokens += 1;
        self.asking = Some(self.tokens);
        self.last_start = Some(now);
        self.grown = false;
        self.served.append(&mut self.waiting);
        let named =
            |name: &Arc<str>| MetadataRequestTopic { name: Some((&**name).into()), ..Default::default() };
        let request = MetadataRequest {
            topics: (self.track_all == 0).then(|| self.tracked.keys().map(named).collect()),
            allow_auto_topic_creation: self.settings.allow_auto_topic_creation,
            ..MetadataRequest::default()
        };
        // Any broker can answer, so one that hangs is not waited for as long as a request may take; if all are slow, it gets longer.
        let patience = FIRST_PATIENCE.saturating_mul(1 << self.hung.min(16));
        let patience = patience.min(self.settings.request_timeout);
        let (token, bootstrap) = (self.tokens, self.bootstrap);
        self.outputs.push_back(Output::Ask { token, request, bootstrap, patience });
    }

    fn on_answer(&mut self, now: Instant, answer: Result<MetadataResponse>) {
        self.asking = None;
        let error = match answer {
            Ok(answer) if answer.error_code == ErrorCode::NONE => match self.adopt(&answer) {
                Ok(()) => return self.on_success(now),
                Err(why) => Error::new(ErrorKind::Protocol, format!("the metadata is malformed: {why}")),
            },
            Ok(answer) => {
                let code = answer.error_code;
                self.bootstrap |= code == ErrorCode::REBOOTSTRAP_REQUIRED;
                Error::new(ErrorKind::Broker(code), format!("the metadata was refused with {code}"))
            }
            Err(error) => {
                self.bootstrap |= error.kind() == ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED);
                error
            }
        };
        self.on_failure(now, error);
    }

    fn adopt(&mut self, answer: &MetadataResponse) -> Result<(), String> {
        let mut next = (*self.cluster).clone();
        merge::apply(&mut next, answer)?;
        let whole = self.track_all > 0;
        let mut told: Vec<&str> = answer.topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
        told.sort_unstable();
        let gone = |name: &Arc<str>| whole && told.binary_search(&&**name).is_err();
        next.retain_topics(|name| self.tracked.contains_key(name) || (whole && !gone(name)));
        let error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let missing = next.topics.iter().filter(|(name, topic)| gone(name) && topic.error != error);
        let missing =
            missing.map(|(name, topic)| (name.clone(), Arc::new(Topic { error, ..(**topic).clone() })));
        next.put_topics(missing.collect());
        self.publish(next);
        Ok(())
    }

    fn on_success(&mut self, now: Instant) {
        (self.failing_since, self.failures, self.bootstrap, self.last_error) = (None, 0, false, None);
        self.hung = 0;
        self.due = now + self.rng.jitter(self.settings.max_age);
        for waiter in std::mem::take(&mut self.served) {
            self.outputs.push_back(Output::Done(waiter.waiter, Ok(self.cluster.clone())));
        }
        if self.grown || !self.waiting.is_empty() {
            self.ask_within(now, 0);
        }
    }

    fn on_failure(&mut self, now: Instant, error: Error) {
        self.failing_since.get_or_insert(now);
        self.due = now + self.settings.retry.after(self.failures, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        if matches!(error.kind(), ErrorKind::Timeout { .. }) {
            self.hung = self.hung.saturating_add(1);
        }
        if error.asks() == Asks::Never {
            for waiter in std::mem::take(&mut self.served) {
                self.outputs.push_back(Output::Done(waiter.waiter, Err(error.clone())));
            }
        } else {
            // They wait for the next attempt, together with those who came later.
            self.served.append(&mut self.waiting);
            std::mem::swap(&mut self.served, &mut self.waiting);
        }
        self.last_error = Some(error);
    }

    fn expire(&mut self, now: Instant) {
        for list in [&mut self.served, &mut self.waiting] {
            while let Some(at) = list.iter().position(|waiter| now >= waiter.deadline) {
                let Waiter { waiter, asked, .. } = list.swap_remove(at);
                let after = now.saturating_duration_since(asked);
                let kind = ErrorKind::Timeout { api: None, after, outcome_unknown: false };
                let error = Error::new(kind, format!("no metadata within {} ms", after.as_millis()));
                let error = match &self.last_error {
                    Some(cause) => error.caused_by(cause.clone()),
                    None => error.remedy("no broker has answered yet: check the bootstrap addresses"),
                };
                self.outputs.push_back(Output::Done(waiter, Err(error)));
            }
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Cluster) -> bool) {
        let mut next = (*self.cluster).clone();
        if change(&mut next) {
            self.publish(next);
        }
    }

    fn publish(&mut self, mut next: Cluster) {
        // Even an answer without any news is a first one only once.
        if next == *self.cluster {
            self.unchanged = self.unchanged.saturating_add(1);
            return;
        }
        self.unchanged = 0;
        next.generation = self.cluster.generation + 1;
        self.cluster = Arc::new(next);
        self.outputs.push_back(Output::Changed(self.cluster.clone()));
    }
}

/// A time that does not come.
fn far(now: Instant) -> Instant {
    now + Duration::from_secs(100 * 365 * 24 * 3600)
}

#[cfg(test)]
mod tests;
