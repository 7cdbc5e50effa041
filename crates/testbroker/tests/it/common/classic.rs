//! Requests of the classic protocol, all of them about group `g`, by members that consume topic `t`.

use bytes::{BufMut, Bytes, BytesMut};
use kavka_wire::ErrorCode;
use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;
use kavka_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};

use super::Client;

/// The embedded consumer protocol, version 1: topic t and what is owned of it.
pub fn subscription(owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff");
    put_topic(&mut out, owned);
    out.freeze()
}

pub fn assignment(owned: &[i32], user_data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"\0\x01");
    put_topic(&mut out, owned);
    match user_data {
        [] => out.put_i32(-1),
        data => {
            out.put_i32(data.len() as i32);
            out.put_slice(data);
        }
    }
    out.freeze()
}

fn put_topic(out: &mut BytesMut, owned: &[i32]) {
    out.put_i32(i32::from(!owned.is_empty()));
    if !owned.is_empty() {
        out.put_slice(b"\0\x01t");
        out.put_i32(owned.len() as i32);
        owned.iter().for_each(|partition| out.put_i32(*partition));
    }
}

pub fn classic(member: &str, owned: &[i32]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 8_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: subscription(owned),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn instance(request: JoinGroupRequest, id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(id.into()), ..request }
}

pub async fn join_classic(client: &mut Client, member: &str, owned: &[i32]) -> JoinGroupResponse {
    client.call(&classic(member, owned), 9).await
}

/// The member id that a dynamic member is given.
pub async fn new_id(client: &mut Client) -> String {
    let answer = join_classic(client, "", &[]).await;
    assert_eq!(answer.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    answer.member_id.to_string()
}

pub async fn sync(
    client: &mut Client,
    member: &str,
    generation: i32,
    assigned: &[(&str, Bytes)],
) -> SyncGroupResponse {
    let assign = |(member, assignment): &(&str, Bytes)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: assignment.clone(),
        ..Default::default()
    };
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assigned.iter().map(assign).collect(),
        ..Default::default()
    };
    client.call(&request, 5).await
}

pub async fn heartbeat(client: &mut Client, member: &str, generation_id: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member.into(),
        ..Default::default()
    };
    client.call(&request, 4).await.error_code
}

pub async fn leave(client: &mut Client, member: &str) -> ErrorCode {
    let members = vec![MemberIdentity { member_id: member.into(), ..Default::default() }];
    let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
    client.call(&request, 5).await.members[0].error_code
}

/// A stable classic group of one, in generation 1, with all of topic t.
pub async fn classic_group(client: &mut Client) -> String {
    let id = new_id(client).await;
    assert_eq!(join_classic(client, &id, &[]).await.generation_id, 1);
    let all = assignment(&[0, 1, 2, 3], b"");
    assert_eq!(sync(client, &id, 1, &[(&id, all)]).await.error_code, ErrorCode::NONE);
    id
}
