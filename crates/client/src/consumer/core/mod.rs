//! A consumer without a clock, a socket or a task: it decides when a partition is taken up and released, where it is read from, what a
//! commit is for, and in which order partitions are revoked, committed and left.
//!
//! ```text
//!    commands, replies, metadata, time
//!                  │
//!                  ▼
//!   ┌─ Core ───────────────────────────────────────────────────────────────────────┐
//!   │  member ── the group machine            assignment ── which partitions       │
//!   │  fetch ─── positions, sessions, resets  starts ────── where they are read    │
//!   │  commits ─ what they are for            revocations ─ what is to be released │
//!   │  subscription ─ topics and their names  ending ────── resting, closing       │
//!   │  watchdog ─ whether the application takes part                               │
//!   └──────────────────────────────────────────────────────────────────────────────┘
//!                  │
//!                  ▼
//!    requests, wishes about metadata, answers, what the application is told and handed
//! ```
//!
//! Each of these keeps its own state and times; what concerns several of them is here: `commands`, `partitions`, `committing`,
//! `reading` and `topics`. Give it what happened with [`Core::handle`], drain [`Core::poll`], and call it again at
//! [`Core::next_timeout`]. Several inputs may be handled before one drain.

mod api;
mod assignment;
mod commands;
mod commits;
mod committing;
mod ending;
pub(crate) mod fetch;
#[cfg(feature = "simulation")]
mod heard;
mod later;
mod member;
mod options;
mod partitions;
mod placement;
mod reading;
mod refresh;
mod revocations;
mod starts;
mod subscription;
mod tenure;
mod timers;
mod topics;
mod watchdog;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use kavka_net::Cluster;

use assignment::Assignment;
use commits::Commits;
use ending::{Ending, Step};
use fetch::{Fetcher, Gauge, Input as FetchInput, Output as FetchOutput};
use member::{Member, Said};
use refresh::OffsetsRefresh;
use revocations::Revocations;
use starts::Starts;
use subscription::Subscription;
use timers::Timer;
use watchdog::Watchdog;

use crate::{Error, ErrorKind};

pub(crate) use api::{
    Answer, Ask, Command, CommittedOffsets, Handed, Input, Offset, Output, Told, closed, not_assigned,
    of_another_owner,
};
pub use api::{GroupMetadata, Start};
#[cfg(feature = "simulation")]
pub use heard::Heard;
pub(crate) use member::MemberCall;
pub(crate) use options::{Options, Source};
pub(crate) use placement::{Placement, Snapshot};
pub(crate) use subscription::{LONGEST_STRING, Wanted, Wish};
#[cfg(test)]
pub(crate) use tenure::Tenure;
pub(crate) use watchdog::Pulse;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Core {
    options: Options,
    now: Instant,
    cluster: Arc<Cluster>,
    member: Member,
    fetcher: Fetcher,
    assignment: Assignment,
    subscription: Subscription,
    starts: Starts,
    commits: Commits,
    revocations: Revocations,
    last_revocation: u64,
    watchdog: Option<Watchdog>,
    ending: Ending,
    pulse: Arc<Pulse>,
    outputs: VecDeque<Output>,
    /// Answers that wait until the handles can see what was done.
    answers: Vec<(Ask, Answer)>,
    /// Set when nothing more can be done: as it was told to, or for this reason.
    over: Option<Option<Error>>,
    dirty: bool,
    ended: bool,
}

