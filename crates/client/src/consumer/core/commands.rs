//! What the application asks of a consumer.

use std::sync::Arc;

use kavka_group::{Input, TopicPartition};

use super::api::{Answer, Ask, Command, Start, Told, closed, not_assigned, without_group};
use super::commits::Purpose;
use super::fetch::{Input as FetchInput, Output as FetchOutput};
use super::options::Source;
use super::placement::Placement;
use super::starts::Want;
use super::subscription::Wanted;
use super::timers::after;
use super::{Core, Output};
use crate::{Error, ErrorKind, Result};

impl Core {
    pub(super) fn begin(&mut self) {
        if self.member.has_group() {
            self.commits.arm(self.now);
        }
        match self.options.source.clone() {
            Source::Subscribe(_) => self.tell_subscription(),
            Source::Assign(partitions) => self.assign(partitions),
        }
    }

    /// Takes up the partitions that were assigned by hand.
    fn assign(&mut self, partitions: Vec<(TopicPartition, Start)>) {
        let mut committed = Vec::new();
        for (partition, start) in partitions {
            let Some(placement) = self.assignment.add(partition, None) else { continue };
            match start {
                Start::Committed => committed.push(placement),
                start => self.start(&placement, start),
            }
        }
        self.ask_committed(committed);
    }

    pub(super) fn command(&mut self, command: Command, ask: Option<Ask>) {
        match command {
            Command::Commit(offsets) => self.commit(offsets, Purpose::User(ask)),
            Command::Committed(partitions) => self.committed(partitions, ask),
            Command::Seek { partition, to } => self.seek(&partition, to, ask),
            Command::Subscribe(wanted) => {
                let outcome = self.subscribe(wanted);
                self.done(ask, outcome);
            }
            Command::Rejoin { reason } => {
                let outcome = self.check_member();
                if outcome.is_ok() {
                    self.tell_group(Input::Rejoin { reason });
                }
                self.done(ask, outcome);
            }
            Command::Member => {
                let metadata = self.member.metadata();
                self.answer(ask, Answer::Member(metadata));
            }
            Command::Back => self.on_back(),
            Command::Pause { placements, paused } => self.pause(placements, paused),
            Command::Release { id, offsets } => self.release(id, offsets, ask),
            Command::Broken { placement, offset } => self.on_broken(&placement, offset),
            Command::Shutdown => self.shutdown(),
            Command::Close => self.close(ask),
        }
    }

    fn committed(&mut self, partitions: Vec<TopicPartition>, ask: Option<Ask>) {
        if !self.member.has_group() {
            let error = without_group("there are no committed offsets without a group");
            return self.answer(ask, Answer::Committed(Err(error)));
        }
        self.fetch_offsets(partitions, Want::User(ask));
    }

    fn seek(&mut self, partition: &TopicPartition, to: Start, ask: Option<Ask>) {
        let Some(slot) = self.assignment.find(partition).map(|assigned| assigned.placement.slot) else {
            return self.done(ask, Err(not_assigned(partition)));
        };
        match to {
            Start::Committed => self.seek_committed(slot, ask),
            to => {
                let outcome = self.reposition(slot, to);
                self.done(ask, outcome);
            }
        }
    }

    fn subscribe(&mut self, wanted: Wanted) -> Result<()> {
        self.check_member()?;
        self.subscription.check(&wanted)?;
        let cluster = self.cluster.clone();
        let assigned = self.assignment.iter().map(|assigned| assigned.placement.partition.topic.clone());
        self.subscription.set_wanted(wanted.clone(), &assigned.collect(), &cluster);
        let nothing = wanted.is_empty();
        self.options.source = Source::Subscribe(wanted);
        if nothing {
            self.rest();
        } else {
            self.tell_subscription();
        }
        self.subscription.look(&cluster, self.now);
        self.tell_topics(false);
        Ok(())
    }

    fn check_member(&self) -> Result<()> {
        if self.ending.is_closing() {
            return Err(closed());
        }
        if !self.options.source.is_member() {
            let what = "a consumer that was given its partitions with assign() is no member of a group";
            return Err(Error::new(ErrorKind::Configuration, what).remedy("start it with subscribe()"));
        }
        Ok(())
    }

