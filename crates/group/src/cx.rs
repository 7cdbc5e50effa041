use std::time::{Duration, Instant};

use crate::api::{CallLane, CallTo, Token};
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::ids::Topics;
use crate::outbox::{Asker, Outbox};
use crate::requests::GroupRequest;

/// What each part of a group is handed while one input is handled: when it came, the settings, and what the parts share.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) topics: &'a Topics,
    pub(crate) coordinator: &'a mut Coordinator,
    pub(crate) out: &'a mut Outbox,
}

/// A request to the coordinator that is under way: its token, and which coordinator it went to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) token: Token,
    pub(crate) term: Term,
}

impl Cx<'_> {
    /// Asks the coordinator, if there is one.
    pub(crate) fn ask(
        &mut self,
        asker: Asker,
        lane: CallLane,
        request: GroupRequest,
        timeout: Duration,
    ) -> Option<Asked> {
        let (to, term) = self.coordinator.known()?;
        let token = self.out.call(asker, to.clone(), lane, request, timeout);
        Some(Asked { token, term })
    }

    /// Looks for the coordinator, unless that is known or has to wait.
    pub(crate) fn find_coordinator(&mut self) {
        self.coordinator.want(self.now);
        self.look_up();
    }

    /// Asks whether the coordinator still is the one.
    pub(crate) fn doubt_coordinator(&mut self) {
        self.coordinator.doubt();
        self.look_up();
    }

    fn look_up(&mut self) {
        if let Some((lookup, request)) = self.coordinator.poll() {
            let request = GroupRequest::FindCoordinator(request);
            let timeout = self.config.request_timeout;
            self.out.call(Asker::Lookup(lookup), CallTo::Any, CallLane::General, request, timeout);
        }
    }

    /// The coordinator that was asked said that it is none, or could not be reached.
    pub(crate) fn coordinator_lost(&mut self, asked: Asked) {
        self.coordinator.lost(self.now, asked.term);
    }
}
