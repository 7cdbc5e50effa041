//! The outer machine: a coordinator lookup, a member, commits and offset fetches that share one identity.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{CallLane, CallTo, Event, Input, Output, Token};
use crate::commits::{Commits, Verdict};
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::fetches::Fetches;
use crate::ids::{Ids, Topics};
use crate::membership::{Answer, Membership, Step};
use crate::requests::{GroupReply, GroupRequest};
use crate::{GroupError, GroupErrorKind};

/// What is waiting to be polled, and the tokens of calls.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    tokens: u64,
}

impl Outbox {
    pub(crate) fn call(
        &mut self,
        to: CallTo,
        lane: CallLane,
        request: GroupRequest,
        max_version: i16,
        timeout: Duration,
    ) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.outputs.push_back(Output::Call { token, to, lane, request, max_version, timeout });
        token
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A consumer's part in a group. With [`Input::Subscribe`] it becomes a member; without, it commits and reads offsets as one who
/// assigns partitions to itself.
#[derive(Debug)]
pub struct Group {
    config: Config,
    out: Outbox,
    coordinator: Coordinator,
    member: Membership,
    topics: Topics,
    commits: Commits,
    fetches: Fetches,
    /// Set once the group was left or nothing can be done for it any more.
    over: Option<GroupError>,
}

impl Group {
    /// A group that nothing was asked of yet.
    pub fn new(config: Config) -> Self {
        let config = config.sane();
        Group {
            out: Outbox::default(),
            coordinator: Coordinator::new(&config),
            member: Membership::new(&config),
            topics: Topics::default(),
            commits: Commits::new(&config),
            fetches: Fetches::new(&config),
            over: None,
            config,
        }
    }

    /// Takes one input. Afterwards [`poll`](Self::poll) until it is empty.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let Self { config, out, member, topics, commits, fetches, .. } = self;
        if let Some(error) = &self.over {
            return refuse(input, error.clone(), out);
        }
        let step = match input {
            Input::Timeout => Step::Continue,
            Input::Reply { token, result } => self.reply(now, token, result),
            Input::Subscribe(subscription) => member.subscribe(now, subscription, config, out),
            Input::Metadata(map) => {
                topics.learn(map.clone());
                member.metadata(now, map, config, out)
            }
            Input::Released { epoch } => member.released(epoch),
            Input::Suspend { reason } => {
                member.suspend(now, reason, config, out);
                Step::Continue
            }
            Input::Resume => {
                member.resume();
                Step::Continue
            }
            Input::Rejoin { reason } => member.rejoin(now, reason, config, out),
            Input::Leave { reason } => member.leave(reason),
            Input::Commit { id, offsets } => {
                let deadline = now + config.commit_timeout;
                commits.add(id, offsets, deadline, &member.ownership(), Ids::new(member, topics), out);
                Step::Continue
            }
            Input::FetchOffsets { id, partitions } => {
                fetches.add(id, partitions, now + config.commit_timeout, Ids::new(member, topics), out);
                Step::Continue
            }
        };
        self.settle(now, step);
        self.advance(now);
    }

