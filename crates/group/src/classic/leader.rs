//! What only the leader of a generation does: share the partitions, and notice when there are others.

use std::sync::Arc;

use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::Member;
use super::state::{Lead, State};
use crate::api::{Event, TopicPartition};
use crate::assignor::{
    Assignment, Assignor, ByMember, GroupSubscription, MemberSubscription, RebalanceProtocol,
};
use crate::cx::Cx;
use crate::step::Step;
use crate::subscription::{AssignmentWriter, Names};
use crate::{GroupError, GroupErrorKind, SortedSet, TopicMap};

/// The topics of the whole group as they were when partitions were shared. When they change, the leader rejoins.
#[derive(Debug)]
pub(super) struct Watch {
    topics: SortedSet<Arc<str>>,
    with_racks: bool,
    seen: TopicMap,
}

/// What the members told the coordinator. One whose bytes make no sense stays a member and gets nothing, so that it cannot harm the
/// others.
pub(super) fn group_subscription(members: &[JoinGroupResponseMember]) -> GroupSubscription {
    let mut names = Names::default();
    let member = |member: &JoinGroupResponseMember| {
        let subscription = names.decode_subscription(&member.metadata).unwrap_or_default();
        let instance_id = member.group_instance_id.as_deref().map(Into::into);
        (Arc::from(&*member.member_id), MemberSubscription { instance_id, ..subscription })
    };
    GroupSubscription { members: members.iter().map(member).collect() }
}

impl Member {
    pub(crate) fn metadata(&mut self, cx: &mut Cx<'_>) -> Step {
        if let fatal @ Step::Fatal(_) = self.assign(cx, false) {
            return fatal;
        }
        self.check_watch(cx);
        self.begin_rejoin(cx);
        Step::Continue
    }

    /// Shares the partitions, if this member leads and knows the topics. With `anyhow` it does not wait for those it does not know:
    /// they come as a change later.
    pub(super) fn assign(&mut self, cx: &mut Cx<'_>, anyhow: bool) -> Step {
        let State::Assigning { lead, ready, .. } = &mut self.state else { return Step::Continue };
        if ready.is_some() {
            return Step::Continue;
        }
        let Some(Lead { group, assignor, skip }) = lead else { return Step::Continue };
        let topics = group.topics();
        if !anyhow && !topics.iter().all(|topic| cx.topics.map().knows(topic)) {
            // Once for each time that something is missing: an answer without it asks again.
            cx.out.event(Event::WantMetadata { topics });
            return Step::Continue;
        }
        let assignments = if *skip {
            Vec::new()
        } else {
            let shares = assignor.assign(group, cx.topics.map());
            if let Err(why) = verify(&**assignor, group, cx.topics.map(), &shares) {
                let what = format!(
                    "the assignor `{}` gave an assignment that cannot be carried out: {why}",
                    assignor.name()
                );
                return Step::Fatal(GroupError::new(GroupErrorKind::Configuration, what));
            }
            encoded(group, &shares)
        };
        let with_racks = group.has_racks();
        let seen = cx.topics.map().snapshot(&topics, with_racks);
        self.watch = Some(Watch { topics, with_racks, seen });
        *ready = Some(assignments);
        Step::Continue
    }

    /// Asks for a rejoin when the group's topics are not what they were.
    pub(super) fn check_watch(&mut self, cx: &Cx<'_>) {
        let Some(watch) = &self.watch else { return };
        if matches!(self.state, State::Stable)
            && cx.topics.map().snapshot(&watch.topics, watch.with_racks) != watch.seen
        {
            self.rejoin = Some("the partitions of the group's topics changed".into());
        }
    }
}

