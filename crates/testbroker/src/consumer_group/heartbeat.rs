//! ConsumerGroupHeartbeat inside the group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::messages::consumer_group_heartbeat::{
    Assignment, RequestTopicPartitions, ResponseTopicPartitions,
};
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::member::{AWAY, Said};
use super::regexes::Change;
use super::{Alarm, ConsumerGroup, Member, Owned, Partitions, assign};
use crate::group_configs::GroupConfig;
use crate::groups::World;

/// The most characters of a refusal's words.
const LONGEST_MESSAGE: usize = 1_000;
/// The member epoch of a member that joins.
const JOIN: i32 = 0;
/// The member epoch of a member that leaves.
const LEAVE: i32 = -1;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // It may repeat what the member said, which can be as long as an answer can carry.
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
        }
        Refusal { error, message }
    }

    fn invalid(message: &str) -> Self {
        Refusal::new(ErrorCode::INVALID_REQUEST, message)
    }
}

/// A heartbeat that passed [`check_request`].
pub(crate) struct Beat<'a> {
    pub(crate) request: &'a ConsumerGroupHeartbeatRequest,
    /// The request's member id, or a new one.
    pub(crate) member_id: Arc<str>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
}

/// The member that a heartbeat is for.
enum Found {
    Known,
    New,
    /// A static member came back with a new member id; this is the old one.
    Replaces(Arc<str>),
}

/// The checks that need no group.
pub(crate) fn check_request(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    // From version 1 on clients make their member ids up themselves (KIP-1082).
    if (version >= 1 || epoch > 0 || epoch == LEAVE) && request.member_id.is_empty() {
        return Err(Refusal::invalid("MemberId can't be empty."));
    }
    if request.group_id.is_empty() {
        return Err(Refusal::invalid("GroupId can't be empty."));
    }
    let is_empty = |text: &Option<ByteString>| text.as_ref().is_some_and(|text| text.is_empty());
    if is_empty(&request.instance_id) {
        return Err(Refusal::invalid("InstanceId can't be empty."));
    }
    if is_empty(&request.rack_id) {
        return Err(Refusal::invalid("RackId can't be empty."));
    }
    match epoch {
        JOIN => check_join(request)?,
        AWAY if request.instance_id.is_none() => {
            return Err(Refusal::invalid("InstanceId can't be null."));
        }
        ..AWAY => return Err(Refusal::invalid("MemberEpoch is invalid.")),
        _ => {}
    }
    match request.server_assignor.as_deref() {
        Some(name) if !assign::ASSIGNORS.contains(&name) => Err(Refusal::new(
            ErrorCode::UNSUPPORTED_ASSIGNOR,
            format!("ServerAssignor {name} is not supported; there are {}.", assign::ASSIGNORS.join(", ")),
        )),
        _ => Ok(()),
    }
}

fn check_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return Err(Refusal::invalid("RebalanceTimeoutMs must be provided in first request."));
    }
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(Refusal::invalid("TopicPartitions must be empty when (re-)joining."));
    }
    // Empty ones will do: such a member is in the group and gets nothing.
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(Refusal::invalid("SubscribedTopicNames or SubscribedTopicRegex must be set to join."));
    }
    Ok(())
}

