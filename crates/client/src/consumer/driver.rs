//! The one task of a consumer: it owns the machines, carries out what they ask for, and tells the consumer.
//!
//! ```text
//!  Consumer, handles ──commands──► Driver ──control, records──► Consumer
//!                                  │    ▲
//!                           calls  ▼    │ replies, metadata, room, time
//!                                  Net ─┘
//! ```
//!
//! It decides nothing about the protocol: `group_glue` and `fetch_glue` translate between the machines and the rest.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::{CommitId, FetchId, Group, TopicPartition};
use kavka_net::{Net, clock};
use kavka_wire::ErrorCode;
use litemap::LiteMap;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::calls::{Calls, Done, Lanes};
use super::closing::Closing;
use super::command::{Command, Commands, Control, Item, Start, not_assigned};
use super::fetch::{Fetcher, Input as FetchInput};
use super::group_glue::{CommitFor, FetchFor, Given};
use super::later::Later;
use super::metadata_glue::{Naming, Refresh};
use super::options::{Options, Source};
use super::placement::{Assignment, Placement};
use super::refresh::OffsetsRefresh;
use super::resting::Resting;
use super::slots::Slots;
use super::stall::{Pulse, Watchdog};
use super::topics::Topics;
use crate::{Error, ErrorKind, Result};

/// The channels between a driver and its consumer.
pub(super) struct Ends {
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// Not strong: a driver must not keep itself alive.
    pub(super) own: mpsc::WeakUnboundedSender<Command>,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) items: mpsc::UnboundedSender<Item>,
    pub(super) assignment: watch::Sender<Arc<Assignment>>,
    pub(super) pulse: Arc<Pulse>,
}

/// See the [module](self).
pub(super) struct Driver {
    pub(super) options: Options,
    pub(super) net: Net,
    pub(super) lanes: Lanes,
    pub(super) calls: Calls,
    pub(super) group: Option<Group>,
    /// Counts the memberships, each of which has a machine of its own.
    pub(super) membership: u64,
    /// When the coordinator's last refusal was told.
    pub(super) refused: Option<(Option<ErrorCode>, Instant)>,
    pub(super) fetcher: Fetcher,
    pub(super) slots: Slots,
    pub(super) topics: Topics,
    pub(super) ends: Ends,
    /// Rung when the budget has room that the fetch machine waits for.
    pub(super) room: Arc<Notify>,
    pub(super) later: Later,
    /// What the commits under way are for, and what of them has failed already.
    pub(super) commits: LiteMap<CommitId, (CommitFor, Option<Error>)>,
    /// What the offset fetches under way are for.
    pub(super) fetches: LiteMap<FetchId, FetchFor>,
    /// Revocations that the application has not answered.
    pub(super) given: LiteMap<u64, Given>,
    pub(super) last_id: u64,
    pub(super) next_commit: Option<Instant>,
    pub(super) offsets_refresh: OffsetsRefresh,
    pub(super) refresh: Refresh,
    pub(super) naming: Naming,
    /// Of a member's application.
    pub(super) watchdog: Option<Watchdog>,
    /// Answers that wait until the handles can see what was done.
    pub(super) acks: Vec<(oneshot::Sender<Result<()>>, Result<()>)>,
    pub(super) resting: Option<Resting>,
    pub(super) closing: Option<Closing>,
    /// Set when nothing more can be done: as it was told to, or for this reason.
    pub(super) ended: Option<Option<Error>>,
}

