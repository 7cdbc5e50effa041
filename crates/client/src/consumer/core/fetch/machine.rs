//! The machine itself: inputs, positions, and who serves whom.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::SortedSet;
use kavka_net::Cluster;
use kavka_wire::ByteString;
use kavka_wire::messages::FetchRequest;
use litemap::LiteMap;

use super::api::{
    Assign, CallFailure, FetchCall, FetchConfig, FetchReply, FetchRequests, Input, OffsetReset, Output, Seek,
    Slot, Token,
};
use super::backoff::Backoff;
use super::brokers::Broker;
use super::failure;
use super::position::{Cursor, Phase, Placed, Want, place};
use super::reset::Lookups;
use super::room::Gauge;
use super::topics::{TopicIndex, Topics};
use super::validate::Checks;
use crate::Error;

/// How long the freeing of a session may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a call in flight was about.
#[derive(Debug)]
pub(super) enum Pending {
    Fetch { broker: i32 },
    Lookups(Lookups),
    Checks(Checks),
}

/// The fetch machine of one consumer; see the [module](super).
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(super) config: FetchConfig,
    pub(super) rack: ByteString,
    pub(super) now: Instant,
    /// The wall clock at construction, in ms since 1970.
    wall: (Instant, i64),
    pub(super) backoff: Backoff,
    pub(super) retained: Arc<Gauge>,
    /// What the answers to the fetches in flight may add to it.
    pub(super) reserved: usize,
    pub(super) cursors: Vec<Option<Cursor>>,
    pub(super) assigned: usize,
    pub(super) topics: Topics,
    pub(super) refused: LiteMap<TopicIndex, Instant>,
    pub(super) brokers: LiteMap<i32, Broker>,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) calls: LiteMap<Token, Pending>,
    /// Partitions in `Lookup` or `Validating`.
    pub(super) wanting: SortedSet<Slot>,
    /// Partitions without a broker to fetch from.
    pub(super) homeless: SortedSet<Slot>,
    /// Partitions that stopped for want of an offset, not reported yet.
    unplaced: Vec<Slot>,
    /// When the first preference for a follower ends.
    pub(super) preference_ends: Option<Instant>,
    pub(super) metadata_wanted: bool,
    pub(super) metadata_asks: u32,
    pub(super) next_metadata_ask: Instant,
    pub(super) outputs: VecDeque<Output>,
    dirty: bool,
    /// The largest answer that was more than had been asked for of its partition: one batch.
    pub(super) largest_batch: usize,
    /// The application has nothing to take: what little a fetch brings is welcome.
    pub(super) hungry: bool,
    wake: Option<Instant>,
    closed: bool,
    last_token: Token,
    last_revision: u64,
    turn: usize,
}