impl Core {
    /// A consumer that begins now. `wall_ms` is the wall clock, in ms since 1970; `pulse` is what the application writes when it calls.
    pub(crate) fn new(options: Options, now: Instant, wall_ms: i64, pulse: Arc<Pulse>) -> Self {
        let is_member = options.source.is_member();
        let protocol = options.group.as_ref().filter(|_| is_member).map(|group| group.protocol);
        let refresh = match options.offsets_refresh {
            Some(interval) if options.group.is_some() && !is_member => OffsetsRefresh::every(interval, now),
            _ => OffsetsRefresh::default(),
        };
        let limit = options.max_processing_time.filter(|_| is_member);
        let mut core = Core {
            now,
            cluster: Arc::default(),
            member: Member::new(options.group.clone()),
            fetcher: Fetcher::new(options.fetch.clone(), now, wall_ms, Arc::<Gauge>::default()),
            assignment: Assignment::default(),
            subscription: Subscription::new(options.source.wanted(), protocol, options.missing_topic_timeout),
            starts: Starts::default(),
            commits: Commits::new(options.commit_interval, refresh),
            revocations: Revocations::default(),
            last_revocation: 0,
            watchdog: limit.map(|limit| Watchdog::new(pulse.clone(), limit, now)),
            ending: Ending::default(),
            pulse,
            outputs: VecDeque::new(),
            answers: Vec::new(),
            over: None,
            dirty: true,
            ended: false,
            options,
        };
        core.begin();
        core
    }

