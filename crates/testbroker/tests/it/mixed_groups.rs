//! Groups with members of both protocols, and groups that change their protocol.

use std::time::Duration;

use crate::common::Client;
use crate::common::classic::*;
use crate::common::consumer::*;
use bytes::Bytes;
use kavka_testbroker::{Cluster, GroupKind, GroupState, MemberState, MigrationPolicy};
use kavka_wire::ErrorCode;
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest as Beat, JoinGroupRequest};

async fn start_with(policy: MigrationPolicy) -> (Cluster, Client) {
    let cluster = cluster_with(|s| s.group_consumer_migration_policy = policy).await;
    let client = dial(&cluster).await;
    (cluster, client)
}

async fn start() -> (Cluster, Client) {
    start_with(MigrationPolicy::Bidirectional).await
}

#[tokio::test(start_paused = true)]
async fn a_classic_group_is_upgraded_when_a_consumer_member_joins() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    let a = classic_group(&mut client).await;
    assert_eq!(client.call(&beat("b", 1), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let answer = client.call(&join("b"), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.generation), (GroupKind::Consumer, 2));
    let member = view.member(&a).unwrap();
    assert_eq!((member.kind, member.epoch), (GroupKind::Classic, 1));
    assert_eq!(member.assigned, parts(&[("t", &[0, 1, 2, 3])]));
    // The classic member is told to join again; what it has is taken from it in two steps.
    assert_eq!(heartbeat(&mut client, &a, 1).await, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(sync(&mut client, &a, 1, &[]).await.error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let joined = join_classic(&mut client, &a, &[0, 1, 2, 3]).await;
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (ErrorCode::NONE, 1, 0));
    assert_ne!(joined.leader, joined.member_id, "nobody leads");
    assert_eq!(sync(&mut client, &a, 1, &[]).await.assignment, assignment(&[0, 1], b""));
    assert_eq!(heartbeat(&mut client, &a, 1).await, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(assigned(&client.call(&beat("b", 2), 1).await), None, "not let go yet");
    assert_eq!(join_classic(&mut client, &a, &[0, 1]).await.generation_id, 2);
    assert_eq!(sync(&mut client, &a, 2, &[]).await.assignment, assignment(&[0, 1], b""));
    assert_eq!(assigned(&client.call(&beat("b", 2), 1).await), Some(vec![(t, vec![2, 3])]));
    assert_eq!(heartbeat(&mut client, &a, 2).await, ErrorCode::NONE);
    assert_eq!(heartbeat(&mut client, &a, 1).await, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut client, "b", 2).await, ErrorCode::UNKNOWN_MEMBER_ID, "not a classic member");
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_join_is_answered_when_its_group_is_upgraded() {
    let (cluster, mut client) = start().await;
    let a = classic_group(&mut client).await;
    let mut other = dial(&cluster).await;
    let b = new_id(&mut other).await;
    other.send(&classic(&b, &[]), 9).await;
    cluster.group_until("g", |view| view.state == GroupState::PreparingRebalance).await.unwrap();
    client.call(&join("c"), 1).await;
    let answer = other.receive::<JoinGroupRequest>(9).await.unwrap();
    assert_eq!((answer.error_code, &*answer.member_id), (ErrorCode::REBALANCE_IN_PROGRESS, &*b));
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.members.len()), (GroupKind::Consumer, 3));
    assert!(view.member(&a).is_some() && view.member(&b).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_join_is_answered_though_its_group_cannot_be_upgraded() {
    let (cluster, mut client) = start().await;
    let a = new_id(&mut client).await;
    join_classic(&mut client, &a, &[]).await;
    sync(&mut client, &a, 1, &[(&a, assignment(&[0], b"mine"))]).await;
    let mut other = dial(&cluster).await;
    let b = new_id(&mut other).await;
    other.send(&classic(&b, &[]), 9).await;
    cluster.group_until("g", |view| view.state == GroupState::PreparingRebalance).await.unwrap();
    assert_eq!(client.call(&join("c"), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let answer = other.receive::<JoinGroupRequest>(9).await.unwrap();
    assert_eq!((answer.error_code, &*answer.member_id), (ErrorCode::REBALANCE_IN_PROGRESS, &*b));
    // The rebalance goes on: both join it.
    other.send(&classic(&b, &[]), 9).await;
    assert_eq!(join_classic(&mut client, &a, &[]).await.generation_id, 2);
    let answer = other.receive::<JoinGroupRequest>(9).await.unwrap();
    assert_eq!((answer.error_code, answer.generation_id), (ErrorCode::NONE, 2));
    assert_eq!(cluster.group("g").await.unwrap().kind, GroupKind::Classic);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_the_policy_forbids_leaves_waiting_joins_alone() {
    let (cluster, mut client) = start_with(MigrationPolicy::Downgrade).await;
    let a = classic_group(&mut client).await;
    let mut other = dial(&cluster).await;
    let b = new_id(&mut other).await;
    other.send(&classic(&b, &[]), 9).await;
    cluster.group_until("g", |view| view.state == GroupState::PreparingRebalance).await.unwrap();
    assert_eq!(client.call(&join("c"), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(join_classic(&mut client, &a, &[]).await.generation_id, 2);
    assert_eq!(other.receive::<JoinGroupRequest>(9).await.unwrap().generation_id, 2);
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_too_large_for_the_other_protocol_keep_theirs() {
    let cluster = cluster_with(|s| s.group_consumer_max_size = 1).await;
    let mut client = dial(&cluster).await;
    let a = classic_group(&mut client).await;
    let mut other = dial(&cluster).await;
    let b = new_id(&mut other).await;
    other.send(&classic(&b, &[]), 9).await;
    cluster.group_until("g", |view| view.state == GroupState::PreparingRebalance).await.unwrap();
    join_classic(&mut client, &a, &[]).await;
    other.receive::<JoinGroupRequest>(9).await.unwrap();
    assert_eq!(client.call(&join("c"), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);

    let cluster = cluster_with(|s| s.group_max_size = 1).await;
    let mut client = dial(&cluster).await;
    client.call(&join("c"), 1).await;
    for id in ["a", "b"] {
        assert_eq!(join_classic(&mut client, id, &[]).await.error_code, ErrorCode::NONE);
    }
    client.call(&beat("c", -1), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.members.len()), (GroupKind::Consumer, 2));
    // With one less it fits.
    assert_eq!(leave(&mut client, "b").await, ErrorCode::NONE);
    assert_eq!(cluster.group("g").await.unwrap().kind, GroupKind::Classic);
}

#[tokio::test(start_paused = true)]
async fn only_groups_of_consumers_are_upgraded() {
    let (cluster, mut client) = start().await;
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..classic("", &[]) };
    let id = client.call(&other, 9).await.member_id;
    client.call(&JoinGroupRequest { member_id: id.clone(), ..other }, 9).await;
    assert_eq!(client.call(&join("b"), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(cluster.group("g").await.unwrap().members[0].member_id, *id);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_downgraded_when_its_last_consumer_member_goes() {
    let (cluster, mut client) = start().await;
    let a = classic_group(&mut client).await;
    client.call(&join("b"), 1).await;
    join_classic(&mut client, &a, &[0, 1]).await;
    sync(&mut client, &a, 2, &[]).await;
    client.call(&beat("b", -1), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!(
        (view.kind, view.state, view.generation),
        (GroupKind::Classic, GroupState::PreparingRebalance, 2)
    );
    assert_eq!(view.members[0].assigned, parts(&[("t", &[0, 1])]), "its last target");
    assert_eq!(heartbeat(&mut client, &a, 2).await, ErrorCode::REBALANCE_IN_PROGRESS);
    let joined = join_classic(&mut client, &a, &[0, 1]).await;
    assert_eq!((joined.generation_id, &*joined.leader, joined.members.len()), (3, &*a, 1));
    let all = assignment(&[0, 1, 2, 3], b"");
    assert_eq!(sync(&mut client, &a, 3, &[(&a, all.clone())]).await.assignment, all);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_downgrades_as_a_leave_does() {
    let (cluster, mut client) = start().await;
    let a = classic_group(&mut client).await;
    client.call(&join("b"), 1).await;
    assert!(cluster.expire_member("g", "b").await);
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.members.len()), (GroupKind::Classic, 1));
    assert_eq!(view.members[0].member_id, a);
    // Nobody of the classic protocol is left: the group stays what it is.
    client.call(&join("b"), 1).await;
    assert_eq!(leave(&mut client, &a).await, ErrorCode::NONE);
    client.call(&beat("b", -1), 1).await;
    assert_eq!(cluster.group("g").await.unwrap().kind, GroupKind::Consumer);
}

#[tokio::test(start_paused = true)]
async fn a_classic_member_joins_a_consumer_group_without_waiting() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("b"), 1).await;
    let a = new_id(&mut client).await;
    assert_eq!(cluster.group("g").await.unwrap().members.len(), 1, "an id is not a member");
    let joined = join_classic(&mut client, &a, &[]).await;
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::NONE, 3));
    assert_eq!(sync(&mut client, &a, 3, &[]).await.assignment, assignment(&[], b""));
    assert_eq!(heartbeat(&mut client, &a, 3).await, ErrorCode::NONE, "the others hold what it is to have");
    let mine = assigned(&client.call(&beat("b", 2), 1).await).unwrap()[0].1.clone();
    assert_eq!(heartbeat(&mut client, &a, 3).await, ErrorCode::NONE);
    client.call(&owning("b", 2, &[(t, &mine)]), 1).await;
    assert_eq!(heartbeat(&mut client, &a, 3).await, ErrorCode::REBALANCE_IN_PROGRESS, "it can have it now");
    assert_eq!(join_classic(&mut client, &a, &[]).await.generation_id, 3);
    let rest: Vec<i32> = (0..4).filter(|partition| !mine.contains(partition)).collect();
    assert_eq!(sync(&mut client, &a, 3, &[]).await.assignment, assignment(&rest, b""));
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}

#[tokio::test(start_paused = true)]
async fn a_classic_member_must_have_a_protocol_that_all_others_have() {
    let (_cluster, mut client) = start().await;
    client.call(&join("b"), 1).await;
    assert_eq!(join_classic(&mut client, "own-id", &[]).await.error_code, ErrorCode::NONE);
    let mut other = classic("", &[]);
    other.protocols[0].name = "mine".into();
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    assert_eq!(client.call(&other, 9).await.error_code, inconsistent);
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..classic("", &[]) };
    assert_eq!(client.call(&other, 9).await.error_code, inconsistent);
    let mut broken = classic("x", &[]);
    broken.protocols[0].metadata = Bytes::from_static(b"\0");
    assert_eq!(client.call(&broken, 9).await.error_code, inconsistent);
}

#[tokio::test(start_paused = true)]
async fn a_classic_member_that_does_not_join_or_synchronise_in_time_is_removed() {
    let (cluster, mut client) = start().await;
    client.call(&join("b"), 1).await;
    let joined = join_classic(&mut client, "a", &[]).await;
    // It heartbeats but never asks for its assignment.
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(heartbeat(&mut client, "a", joined.generation_id).await, ErrorCode::NONE);
    }
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    assert_eq!(heartbeat(&mut client, "a", joined.generation_id).await, ErrorCode::UNKNOWN_MEMBER_ID);
    let joined = join_classic(&mut client, "a", &[]).await;
    sync(&mut client, "a", joined.generation_id, &[]).await;
    // Its subscription's topic grows; the consumer member's heartbeat finds out.
    cluster.add_partitions("t", 6).await.unwrap();
    client.call(&join("b"), 1).await;
    for second in 0..8 {
        let error = heartbeat(&mut client, "a", joined.generation_id).await;
        assert_eq!(error, ErrorCode::REBALANCE_IN_PROGRESS, "after {second} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(heartbeat(&mut client, "a", joined.generation_id).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test(start_paused = true)]
async fn a_classic_members_session_is_as_long_as_it_said() {
    let (cluster, mut client) = start().await;
    client.call(&join("b"), 1).await;
    let joined = join_classic(&mut client, "a", &[]).await;
    sync(&mut client, "a", joined.generation_id, &[]).await;
    tokio::time::sleep(Duration::from_millis(9_999)).await;
    assert_eq!(heartbeat(&mut client, "a", joined.generation_id).await, ErrorCode::NONE);
    tokio::time::sleep(Duration::from_millis(10_001)).await;
    assert!(cluster.group("g").await.unwrap().member("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn static_members_change_their_protocol_and_keep_what_they_have() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    let fixed = |member: &str, id: &str| Beat { instance_id: Some(id.into()), ..join(member) };
    client.call(&fixed("a", "i"), 1).await;
    client.call(&fixed("b", "j"), 1).await;
    // A classic member takes over without asking, though its predecessor has not left.
    let joined = client.call(&instance(classic("", &[]), "i"), 9).await;
    assert_eq!(joined.error_code, ErrorCode::NONE);
    let fenced = client.call(&instance(classic("a", &[]), "i"), 9).await;
    assert_eq!(fenced.error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(
        client.call(&Beat { instance_id: Some("i".into()), ..beat("a", 2) }, 1).await.error_code,
        ErrorCode::FENCED_INSTANCE_ID
    );
    assert_eq!(cluster.group("g").await.unwrap().members.len(), 2);
    // And back.
    let answer = client.call(&fixed("c", "i"), 1).await;
    assert_eq!((answer.error_code, assigned(&answer).unwrap()[0].0), (ErrorCode::NONE, t));
    // The last of the consumer protocol is replaced: the group is a classic one, with a generation for the newcomer.
    client.call(&Beat { instance_id: Some("i".into()), ..beat("c", -1) }, 1).await;
    let joined = client.call(&instance(classic("", &[]), "j"), 9).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.members.len()), (GroupKind::Classic, 1));
    assert_eq!(view.members[0].member_id, *joined.member_id);
}

#[tokio::test(start_paused = true)]
async fn a_downgrade_by_a_member_with_another_subscription_rebalances_the_next_generation() {
    let (cluster, mut client) = start().await;
    client.call(&Beat { instance_id: Some("i".into()), ..join("a") }, 1).await;
    let epoch = cluster.group("g").await.unwrap().generation;
    let mut other = instance(classic("", &[]), "i");
    other.protocols[0].metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01u\xff\xff\xff\xff");
    let joined = client.call(&other, 9).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.state), (GroupKind::Classic, GroupState::PreparingRebalance));
    assert_eq!((view.generation, joined.generation_id), (epoch, 0));
    let again = JoinGroupRequest { member_id: joined.member_id, ..other };
    assert_eq!(client.call(&again, 9).await.generation_id, epoch + 1);
}

#[tokio::test(start_paused = true)]
async fn assignments_with_user_data_are_not_upgraded() {
    let (cluster, mut client) = start().await;
    let id = new_id(&mut client).await;
    join_classic(&mut client, &id, &[]).await;
    sync(&mut client, &id, 1, &[(&id, assignment(&[0], b"mine"))]).await;
    assert_eq!(client.call(&join("b"), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.state, view.members.len()), (GroupKind::Classic, GroupState::Stable, 1));
    assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::NONE, "as if nothing had been");
}

#[tokio::test(start_paused = true)]
async fn a_policy_says_which_way_groups_may_go() {
    use MigrationPolicy::{Disabled, Downgrade, Upgrade};
    for (policy, upgrades) in [(Upgrade, true), (Downgrade, false), (Disabled, false)] {
        let (cluster, mut client) = start_with(policy).await;
        classic_group(&mut client).await;
        let error = client.call(&join("b"), 1).await.error_code;
        assert_eq!(error == ErrorCode::NONE, upgrades, "{policy:?}: {error:?}");
        if upgrades {
            client.call(&beat("b", -1), 1).await;
            assert_eq!(cluster.group("g").await.unwrap().kind, GroupKind::Consumer, "{policy:?}");
        }
    }
    for (policy, joins, downgrades) in
        [(Upgrade, true, false), (Downgrade, true, true), (Disabled, false, false)]
    {
        let (cluster, mut client) = start_with(policy).await;
        client.call(&join("b"), 1).await;
        let error = join_classic(&mut client, "a", &[]).await.error_code;
        assert_eq!(error == ErrorCode::NONE, joins, "{policy:?}: {error:?}");
        client.call(&beat("b", -1), 1).await;
        let kind = cluster.group("g").await.unwrap().kind;
        assert_eq!(kind == GroupKind::Classic, downgrades, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_takes_the_protocol_of_whoever_joins() {
    let (cluster, mut client) = start().await;
    client.call(&join("b"), 1).await;
    client.call(&beat("b", -1), 1).await;
    assert_eq!(join_classic(&mut client, "x", &[]).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let a = classic_group(&mut client).await;
    assert_eq!(cluster.group("g").await.unwrap().kind, GroupKind::Classic);
    assert_eq!(leave(&mut client, &a).await, ErrorCode::NONE);
    assert_eq!(client.call(&join("b"), 1).await.member_epoch, 2);
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.members[0].state), (GroupKind::Consumer, MemberState::Stable));
}

#[tokio::test(start_paused = true)]
async fn a_mixed_group_survives_its_coordinator() {
    let (cluster, mut client) = start().await;
    let a = classic_group(&mut client).await;
    client.call(&join("b"), 1).await;
    join_classic(&mut client, &a, &[0, 1]).await;
    sync(&mut client, &a, 2, &[]).await;
    let new = cluster.coordinator("g").await.unwrap() % 3 + 1;
    cluster.move_coordinator("g", new).await;
    assert_eq!(heartbeat(&mut client, &a, 2).await, ErrorCode::NOT_COORDINATOR);
    let mut client = dial(&cluster).await;
    assert_eq!(heartbeat(&mut client, &a, 2).await, ErrorCode::NONE);
    assert_eq!(client.call(&beat("b", 2), 1).await.error_code, ErrorCode::NONE);
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}