impl Fetcher {
    /// A machine without partitions. `wall_ms` is the wall clock at `now`, in ms since 1970; `retained` counts the bytes
    /// of all partitions.
    pub(crate) fn new(config: FetchConfig, now: Instant, wall_ms: i64, retained: Arc<Gauge>) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed);
        let rack = config.rack.as_deref().map(ByteString::from).unwrap_or_default();
        Fetcher {
            rack,
            now,
            wall: (now, wall_ms),
            backoff,
            retained,
            reserved: 0,
            cursors: Vec::new(),
            assigned: 0,
            topics: Topics::default(),
            refused: LiteMap::new(),
            brokers: LiteMap::new(),
            cluster: None,
            calls: LiteMap::new(),
            wanting: SortedSet::new(),
            homeless: SortedSet::new(),
            unplaced: Vec::new(),
            preference_ends: None,
            metadata_wanted: false,
            metadata_asks: 0,
            next_metadata_ask: now,
            outputs: VecDeque::new(),
            dirty: false,
            largest_batch: 0,
            hungry: true,
            wake: None,
            closed: false,
            last_token: 0,
            last_revision: 0,
            turn: 0,
            config,
        }
    }

    /// Takes note of what happened. Several inputs may be handled before the outputs are drained.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.closed {
            return;
        }
        self.dirty = true;
        match input {
            Input::Cluster(cluster) => self.on_cluster(cluster),
            Input::Assign(all) => all.into_iter().for_each(|one| self.on_assign(one)),
            Input::Unassign(slots) => slots.into_iter().for_each(|slot| self.drop_cursor(slot)),
            Input::Seek(all) => all.into_iter().for_each(|one| self.on_seek(one)),
            Input::Pause(slots) => self.set_paused(slots, true),
            Input::Resume(slots) => self.set_paused(slots, false),
            Input::Room => self.brokers.iter_mut().for_each(|(_, broker)| broker.shorten_wait()),
            Input::Reply { token, result } => self.on_reply(token, result),
            Input::Timeout => {}
            Input::Close => self.on_close(),
        }
    }

    /// Whether the application has taken everything that it was brought. As long as it has not, fetches may wait until they are worth
    /// their request.
    pub(crate) fn set_hungry(&mut self, hungry: bool) {
        self.hungry = hungry;
    }

    /// The next thing to do; drained until `None` after `handle`.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() && std::mem::take(&mut self.dirty) && !self.closed {
            self.plan();
        }
        self.outputs.pop_front()
    }

    /// When to handle [`Input::Timeout`] if nothing else happens. Meaningful once `poll` is drained.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.closed { None } else { self.wake }
    }

    fn plan(&mut self) {
        self.wake = None;
        self.report_unplaced();
        self.end_preferences();
        self.plan_lookups();
        self.plan_checks();
        // Whoever comes first finds the most room: each in its turn.
        self.turn = self.turn.wrapping_add(1);
        let mut ids: Vec<i32> = self.brokers.keys().copied().collect();
        if !ids.is_empty() {
            let first = self.turn % ids.len();
            ids.rotate_left(first);
        }
        for id in ids {
            self.plan_fetch(id);
        }
        self.plan_metadata();
    }

    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) fn call(
        &mut self,
        broker: i32,
        request: FetchRequests,
        max_version: i16,
        timeout: Duration,
    ) -> Token {
        self.last_token += 1;
        let token = self.last_token;
        self.outputs.push_back(Output::Call(FetchCall { token, broker, request, max_version, timeout }));
        token
    }

    pub(super) fn cursor(&mut self, slot: Slot) -> Option<&mut Cursor> {
        self.cursors.get_mut(slot as usize)?.as_mut()
    }

    fn on_assign(&mut self, assign: Assign) {
        let Assign { slot, epoch, partition, start, paused, gauges } = assign;
        self.drop_cursor(slot);
        let index = slot as usize;
        if self.cursors.len() <= index {
            self.cursors.resize_with(index + 1, || None);
        }
        let key = (self.topics.index_of(&partition.topic), partition.partition);
        self.cursors[index] = Some(Cursor {
            slot,
            epoch,
            revision: 0,
            partition,
            key,
            gauges,
            paused,
            phase: Phase::Stopped,
            leader: None,
            leader_epoch: -1,
            preferred: None,
            target: None,
            retry_at: None,
            failures: 0,
            failed_at: None,
        });
        self.assigned += 1;
        if let Some(cluster) = self.cluster.clone() {
            self.read_topic(&cluster, key.0);
            self.read_leader(&cluster, slot);
        }
        self.place(slot, place(start));
    }

    fn on_seek(&mut self, seek: Seek) {
        let Some(cursor) = self.cursor(seek.slot) else { return };
        cursor.epoch = seek.epoch;
        cursor.succeeded();
        self.place(seek.slot, place(seek.start));
    }

    fn drop_cursor(&mut self, slot: Slot) {
        let Some(cursor) = self.cursors.get_mut(slot as usize).and_then(Option::take) else { return };
        self.assigned -= 1;
        if let Some(broker) = cursor.target.and_then(|id| self.brokers.get_mut(&id)) {
            broker.remove(cursor.key, slot);
        }
        self.wanting.remove(&slot);
        self.homeless.remove(&slot);
    }

    fn set_paused(&mut self, slots: Vec<Slot>, paused: bool) {
        for slot in slots {
            if let Some(cursor) = self.cursor(slot) {
                cursor.paused = paused;
            }
        }
    }

    /// Positions a partition anew; answers to older questions about it count no more.
    pub(super) fn place(&mut self, slot: Slot, placed: Placed) {
        self.last_revision += 1;
        let revision = self.last_revision;
        let lookup = |want| Phase::Lookup { want, floor: None, asked: false };
        let by_policy = self.policy();
        let Some(cursor) = self.cursor(slot) else { return };
        cursor.revision = revision;
        let epoch = cursor.epoch;
        let mut output = None;
        cursor.phase = match placed {
            Placed::At(position) => {
                output = Some(Output::Position { slot, epoch, offset: position.offset });
                Phase::Fetching(position)
            }
            Placed::Lookup(want) => lookup(want),
            Placed::Policy => by_policy.map_or(Phase::Stopped, lookup),
            Placed::Invalid(offset) => {
                let error = failure::invalid_offset(&cursor.partition, offset);
                output = Some(Output::Failed { slots: vec![(slot, epoch)], error });
                Phase::Stopped
            }
        };
        cursor.check_position();
        let unplaced = matches!(placed, Placed::Policy) && cursor.phase == Phase::Stopped;
        self.outputs.extend(output);
        if unplaced {
            self.unplaced.push(slot);
        }
        self.settle(slot);
    }

    /// What the reset policy wants looked up; `None`: it is left to the user.
    pub(super) fn policy(&self) -> Option<Want> {
        match self.config.reset {
            OffsetReset::Earliest => Some(Want::Earliest),
            OffsetReset::Latest => Some(Want::Latest),
            OffsetReset::None => None,
            OffsetReset::ByDuration(age) => {
                let (start, wall_ms) = self.wall;
                let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                let now = wall_ms.saturating_add(ms(self.now.saturating_duration_since(start)));
                Some(Want::Timestamp(now.saturating_sub(ms(age)).max(0)))
            }
        }
    }

    /// A position that is not valid any more: the policy decides, or `error` is reported and a seek awaited.
    pub(super) fn reset_or_stop(&mut self, slot: Slot, error: impl FnOnce(&Cursor) -> Error) {
        if self.config.reset != OffsetReset::None {
            return self.place(slot, Placed::Policy);
        }
        self.stop(slot, error);
    }

    pub(super) fn stop(&mut self, slot: Slot, error: impl FnOnce(&Cursor) -> Error) {
        let Some(cursor) = self.cursor(slot) else { return };
        cursor.phase = Phase::Stopped;
        let (epoch, error) = (cursor.epoch, error(cursor));
        self.outputs.push_back(Output::Failed { slots: vec![(slot, epoch)], error });
        self.settle(slot);
    }

    fn report_unplaced(&mut self) {
        if self.unplaced.is_empty() {
            return;
        }
        let slots = std::mem::take(&mut self.unplaced);
        let mut affected: Vec<&Cursor> = slots
            .iter()
            .filter_map(|&slot| self.cursors.get(slot as usize)?.as_ref())
            .filter(|cursor| cursor.phase == Phase::Stopped)
            .collect();
        affected.sort_unstable_by_key(|cursor| (cursor.key, cursor.slot));
        affected.dedup_by_key(|cursor| cursor.slot);
        if affected.is_empty() {
            return;
        }
        let error = failure::no_offset(affected.iter().map(|cursor| &cursor.partition));
        let slots = affected.iter().map(|cursor| (cursor.slot, cursor.epoch)).collect();
        self.outputs.push_back(Output::Failed { slots, error });
    }

    fn on_reply(&mut self, token: Token, result: Result<FetchReply, CallFailure>) {
        match self.calls.remove(&token) {
            None => {}
            Some(Pending::Fetch { broker }) => self.on_fetch(broker, token, result),
            Some(Pending::Lookups(lookups)) => self.on_lookups(lookups, result),
            Some(Pending::Checks(checks)) => self.on_checks(checks, result),
        }
    }

    fn on_close(&mut self) {
        self.outputs.clear();
        self.closed = true;
        self.calls.clear();
        let sessions: Vec<(i32, i32)> =
            self.brokers.iter().filter_map(|(broker, b)| Some((*broker, b.session.id_to_close()?))).collect();
        for (broker, session_id) in sessions {
            // Not zero: there are brokers that never answer a fetch which may not wait.
            let request =
                FetchRequest { max_wait_ms: 1, session_id, session_epoch: -1, ..Default::default() };
            self.call(broker, FetchRequests::Fetch(request), super::plan::MAX_VERSION, CLOSE_TIMEOUT);
        }
    }
}
