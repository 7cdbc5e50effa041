//! What a group needs to come from the consumer protocol, and to go there.

use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::ErrorCode;

use super::{Group, Member, Phase, Profile, join, sync};
use crate::groups::World;

impl Group {
    /// Takes in a member that comes from a group of the consumer protocol.
    pub(crate) fn adopt(&mut self, id: Arc<str>, profile: Profile) {
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&id));
        }
        if let Some(instance) = &profile.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.members.insert(id, Member { is_new: false, ..Member::new(profile) });
    }

    /// Makes the group stable with its members and what each is assigned, given what it subscribes to.
    pub(crate) fn settle(&mut self, generation: i32, assignment: impl Fn(&Bytes, &str) -> Bytes) {
        self.state = Phase::Stable;
        self.generation = generation;
        self.protocol_type = Some(Arc::from("consumer"));
        self.protocol = self.choose_protocol();
        let protocol = self.protocol.clone().unwrap_or_default();
        for (id, member) in &mut self.members {
            member.assignment = assignment(&member.metadata(&protocol), id);
        }
        self.save();
    }

    /// Starts the sessions of adopted members, and a rebalance if they are to have one.
    pub(crate) fn start_migrated(&mut self, world: &mut World<'_>, rebalance: bool) {
        self.refresh_all(world);
        if rebalance {
            self.prepare_rebalance(world);
        }
    }

    /// Answers everybody who waits: the group is to go on in another way.
    pub(crate) fn dismiss(&mut self, error: ErrorCode) {
        for (id, member) in &mut self.members {
            if let Some(call) = member.joining.take() {
                join::fail(call, id, error);
            }
            if let Some(call) = member.syncing.take() {
                call.answer(&sync::failed(error));
            }
        }
    }
}
