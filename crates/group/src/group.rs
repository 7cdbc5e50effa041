//! The outer machine: a coordinator lookup, a member, commits and offset fetches that share one identity.

use std::time::Instant;

use crate::api::{CallError, Event, Input, Output, Token};
use crate::commits::{Commits, Verdict};
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::cx::Cx;
use crate::fetches::Fetches;
use crate::identity::Identity;
use crate::ids::Topics;
use crate::lookup::CoordinatorType;
use crate::membership::Membership;
use crate::outbox::{Asker, Outbox};
use crate::requests::GroupReply;
use crate::step::Step;
use crate::{GroupError, GroupErrorKind};

/// A consumer's part in a group. With [`Input::Subscribe`] it becomes a member; without, it commits and reads offsets as one who
/// assigns partitions to itself.
#[derive(Debug)]
pub struct Group {
    shared: Shared,
    member: Membership,
    commits: Commits,
    fetches: Fetches,
    /// Set once the group was left or nothing can be done for it any more.
    over: Option<GroupError>,
}

/// What the parts of a group share.
#[derive(Debug)]
struct Shared {
    config: Config,
    topics: Topics,
    coordinator: Coordinator,
    out: Outbox,
}

impl Shared {
    fn cx(&mut self, now: Instant) -> Cx<'_> {
        let Self { config, topics, coordinator, out } = self;
        Cx { now, config, topics, coordinator, out }
    }
}

impl Group {
    /// A group that nothing was asked of yet.
    pub fn new(config: Config) -> Self {
        let config = config.sane();
        Group {
            member: Membership::new(&config),
            commits: Commits::new(&config),
            fetches: Fetches::new(&config),
            over: None,
            shared: Shared {
                topics: Topics::default(),
                coordinator: Coordinator::new(
                    CoordinatorType::Group,
                    config.group_id.clone(),
                    config.retry_backoff,
                    config.retry_backoff_max,
                    config.seed ^ 1,
                ),
                out: Outbox::default(),
                config,
            },
        }
    }

    /// Takes one input. Afterwards [`poll`](Self::poll) until it is empty.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if let Some(error) = &self.over {
            return refuse(input, error.clone(), &mut self.shared.out);
        }
        if let Input::Metadata(map) = &input {
            self.shared.topics.learn(map.clone());
        }
        let Self { shared, member, commits, fetches, .. } = self;
        let cx = &mut shared.cx(now);
        let step = match input {
            Input::Timeout => Step::Continue,
            Input::Reply { token, result } => self.reply(now, token, result),
            Input::Subscribe(subscription) => member.subscribe(cx, subscription),
            Input::Metadata(_) => member.metadata(cx),
            Input::Released { epoch } => member.released(epoch),
            Input::Suspend { reason } => {
                member.suspend(cx, reason);
                Step::Continue
            }
            Input::Resume => {
                member.resume();
                Step::Continue
            }
            Input::Rejoin { reason } => member.rejoin(cx, reason),
            Input::Leave { reason } => member.leave(reason),
            Input::Commit { id, offsets } => {
                commits.add(cx, id, offsets, member);
                Step::Continue
            }
            Input::FetchOffsets { id, partitions } => {
                fetches.add(cx, id, partitions, member);
                Step::Continue
            }
        };
        self.settle(now, step);
        self.advance(now);
    }

    /// What to do next, if anything.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.out.poll()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Timeout`] if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.over.is_some() {
            return None;
        }
        let coordinator = &self.shared.coordinator;
        let lookup = if self.wants_coordinator() { coordinator.next_timeout() } else { None };
        let sends = if coordinator.known().is_some() {
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
    pub fn member(&self) -> Option<(std::sync::Arc<str>, i32)> {
        let identity = self.member.identity().filter(Identity::is_member)?;
        Some(((*identity.member_id).into(), identity.generation))
    }

    fn wants_coordinator(&self) -> bool {
        self.member.wants_coordinator() || self.commits.pending() || self.fetches.pending()
    }

    /// Hands an answer, or that there is none, to the part that asked.
    fn reply(&mut self, now: Instant, token: Token, result: Result<GroupReply, CallError>) -> Step {
        let Self { shared, member, commits, fetches, .. } = self;
        let Some(asker) = shared.out.answered(token) else { return Step::Continue };
        let cx = &mut shared.cx(now);
        let verdict = match asker {
            Asker::Lookup(lookup) => {
                let found = result.and_then(GroupReply::into_found);
                return match cx.coordinator.reply(now, lookup, found) {
                    Ok(()) => Step::Continue,
                    Err(error) => Step::Fatal(error),
                };
            }
            Asker::Member => return member.reply(cx, token, result),
            Asker::Commits => {
                commits.reply(cx, token, result.and_then(GroupReply::into_committed), member.draining())
            }
            Asker::Fetches => fetches.reply(cx, token, result.and_then(GroupReply::into_fetched), member),
        };
        match verdict {
            Verdict::Fine => Step::Continue,
            Verdict::Rebalancing => member.rebalancing(cx),
            Verdict::NotMember(identity, code) => member.disowned(&identity, code),
        }
    }

    /// Carries out what a part decided about the whole.
    fn settle(&mut self, now: Instant, step: Step) {
        let cx = &mut self.shared.cx(now);
        match step {
            Step::Continue => {}
            Step::Lost { error, keep_member_id } => self.member.lose(cx, error, keep_member_id),
            Step::FallBack => self.member.fall_back(cx),
            Step::Fatal(error) => {
                self.member.give_up(cx, &error);
                self.end(now, error.clone());
                self.shared.out.event(Event::Fatal(error));
            }
            Step::Left => {
                self.end(now, GroupError::new(GroupErrorKind::Closed, "the group was left"));
                self.shared.out.event(Event::Left);
            }
        }
    }

    fn end(&mut self, now: Instant, error: GroupError) {
        let cx = &mut self.shared.cx(now);
        self.commits.fail_all(cx, &error);
        self.fetches.fail_all(cx, &error);
        self.over = Some(error);
    }

    /// Does what time, or the last input, has made due. Each step makes the next one right: the order is part of what the group promises.
    fn advance(&mut self, now: Instant) {
        if self.over.is_some() {
            return;
        }
        // What time has taken away comes first, so that nothing is done below in the name of a session that is over.
        let step = self.member.tick(&mut self.shared.cx(now));
        self.settle(now, step);
        if self.over.is_some() {
            return;
        }
        let Self { shared, member, commits, fetches, .. } = self;
        let cx = &mut shared.cx(now);
        // What was lost is not committed; and only what still may be counts as a reason to wait before partitions are given away.
        commits.prune(cx, &member.ownership());
        commits.expire(cx);
        member.give_away(cx, |partitions| commits.concern(partitions));
        // Nor is what was given away just now: its commits waited longer than its new owner does.
        commits.prune(cx, &member.ownership());
        // Looked for only now, when it is certain who needs one.
        if member.wants_coordinator() || commits.pending() || fetches.pending() {
            cx.find_coordinator();
        }
        if member.doubts(cx) {
            cx.doubt_coordinator();
        }
        if cx.coordinator.known().is_some() {
            // First the member notices that the coordinator is another one, as its identity may end with that.
            member.meet(cx);
            // Commits go before the member's own requests, which may end the generation that they are sent in.
            commits.advance(cx, member);
            fetches.advance(cx, member);
            member.send(cx);
        }
        // Last, as leaving waits until nothing is left to commit, and the end of all may follow.
        let step = member.leaving(cx, commits.is_idle());
        self.settle(now, step);
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