    /// The callers have set the flag already; a placement that is newer than what they saw gets it here.
    fn pause(&mut self, placements: Vec<Arc<Placement>>, paused: bool) {
        for seen in &placements {
            let Some(assigned) = self.assignment.get(seen.slot) else { continue };
            let current = &assigned.placement;
            if current.partition != seen.partition {
                continue;
            }
            if !Arc::ptr_eq(current, seen) {
                current.set_paused(paused);
            }
            let slot = vec![seen.slot];
            let input = if current.is_paused() { FetchInput::Pause(slot) } else { FetchInput::Resume(slot) };
            self.fetch(input);
        }
        if !paused {
            self.tell(Told::Resumed(placements));
        }
    }

    // Whether the application takes part.

    /// Gives the partitions of an application that does not come to others.
    pub(super) fn watch_application(&mut self) {
        // One that consumes nothing has nothing to be taken from it.
        let rests = self.options.source.wanted().is_empty() && self.revocations.is_empty();
        let busy = self.ending.is_closing() || rests || self.revocations.is_worked_on(self.now);
        let paused = self.assignment.iter().all(|assigned| assigned.placement.is_paused());
        let Some(watchdog) = &mut self.watchdog else { return };
        if !watchdog.is_stalled(self.now, busy, paused) {
            return;
        }
        let limit = watchdog.limit();
        tracing::warn!(?limit, "the application has stopped taking records: its partitions go to others");
        let reason = format!("the application asked for nothing for {limit:?}");
        self.tell_group(Input::Suspend { reason: reason.into() });
        // What was lost is told first.
        while self.drain_member() {}
        let what = format!(
            "the member was taken out of its group: the application left records lie for more than {limit:?}"
        );
        let error = Error::new(ErrorKind::Fenced, what);
        self.tell(Told::Failed(error.remedy(
            "handle fewer records at a time (max_batch_records), or raise max_processing_time \
             (max.poll.interval.ms); asking for more joins the group again",
        )));
    }

    /// The application asks for more.
    fn on_back(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        watchdog.resume(self.now);
        if !self.ending.is_closing() {
            self.tell_group(Input::Resume);
        }
    }

    // Ends.

    /// Begins to leave the group, unless something like it is under way.
    fn rest(&mut self) {
        if !self.ending.rest() {
            return;
        }
        let placements = self.take_out_all();
        if !placements.is_empty() {
            let timeout = self.member.rebalance_timeout().unwrap_or(self.options.close_timeout);
            self.give(placements, Vec::new(), after(self.now, timeout));
        }
    }

    /// Closes in agreement with the application: it is told to give up its partitions first.
    fn shutdown(&mut self) {
        let deadline = after(self.now, self.options.close_timeout);
        if !self.ending.is_closing() && self.ending.close(deadline, None) {
            let placements = self.take_out_all();
            if !placements.is_empty() {
                // The group may want them back at any moment, and waits no longer than that.
                let group = self.member.rebalance_timeout().map(|timeout| after(self.now, timeout));
                self.give(placements, Vec::new(), group.map_or(deadline, |group| group.min(deadline)));
            }
        }
    }

    /// Closes without the application, which has given up the consumer.
    fn close(&mut self, ask: Option<Ask>) {
        self.ending.close(after(self.now, self.options.close_timeout), ask);
        let mut placements = self.take_out_all();
        placements.extend(self.revocations.take_all());
        // What is stored from now on would come too late: it is refused.
        placements.iter().for_each(|placement| placement.end());
        let offsets: Vec<_> = placements.iter().filter_map(|placement| placement.to_commit()).collect();
        if !offsets.is_empty() {
            self.commit(offsets, Purpose::Closing);
        }
        placements.iter().for_each(|placement| placement.part());
        self.assignment.claim_ended();
    }

    pub(super) fn leave(&mut self) {
        if self.options.source.is_member() {
            self.tell_group(Input::Leave { reason: "the consumer was closed".into() });
        }
        self.fetch(FetchInput::Close);
        while let Some(output) = self.fetcher.poll() {
            if let FetchOutput::Call(call) = output {
                // The session's end waits behind the fetch in flight; nobody needs its answer.
                self.outputs.push_back(Output::Farewell(call));
            }
        }
    }

    /// The group was left: whoever subscribes again is another member.
    pub(super) fn on_left(&mut self) {
        if self.ending.left() {
            self.member.renew();
            self.tell_topics(true);
            self.tell_subscription();
        }
    }
}
