//! Questions about groups and their offsets.

use bytes::Bytes;
use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;
use kavka_wire::messages::*;
use kavka_wire::{ByteString, Uuid};

use crate::Interview;

fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            // A subscription to topic t.
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn sync(member: &str, generation: i32, name: &str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some(name.into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.into(),
            assignment: Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn leave(group: &str, member: &str, instance: Option<&str>) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: group.into(),
        member_id: "".into(),
        members: vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) async fn members(i: &mut Interview) {
    i.ask("join nameless", &join("", ""), 9).await;
    i.ask("join unknown", &join("g", "x"), 9).await;
    i.ask("join short", &JoinGroupRequest { session_timeout_ms: 10, ..join("g", "") }, 9).await;
    i.ask("join nothing", &JoinGroupRequest { protocols: Vec::new(), ..join("g", "") }, 9).await;
    i.ask("join untyped", &JoinGroupRequest { protocol_type: "".into(), ..join("g", "") }, 9).await;
    i.ask("sync unknown group", &SyncGroupRequest { group_id: "zz".into(), ..sync("x", 0, "range") }, 5)
        .await;
    let beat = |group: &str, member: &str, generation_id, instance: Option<&str>| HeartbeatRequest {
        group_id: group.into(),
        generation_id,
        member_id: member.into(),
        group_instance_id: instance.map(Into::into),
        ..Default::default()
    };
    i.ask("heartbeat unknown group", &beat("zz", "x", 0, None), 4).await;
    i.ask("heartbeat nameless", &beat("", "x", 0, None), 4).await;
    i.ask("leave unknown group", &leave("zz", "x", None), 5).await;
    let old = LeaveGroupRequest { group_id: "zz".into(), member_id: "x".into(), ..Default::default() };
    i.ask("leave unknown group", &old, 2).await;
    i.ask("leave nameless", &leave("", "x", None), 5).await;
    let id = i.ask("join", &join("g", ""), 9).await.unwrap().member_id;
    i.ask("heartbeat pending", &beat("g", &id, -1, None), 4).await;
    i.ask("sync pending", &sync(&id, -1, "range"), 5).await;
    describe(i, "pending").await;
    i.ask("join with id", &join("g", &id), 9).await;
    describe(i, "completing").await;
    i.ask("heartbeat completing", &beat("g", &id, 1, None), 4).await;
    commit_as(i, "completing", &id, 1).await;
    i.ask("join again completing", &join("g", &id), 9).await;
    i.ask("sync wrong name", &sync(&id, 1, "sticky"), 5).await;
    i.ask("sync no name", &SyncGroupRequest { protocol_name: None, ..sync(&id, 1, "") }, 5).await;
    i.ask("sync", &sync(&id, 1, "range"), 5).await;
    describe(i, "stable").await;
    i.ask("sync again", &sync(&id, 1, "range"), 5).await;
    i.ask("sync old", &sync(&id, 0, "range"), 5).await;
    i.ask("heartbeat", &beat("g", &id, 1, None), 4).await;
    i.ask("heartbeat old", &beat("g", &id, 0, None), 4).await;
    i.ask("heartbeat instance", &beat("g", &id, 1, Some("i")), 4).await;
    commit_as(i, "stable", &id, 1).await;
    commit_as(i, "old generation", &id, 0).await;
    commit_as(i, "simple", "", -1).await;
    commit_as(i, "half simple", &id, -1).await;
    commit_as(i, "stranger", "x", 1).await;
    let sticky = JoinGroupRequest {
        protocols: vec![JoinGroupRequestProtocol { name: "sticky".into(), ..Default::default() }],
        ..join("g", "")
    };
    i.ask("join other protocol", &sticky, 9).await;
    i.ask("join other type", &JoinGroupRequest { protocol_type: "connect".into(), ..join("g", "") }, 9).await;
    delete(i, "in use").await;
    i.ask("leave with wrong instance", &leave("g", &id, Some("i")), 5).await;
    i.ask("leave stranger", &leave("g", "x", None), 5).await;
    i.ask("leave", &leave("g", &id, None), 5).await;
    i.ask("leave again", &leave("g", &id, None), 5).await;
    describe(i, "empty").await;
    i.ask("join empty with id", &join("g", &id), 9).await;
    i.ask("heartbeat empty", &beat("g", &id, 2, None), 4).await;
    i.ask("sync empty", &sync(&id, 2, "range"), 5).await;
    static_member(i).await;
}

async fn static_member(i: &mut Interview) {
    let join_static =
        |member: &str| JoinGroupRequest { group_instance_id: Some("raw".into()), ..join("g", member) };
    let first = i.ask("static join", &join_static(""), 9).await.unwrap();
    let synchronise = |id: &str| SyncGroupRequest {
        group_instance_id: Some("raw".into()),
        ..sync(id, first.generation_id, "range")
    };
    i.ask("static sync", &synchronise(&first.member_id), 5).await;
    let second = i.ask("static join again", &join_static(""), 9).await.unwrap();
    i.ask("fenced sync", &synchronise(&first.member_id), 5).await;
    i.ask("fenced join", &join_static(&first.member_id), 9).await;
    i.ask("fenced leave", &leave("g", &first.member_id, Some("raw")), 5).await;
    i.ask("static sync again", &synchronise(&second.member_id), 5).await;
    i.ask("static join, old", &join_static(""), 8).await;
    i.ask("static unknown", &leave("g", "", Some("other")), 5).await;
    i.ask("static leave", &leave("g", "", Some("raw")), 5).await;
}

async fn describe(i: &mut Interview, when: &str) {
    for group in ["g", "zz", ""] {
        let request = DescribeGroupsRequest {
            groups: vec![group.into()],
            include_authorized_operations: true,
            ..Default::default()
        };
        i.ask(&format!("describe {group:?} {when}"), &request, 6).await;
        i.ask(&format!("describe {group:?} {when}"), &request, 5).await;
    }
    for filter in ["", "Stable", "empty", "nonsense"] {
        let states = if filter.is_empty() { Vec::new() } else { vec![filter.into()] };
        let request = ListGroupsRequest { states_filter: states, ..Default::default() };
        i.ask(&format!("list {filter:?} {when}"), &request, 5).await;
    }
    let request = ListGroupsRequest { types_filter: vec!["classic".into()], ..Default::default() };
    i.ask(&format!("list classic {when}"), &request, 5).await;
}

fn commit(
    group: &str,
    member: &str,
    generation: i32,
    topic: &str,
    partition_index: i32,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index,
                committed_offset: 5,
                committed_leader_epoch: -1,
                committed_metadata: Some("m".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn commit_as(i: &mut Interview, when: &str, member: &str, generation: i32) {
    i.ask(&format!("commit {when}"), &commit("g", member, generation, "t", 0), 9).await;
}

async fn delete(i: &mut Interview, when: &str) {
    for topic in ["t", "c", "nope"] {
        let topics = vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }];
        let request = OffsetDeleteRequest { group_id: "g".into(), topics };
        i.ask(&format!("delete offsets of {topic} {when}"), &request, 0).await;
    }
    for group in ["g", "zz", ""] {
        let request = DeleteGroupsRequest { groups_names: vec![group.into()], ..Default::default() };
        i.ask(&format!("delete group {group:?} {when}"), &request, 2).await;
    }
}

pub(crate) async fn committed(i: &mut Interview, id: Uuid) {
    i.ask("commit to a new group", &commit("s", "", -1, "t", 0), 9).await;
    i.ask("commit as unknown member", &commit("s2", "x", 3, "t", 0), 9).await;
    i.ask("commit as unknown member", &commit("s2", "x", 3, "t", 0), 8).await;
    i.ask("commit as empty group's member", &commit("s", "x", 3, "t", 0), 9).await;
    i.ask("commit to no topic", &commit("s", "", -1, "nope", 0), 9).await;
    i.ask("commit to no partition", &commit("s", "", -1, "t", 99), 9).await;
    i.ask("commit nameless", &commit("", "", -1, "t", 0), 9).await;
    let mut long = commit("s", "", -1, "t", 1);
    long.topics[0].partitions[0].committed_metadata = Some("m".repeat(4097).into());
    i.ask("commit long", &long, 9).await;
    let mut unsaid = commit("s", "", -1, "t", 1);
    unsaid.topics[0].partitions[0].committed_metadata = None;
    unsaid.topics[0].partitions[0].committed_offset = -5;
    i.ask("commit null, negative", &unsaid, 9).await;
    let mut by_id = commit("s", "", -1, "", 2);
    by_id.topics[0].topic_id = id;
    i.ask("commit by id", &by_id, 10).await;
    by_id.topics[0].topic_id = Uuid([3; 16]);
    i.ask("commit by wrong id", &by_id, 10).await;
    let topic = |name: &str| OffsetFetchRequestTopic {
        name: name.into(),
        partition_indexes: vec![0, 1, 2, 99],
        ..Default::default()
    };
    let old = |group: &str, topics: Option<Vec<OffsetFetchRequestTopic>>| OffsetFetchRequest {
        group_id: group.into(),
        topics,
        ..Default::default()
    };
    i.ask("fetch offsets", &old("s", Some(vec![topic("t"), topic("nope")])), 5).await;
    i.ask("fetch offsets", &old("s", Some(vec![topic("t")])), 1).await;
    i.ask("fetch all offsets", &old("s", None), 7).await;
    i.ask("fetch unknown group", &old("zz", Some(vec![topic("t")])), 7).await;
    i.ask("fetch all of unknown group", &old("zz", None), 7).await;
    let group = |group: &str, topics: Option<Vec<(&str, Uuid)>>| OffsetFetchRequestGroup {
        group_id: group.into(),
        member_id: None,
        member_epoch: -1,
        topics: topics.map(|topics| {
            let topic = |(name, topic_id): (&str, Uuid)| OffsetFetchRequestTopics {
                name: ByteString::from(name),
                topic_id,
                partition_indexes: vec![0, 2, 99],
                ..Default::default()
            };
            topics.into_iter().map(topic).collect()
        }),
        ..Default::default()
    };
    let batch = |groups| OffsetFetchRequest { groups, ..Default::default() };
    let named = vec![group("s", Some(vec![("t", Uuid::ZERO), ("nope", Uuid::ZERO)])), group("zz", None)];
    i.ask("fetch of groups", &batch(named), 9).await;
    let by_id = vec![group("s", Some(vec![("", id), ("", Uuid([3; 16]))])), group("s", None)];
    i.ask("fetch by id", &batch(by_id), 10).await;
    delete(i, "not in use").await;
}
