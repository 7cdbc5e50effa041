//! Where partitions are read from: committed offsets that are asked for, and what is tried again after a pause.

use std::sync::Arc;

use kavka_group::{FetchId, Input, TopicPartition};
use litemap::LiteMap;

use super::api::Ask;
use super::later::Later;
use super::placement::Placement;

/// What committed offsets are asked for.
#[derive(Debug)]
pub(super) enum Want {
    User(Option<Ask>),
    /// To commit them again.
    Refresh,
    /// To start there.
    Start(Vec<Arc<Placement>>),
    Seek {
        placement: Arc<Placement>,
        ask: Option<Ask>,
    },
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Starts {
    asked: LiteMap<FetchId, Want>,
    last: u64,
    pub(super) later: Later,
}

impl Starts {
    /// What to ask the group machine.
    pub(super) fn ask(&mut self, partitions: Vec<TopicPartition>, want: Want) -> Input {
        self.last += 1;
        let id = FetchId(self.last);
        self.asked.insert(id, want);
        Input::FetchOffsets { id, partitions }
    }

    /// What the answer is for.
    pub(super) fn answered(&mut self, id: FetchId) -> Option<Want> {
        self.asked.remove(&id)
    }
}