    /// Takes note of what happened. Several inputs may be handled before the outputs are drained.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.ended {
            return;
        }
        self.dirty = true;
        match input {
            Input::Timeout => Timer::ALL.into_iter().for_each(|timer| self.ring(timer)),
            Input::Command { command, ask } => self.command(command, ask),
            Input::Fetch { token, result } => self.fetch(FetchInput::Reply { token, result }),
            Input::Group { membership, token, result } => {
                self.member.reply(self.now, membership, token, result)
            }
            Input::Cluster(cluster) => self.on_cluster(cluster),
            Input::Refreshed(outcome) => self.on_refreshed(outcome),
            Input::Named(outcome) => self.subscription.named(outcome),
            Input::Room => self.fetch(FetchInput::Room),
            Input::ClientClosed => {
                let error = Error::new(ErrorKind::Closed, "the client was closed while a consumer used it");
                self.end(Some(error.remedy("close the consumers before the client")));
            }
        }
    }

    /// What to do next; drained until `None` after [`handle`](Self::handle).
    pub(crate) fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() && std::mem::take(&mut self.dirty) && !self.ended {
            self.advance();
        }
        self.outputs.pop_front()
    }

    /// When to handle [`Input::Timeout`] if nothing else happens. Meaningful once [`poll`](Self::poll) is drained.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        Timer::ALL.into_iter().filter_map(|timer| self.due(timer)).min()
    }

    fn due(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Group => self.member.next_timeout(),
            Timer::Fetcher => self.fetcher.next_timeout(),
            Timer::Missing => self.subscription.missing_at(),
            Timer::Later => self.starts.later.next_timeout(),
            Timer::Commit => self.commits.next_timeout(),
            Timer::Metadata => self.subscription.refresh_at(),
            Timer::Refresh => self.commits.refresh.next_timeout(),
            Timer::Watchdog => self.watchdog.as_ref().and_then(Watchdog::next_timeout),
            Timer::Overdue => self.revocations.next_timeout(),
            Timer::Closing => self.ending.next_timeout(),
        }
    }

    /// Does what a timer is for, if its time has come.
    fn ring(&mut self, timer: Timer) {
        if self.due(timer).is_none_or(|at| at > self.now) {
            return;
        }
        match timer {
            Timer::Group => self.tell_group(kavka_group::Input::Timeout),
            Timer::Fetcher => self.fetch(FetchInput::Timeout),
            Timer::Missing => {
                for error in self.subscription.overdue(self.now) {
                    self.tell(Told::Failed(error));
                }
            }
            Timer::Later => self.do_later(),
            Timer::Commit => {
                self.commits.arm(self.now);
                self.commit_stored();
            }
            Timer::Metadata => self.subscription.refresh_in_time(),
            Timer::Refresh => self.refresh_offsets(),
            Timer::Watchdog => self.watch_application(),
            Timer::Overdue => self.end_overdue(),
            Timer::Closing => {
                let late = self.ending.late();
                self.end(Some(late));
            }
        }
    }

    /// Lets the machines say all that they have to say, then lets the handles see it.
    fn advance(&mut self) {
        while self.drain_member() || self.advance_ending() {}
        self.drain_fetcher();
        while let Some(wish) = self.subscription.poll() {
            self.outputs.push_back(Output::Wish(wish));
        }
        self.publish();
        for (ask, answer) in self.answers.drain(..) {
            self.outputs.push_back(Output::Answer(ask, answer));
        }
        if let Some(reason) = self.over.take() {
            self.finish(reason);
        }
    }

    /// Whether the group machine had something to say.
    fn drain_member(&mut self) -> bool {
        let mut said = false;
        while let Some(what) = self.member.poll() {
            said = true;
            match what {
                Said::Call(call) => self.outputs.push_back(Output::Group(call)),
                Said::Event(event) => {
                    #[cfg(feature = "simulation")]
                    self.outputs.push_back(Output::Heard(Heard::Said(event.clone())));
                    self.on_event(event);
                }
            }
        }
        said
    }

    fn drain_fetcher(&mut self) {
        self.fetcher.set_hungry(!self.pulse.has_records());
        while let Some(output) = self.fetcher.poll() {
            match output {
                FetchOutput::Call(call) => self.outputs.push_back(Output::Fetch(call)),
                FetchOutput::Data(fetched) => self.on_data(fetched),
                FetchOutput::Position { slot, epoch, offset } => self.on_position(slot, epoch, offset),
                FetchOutput::Failed { slots, error } => self.on_fetch_failed(slots, error),
                FetchOutput::NeedMetadata => self.outputs.push_back(Output::Wish(Wish::AskSoon)),
                FetchOutput::LeaderHint(hint) => self.outputs.push_back(Output::LeaderHint(hint)),
            }
        }
    }

    /// Takes the next step towards an end, if it is time for it. True when the machines may have something to say about it.
    fn advance_ending(&mut self) -> bool {
        let member = self.member.has_group() && self.options.source.is_member();
        let done = if member { None } else { Some(self.commits.is_idle()) };
        match self.ending.advance(self.revocations.is_empty(), done) {
            Step::Wait => false,
            Step::Rest => {
                self.tell_group(kavka_group::Input::Leave { reason: "the consumer unsubscribed".into() });
                true
            }
            Step::Leave => {
                self.leave();
                true
            }
            Step::End => {
                let error = self.ending.take_error();
                self.end(error);
                false
            }
        }
    }

    /// Lets the handles see the assignment, if it is another one.
    fn publish(&mut self) {
        if let Some(snapshot) = self.assignment.snapshot() {
            self.outputs.push_back(Output::Assignment(snapshot));
        }
    }

    /// Tells the application something. What it is told is visible to its handles before.
    fn tell(&mut self, told: Told) {
        self.publish();
        // First: what is taken was counted before.
        self.pulse.control_sent();
        self.outputs.push_back(Output::Told(told));
    }

    fn hand(&mut self, handed: Handed) {
        self.publish();
        self.pulse.item_sent();
        self.outputs.push_back(Output::Handed(handed));
    }

    fn answer(&mut self, ask: Option<Ask>, answer: Answer) {
        self.answers.extend(ask.map(|ask| (ask, answer)));
    }

    fn done(&mut self, ask: Option<Ask>, outcome: crate::Result<()>) {
        self.answer(ask, Answer::Done(outcome));
    }

    fn tell_group(&mut self, input: kavka_group::Input) {
        #[cfg(feature = "simulation")]
        self.outputs.extend(Heard::asked(&input).map(Output::Heard));
        self.member.handle(self.now, input);
    }

    fn fetch(&mut self, input: FetchInput) {
        self.fetcher.handle(self.now, input);
    }

    /// Nothing more can be done.
    fn end(&mut self, reason: Option<Error>) {
        self.over.get_or_insert(reason);
    }

    fn finish(&mut self, reason: Option<Error>) {
        self.ended = true;
        for assigned in self.assignment.iter() {
            assigned.placement.part();
        }
        self.revocations.take_all().iter().for_each(|placement| placement.part());
        self.outputs.push_back(Output::Assignment(Snapshot::new()));
        for ask in self.ending.take_asks() {
            let outcome = reason.clone().map_or(Ok(()), Err);
            self.outputs.push_back(Output::Answer(ask, Answer::Done(outcome)));
        }
        self.pulse.control_sent();
        self.outputs.push_back(Output::Ended(reason));
    }
}
