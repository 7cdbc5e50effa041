//! Questions that take two members of one group.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::codec::Request;
use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::*;

use crate::Interview;
use crate::common::Client;

const GROUP: &str = "duo";

fn join(member: &str, instance: Option<&str>, metadata: &'static [u8]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 2_000,
        member_id: member.into(),
        group_instance_id: instance.map(Into::into),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(metadata),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn sync(member: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    }
}

fn beat(member: &str, generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest { group_id: GROUP.into(), generation_id, member_id: member.into(), ..Default::default() }
}

/// What is worth comparing of a JoinGroup answer, member ids left out.
fn joined(answer: &JoinGroupResponse) -> String {
    let leads = answer.leader == answer.member_id;
    let (error, generation) = (answer.error_code, answer.generation_id);
    format!("{error:?} {generation} leads {leads} {} {}", answer.members.len(), answer.skip_assignment)
}

impl Interview {
    fn note(&mut self, name: &str, answer: impl Debug) {
        self.answers.push((format!("duo: {name}"), format!("{answer:?}")));
    }
}

async fn later<R: Request>(client: &mut Client, version: i16) -> R::Response {
    let answer = tokio::time::timeout(Duration::from_secs(20), client.receive::<R>(version)).await;
    answer.ok().flatten().expect("an answer")
}

pub(crate) async fn ask_all(i: &mut Interview) {
    let mut one = crate::open(&i.address).await;
    let mut two = crate::open(&i.address).await;
    let first = one.call(&join("", None, b"m"), 9).await.member_id;
    i.note("first", joined(&one.call(&join(&first, None, b"m"), 9).await));
    i.note("sync", one.call(&sync(&first, 1), 5).await.error_code);
    let second = two.call(&join("", None, b"m"), 9).await.member_id;
    i.note("a handed-out id alone", one.call(&beat(&first, 1), 4).await.error_code);
    two.send(&join(&second, None, b"m"), 9).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    i.note("heartbeat while preparing", one.call(&beat(&first, 1), 4).await.error_code);
    i.note("sync while preparing", one.call(&sync(&first, 1), 5).await.error_code);
    let commit = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: 1,
        member_id: first.clone(),
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![offset_commit::OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    i.note("commit while preparing", one.call(&commit, 9).await.topics);
    i.note("leader", joined(&one.call(&join(&first, None, b"m"), 9).await));
    i.note("follower", joined(&later::<JoinGroupRequest>(&mut two, 9).await));
    i.note("commit in an old generation", one.call(&commit, 9).await.topics);
    two.send(&sync(&second, 2), 5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    i.note("leader joins while follower synchronises", joined(&one.call(&join(&first, None, b"m"), 9).await));
    one.send(&join(&first, None, b"new"), 9).await;
    i.note("waiting sync", later::<SyncGroupRequest>(&mut two, 5).await.error_code);
    i.note("follower again", joined(&two.call(&join(&second, None, b"m"), 9).await));
    i.note("leader again", joined(&later::<JoinGroupRequest>(&mut one, 9).await));
    i.note("sync leader", one.call(&sync(&first, 3), 5).await.error_code);
    i.note("sync follower", two.call(&sync(&second, 3), 5).await.error_code);
    i.note("follower joins, no news", joined(&two.call(&join(&second, None, b"m"), 9).await));
    statics(i, &mut one, &mut two, (&first, &second)).await;
}

async fn statics(i: &mut Interview, one: &mut Client, two: &mut Client, (first, second): (&str, &str)) {
    let mut three = crate::open(&i.address).await;
    let mut four = crate::open(&i.address).await;
    three.send(&join("", Some("s"), b"m"), 9).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    four.send(&join("", Some("s"), b"m"), 9).await;
    i.note("replaced while joining", joined(&later::<JoinGroupRequest>(&mut three, 9).await));
    // The others never join: the rebalance timeout drops them.
    let alone = later::<JoinGroupRequest>(&mut four, 9).await;
    i.note("alone", joined(&alone));
    i.note("dropped", one.call(&beat(first, 3), 4).await.error_code);
    i.note("dropped too", two.call(&beat(second, 3), 4).await.error_code);
    let synced = SyncGroupRequest {
        group_instance_id: Some("s".into()),
        ..sync(&alone.member_id, alone.generation_id)
    };
    i.note("sync static", four.call(&synced, 5).await.error_code);
    let changed = three.call(&join("", Some("s"), b"changed"), 9).await;
    i.note("static with other metadata", joined(&changed));
    // Nobody synchronises with a new member: it is dropped in the end.
    two.send(&join("", None, b"m"), 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    i.note("static leader joins", joined(&three.call(&join(&changed.member_id, Some("s"), b"m"), 9).await));
    let follower = later::<JoinGroupRequest>(two, 3).await;
    i.note("follower", joined(&follower));
    two.send(&sync(&follower.member_id, follower.generation_id), 4).await;
    // The leader leaves it waiting.
    i.note("never assigned", later::<SyncGroupRequest>(two, 4).await.error_code);
    i.note("heartbeat", two.call(&beat(&follower.member_id, follower.generation_id), 4).await.error_code);
    for (name, member, instance) in [
        ("leave", &*follower.member_id, None),
        ("leave by instance", "", Some("s")),
        ("leave stranger", "x", None),
    ] {
        let members = vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        }];
        let request = LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
        let left = one.call(&request, 5).await;
        i.note(name, (left.error_code, left.members[0].error_code));
    }
    let describe = DescribeGroupsRequest { groups: vec![GROUP.into()], ..Default::default() };
    let described = one.call(&describe, 5).await;
    i.note("in the end", (&described.groups[0].group_state, described.groups[0].members.len()));
}
