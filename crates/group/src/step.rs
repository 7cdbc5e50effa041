use crate::GroupError;

/// What a part of a group decides about the whole of it.
#[derive(Debug)]
pub(crate) enum Step {
    Continue,
    /// The membership is gone; join again. A member of the consumer protocol always keeps its id.
    Lost {
        error: GroupError,
        keep_member_id: bool,
    },
    /// The coordinator has no consumer protocol: go on with the classic one.
    FallBack,
    Fatal(GroupError),
    Left,
}