impl Driver {
    pub(super) fn new(net: Net, options: Options, ends: Ends, room: Arc<Notify>, fetcher: Fetcher) -> Self {
        let protocol = options.group.as_ref().filter(|_| options.source.is_member()).map(|g| g.protocol);
        let patience = options.missing_topic_timeout;
        let topics = Topics::new(net.clone(), options.source.wanted(), protocol, patience);
        let limit = options.max_processing_time.filter(|_| options.source.is_member());
        let watchdog = limit.map(|limit| Watchdog::new(ends.pulse.clone(), limit, clock::now()));
        let mut driver = Driver {
            group: options.group.clone().map(Group::new),
            membership: 0,
            refused: None,
            lanes: Lanes::new(),
            calls: Calls::default(),
            slots: Slots::default(),
            later: Later::default(),
            commits: LiteMap::new(),
            fetches: LiteMap::new(),
            given: LiteMap::new(),
            last_id: 0,
            next_commit: None,
            offsets_refresh: OffsetsRefresh::default(),
            refresh: Refresh::default(),
            naming: Naming::default(),
            watchdog,
            acks: Vec::new(),
            resting: None,
            closing: None,
            ended: None,
            options,
            net,
            fetcher,
            topics,
            ends,
            room,
        };
        driver.begin();
        driver.publish();
        driver
    }

    /// Runs until the consumer is closed or cannot go on. Dropped before, it leaves and commits nothing.
    pub(super) async fn run(mut self) {
        let mut changes = self.net.changes();
        let room = self.room.clone();
        let cluster = changes.borrow_and_update().clone();
        self.on_cluster(cluster);
        loop {
            self.drain();
            if let Some(error) = self.ended.take() {
                return self.finish(error);
            }
            let due = self.next_timeout().unwrap_or_else(|| clock::after(std::time::Duration::MAX));
            tokio::select! {
                done = self.calls.next() => self.on_done(done),
                command = self.ends.commands.recv() => match command {
                    Some(command) => self.on_commands(command),
                    None => return,
                },
                changed = changes.changed() => {
                    if changed.is_err() {
                        self.on_done(Done::NetClosed);
                        continue;
                    }
                    let cluster = changes.borrow_and_update().clone();
                    self.on_cluster(cluster);
                }
                () = room.notified() => self.fetch(FetchInput::Room),
                () = tokio::time::sleep_until(due.into()) => self.on_time(),
            }
        }
    }

    /// Joins the group, or takes up the partitions that were assigned by hand.
    fn begin(&mut self) {
        self.next_commit = self.group.is_some().then(|| clock::after(self.options.commit_interval));
        self.begin_refreshing_offsets();
        match &self.options.source {
            Source::Subscribe(_) => self.tell_subscription(),
            Source::Assign(partitions) => {
                let mut committed = Vec::new();
                for (partition, start) in partitions.clone() {
                    let Some(placement) = self.slots.add(partition, None) else { continue };
                    match start {
                        Start::Committed => committed.push(placement),
                        start => self.start(&placement, start),
                    }
                }
                self.ask_committed(committed);
                self.restart_recreated(&self.net.cluster());
            }
        }
    }

