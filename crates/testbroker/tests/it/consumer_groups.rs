//! Groups of the consumer protocol, rule by rule, under a paused clock.

use std::time::Duration;

use crate::common::consumer::*;
use crate::common::{Client, connect};
use kavka_testbroker::{Cluster, GroupKind, GroupState, MemberState};
use kavka_wire::messages::ConsumerGroupHeartbeatRequest as Beat;
use kavka_wire::{ApiKey, ErrorCode, Uuid};

#[tokio::test(start_paused = true)]
async fn a_request_that_says_too_little_or_too_much_is_invalid() {
    let (_cluster, mut client) = start().await;
    let cases: &[(i16, Beat)] = &[
        (1, join("")),
        (1, Beat { group_id: "".into(), ..join("a") }),
        (1, Beat { instance_id: Some("".into()), ..join("a") }),
        (1, Beat { rack_id: Some("".into()), ..join("a") }),
        (1, Beat { rebalance_timeout_ms: -1, ..join("a") }),
        (1, Beat { topic_partitions: None, ..join("a") }),
        (1, owning("a", 0, &[(Uuid([1; 16]), &[0])])),
        (1, Beat { subscribed_topic_names: None, ..join("a") }),
        (1, beat("a", -2)),
        (1, beat("a", -3)),
        (0, beat("", 1)),
        (0, beat("", -1)),
    ];
    for (version, request) in cases {
        let answer = client.call(request, *version).await;
        assert_eq!(answer.error_code, ErrorCode::INVALID_REQUEST, "{request:?}");
        assert!(answer.error_message.is_some_and(|message| !message.is_empty()));
        assert_eq!((answer.member_id, answer.member_epoch), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_joins_leave_no_group_behind() {
    let (cluster, mut client) = start().await;
    let sticky = Beat { server_assignor: Some("sticky".into()), ..join("a") };
    assert_eq!(client.call(&sticky, 1).await.error_code, ErrorCode::UNSUPPORTED_ASSIGNOR);
    for regex in ["(", "[", "a(?=b)", "a)|(b", "(?P<n>", "\\"] {
        let request = Beat { subscribed_topic_regex: Some(regex.into()), ..join("a") };
        let error = client.call(&request, 1).await.error_code;
        assert_eq!(error, ErrorCode::INVALID_REGULAR_EXPRESSION, "{regex}");
    }
    let huge = Beat { subscribed_topic_regex: Some("(a{1000}){1000}".into()), ..join("a") };
    assert_eq!(client.call(&huge, 1).await.error_code, ErrorCode::INVALID_REGULAR_EXPRESSION);
    // Two of these would not fit into an answer's message.
    let long = Beat { subscribed_topic_regex: Some(format!("({}", "x".repeat(32_000)).into()), ..join("b") };
    assert_eq!(client.call(&long, 1).await.error_code, ErrorCode::INVALID_REGULAR_EXPRESSION);
    assert_eq!(client.call(&beat("a", 1), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(client.call(&beat("a", -1), 1).await.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(cluster.group("g").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_member_gets_everything_it_subscribes_to_with_the_first_answer() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    let request = Beat { subscribed_topic_names: Some(vec!["t".into(), "absent".into()]), ..join("a") };
    let answer = client.call(&request, 1).await;
    // The first epoch is the group's own, the second one has the member.
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::NONE, 2));
    assert_eq!((answer.member_id.as_deref(), answer.heartbeat_interval_ms), (Some("a"), 5000));
    assert_eq!(assigned(&answer), Some(vec![(t, vec![0, 1, 2, 3])]));
    let answer = client.call(&owning("a", 2, &[(t, &[0, 1, 2, 3])]), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None), "nothing new, nothing said");
    let full = Beat {
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec!["t".into(), "absent".into()]),
        ..owning("a", 2, &[])
    };
    assert!(assigned(&client.call(&full, 1).await).is_some(), "a full request is answered in full");
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.kind, view.state), (GroupKind::Consumer, GroupState::Stable));
    assert_eq!((view.generation, view.assignment_epoch), (2, 2));
    assert_eq!(view.member("a").unwrap().assigned, parts(&[("t", &[0, 1, 2, 3])]));
}

#[tokio::test(start_paused = true)]
async fn version_0_makes_member_ids_up() {
    let (cluster, mut client) = start().await;
    let answer = client.call(&join(""), 0).await;
    let id = answer.member_id.unwrap();
    assert_eq!((answer.error_code, id.len()), (ErrorCode::NONE, 22));
    assert_eq!(cluster.group("g").await.unwrap().members[0].member_id, *id);
    assert_eq!(client.call(&beat(&id, -1), 0).await.member_epoch, -1);
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.state, view.generation, view.assignment_epoch), (GroupState::Empty, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_partition_changes_hands_only_when_it_was_let_go() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    let second = client.call(&join("b"), 1).await;
    assert_eq!((second.member_epoch, assigned(&second)), (3, Some(vec![])));
    assert_eq!(state_of(&cluster, "b").await, MemberState::UnreleasedPartitions);
    // The first hears of it, stays in its epoch, and is not believed until it says what it has.
    let answer = client.call(&beat("a", 2), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(t, vec![0, 1])])));
    for has in [&[0, 1, 2, 3][..], &[0, 1, 3]] {
        let answer = client.call(&owning("a", 2, &[(t, has)]), 1).await;
        assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));
    }
    assert_eq!(assigned(&client.call(&beat("b", 3), 1).await), None);
    let view = cluster.group("g").await.unwrap();
    let a = view.member("a").unwrap();
    assert_eq!((a.state, view.state), (MemberState::UnrevokedPartitions, GroupState::Reconciling));
    assert_eq!((a.revoking.clone(), a.target.clone()), (parts(&[("t", &[2, 3])]), parts(&[("t", &[0, 1])])));
    let answer = client.call(&owning("a", 2, &[(t, &[0, 1])]), 1).await;
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::NONE, 3));
    assert_eq!(assigned(&client.call(&beat("b", 3), 1).await), Some(vec![(t, vec![2, 3])]));
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_forgiven_to_a_member_that_has_only_what_is_its_own() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&join("a"), 1).await;
    let changed = Beat { subscribed_topic_names: Some(vec!["t".into(), "u".into()]), ..beat("a", 2) };
    assert_eq!(client.call(&changed, 1).await.member_epoch, 3);
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    assert_eq!(client.call(&beat("a", 2), 1).await.error_code, fenced, "it must say what it has");
    assert_eq!(client.call(&owning("a", 2, &[(t, &[0, 9])]), 1).await.error_code, fenced);
    assert_eq!(client.call(&owning("a", 1, &[]), 1).await.error_code, fenced, "that is too long ago");
    assert_eq!(client.call(&beat("a", 4), 1).await.error_code, fenced, "that epoch never was");
    let answer = client.call(&owning("a", 2, &[(t, &[0, 1])]), 1).await;
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::NONE, 3));
    // Joining again is always possible and changes nothing.
    let again = Beat { subscribed_topic_names: Some(vec!["t".into(), "u".into()]), ..join("a") };
    let answer = client.call(&again, 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer).map(|all| all.len())), (3, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn strangers_are_unknown() {
    let (_cluster, mut client) = start().await;
    client.call(&join("a"), 1).await;
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(client.call(&beat("b", 2), 1).await.error_code, unknown);
    assert_eq!(client.call(&beat("b", -1), 1).await.error_code, unknown);
    assert_eq!(
        client.call(&Beat { instance_id: Some("i".into()), ..beat("a", 2) }, 1).await.error_code,
        unknown
    );
    client.call(&beat("a", -1), 1).await;
    assert_eq!(client.call(&beat("a", -1), 1).await.error_code, unknown, "it left");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_let_go_in_time_is_removed() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&Beat { rebalance_timeout_ms: 8_000, ..join("a") }, 1).await;
    client.call(&join("b"), 1).await;
    // It is told now, and heartbeats go on: that is not enough.
    for second in 0..8 {
        let answer = client.call(&beat("a", 2), 1).await;
        assert_eq!(answer.error_code, ErrorCode::NONE, "after {second} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let view = cluster.group_until("g", |view| view.members.len() == 1).await.unwrap();
    assert_eq!((view.members[0].member_id.as_str(), view.state), ("b", GroupState::Assigning));
    assert_eq!(client.call(&beat("a", 2), 1).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let answer = client.call(&beat("b", 3), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (4, Some(vec![(t, vec![0, 1, 2, 3])])));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lets_go_in_time_stays() {
    let (cluster, mut client) = start().await;
    let t = topic_id(&cluster, "t").await;
    client.call(&Beat { rebalance_timeout_ms: 8_000, ..join("a") }, 1).await;
    client.call(&join("b"), 1).await;
    client.call(&beat("a", 2), 1).await;
    tokio::time::sleep(Duration::from_millis(7_999)).await;
    assert_eq!(client.call(&owning("a", 2, &[(t, &[0, 1])]), 1).await.member_epoch, 3);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(client.call(&beat("a", 3), 1).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_removed_when_its_session_ends() {
    let cluster = cluster_with(|s| s.group_consumer_session_timeout = Duration::from_secs(6)).await;
    let mut client = dial(&cluster).await;
    client.call(&join("a"), 1).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(5_999)).await;
        assert_eq!(client.call(&beat("a", 2), 1).await.error_code, ErrorCode::NONE);
    }
    tokio::time::sleep(Duration::from_millis(6_001)).await;
    assert_eq!(client.call(&beat("a", 2), 1).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_test_can_end_a_session_and_deny_and_break_the_api() {
    let (cluster, mut client) = start().await;
    client.call(&join("a"), 1).await;
    assert!(cluster.expire_member("g", "a").await);
    assert!(!cluster.expire_member("g", "a").await);
    assert_eq!(client.call(&beat("a", 2), 1).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    cluster.on(ApiKey::CONSUMER_GROUP_HEARTBEAT).times(1).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    cluster.deny(ApiKey::CONSUMER_GROUP_HEARTBEAT);
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::GROUP_AUTHORIZATION_FAILED);
    cluster.allow_all();
    cluster.deny_topic("t");
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    cluster.allow_all();
    cluster.deny_group("g");
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::GROUP_AUTHORIZATION_FAILED);
    cluster.allow_all();
    // The broker does its part of a heartbeat whose answer is lost: the same request again finds it done.
    cluster.on(ApiKey::CONSUMER_GROUP_HEARTBEAT).times(1).disconnect_after_apply();
    assert!(client.try_call(&join("a"), 1).await.is_none());
    let mut client = dial(&cluster).await;
    assert_eq!(client.call(&join("a"), 1).await.member_epoch, 4);
    assert_eq!(cluster.group("g").await.unwrap().generation, 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_group_takes_nobody_in() {
    let cluster = cluster_with(|s| s.group_consumer_max_size = 1).await;
    let mut client = dial(&cluster).await;
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::NONE);
    assert_eq!(client.call(&join("b"), 1).await.error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(client.call(&join("a"), 1).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn only_the_coordinator_answers_for_the_group() {
    let (cluster, mut client) = start().await;
    client.call(&join("a"), 1).await;
    let old = cluster.coordinator("g").await.unwrap();
    let new = old % 3 + 1;
    let mut other = connect(&cluster, new).await;
    assert_eq!(other.call(&beat("a", 2), 1).await.error_code, ErrorCode::NOT_COORDINATOR);
    client.call(&join("b"), 1).await;
    let t = topic_id(&cluster, "t").await;
    client.call(&beat("a", 2), 1).await;
    assert!(cluster.move_coordinator("g", new).await);
    assert_eq!(client.call(&beat("a", 2), 1).await.error_code, ErrorCode::NOT_COORDINATOR);
    // Members, epochs and assignments are in the log: the members go on as if nothing had been.
    let answer = other.call(&owning("a", 2, &[(t, &[0, 1])]), 1).await;
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::NONE, 3));
    assert_eq!(assigned(&other.call(&beat("b", 3), 1).await), Some(vec![(t, vec![2, 3])]));
}

#[tokio::test(start_paused = true)]
async fn sessions_start_anew_at_a_new_coordinator() {
    let cluster = cluster_with(|s| s.group_consumer_session_timeout = Duration::from_secs(6)).await;
    let mut client = dial(&cluster).await;
    client.call(&join("a"), 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let new = cluster.coordinator("g").await.unwrap() % 3 + 1;
    cluster.move_coordinator("g", new).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.group("g").await.unwrap().members.len(), 1);
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    assert_eq!(cluster.group("g").await.unwrap().members.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn topics_that_appear_grow_and_go_make_new_epochs() {
    let (cluster, mut client) = start().await;
    let request = Beat { subscribed_topic_names: Some(vec!["new".into()]), ..join("a") };
    let answer = client.call(&request, 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    let id = cluster.create_topic("new", 1).await.unwrap();
    cluster.create_topic("other", 1).await.unwrap();
    let answer = client.call(&beat("a", 2), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(vec![(id, vec![0])])));
    cluster.add_partitions("new", 2).await.unwrap();
    let answer = client.call(&beat("a", 3), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (4, Some(vec![(id, vec![0, 1])])));
    cluster.delete_topic("new").await;
    let answer = client.call(&beat("a", 4), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (4, Some(vec![])), "to be let go first");
    let answer = client.call(&owning("a", 4, &[]), 1).await;
    assert_eq!(answer.member_epoch, 5);
    let again = cluster.create_topic("new", 1).await.unwrap();
    let answer = client.call(&beat("a", 5), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (6, Some(vec![(again, vec![0])])));
}

#[tokio::test(start_paused = true)]
async fn what_a_member_no_longer_subscribes_to_is_taken_at_once() {
    let (cluster, mut client) = start().await;
    let (t, u) = (topic_id(&cluster, "t").await, topic_id(&cluster, "u").await);
    let both = Some(vec!["t".into(), "u".into()]);
    client.call(&Beat { subscribed_topic_names: both, ..join("a") }, 1).await;
    let less = Beat { subscribed_topic_names: Some(vec!["u".into()]), ..beat("a", 2) };
    let answer = client.call(&less, 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(u, vec![0, 1])])));
    let answer = client.call(&owning("a", 2, &[(t, &[0]), (u, &[0, 1])]), 1).await;
    assert_eq!(answer.member_epoch, 2, "it still has some of it");
    assert_eq!(client.call(&owning("a", 2, &[(u, &[0, 1])]), 1).await.member_epoch, 3);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_interval_holds_the_next_target_back() {
    let cluster = cluster_with(|s| s.group_consumer_assignment_interval = Duration::from_secs(1)).await;
    let t = topic_id(&cluster, "t").await;
    let mut client = dial(&cluster).await;
    assert_eq!(assigned(&client.call(&join("a"), 1).await), Some(vec![(t, vec![0, 1, 2, 3])]));
    let answer = client.call(&join("b"), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])), "the last target knows no b");
    assert_eq!(client.call(&beat("a", 2), 1).await.member_epoch, 2);
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.state, view.generation, view.assignment_epoch), (GroupState::Assigning, 3, 2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = client.call(&beat("b", 2), 1).await;
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, None));
    assert_eq!(assigned(&client.call(&beat("a", 2), 1).await), Some(vec![(t, vec![0, 1])]));
}

#[tokio::test(start_paused = true)]
async fn members_vote_for_an_assignor() {
    let (cluster, mut client) = start().await;
    let wants = |member: &str, epoch, name: &str| Beat {
        server_assignor: Some(name.into()),
        subscribed_topic_names: (epoch == 0).then(|| vec!["t".into(), "u".into()]),
        rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
        ..owning(member, epoch, &[])
    };
    client.call(&wants("a", 0, "range"), 1).await;
    client.call(&wants("b", 0, "range"), 1).await;
    client.call(&wants("c", 0, "range"), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.protocol.as_deref(), view.generation), (Some("range"), 4));
    // Of four and two partitions: the first member gets two and one, the second one and one.
    let targets: Vec<_> = view.members.iter().map(|member| member.target.clone()).collect();
    assert_eq!(targets[0], parts(&[("t", &[0, 1]), ("u", &[0])]));
    assert_eq!(targets[1], parts(&[("t", &[2]), ("u", &[1])]));
    assert_eq!(targets[2], parts(&[("t", &[3])]));
    client.call(&wants("a", 2, "uniform"), 1).await;
    assert_eq!(cluster.group("g").await.unwrap().generation, 4, "outvoted");
    client.call(&wants("b", 3, "uniform"), 1).await;
    let view = cluster.group("g").await.unwrap();
    assert_eq!((view.protocol.as_deref(), view.generation), (Some("uniform"), 5));
    let sizes: Vec<usize> =
        view.members.iter().map(|member| member.target.values().map(Vec::len).sum()).collect();
    assert_eq!(sizes, [2, 2, 2]);
}

async fn state_of(cluster: &Cluster, member: &str) -> MemberState {
    cluster.group("g").await.unwrap().member(member).unwrap().state
}

async fn start() -> (Cluster, Client) {
    let cluster = cluster_with(|_| {}).await;
    let client = dial(&cluster).await;
    (cluster, client)
}
