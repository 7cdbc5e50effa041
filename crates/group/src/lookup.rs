//! FindCoordinator in all its forms: for one key or for many.

use std::sync::Arc;

use kavka_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kavka_wire::{ByteString, ErrorCode};

use crate::api::CallTo;

/// The first version that asks for many keys at once (KIP-699).
const FIRST_WITH_MANY: i16 = 4;

/// What is coordinated: the key type of FindCoordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorType {
    /// A group, by its id.
    Group,
    /// A transaction, by its transactional id. Needs version 1.
    Transaction,
}

/// Which brokers coordinate groups or transactions.
#[derive(Debug, Clone, PartialEq)]
pub struct FindCoordinator {
    kind: CoordinatorType,
    keys: Vec<Arc<str>>,
}

impl FindCoordinator {
    /// A question about some keys.
    pub fn new(kind: CoordinatorType, keys: impl IntoIterator<Item = Arc<str>>) -> Self {
        FindCoordinator { kind, keys: keys.into_iter().collect() }
    }

    /// How many of the keys, from the first on, a request in a version asks for: all from version 4 on, and one before.
    pub fn fit(&self, version: i16) -> usize {
        if version >= FIRST_WITH_MANY { self.keys.len() } else { self.keys.len().min(1) }
    }

    /// The request in a version, for as many keys as fit into it.
    pub fn at(&self, version: i16) -> FindCoordinatorRequest {
        let mut keys = self.keys[..self.fit(version)].iter().map(|key| ByteString::from(&**key));
        let key_type = match self.kind {
            CoordinatorType::Group => 0,
            CoordinatorType::Transaction => 1,
        };
        if version >= FIRST_WITH_MANY {
            let coordinator_keys = keys.collect();
            return FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
        }
        FindCoordinatorRequest { key_type, key: keys.next().unwrap_or_default(), ..Default::default() }
    }
}

/// What an answer says about one key.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundCoordinator {
    /// Why it is not told, if it is not.
    pub code: ErrorCode,
    /// The broker's own words about that.
    pub message: Option<ByteString>,
    /// The coordinator's id, which is negative where there is none.
    pub node: i32,
    /// Its host name.
    pub host: ByteString,
    /// Its port.
    pub port: i32,
}

impl FoundCoordinator {
    /// What is said about a key that was asked for; `None` when it was left out. An answer in an old version speaks of the only key of
    /// its request, whichever that was.
    pub fn of(response: &FindCoordinatorResponse, key: &str) -> Option<Self> {
        if response.coordinators.is_empty() {
            return Some(FoundCoordinator {
                code: response.error_code,
                message: response.error_message.clone(),
                node: response.node_id,
                host: response.host.clone(),
                port: response.port,
            });
        }
        let found = response.coordinators.iter().find(|found| &*found.key == key)?;
        Some(FoundCoordinator {
            code: found.error_code,
            message: found.error_message.clone(),
            node: found.node_id,
            host: found.host.clone(),
            port: found.port,
        })
    }

    pub(crate) fn names_a_broker(&self) -> bool {
        self.node >= 0 && !self.host.is_empty()
    }

    /// Where the coordinator is, if the answer leads anywhere.
    pub fn address(&self) -> Option<CallTo> {
        let port = u16::try_from(self.port).ok()?;
        let leads = self.code == ErrorCode::NONE && self.names_a_broker();
        leads.then(|| CallTo::Coordinator { node: self.node, host: (&*self.host).into(), port })
    }
}