    /// Lets the machines say all that they have to say, then lets the handles see it.
    fn drain(&mut self) {
        while self.drain_group() || self.advance_resting() || self.advance_closing() {}
        self.drain_fetcher();
        self.publish();
        for (ack, result) in self.acks.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = ack.send(result);
        }
    }

    fn publish(&mut self) {
        if let Some(assignment) = self.slots.snapshot() {
            self.ends.assignment.send_replace(Arc::new(assignment));
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let group = self.group.as_ref().and_then(Group::next_timeout);
        let closing = self.closing.as_ref().map(|closing| closing.deadline);
        [
            group,
            self.fetcher.next_timeout(),
            self.later.next(),
            self.topics.next_timeout(),
            self.metadata_timeout(),
            self.watchdog.as_ref().and_then(Watchdog::next_timeout),
            self.next_commit,
            self.offsets_refresh.due(),
            closing,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_time(&mut self) {
        let now = clock::now();
        self.tell_group(kavka_group::Input::Timeout);
        self.fetch(FetchInput::Timeout);
        for error in self.topics.overdue(now) {
            self.tell(Control::Failed(error));
        }
        for (placement, what) in self.later.due(now) {
            self.do_later(placement, what);
        }
        if self.next_commit.is_some_and(|at| at <= now) {
            self.next_commit = Some(now + self.options.commit_interval);
            self.commit_stored();
        }
        self.metadata_in_time(now);
        self.refresh_offsets(now);
        self.watch_application(now);
        self.close_in_time(now);
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Fetch(token, result) => self.fetch(FetchInput::Reply { token, result }),
            Done::Group(membership, token, result) if membership == self.membership => {
                self.tell_group(kavka_group::Input::Reply { token, result })
            }
            Done::Group(..) => {}
            Done::Refreshed(outcome) => self.on_refreshed(outcome),
            Done::Named(outcome) => self.on_names(outcome),
            Done::NetClosed => {
                let error = Error::new(ErrorKind::Closed, "the client was closed while a consumer used it");
                self.end(Some(error.remedy("close the consumers before the client")));
            }
        }
    }

    fn on_commands(&mut self, first: Command) {
        self.on_command(first);
        // All that is there, before the machines plan anything.
        while let Ok(command) = self.ends.commands.try_recv() {
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Commit { offsets, reply } => self.commit(offsets, CommitFor::User { reply }),
            Command::Committed { partitions, reply } => self.fetch_committed(partitions, reply),
            Command::Seek { partition, to, reply } => self.seek(&partition, to, reply),
            Command::Subscribe { wanted, reply } => self.subscribe(wanted, reply),
            Command::Rejoin { reason, reply } => self.rejoin(reason, reply),
            Command::Member { reply } => drop(reply.send(self.group_metadata())),
            Command::Back => self.on_back(),
            Command::Pause { placements, paused } => self.pause(placements, paused),
            Command::Release { id, offsets, reply } => self.release(id, offsets, reply),
            Command::Broken { placement, offset } => self.on_broken(&placement, offset),
            Command::Shutdown => self.shutdown(),
            Command::Close { reply } => self.close(reply),
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: Start, reply: oneshot::Sender<Result<()>>) {
        let Some(slot) = self.slots.find(partition).map(|assigned| assigned.placement.slot) else {
            self.acks.push((reply, Err(not_assigned(partition))));
            return;
        };
        match to {
            Start::Committed => self.seek_committed(slot, reply),
            to => {
                let result = self.reposition(slot, to);
                self.acks.push((reply, result));
            }
        }
    }

    /// The callers have set the flag already; a placement that is newer than what they saw gets it here.
    fn pause(&mut self, placements: Vec<Arc<Placement>>, paused: bool) {
        for seen in placements {
            let Some(assigned) = self.slots.get(seen.slot) else { continue };
            let current = &assigned.placement;
            if current.partition != seen.partition {
                continue;
            }
            if !Arc::ptr_eq(current, &seen) {
                current.set_paused(paused);
            }
            let slot = vec![seen.slot];
            let input = if current.is_paused() { FetchInput::Pause(slot) } else { FetchInput::Resume(slot) };
            self.fetch(input);
        }
        if !paused {
            self.tell(Control::Resumed);
        }
    }

    /// What is told is visible to the handles before.
    pub(super) fn tell(&mut self, control: Control) {
        self.publish();
        // First: what is taken was counted before.
        self.ends.pulse.control_sent();
        // A consumer that was dropped has nobody to tell, and ends this task.
        let _ = self.ends.control.send(control);
    }

    pub(super) fn send(&mut self, item: Item) {
        self.publish();
        self.ends.pulse.item_sent();
        let _ = self.ends.items.send(item);
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The way to this driver, for those who answer it. `None` when the consumer and all handles are gone.
    pub(super) fn own_commands(&self) -> Option<Commands> {
        self.ends.own.upgrade().map(Commands)
    }

    /// Nothing more can be done.
    pub(super) fn end(&mut self, error: Option<Error>) {
        self.ended.get_or_insert(error);
    }

    fn finish(mut self, error: Option<Error>) {
        for assigned in self.slots.iter() {
            assigned.placement.part();
        }
        for given in self.given.values() {
            given.placements.iter().for_each(|placement| placement.part());
        }
        self.ends.assignment.send_replace(Arc::default());
        if let Some(closing) = &mut self.closing {
            closing.answer(error.clone());
        }
        self.tell(Control::Ended(error));
    }
}

impl Drop for Driver {
    /// However it ended: connections that nobody else uses are not kept until they have been idle for long.
    fn drop(&mut self) {
        self.lanes.release(&self.net);
    }
}
