//! What only the leader of a generation does: share the partitions, and notice when there are others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::Member;
use super::state::{Lead, State};
use crate::api::{Config, Event, TopicPartition};
use crate::assignor::{Assignment, Assignor, GroupSubscription, MemberSubscription, RebalanceProtocol};
use crate::group::Outbox;
use crate::membership::Step;
use crate::planted::planted;
use crate::subscription::{decode_subscription, encode_assignment};
use crate::{GroupError, GroupErrorKind, TopicMap};

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
        if let fatal @ Step::Fatal(_) = self.assign(false, out) {
            return fatal;
        }
        self.check_watch();
        self.begin_rejoin(now, config, out);
        Step::Continue
    }

    /// Shares the partitions, if this member leads and knows the topics. With `anyhow` it does not wait for those it does not know:
    /// they come as a change later.
    pub(super) fn assign(&mut self, anyhow: bool, out: &mut Outbox) -> Step {
        let State::Assigning { lead, ready, .. } = &mut self.state else { return Step::Continue };
        if ready.is_some() {
            return Step::Continue;
        }
        let Some(Lead { group, assignor, skip }) = lead else { return Step::Continue };
        let topics = group.topics();
        if !anyhow && !topics.iter().all(|topic| self.topics.knows(topic)) {
            // Once for each time that something is missing: an answer without it asks again.
            out.event(Event::WantMetadata { topics });
            return Step::Continue;
        }
        let assignments = if *skip {
            Vec::new()
        } else {
            let mut shares = assignor.assign(group, &self.topics);
            if let Err(why) = verify(&**assignor, group, &self.topics, &shares) {
                let what = format!(
                    "the assignor `{}` gave an assignment that cannot be carried out: {why}",
                    assignor.name()
                );
                return Step::Fatal(GroupError::new(GroupErrorKind::Configuration, what));
            }
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
        Step::Continue
    }

    /// Asks for a rejoin when the group's topics are not what they were.
    pub(super) fn check_watch(&mut self) {
        let Some(watch) = self.watch.as_ref().filter(|_| !planted!(LeaderDoesNotWatch)) else { return };
        if matches!(self.state, State::Stable)
            && self.topics.snapshot(&watch.topics, watch.with_racks) != watch.seen
        {
            self.rejoin = Some("the partitions of the group's topics changed".into());
        }
    }
}

/// Whether an assignment can be sent: an assignor may be the user's own. One owner for each partition, who wants its topic; and what
/// a cooperative member still has goes to nobody else before it was given up.
fn verify(
    assignor: &dyn Assignor,
    group: &GroupSubscription,
    topics: &TopicMap,
    assignment: &Assignment,
) -> Result<(), String> {
    let mut taken: BTreeMap<&Arc<str>, Vec<bool>> = BTreeMap::new();
    for (id, partitions) in assignment {
        let member = group.members.get(id).ok_or_else(|| format!("`{id}` is no member of the group"))?;
        for partition in partitions {
            let TopicPartition { topic, partition: number } = partition;
            if !member.topics.contains(topic) {
                return Err(format!("{partition} for `{id}`, which does not want the topic"));
            }
            let of_topic =
                taken.entry(topic).or_insert_with(|| vec![false; topics.partitions(topic).max(0) as usize]);
            match usize::try_from(*number).ok().and_then(|number| of_topic.get_mut(number)) {
                None => return Err(format!("{partition}, which does not exist")),
                Some(taken) if *taken => return Err(format!("{partition} twice")),
                Some(taken) => *taken = true,
            }
        }
    }
    // Kafka's own knows which claims are stale.
    if assignor.protocol() == RebalanceProtocol::Cooperative && assignor.name() != "cooperative-sticky" {
        let owners =
            group.members.iter().flat_map(|(id, member)| member.owned.iter().map(move |owned| (owned, id)));
        let owners: BTreeMap<_, _> = owners.collect();
        let all = assignment
            .iter()
            .flat_map(|(id, partitions)| partitions.iter().map(move |partition| (id, partition)));
        for (id, partition) in all {
            if let Some(owner) = owners.get(partition).filter(|owner| **owner != id) {
                return Err(format!("{partition} for `{id}` while `{owner}` still has it"));
            }
        }
    }
    Ok(())
}
