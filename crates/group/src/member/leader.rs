//! What only the leader of a generation does: share the partitions, and notice when there are others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::state::{Lead, State};
use super::{Member, Step};
use crate::TopicMap;
use crate::api::{Config, Event};
use crate::assignor::{GroupSubscription, MemberSubscription};
use crate::group::Outbox;
use crate::subscription::{decode_subscription, encode_assignment};

/// The topics of the whole group as they were when partitions were shared. When they change, the leader rejoins.
#[derive(Debug)]
pub(super) struct Watch {
    topics: BTreeSet<Arc<str>>,
    with_racks: bool,
    seen: TopicMap,
}

/// What the members told the coordinator. One whose bytes make no sense stays a member and gets nothing, so that it cannot harm the
/// others.
pub(super) fn group_subscription(members: &[JoinGroupResponseMember]) -> GroupSubscription {
    let member = |member: &JoinGroupResponseMember| {
        let subscription = decode_subscription(&member.metadata).unwrap_or_default();
        let instance_id = member.group_instance_id.as_deref().map(Into::into);
        (Arc::from(&*member.member_id), MemberSubscription { instance_id, ..subscription })
    };
    GroupSubscription { members: members.iter().map(member).collect() }
}

impl Member {
    pub(crate) fn metadata(
        &mut self,
        now: Instant,
        topics: Arc<TopicMap>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        self.topics = topics;
        self.assign(now, false, config, out);
        self.check_watch();
        self.begin_rejoin(now, config, out);
        Step::Continue
    }

    /// Shares the partitions, if this member leads and knows the topics. With `anyhow` it does not wait for those it does not know:
    /// they come as a change later.
    pub(super) fn assign(&mut self, _now: Instant, anyhow: bool, _config: &Config, out: &mut Outbox) {
        let State::Assigning { lead, ready, .. } = &mut self.state else { return };
        if ready.is_some() {
            return;
        }
        let Some(Lead { group, assignor, skip }) = lead else { return };
        let topics = group.topics();
        if !anyhow && !topics.iter().all(|topic| self.topics.knows(topic)) {
            // Once for each time that something is missing: an answer without it asks again.
            out.event(Event::WantMetadata { topics });
            return;
        }
        let assignments = if *skip {
            Vec::new()
        } else {
            let mut shares = assignor.assign(group, &self.topics);
            let share = |member: &Arc<str>| SyncGroupRequestAssignment {
                member_id: (&**member).into(),
                assignment: encode_assignment(&shares.remove(member).unwrap_or_default()),
                ..Default::default()
            };
            group.members.keys().map(share).collect()
        };
        let with_racks = group.has_racks();
        let seen = self.topics.snapshot(&topics, with_racks);
        self.watch = Some(Watch { topics, with_racks, seen });
        *ready = Some(assignments);
    }

    /// Asks for a rejoin when the group's topics are not what they were.
    pub(super) fn check_watch(&mut self) {
        let Some(watch) = &self.watch else { return };
        if matches!(self.state, State::Stable)
            && self.topics.snapshot(&watch.topics, watch.with_racks) != watch.seen
        {
            self.rejoin = Some("the partitions of the group's topics changed".into());
        }
    }
}
