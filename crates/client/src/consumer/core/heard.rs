//! What passes between a core and its group machine, for a simulation that looks on.

use kavka_group::{Event, Input};

/// One thing that was said. In the order in which it was said, among the requests.
#[derive(Debug)]
pub enum Heard {
    /// The group machine to the core.
    Said(Event),
    /// The core to the group machine: everything but time and answers.
    Asked(Input),
}

impl Heard {
    pub(super) fn asked(input: &Input) -> Option<Heard> {
        Some(Heard::Asked(match input {
            Input::Timeout | Input::Reply { .. } => return None,
            Input::Subscribe(subscription) => Input::Subscribe(subscription.clone()),
            Input::Metadata(topics) => Input::Metadata(topics.clone()),
            Input::Released { epoch } => Input::Released { epoch: *epoch },
            Input::Commit { id, offsets } => Input::Commit { id: *id, offsets: offsets.clone() },
            Input::FetchOffsets { id, partitions } => {
                Input::FetchOffsets { id: *id, partitions: partitions.clone() }
            }
            Input::Suspend { reason } => Input::Suspend { reason: reason.clone() },
            Input::Resume => Input::Resume,
            Input::Rejoin { reason } => Input::Rejoin { reason: reason.clone() },
            Input::Leave { reason } => Input::Leave { reason: reason.clone() },
        }))
    }
}
