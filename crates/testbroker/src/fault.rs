//! Fault rules: what goes wrong with which request.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::codec::{DecodeError, Limits, Reader, Request};
use kavka_wire::{ApiKey, ErrorCode, read_request_head};

use crate::cluster::Cluster;

/// A request as a fault rule's condition sees it.
#[derive(Debug)]
pub struct RequestView<'a> {
    /// The broker that received it.
    pub broker: i32,
    /// The API.
    pub key: ApiKey,
    /// Its version.
    pub version: i16,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
    pub(crate) frame: &'a Bytes,
}

impl RequestView<'_> {
    /// The whole request.
    ///
    /// # Errors
    /// The bytes are no request of type `R` in this version.
    pub fn decode<R: Request>(&self) -> Result<R, DecodeError> {
        let mut reader = Reader::new(self.frame.clone(), &Limits::default());
        read_request_head(&mut reader, self.frame)?;
        R::decode(&mut reader, self.version)
    }
}

type Condition = Box<dyn Fn(&RequestView<'_>) -> bool + Send>;

/// What happens to a request that a rule hits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Reply(ErrorCode),
    Delay(Duration),
    DelayAnswer(Duration),
    Drop,
    Disconnect,
    DisconnectAfterApply,
    NeverAnswer,
}

/// Names a fault rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// A fault rule in the making: conditions, then one verb, which puts it in force for every request that is sent from then
/// on. Rules are tried in the order in which they were made; the first that matches decides.
#[must_use = "a rule needs a verb, as `reply`"]
pub struct Rule {
    cluster: Cluster,
    fault: Fault,
}

impl Rule {
    pub(crate) fn new(cluster: Cluster, key: ApiKey) -> Self {
        Rule {
            cluster,
            fault: Fault {
                id: FaultId(0),
                key,
                broker: None,
                when: None,
                skip: 0,
                left: None,
                hits: 0,
                verb: Verb::Drop,
            },
        }
    }

    /// Only the n-th matching request, counted from 1.
    pub fn nth(mut self, n: u32) -> Self {
        self.fault.skip = n.saturating_sub(1);
        self.fault.left = Some(1);
        self
    }

    /// Only so many requests, from the first matching one or the one that [`nth`](Self::nth) names.
    pub fn times(mut self, count: u32) -> Self {
        self.fault.left = Some(count);
        self
    }

    /// Only requests to this broker.
    pub fn broker(mut self, id: i32) -> Self {
        self.fault.broker = Some(id);
        self
    }

    /// Only requests for which the condition holds. It runs in the task that owns the cluster and must not block.
    pub fn when(mut self, condition: impl Fn(&RequestView<'_>) -> bool + Send + 'static) -> Self {
        self.fault.when = Some(Box::new(condition));
        self
    }

    /// Does nothing but answer with an error, at every place of the answer that can hold one.
    pub fn reply(self, error: ErrorCode) -> FaultId {
        self.install(Verb::Reply(error))
    }

    /// Handles the request only after a while. Later requests of the connection wait behind it.
    pub fn delay(self, pause: Duration) -> FaultId {
        self.install(Verb::Delay(pause))
    }

    /// Handles the request at once, but sends the answer only after a while.
    pub fn delay_answer(self, pause: Duration) -> FaultId {
        self.install(Verb::DelayAnswer(pause))
    }

    /// Does nothing and never answers; the connection stays open but is dead, as answers come in order.
    pub fn drop_request(self) -> FaultId {
        self.install(Verb::Drop)
    }

    /// Does nothing and closes the connection.
    pub fn disconnect(self) -> FaultId {
        self.install(Verb::Disconnect)
    }

    /// Handles the request and closes the connection instead of answering.
    pub fn disconnect_after_apply(self) -> FaultId {
        self.install(Verb::DisconnectAfterApply)
    }

    /// Handles the request but never answers; the connection stays open but is dead.
    pub fn never_answer(self) -> FaultId {
        self.install(Verb::NeverAnswer)
    }

    fn install(mut self, verb: Verb) -> FaultId {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = FaultId(NEXT.fetch_add(1, Ordering::Relaxed));
        (self.fault.id, self.fault.verb) = (id, verb);
        let fault = self.fault;
        self.cluster.tell(move |state| state.faults.rules.push(fault));
        id
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("key", &self.fault.key).finish_non_exhaustive()
    }
}

struct Fault {
    id: FaultId,
    key: ApiKey,
    broker: Option<i32>,
    when: Option<Condition>,
    /// Matching requests to let pass first.
    skip: u32,
    /// Requests still to hit; `None` is all.
    left: Option<u32>,
    hits: u64,
    verb: Verb,
}

/// The rules in force.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Vec<Fault>,
}

impl Faults {
    /// What is to go wrong with this request.
    pub(crate) fn decide(&mut self, request: &RequestView<'_>) -> Option<Verb> {
        self.rules.iter_mut().find_map(|rule| rule.decide(request))
    }

    pub(crate) fn remove(&mut self, id: FaultId) {
        self.rules.retain(|rule| rule.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn hits(&self, id: FaultId) -> u64 {
        self.rules.iter().find(|rule| rule.id == id).map_or(0, |rule| rule.hits)
    }
}

impl Fault {
    fn decide(&mut self, request: &RequestView<'_>) -> Option<Verb> {
        let meant = self.key == request.key
            && self.left != Some(0)
            && self.broker.is_none_or(|broker| broker == request.broker)
            && self.when.as_ref().is_none_or(|condition| condition(request));
        if !meant {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        self.hits += 1;
        Some(self.verb)
    }
}
