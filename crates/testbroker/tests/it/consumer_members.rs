//! Static members, regular expressions, offsets and administration of groups of the consumer protocol.

use std::time::Duration;

use crate::common::Client;
use crate::common::consumer::*;
use kavka_testbroker::{Cluster, GroupState};
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kavka_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kavka_wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest as Beat, DeleteGroupsRequest,
    DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use kavka_wire::{ErrorCode, Uuid};

const SESSION: Duration = Duration::from_secs(10);

async fn start() -> (Cluster, Client) {
    let cluster = cluster_with(|s| s.group_consumer_session_timeout = SESSION).await;
    let client = dial(&cluster).await;
    (cluster, client)
}

fn fixed(request: Beat) -> Beat {
    Beat { instance_id: Some("i".into()), ..request }
}

fn by_regex(member: &str, regex: &str) -> Beat {
    Beat { subscribed_topic_names: None, subscribed_topic_regex: Some(regex.into()), ..join(member) }
}

#[tokio::test(start_paused = true)]
async fn an_instance_id_is_its_members_until_it_is_released() {
    let (_cluster, mut client) = start().await;
    assert_eq!(client.call(&fixed(join("a")), 1).await.error_code, ErrorCode::NONE);
    for id in ["a", "b"] {
        let answer = client.call(&fixed(join(id)), 1).await;
        assert_eq!(answer.error_code, ErrorCode::UNRELEASED_INSTANCE_ID, "{id}");
    }
    for epoch in [2, -1, -2] {
        let answer = client.call(&fixed(beat("b", epoch)), 1).await;
        assert_eq!(answer.error_code, ErrorCode::FENCED_INSTANCE_ID, "epoch {epoch}");
    }
    assert_eq!(client.call(&fixed(beat("a", 2)), 1).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_that_comes_back_takes_up_what_it_had() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&fixed(join("a")), 1).await;
    assert_eq!(client.call(&fixed(beat("a", -2)), 1).await.member_epoch, -2);
    let away = cluster.group("g").await.unwrap();
    assert_eq!((away.state, away.generation, away.members[0].epoch), (GroupState::Reconciling, 2, -2));
    assert_eq!(away.members[0].assigned, parts(&[("t", &[0, 1, 2, 3])]));
    let answer = client.call(&fixed(beat("a", 2)), 1).await;
    assert_eq!(answer.error_code, ErrorCode::FENCED_MEMBER_EPOCH, "it said that it was away");
    let answer = client.call(&fixed(join("b")), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(t, vec![0, 1, 2, 3])])));
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.members.len(), view.generation, view.state), (1, 2, GroupState::Stable), "no rebalance");
    assert_eq!(client.call(&fixed(beat("a", 2)), 1).await.error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(client.call(&fixed(join("a")), 1).await.error_code, ErrorCode::UNRELEASED_INSTANCE_ID);
    // It has had everything from the start, so that commits from before are good.
    assert_eq!(committed(&mut client, &commit("b", 1, t), 9).await, [ErrorCode::NONE; 2]);
    // -1 is for good.
    client.call(&fixed(beat("b", -1)), 1).await;
    assert_eq!(client.call(&fixed(join("a")), 1).await.member_epoch, 4);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_that_stays_away_is_removed_when_its_session_ends() {
    let (cluster, mut client) = start().await;
    client.call(&fixed(join("a")), 1).await;
    client.call(&join("b"), 1).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.call(&fixed(beat("a", -2)), 1).await;
    client.call(&beat("b", 3), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert!(view.member("b").unwrap().assigned.is_empty(), "what is held for a is not given away: {view:?}");
    // Being away is no heartbeat.
    tokio::time::sleep(Duration::from_millis(4_001)).await;
    let answer = client.call(&beat("b", 3), 1).await;
    assert_eq!(assigned(&answer).map(|all| all[0].1.len()), Some(4));
    assert_eq!(client.call(&fixed(join("c")), 1).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_regular_expression_is_resolved_after_the_heartbeat_that_brings_it() {
    let (cluster, mut client) = start().await;
    let (t, u) = (topic_id(&cluster, "t").await, topic_id(&cluster, "u").await);
    let answer = client.call(&by_regex("a", "t|u"), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![])));
    let answer = client.call(&beat("a", 1), 1).await;
    assert_eq!(answer.member_epoch, 2);
    let mut all = vec![(t, vec![0, 1, 2, 3]), (u, vec![0, 1])];
    all.sort();
    assert_eq!(assigned(&answer), Some(all));
    // The second member's expression is known already.
    assert_eq!(client.call(&by_regex("b", "t|u"), 1).await.member_epoch, 3);
    let target = &cluster.group("g").await.unwrap().member("b").unwrap().target.clone();
    assert_eq!(target.values().map(Vec::len).sum::<usize>(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_regular_expression_matches_whole_names_and_only_those_one_may_see() {
    let (cluster, mut client) = start().await;
    for name in ["orders", "orders-eu", "my-orders", "secret-orders"] {
        cluster.create_topic(name, 1).await.unwrap();
    }
    cluster.deny_topic("secret-orders");
    for (regex, matches) in [
        ("orders", &["orders"][..]),
        ("orders.*", &["orders", "orders-eu"]),
        (".*-orders|nothing", &["my-orders"]),
        ("(?i)ORDERS", &["orders"]),
        ("^orders$", &["orders"]),
        ("order", &[]),
    ] {
        let first = client.call(&by_regex("a", regex), 1).await;
        client.call(&beat("a", first.member_epoch), 1).await;
        let view = cluster.group("g").await.unwrap();
        let target: Vec<&String> = view.members[0].target.keys().collect();
        assert_eq!(target, matches, "{regex}");
        client.call(&beat("a", -1), 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_topics_are_found_by_regular_expressions_after_ten_seconds() {
    let (cluster, mut client) = start().await;
    client.call(&by_regex("a", "x.*"), 1).await;
    let id = cluster.create_topic("x1", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.call(&beat("a", 1), 1).await;
    assert_eq!(assigned(&client.call(&beat("a", 1), 1).await), None);
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    assert_eq!(assigned(&client.call(&beat("a", 1), 1).await), None, "this heartbeat has it looked for");
    let answer = client.call(&beat("a", 1), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(id, vec![0])])));
}

#[tokio::test(start_paused = true)]
async fn an_empty_regular_expression_ends_the_subscription() {
    let (cluster, mut client) = start().await;
    client.call(&by_regex("a", "t"), 1).await;
    client.call(&beat("a", 1), 1).await;
    let clear = Beat { subscribed_topic_regex: Some("".into()), ..beat("a", 2) };
    let answer = client.call(&clear, 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    assert_eq!(client.call(&owning("a", 2, &[]), 1).await.member_epoch, 3);
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}

fn commit(member: &str, epoch: i32, topic: Uuid) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 7,
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: epoch,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            topic_id: topic,
            name: "t".into(),
            partitions: vec![partition(0), partition(3)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn committed(client: &mut Client, request: &OffsetCommitRequest, version: i16) -> Vec<ErrorCode> {
    let answer = client.call(request, version).await;
    answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

async fn fetched(client: &mut Client, member: Option<&str>, member_epoch: i32) -> ErrorCode {
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        member_id: member.map(Into::into),
        member_epoch,
        topics: Some(vec![OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    client.call(&request, 9).await.groups[0].error_code
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_an_older_epoch_is_good_for_what_the_member_has_had_since_then() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    client.call(&join("b"), 1).await;
    client.call(&beat("a", 2), 1).await;
    let none = ErrorCode::NONE;
    assert_eq!(committed(&mut client, &commit("a", 2, t), 10).await, [none; 2], "also what is to be let go");
    assert_eq!(committed(&mut client, &commit("a", 1, t), 10).await, [ErrorCode::STALE_MEMBER_EPOCH; 2]);
    client.call(&owning("a", 2, &[(t, &[0, 1])]), 1).await;
    client.call(&beat("b", 3), 1).await;
    let stale = ErrorCode::STALE_MEMBER_EPOCH;
    assert_eq!(committed(&mut client, &commit("a", 2, t), 9).await, [none, stale]);
    assert_eq!(
        committed(&mut client, &commit("a", 3, t), 9).await,
        [none; 2],
        "the epoch of now is not looked into"
    );
    assert_eq!(committed(&mut client, &commit("a", 4, t), 9).await, [stale; 2]);
    assert_eq!(committed(&mut client, &commit("b", 2, t), 9).await, [stale; 2]);
    assert_eq!(committed(&mut client, &commit("x", 3, t), 9).await, [ErrorCode::UNKNOWN_MEMBER_ID; 2]);
    assert_eq!(committed(&mut client, &commit("", -1, t), 9).await, [ErrorCode::UNKNOWN_MEMBER_ID; 2]);
    assert_eq!(committed(&mut client, &commit("a", 3, t), 8).await, [ErrorCode::UNSUPPORTED_VERSION; 2]);
    let nowhere = commit("a", 3, Uuid([9; 16]));
    assert_eq!(committed(&mut client, &nowhere, 10).await, [ErrorCode::UNKNOWN_TOPIC_ID; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_an_older_epoch_is_good_for_what_is_still_to_be_let_go() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    let both = Some(vec!["t".into(), "u".into()]);
    assert_eq!(client.call(&Beat { subscribed_topic_names: both, ..beat("a", 2) }, 1).await.member_epoch, 3);
    client.call(&join("b"), 1).await;
    client.call(&beat("a", 3), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert!(!view.member("a").unwrap().revoking.is_empty(), "{view:?}");
    assert_eq!(committed(&mut client, &commit("a", 2, t), 9).await, [ErrorCode::NONE; 2]);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_fetched_by_members_in_their_epoch_and_by_who_is_none() {
    let (_cluster, mut client) = start().await;
    client.call(&join("a"), 1).await;
    assert_eq!(fetched(&mut client, Some("a"), 2).await, ErrorCode::NONE);
    assert_eq!(fetched(&mut client, Some("a"), 1).await, ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(fetched(&mut client, Some("a"), 3).await, ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(fetched(&mut client, Some("x"), 2).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(fetched(&mut client, Some(""), -1).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(fetched(&mut client, None, -1).await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_takes_offsets_from_anybody_and_keeps_them() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    client.call(&beat("a", -1), 1).await;
    assert_eq!(committed(&mut client, &commit("", -1, t), 9).await, [ErrorCode::NONE; 2]);
    assert_eq!(committed(&mut client, &commit("a", 2, t), 9).await, [ErrorCode::UNKNOWN_MEMBER_ID; 2]);
    client.call(&join("b"), 1).await;
    assert_eq!(cluster.committed("g", "t", 3).await.unwrap().offset, 7);
    // A topic of the same name is another topic.
    cluster.delete_topic("t").await;
    cluster.create_topic("t", 4).await.unwrap();
    assert_eq!(cluster.committed("g", "t", 3).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_group_in_use_keeps_the_offsets_of_its_topics_and_is_not_deleted() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    assert_eq!(committed(&mut client, &commit("a", 2, t), 9).await, [ErrorCode::NONE; 2]);
    let delete_offset = |topic: &str| OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    for (topic, error) in [("t", ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC), ("u", ErrorCode::NONE)] {
        let answer = client.call(&delete_offset(topic), 0).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, error, "{topic}");
    }
    let delete = DeleteGroupsRequest { groups_names: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call(&delete, 2).await.results[0].error_code, ErrorCode::NON_EMPTY_GROUP);
    client.call(&beat("a", -1), 1).await;
    let answer = client.call(&delete_offset("t"), 0).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE);
    assert_eq!(client.call(&delete, 2).await.results[0].error_code, ErrorCode::NONE);
    assert_eq!(cluster.group("g").await, None);
    assert_eq!(cluster.committed("g", "t", 3).await, None);
    assert_eq!(client.call(&join("a"), 1).await.member_epoch, 2, "a new group");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_described_by_the_api_of_its_protocol() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&Beat { rack_id: Some("r".into()), ..fixed(join("a")) }, 1).await;
    client.call(&join("b"), 1).await;
    client.call(&fixed(beat("a", 2)), 1).await;
    let ids = vec!["g".into(), "none".into()];
    let request = ConsumerGroupDescribeRequest {
        group_ids: ids.clone(),
        include_authorized_operations: true,
        ..Default::default()
    };
    let answer = client.call(&request, 1).await;
    let group = &answer.groups[0];
    assert_eq!(
        (group.error_code, &*group.group_state, &*group.assignor_name),
        (ErrorCode::NONE, "Reconciling", "uniform")
    );
    assert_eq!((group.group_epoch, group.assignment_epoch), (3, 3));
    assert!(group.authorized_operations != i32::MIN);
    let a = &group.members[0];
    assert_eq!((&*a.member_id, a.instance_id.as_deref(), a.rack_id.as_deref()), ("a", Some("i"), Some("r")));
    assert_eq!((a.member_epoch, &*a.client_id, a.member_type), (2, "raw", 1));
    let only = |assignment: &kavka_wire::messages::consumer_group_describe::Assignment| {
        let topic = &assignment.topic_partitions[0];
        (topic.topic_id, topic.topic_name.to_string(), topic.partitions.clone())
    };
    assert_eq!(only(&a.assignment), (t, "t".into(), vec![0, 1, 2, 3]), "until it is let go");
    assert_eq!(only(&a.target_assignment), (t, "t".into(), vec![0, 1]));
    let error = answer.groups[1].error_code;
    assert!(matches!(error, ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::NOT_COORDINATOR), "{error:?}");
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call(&request, 6).await.groups[0].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let old = client.call(&request, 5).await;
    assert_eq!((old.groups[0].error_code, &*old.groups[0].group_state), (ErrorCode::NONE, "Dead"));
    cluster.deny_topic("t");
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call(&request, 0).await.groups[0].error_code, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_by_type_and_state() {
    let (_cluster, mut client) = start().await;
    client.call(&join("a"), 1).await;
    for (types, states, listed) in [
        (&[][..], &[][..], true),
        (&["consumer"], &[], true),
        (&["Consumer", "classic"], &["stable"], true),
        (&["classic"], &[], false),
        (&[], &["Empty"], false),
        (&["consumer"], &["Stable"], true),
    ] {
        let request = ListGroupsRequest {
            types_filter: types.iter().map(|name: &&str| (*name).into()).collect(),
            states_filter: states.iter().map(|name: &&str| (*name).into()).collect(),
            ..Default::default()
        };
        let groups = client.call(&request, 5).await.groups;
        assert_eq!(groups.len(), usize::from(listed), "{types:?} {states:?}");
        if let Some(group) = groups.first() {
            assert_eq!(
                (&*group.group_type, &*group.protocol_type, &*group.group_state),
                ("consumer", "consumer", "Stable")
            );
        }
    }
}
