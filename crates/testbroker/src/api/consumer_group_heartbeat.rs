//! ConsumerGroupHeartbeat (68), versions 0-1.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::{Call, Caller};
use crate::consumer_group::{Beat, ConsumerGroup, Refusal, check_request};
use crate::groups::AnyGroup;
use crate::state::State;

impl Api for ConsumerGroupHeartbeatRequest {
    const SERVED: RangeInclusive<i16> = 0..=1;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        match state.consumer_heartbeat(&call.caller, &request) {
            Ok(response) => {
                call.answer(&response);
                // The heartbeat does not wait for this: the next one sees what came of it.
                if request.member_epoch >= 0 {
                    state.refresh_regexes(&request.group_id);
                }
            }
            Err(refusal) => call.answer(&ConsumerGroupHeartbeatResponse {
                error_code: refusal.error,
                error_message: Some(refusal.message.into()),
                ..Default::default()
            }),
        }
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse { error_code: error, ..Default::default() }
    }
}

fn refused(error: ErrorCode) -> Refusal {
    Refusal::new(error, error.name().unwrap_or("refused"))
}

fn not_found(group: &str, why: &str) -> Refusal {
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group} {why}."))
}

impl State {
    fn consumer_heartbeat(
        &mut self,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        if self.denied.groups.contains(&*request.group_id) {
            return Err(refused(ErrorCode::GROUP_AUTHORIZATION_FAILED));
        }
        let denied = |name: &ByteString| self.denied.topics.contains(&**name);
        if request.subscribed_topic_names.iter().flatten().any(denied) {
            return Err(refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
        }
        check_request(request, caller.version)?;
        self.check_coordinator(caller.broker, &request.group_id).map_err(refused)?;
        if request.member_epoch < 0 {
            return self.leave_consumer_group(request);
        }
        let member_id = match &*request.member_id {
            "" => Arc::from(self.new_uuid().to_string()),
            id => Arc::from(id),
        };
        let beat = Beat {
            request,
            member_id,
            client_id: Arc::from(caller.client_id.as_deref().unwrap_or_default()),
            client_host: Arc::clone(&caller.host),
        };
        self.heartbeat_or_join(&beat)
    }

    /// The group may have to be made first, or to be made of a classic one.
    fn heartbeat_or_join(&mut self, beat: &Beat<'_>) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id: Arc<str> = Arc::from(&*beat.request.group_id);
        let joins = beat.request.member_epoch == 0;
        let (groups, mut world) = self.split();
        let mut group = match groups.get_mut(&id) {
            Some(AnyGroup::Consumer(group)) => return group.heartbeat(&mut world, beat),
            None if !joins => return Err(not_found(&id, "not found")),
            Some(AnyGroup::Classic(_)) if !joins => return Err(not_found(&id, "is not a consumer group")),
            // A classic group without members gives way.
            Some(AnyGroup::Classic(classic)) if classic.members.is_empty() => {
                ConsumerGroup::new(Arc::clone(&id))
            }
            Some(AnyGroup::Classic(classic)) => {
                ConsumerGroup::check_upgrade(&world, classic)?;
                // Whoever waits has to join again, whatever comes of it.
                classic.dismiss(ErrorCode::REBALANCE_IN_PROGRESS);
                ConsumerGroup::upgraded(&world, classic)?
            }
            None => ConsumerGroup::new(Arc::clone(&id)),
        };
        let response = group.heartbeat(&mut world, beat)?;
        group.start_sessions(&mut world);
        groups.insert(id, AnyGroup::Consumer(group));
        Ok(response)
    }

    fn leave_consumer_group(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let Some((group, _)) = self.consumer_group(&request.group_id) else {
            return Err(not_found(&request.group_id, "not found"));
        };
        if let Some(member) = group.leave(request)? {
            self.fence_members(&request.group_id, &[member]);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }
}
