//! What becomes of a membership whose application has stopped taking part.

use std::time::Instant;

use kavka_group::Input;
use kavka_net::clock;

use super::command::Control;
use super::driver::Driver;
use crate::{Error, ErrorKind};

impl Driver {
    /// Gives the partitions of an application that does not come to others.
    pub(super) fn watch_application(&mut self, now: Instant) {
        let busy = self.closing.is_some()
            || self.given.values().any(|given| given.deadline.is_some_and(|deadline| deadline > now));
        let paused = self.slots.iter().all(|assigned| assigned.placement.is_paused());
        let Some(watchdog) = &mut self.watchdog else { return };
        if !watchdog.is_stalled(now, busy, paused) {
            return;
        }
        let limit = watchdog.limit();
        tracing::warn!(?limit, "the application has stopped taking records: its partitions go to others");
        let reason = format!("the application asked for nothing for {limit:?}");
        self.tell_group(Input::Suspend { reason: reason.into() });
        // What was lost is told first.
        while self.drain_group() {}
        let what = format!(
            "the member was taken out of its group: the application left records lie for more than {limit:?}"
        );
        let error = Error::new(ErrorKind::Fenced, what);
        self.tell(Control::Failed(error.remedy(
            "handle fewer records at a time (max_batch_records), or raise max_processing_time \
             (max.poll.interval.ms); asking for more joins the group again",
        )));
    }

    /// The application asks for more.
    pub(super) fn on_back(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        watchdog.resume(clock::now());
        if self.closing.is_none() {
            self.tell_group(Input::Resume);
        }
    }
}
