//! Who may commit and fetch offsets of a group of the consumer protocol.

use kavka_wire::ErrorCode;

use super::member::Place;
use super::{ConsumerGroup, Member};

impl ConsumerGroup {
    /// Whether a commit may come from this member in this epoch, for all partitions alike.
    pub(crate) fn check_commit(&self, id: &str, epoch: i32, version: i16) -> Result<(), ErrorCode> {
        if epoch < 0 && self.members.is_empty() {
            // A consumer that manages its own partitions, or an administrator.
            return Ok(());
        }
        let member = self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !member.is_classic() && version < 9 {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if epoch > member.epoch { Err(stale(member)) } else { Ok(()) }
    }

    /// Whether a commit of an older epoch is good for a partition: the member must have had it since then (KIP-1251).
    pub(crate) fn check_committed(&self, id: &str, epoch: i32, place: Place) -> Result<(), ErrorCode> {
        let Some(member) = self.members.get(id) else { return Ok(()) };
        if epoch == member.epoch {
            return Ok(());
        }
        let since = member.assigned.get(&place).or_else(|| member.revoking.get(&place));
        if since.is_some_and(|since| *since <= epoch) { Ok(()) } else { Err(stale(member)) }
    }

    pub(crate) fn check_fetch(&self, id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let member = self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if epoch == member.epoch { Ok(()) } else { Err(stale(member)) }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
}