impl ConsumerGroup {
    /// Handles a heartbeat of a member that is not leaving. Changes nothing when it refuses.
    pub(crate) fn heartbeat(
        &mut self,
        world: &mut World<'_>,
        beat: &Beat<'_>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let request = beat.request;
        let id = &beat.member_id;
        self.check_room(world, id)?;
        let found = self.find_member(beat)?;
        let before = match &found {
            Found::Known => self.members.get(id).map(|member| member.said.clone()),
            Found::Replaces(old) => self.members.get(old).map(|member| member.said.clone()),
            Found::New => None,
        };
        let before = before.unwrap_or_default();
        let after = said(beat, before.clone());
        let change = self.regex_change(&before.regex, &after.regex)?;

        let assignor_before = self.assignor().to_owned();
        self.take_in(&found, id, &after);
        let outvotes = before.assignor != after.assignor && self.now_wants(&assignor_before, &after);
        let names_changed = before.topics != after.topics;
        self.forget_regexes();
        self.look_at_topics(world, names_changed || change == Change::Resolved || outvotes);
        self.update_target(world);
        let assigned_before = self.members.get(id).map(|member| member.assigned.clone());
        let owned = request.topic_partitions.as_deref().map(places);
        self.reconcile(world, id, names_changed || change != Change::None, owned.as_ref());
        self.refresh_session(world, id);

        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let Some(member) = self.members.get(id) else {
            return Err(Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, "the member is gone"));
        };
        let told = full || request.member_epoch == JOIN || assigned_before.as_ref() != Some(&member.assigned);
        let interval = world.group_config(&self.id, GroupConfig::HeartbeatInterval).as_millis();
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some((&**id).into()),
            member_epoch: member.epoch,
            heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
            assignment: told.then(|| assignment(&member.assigned)),
            ..Default::default()
        })
    }

    /// Whether one more member is allowed, if this is one more.
    pub(super) fn check_room(&self, world: &World<'_>, id: &str) -> Result<(), Refusal> {
        let most = world.settings.group_consumer_max_size;
        if self.members.len() < most || self.members.contains_key(id) {
            return Ok(());
        }
        let message = format!("the group has reached its maximum capacity of {most} members");
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    fn find_member(&self, beat: &Beat<'_>) -> Result<Found, Refusal> {
        let id = &beat.member_id;
        let joins = beat.request.member_epoch == JOIN;
        let Some(instance) = beat.request.instance_id.as_deref() else {
            let Some(member) = self.members.get(id) else {
                return if joins { Ok(Found::New) } else { Err(unknown(id)) };
            };
            check_epoch(member, beat.request)?;
            return Ok(Found::Known);
        };
        if !joins {
            let owner = self.check_instance(id, instance)?;
            if let Some(member) = self.members.get(&owner) {
                check_epoch(member, beat.request)?;
            }
            return Ok(Found::Known);
        }
        let Some(owner) = self.statics.get(instance) else {
            return Ok(if self.members.contains_key(id) { Found::Known } else { Found::New });
        };
        let away = self.members.get(owner).is_some_and(|m| m.epoch == AWAY || m.is_classic());
        if !away {
            // The one that is there wins, unlike in the classic protocol.
            let message = format!("instance id {instance} is owned by member {owner}");
            return Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, message));
        }
        Ok(Found::Replaces(Arc::clone(owner)))
    }

    /// Whether the wish of a member that changed its mind has, by that, as many votes as any other assignor.
    fn now_wants(&self, before: &str, said: &Said) -> bool {
        let Some(wish) = said.assignor.as_deref().filter(|wish| *wish != before) else { return false };
        let votes = self.assignor_votes();
        votes.get(wish) >= votes.values().max()
    }

    /// Makes the member what it says it is.
    fn take_in(&mut self, found: &Found, id: &Arc<str>, said: &Said) {
        match found {
            Found::Replaces(old) => self.replace(old, id),
            Found::New => {
                self.members.insert(Arc::clone(id), Member::new(said.clone()));
            }
            Found::Known => {}
        }
        if let Some(instance) = &said.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(id));
        }
        if let Some(member) = self.members.get_mut(id) {
            member.said = said.clone();
        }
    }

    /// A member leaves for good (-1), or for a while if it is static (-2). Gives the member to remove.
    pub(crate) fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let Some(instance) = request.instance_id.as_deref() else {
            let found = self.members.get_key_value(&*request.member_id);
            return found.map(|(id, _)| Some(Arc::clone(id))).ok_or_else(|| unknown(&request.member_id));
        };
        let id = self.check_instance(&request.member_id, instance)?;
        if request.member_epoch != AWAY {
            return Ok(Some(id));
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.epoch = AWAY;
            member.revoking.clear();
            // Whoever takes over has had them from the start.
            member.assigned.values_mut().for_each(|epoch| *epoch = 0);
        }
        // Its session goes on: it must be back before that ends.
        self.stop_alarm(&id, Alarm::Revocation);
        Ok(None)
    }
}

/// What a member says after a heartbeat: what the request leaves out is as before.
fn said(beat: &Beat<'_>, before: Said) -> Said {
    let request = beat.request;
    let text = |text: &Option<ByteString>| text.as_deref().map(Arc::from);
    let names = |names: &Vec<ByteString>| names.iter().map(|name| Arc::from(&**name)).collect();
    Said {
        instance_id: text(&request.instance_id).or(before.instance_id),
        rack_id: text(&request.rack_id).or(before.rack_id),
        rebalance_timeout: match u64::try_from(request.rebalance_timeout_ms) {
            Ok(millis) => Duration::from_millis(millis),
            Err(_) => before.rebalance_timeout,
        },
        assignor: text(&request.server_assignor).or(before.assignor),
        topics: request.subscribed_topic_names.as_ref().map_or(before.topics, names),
        regex: text(&request.subscribed_topic_regex).unwrap_or(before.regex),
        client_id: Arc::clone(&beat.client_id),
        client_host: Arc::clone(&beat.client_host),
        classic: None,
    }
}

fn unknown(id: &str) -> Refusal {
    Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("member {id} is not a member of the group"))
}

/// Whether a heartbeat's epoch is the member's. The one before will do if the member has nothing that it was not given:
/// the answer with the new epoch may have been lost.
fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let stated = request.member_epoch;
    if stated == JOIN || stated == member.epoch {
        return Ok(());
    }
    let has_only_assigned = || match &request.topic_partitions {
        Some(owned) => places(owned).iter().all(|place| member.assigned.contains_key(place)),
        None => false,
    };
    if stated < member.epoch && stated == member.previous_epoch && has_only_assigned() {
        return Ok(());
    }
    let message =
        format!("member epoch {stated} is not {}: abandon all partitions and join again", member.epoch);
    Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message))
}

fn places(owned: &[RequestTopicPartitions]) -> Partitions {
    owned.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect()
}

fn assignment(assigned: &Owned) -> Assignment {
    let mut topics: Vec<ResponseTopicPartitions> = Vec::new();
    let ids: BTreeSet<_> = assigned.keys().map(|(id, _)| *id).collect();
    for topic_id in ids {
        let partitions = assigned.keys().filter(|(id, _)| *id == topic_id).map(|(_, index)| *index).collect();
        topics.push(ResponseTopicPartitions { topic_id, partitions, ..Default::default() });
    }
    Assignment { topic_partitions: topics, ..Default::default() }
}