/// What each member of the group is told. One that the assignor left out gets nothing.
fn encoded(group: &GroupSubscription, assignment: &Assignment) -> Vec<SyncGroupRequestAssignment> {
    let by_member = ByMember::new(assignment);
    let mut writer = AssignmentWriter::new(assignment.topics());
    let share = |id: &Arc<str>| SyncGroupRequestAssignment {
        member_id: (&**id).into(),
        assignment: writer.write(assignment.member(id).into_iter().flat_map(|member| by_member.of(member))),
        ..Default::default()
    };
    group.members.keys().map(share).collect()
}

/// Whether an assignment can be sent: an assignor may be the user's own, and may have made it of another group. What is given exists
/// and goes to a member that wants its topic; and what a cooperative member still has goes to nobody else before it was given up.
fn verify(
    assignor: &dyn Assignor,
    group: &GroupSubscription,
    topics: &TopicMap,
    assignment: &Assignment,
) -> Result<(), String> {
    if let Some(misfit) = assignment.misfit() {
        return Err(misfit.to_owned());
    }
    verify_wanted(group, topics, assignment)?;
    // Kafka's own knows which claims are stale.
    match assignor.protocol() {
        RebalanceProtocol::Cooperative if assignor.name() != "cooperative-sticky" => {
            verify_given_up(group, assignment)
        }
        _ => Ok(()),
    }
}

fn verify_wanted(
    group: &GroupSubscription,
    topics: &TopicMap,
    assignment: &Assignment,
) -> Result<(), String> {
    let ids: Vec<&Arc<str>> = assignment.members().collect();
    // Members that want the same share a number. One that is not in the group wants nothing.
    let nothing = Arc::default();
    let mut sets: Vec<&Arc<SortedSet<Arc<str>>>> = Vec::new();
    let mut set_of = Vec::with_capacity(ids.len());
    for id in &ids {
        let wanted = group.members.get(&***id).map_or(&nothing, |member| &member.topics);
        if sets.last().is_none_or(|last| !Arc::ptr_eq(last, wanted) && *last != wanted) {
            sets.push(wanted);
        }
        set_of.push(sets.len() - 1);
    }
    for (number, topic) in assignment.topics().iter().enumerate() {
        let wanted: Vec<bool> = sets.iter().map(|set| set.contains(topic)).collect();
        let exist = topics.partitions(topic);
        for (partition, owner) in (0..).zip(assignment.owners(number)) {
            let Some(set) = set_of.get(*owner as usize) else { continue };
            if partition >= exist {
                return Err(format!("{topic}-{partition}, which does not exist"));
            }
            if !wanted[*set] {
                let id = ids[*owner as usize];
                return Err(match group.members.contains_key(id) {
                    true => format!("{topic}-{partition} for `{id}`, which does not want the topic"),
                    false => format!("{topic}-{partition} for `{id}`, which is no member of the group"),
                });
            }
        }
    }
    Ok(())
}

/// Whether everything that members still have stays with one of them, or goes to nobody.
fn verify_given_up(group: &GroupSubscription, assignment: &Assignment) -> Result<(), String> {
    let claims =
        || group.members.iter().flat_map(|(id, member)| member.owned.iter().map(move |had| (id, had)));
    let goes_to = |had: &TopicPartition| assignment.owner(&had.topic, had.partition);
    // What would go to another member than one that has it, who mostly is the only one.
    let moves = |(id, had)| Some((had, id, goes_to(had).filter(|owner| *owner != id)?));
    let mut moved: Vec<(&TopicPartition, &Arc<str>, &Arc<str>)> = claims().filter_map(moves).collect();
    if !moved.is_empty() {
        let stays = claims().filter(|(id, had)| goes_to(had) == Some(id)).map(|(_, had)| had);
        let stays: SortedSet<&TopicPartition> = stays.collect();
        moved.retain(|(had, ..)| !stays.contains(had));
    }
    match moved.iter().min_by_key(|(had, ..)| *had) {
        Some((had, id, owner)) => Err(format!("{had} for `{owner}` while `{id}` still has it")),
        None => Ok(()),
    }
}