    /// What to do next, if anything.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Timeout`] if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.over.is_some() {
            return None;
        }
        let found = self.coordinator.known().is_some();
        let lookup = if self.wants_coordinator() { self.coordinator.next_timeout() } else { None };
        let sends = if found {
            let commits = self.commits.next_timeout().filter(|_| self.member.identity().is_some());
            [self.member.next_send(), commits, self.fetches.next_timeout()]
        } else {
            [None; 3]
        };
        [lookup, self.member.next_deadline(), self.commits.next_deadline()]
            .into_iter()
            .chain(sends)
            .flatten()
            .min()
    }

    /// The member id, and the generation or member epoch, by which the coordinator knows this member. `None` while it knows none.
    pub fn member(&self) -> Option<(Arc<str>, i32)> {
        let identity = self.member.identity().filter(crate::commits::Identity::is_member)?;
        Some(((*identity.member_id).into(), identity.generation))
    }

    fn wants_coordinator(&self) -> bool {
        self.member.wants_coordinator() || self.commits.pending() || self.fetches.pending()
    }

    fn reply(&mut self, now: Instant, token: Token, result: Result<GroupReply, crate::CallError>) -> Step {
        let Self { config, out, coordinator, member, topics, commits, fetches, .. } = self;
        let answer = match result {
            // A failure does not say what was asked, so it is offered to each: only the one that awaits the token takes it.
            Err(error) => {
                if let Err(error) = coordinator.reply(now, token, &config.group_id, Err(error.clone())) {
                    return Step::Fatal(error);
                }
                commits.reply(now, token, Err(error.clone()), member.draining(), coordinator, out);
                let ids = Ids::new(member, topics);
                fetches.reply(now, token, Err(error.clone()), ids, coordinator, out);
                return member.failed(now, token, error, coordinator, config);
            }
            Ok(GroupReply::FindCoordinator(response)) => {
                return match coordinator.reply(now, token, &config.group_id, Ok(response)) {
                    Ok(()) => Step::Continue,
                    Err(error) => Step::Fatal(error),
                };
            }
            Ok(GroupReply::OffsetCommit(response)) => {
                let verdict = commits.reply(now, token, Ok(response), member.draining(), coordinator, out);
                return judge(now, verdict, member, config, out);
            }
            Ok(GroupReply::OffsetFetch(response)) => {
                let ids = Ids::new(member, topics);
                let verdict = fetches.reply(now, token, Ok(response), ids, coordinator, out);
                return judge(now, verdict, member, config, out);
            }
            Ok(GroupReply::JoinGroup(response)) => Answer::Join(response),
            Ok(GroupReply::SyncGroup(response)) => Answer::Sync(response),
            Ok(GroupReply::Heartbeat(response)) => Answer::Heartbeat(response),
            Ok(GroupReply::LeaveGroup(response)) => Answer::Leave(response),
            Ok(GroupReply::ConsumerGroupHeartbeat(response)) => Answer::Consumer(response),
        };
        member.answered(now, token, answer, coordinator, config, out)
    }

    /// Carries out what a machine decided about the whole.
    fn settle(&mut self, now: Instant, step: Step) {
        match step {
            Step::Continue => {}
            Step::Lost { error, keep_member_id } => {
                self.member.lose(now, error, keep_member_id, &mut self.out);
            }
            Step::FallBack => self.member.fall_back(now, &self.config, &mut self.out),
            Step::Fatal(error) => {
                self.member.give_up(&error, &mut self.out);
                self.end(error.clone());
                self.out.event(Event::Fatal(error));
            }
            Step::Left => {
                self.end(GroupError::new(GroupErrorKind::Closed, "the group was left"));
                self.out.event(Event::Left);
            }
        }
    }

    fn end(&mut self, error: GroupError) {
        self.commits.fail_all(&error, &mut self.out);
        self.fetches.fail_all(&error, &mut self.out);
        self.over = Some(error);
    }

    /// Does what time, or the last input, has made due.
    fn advance(&mut self, now: Instant) {
        if self.over.is_some() {
            return;
        }
        let step = self.member.tick(now, &self.config, &mut self.out);
        self.settle(now, step);
        self.commits.prune(&self.member.ownership(), &mut self.out);
        self.commits.expire(now, &mut self.out);
        let committing = |partitions: &_| self.commits.concern(partitions);
        self.member.give_away(now, committing, &self.config, &mut self.out);
        self.commits.prune(&self.member.ownership(), &mut self.out);
        if self.wants_coordinator() {
            self.coordinator.find(now, &self.config, &mut self.out);
        }
        let Self { config, out, coordinator, member, topics, commits, fetches, .. } = self;
        if member.doubts(now, config) {
            coordinator.check(config, out);
        }
        if let Some((to, term)) = coordinator.known() {
            member.meet(now, to, term, config);
            let ids = Ids::new(member, topics);
            if let Some(identity) = member.identity() {
                commits.advance(now, to, term, identity, ids, config, out);
            }
            fetches.advance(now, to, term, member.reader(), ids, config, out);
            member.send(now, to, term, config, out);
        }
        let step = self.member.leaving(
            self.commits.is_idle(),
            now,
            self.coordinator.known(),
            &self.config,
            &mut self.out,
        );
        self.settle(now, step);
    }
}

/// What an answer to a commit or an offset fetch means for the membership.
fn judge(now: Instant, verdict: Verdict, member: &mut Membership, config: &Config, out: &mut Outbox) -> Step {
    match verdict {
        Verdict::Fine => Step::Continue,
        Verdict::Rebalancing => member.rebalancing(now, config, out),
        Verdict::NotMember(identity, code) => member.disowned(&identity, code),
    }
}

/// After the end every question is answered, with an error.
fn refuse(input: Input, error: GroupError, out: &mut Outbox) {
    match input {
        Input::Commit { id, offsets } => {
            let results = offsets.into_iter().map(|offset| (offset.partition, Err(error.clone())));
            out.event(Event::CommitDone { id, results: results.collect() });
        }
        Input::FetchOffsets { id, partitions } => {
            let results = partitions.into_iter().map(|partition| (partition, Err(error.clone())));
            out.event(Event::OffsetsFetched { id, results: results.collect() });
        }
        Input::Leave { .. } => out.event(Event::Left),
        _ => {}
    }
}
