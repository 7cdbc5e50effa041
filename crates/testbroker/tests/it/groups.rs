//! Classic consumer groups, rule by rule, under a paused clock.

use std::time::Duration;

use crate::common::{Client, connect};
use bytes::Bytes;
use kavka_testbroker::{Cluster, GroupState};
use kavka_wire::ErrorCode;
use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;
use kavka_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use tokio::time::Instant;

const JOIN: i16 = 9;

async fn cluster() -> Cluster {
    Cluster::builder().in_memory().topic("t", 2).start().await.unwrap()
}

async fn dial(cluster: &Cluster) -> Client {
    connect(cluster, cluster.coordinator("g").await.unwrap()).await
}

fn join(member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", b"m")],
        ..Default::default()
    }
}

fn protocol(name: &str, metadata: &'static [u8]) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol {
        name: name.into(),
        metadata: Bytes::from_static(metadata),
        ..Default::default()
    }
}

fn join_static(member: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join(member) }
}

fn sync(member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(member, assignment): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        ..Default::default()
    };
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.iter().map(assignment).collect(),
        ..Default::default()
    }
}

fn beat(member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    }
}

fn leave(member: &str, instance: Option<&str>) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A member id that JoinGroup asks for.
async fn new_id(client: &mut Client) -> String {
    let answer = client.call(&join(""), JOIN).await;
    assert_eq!(answer.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    answer.member_id.to_string()
}

async fn heartbeat(client: &mut Client, member: &str, generation: i32) -> ErrorCode {
    client.call(&beat(member, generation), 4).await.error_code
}

/// A group of one, stable in generation 1.
async fn alone(cluster: &Cluster) -> (Client, String) {
    let mut client = dial(cluster).await;
    let id = new_id(&mut client).await;
    let joined = client.call(&join(&id), JOIN).await;
    assert_eq!((joined.generation_id, &*joined.leader), (1, &*id));
    let synced = client.call(&sync(&id, 1, &[(&id, "all")]), 5).await;
    assert_eq!(synced.assignment, "all");
    (client, id)
}

/// A stable group of two: the leader and a follower, in generation 2.
async fn pair(cluster: &Cluster) -> ((Client, String), (Client, String)) {
    let (mut leader, leader_id) = alone(cluster).await;
    let mut follower = dial(cluster).await;
    let follower_id = new_id(&mut follower).await;
    follower.send(&join(&follower_id), JOIN).await;
    assert_eq!(heartbeat(&mut leader, &leader_id, 1).await, ErrorCode::REBALANCE_IN_PROGRESS);
    let joined = leader.call(&join(&leader_id), JOIN).await;
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    let other = follower.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    assert_eq!((other.generation_id, other.members.len(), &*other.leader), (2, 0, &*leader_id));
    follower.send(&sync(&follower_id, 2, &[]), 5).await;
    leader.call(&sync(&leader_id, 2, &[(&leader_id, "one"), (&follower_id, "two")]), 5).await;
    assert_eq!(follower.receive::<SyncGroupRequest>(5).await.unwrap().assignment, "two");
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
    ((leader, leader_id), (follower, follower_id))
}

#[tokio::test(start_paused = true)]
async fn every_version_of_the_group_apis_is_served() {
    let cluster = cluster().await;
    for version in 0..=9 {
        let mut client = dial(&cluster).await;
        let mut request = join("");
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut joined = client.call(&request, version).await;
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED);
            joined = client.call(&join(&joined.member_id), version).await;
        }
        assert_eq!(joined.error_code, ErrorCode::NONE, "version {version}");
        assert_eq!(joined.members.len(), 1);
        let sync_version = version.min(5);
        let mut request = sync(&joined.member_id, joined.generation_id, &[(&joined.member_id, "x")]);
        if sync_version < 5 {
            (request.protocol_type, request.protocol_name) = (None, None);
        }
        assert_eq!(client.call(&request, sync_version).await.assignment, "x");
        let beaten = client.call(&beat(&joined.member_id, joined.generation_id), version.min(4)).await;
        assert_eq!(beaten.error_code, ErrorCode::NONE);
        let left = match version {
            0..=2 => {
                let request = LeaveGroupRequest {
                    group_id: "g".into(),
                    member_id: joined.member_id.clone(),
                    ..Default::default()
                };
                client.call(&request, version).await
            }
            _ => client.call(&leave(&joined.member_id, None), version.min(5)).await,
        };
        assert_eq!(left.error_code, ErrorCode::NONE);
        assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Empty);
    }
}

#[tokio::test(start_paused = true)]
async fn joins_that_cannot_be_are_refused() {
    let cluster = Cluster::builder().in_memory().settings(|s| s.group_max_size = 1).start().await.unwrap();
    let mut client = dial(&cluster).await;
    let error =
        async |client: &mut Client, request: JoinGroupRequest| client.call(&request, JOIN).await.error_code;
    let no_group = JoinGroupRequest { group_id: "".into(), ..join("") };
    assert_eq!(error(&mut client, no_group).await, ErrorCode::INVALID_GROUP_ID);
    for session_timeout_ms in [-1, 5_999, 1_800_001] {
        let request = JoinGroupRequest { session_timeout_ms, ..join("") };
        assert_eq!(error(&mut client, request).await, ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(error(&mut client, join("nobody")).await, ErrorCode::UNKNOWN_MEMBER_ID);
    let nothing = JoinGroupRequest { protocols: Vec::new(), ..join("") };
    assert_eq!(error(&mut client, nothing).await, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let untyped = JoinGroupRequest { protocol_type: "".into(), ..join("") };
    assert_eq!(error(&mut client, untyped).await, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let elsewhere = cluster.coordinator("g").await.unwrap() % 3 + 1;
    let mut other = connect(&cluster, elsewhere).await;
    assert_eq!(error(&mut other, join("")).await, ErrorCode::NOT_COORDINATOR);
    let (_client, _) = alone(&cluster).await;
    assert_eq!(error(&mut client, join("nobody")).await, ErrorCode::GROUP_MAX_SIZE_REACHED);
    cluster.deny_group("g");
    assert_eq!(error(&mut client, join("")).await, ErrorCode::GROUP_AUTHORIZATION_FAILED);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_that_the_others_do_not_know_is_inconsistent() {
    let cluster = cluster().await;
    let (_leader, _) = alone(&cluster).await;
    let mut client = dial(&cluster).await;
    let other = JoinGroupRequest { protocols: vec![protocol("sticky", b"m")], ..join("") };
    assert_eq!(client.call(&other, JOIN).await.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let connect = JoinGroupRequest { protocol_type: "connect".into(), ..join("") };
    assert_eq!(client.call(&connect, JOIN).await.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
}

#[tokio::test(start_paused = true)]
async fn most_votes_choose_among_the_protocols_of_all() {
    let cluster = Cluster::builder()
        .in_memory()
        .settings(|s| s.group_initial_rebalance_delay = Duration::from_secs(3))
        .start()
        .await
        .unwrap();
    let preferences = [["a", "b"], ["b", "a"], ["b", "a"]];
    let mut clients = Vec::new();
    for [first, second] in preferences {
        let mut client = dial(&cluster).await;
        let request =
            JoinGroupRequest { protocols: vec![protocol(first, b""), protocol(second, b"")], ..join("") };
        client.send(&request, 3).await;
        clients.push(client);
    }
    for client in &mut clients {
        let joined = client.receive::<JoinGroupRequest>(3).await.unwrap();
        assert_eq!((joined.protocol_name.as_deref(), joined.generation_id), (Some("b"), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_initial_delay_grows_while_members_arrive() {
    let cluster = Cluster::builder()
        .in_memory()
        .settings(|s| s.group_initial_rebalance_delay = Duration::from_secs(3))
        .start()
        .await
        .unwrap();
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = dial(&cluster).await;
        client.send(&join(""), 3).await;
        clients.push(client);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    for client in &mut clients {
        assert_eq!(client.receive::<JoinGroupRequest>(3).await.unwrap().generation_id, 1);
    }
    // Joined at 0, 2 and 4 s: the delays end at 3, 6 and 9 s, and in the last one nobody came.
    assert_eq!(began.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_member_id_that_is_not_used_is_forgotten() {
    let cluster = cluster().await;
    let mut client = dial(&cluster).await;
    let id = new_id(&mut client).await;
    assert!(id.starts_with("raw-"));
    assert_eq!(heartbeat(&mut client, &id, 0).await, ErrorCode::UNKNOWN_MEMBER_ID);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(client.call(&join(&id), JOIN).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test(start_paused = true)]
async fn a_rebalance_waits_for_member_ids_that_were_handed_out() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    let mut slow = dial(&cluster).await;
    let slow_id = new_id(&mut slow).await;
    leader.send(&join(&leader_id), JOIN).await;
    follower.send(&join(&follower_id), JOIN).await;
    assert!(leader.answers_within::<JoinGroupRequest>(JOIN, Duration::from_secs(5)).await.is_none());
    slow.send(&join(&slow_id), JOIN).await;
    assert_eq!(leader.receive::<JoinGroupRequest>(JOIN).await.unwrap().members.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_and_heartbeats_keep_it() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let error = heartbeat(&mut leader, &leader_id, 2).await;
        if error == ErrorCode::REBALANCE_IN_PROGRESS {
            break;
        }
        assert_eq!(error, ErrorCode::NONE);
    }
    let group = cluster.group("g").await.unwrap();
    assert_eq!((group.state, group.members.len()), (GroupState::PreparingRebalance, 1));
    assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::UNKNOWN_MEMBER_ID);
    let joined = leader.call(&join(&leader_id), JOIN).await;
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_join_again_in_time_is_dropped() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    let began = Instant::now();
    leader.send(&join(&leader_id), JOIN).await;
    // The follower is alive, but does not join.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::REBALANCE_IN_PROGRESS);
    }
    let joined = leader.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
    assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_is_taken_when_the_old_one_does_not_join() {
    let cluster = cluster().await;
    let ((_leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    let changed = JoinGroupRequest { protocols: vec![protocol("range", b"changed")], ..join(&follower_id) };
    let joined = client_call(&mut follower, changed).await;
    assert_eq!((&*joined.leader, joined.members.len()), (&*follower_id, 1));
    assert_ne!(leader_id, follower_id);
}

async fn client_call(client: &mut Client, request: JoinGroupRequest) -> JoinGroupResponse {
    client.call(&request, JOIN).await
}

#[tokio::test(start_paused = true)]
async fn joining_again_without_news_changes_nothing_but_for_the_leader() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    let again = follower.call(&join(&follower_id), JOIN).await;
    assert_eq!((again.error_code, again.generation_id), (ErrorCode::NONE, 2));
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
    leader.send(&join(&leader_id), JOIN).await;
    assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::REBALANCE_IN_PROGRESS);
    let again = follower.call(&join(&follower_id), JOIN).await;
    assert_eq!(again.generation_id, 3);
    assert_eq!(leader.receive::<JoinGroupRequest>(JOIN).await.unwrap().generation_id, 3);
    // While the assignment is outstanding, an unchanged member gets the same answer once more.
    let again = leader.call(&join(&leader_id), JOIN).await;
    assert_eq!((again.generation_id, again.members.len()), (3, 2));
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::CompletingRebalance);
}

#[tokio::test(start_paused = true)]
async fn who_never_synchronises_is_dropped() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    leader.send(&join(&leader_id), JOIN).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    follower.call(&join(&follower_id), JOIN).await;
    leader.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    let synced = leader.call(&sync(&leader_id, 3, &[(&leader_id, "x")]), 5).await;
    assert_eq!(synced.error_code, ErrorCode::NONE);
    // The follower heartbeats but never asks for its assignment.
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(heartbeat(&mut follower, &follower_id, 3).await, ErrorCode::NONE);
        assert_eq!(heartbeat(&mut leader, &leader_id, 3).await, ErrorCode::NONE);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(heartbeat(&mut follower, &follower_id, 3).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut leader, &leader_id, 3).await, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[tokio::test(start_paused = true)]
async fn waiting_synchronisations_end_with_a_new_rebalance() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    leader.send(&join(&leader_id), JOIN).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    follower.call(&join(&follower_id), JOIN).await;
    leader.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    follower.send(&sync(&follower_id, 3, &[]), 5).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    leader.call(&leave(&leader_id, None), 5).await;
    let synced = follower.receive::<SyncGroupRequest>(5).await.unwrap();
    assert_eq!(synced.error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let joined = follower.call(&join(&follower_id), JOIN).await;
    assert_eq!((joined.generation_id, &*joined.leader), (4, &*follower_id));
}

#[tokio::test(start_paused = true)]
async fn synchronisations_of_another_group_generation_or_protocol_are_refused() {
    let cluster = cluster().await;
    let (mut client, id) = alone(&cluster).await;
    let mut error = async |request: SyncGroupRequest| client.call(&request, 5).await.error_code;
    assert_eq!(error(sync(&id, 0, &[])).await, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(error(sync("nobody", 1, &[])).await, ErrorCode::UNKNOWN_MEMBER_ID);
    let other = SyncGroupRequest { protocol_name: Some("sticky".into()), ..sync(&id, 1, &[]) };
    assert_eq!(error(other).await, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let unsaid = SyncGroupRequest { protocol_name: None, ..sync(&id, 1, &[]) };
    assert_eq!(error(unsaid).await, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let no_group = SyncGroupRequest { group_id: "".into(), ..sync(&id, 1, &[]) };
    assert_eq!(error(no_group).await, ErrorCode::INVALID_GROUP_ID);
    let fenced = SyncGroupRequest { group_instance_id: Some("i".into()), ..sync(&id, 1, &[]) };
    assert_eq!(error(fenced).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(error(sync(&id, 1, &[])).await, ErrorCode::NONE);
    assert_eq!(heartbeat(&mut client, &id, 0).await, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn leaving_rebalances_the_rest_and_empties_the_group_in_the_end() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    let left = leader.call(&leave(&leader_id, None), 5).await;
    assert_eq!(left.members[0].error_code, ErrorCode::NONE);
    let left = leader.call(&leave(&leader_id, None), 5).await;
    assert_eq!(left.members[0].error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::REBALANCE_IN_PROGRESS);
    follower.call(&leave(&follower_id, None), 5).await;
    let group = cluster.group("g").await.unwrap();
    assert_eq!((group.state, group.generation, group.leader), (GroupState::Empty, 3, None));
    let unknown = LeaveGroupRequest { group_id: "other".into(), ..leave(&leader_id, None) };
    let mut client = connect(&cluster, cluster.coordinator("other").await.unwrap()).await;
    let left = client.call(&unknown, 5).await;
    assert_eq!(
        (left.error_code, left.members[0].error_code),
        (ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID)
    );
}

#[tokio::test(start_paused = true)]
async fn a_static_member_comes_back_without_a_rebalance() {
    let cluster = cluster().await;
    let mut old = dial(&cluster).await;
    let first = old.call(&join_static("", "i"), JOIN).await;
    assert_eq!((first.error_code, first.generation_id), (ErrorCode::NONE, 1));
    assert!(first.member_id.starts_with("i-"));
    let assign = SyncGroupRequest {
        group_instance_id: Some("i".into()),
        ..sync(&first.member_id, 1, &[(&first.member_id, "all")])
    };
    old.call(&assign, 5).await;
    let mut new = dial(&cluster).await;
    let second = new.call(&join_static("", "i"), JOIN).await;
    assert_eq!((second.generation_id, second.skip_assignment, second.members.len()), (1, true, 1));
    assert_ne!(second.member_id, first.member_id);
    assert_eq!(second.leader, second.member_id);
    let ask = SyncGroupRequest { group_instance_id: Some("i".into()), ..sync(&second.member_id, 1, &[]) };
    assert_eq!(new.call(&ask, 5).await.assignment, "all");
    let fenced = HeartbeatRequest { group_instance_id: Some("i".into()), ..beat(&first.member_id, 1) };
    assert_eq!(old.call(&fenced, 4).await.error_code, ErrorCode::FENCED_INSTANCE_ID);
    let fenced = old.call(&join_static(&first.member_id, "i"), JOIN).await;
    assert_eq!(fenced.error_code, ErrorCode::FENCED_INSTANCE_ID);
    // An older client is told that somebody else leads, so that it does not assign.
    let mut older = dial(&cluster).await;
    let third = older.call(&join_static("", "i"), 8).await;
    assert_eq!((third.generation_id, third.members.len(), &third.leader), (1, 0, &second.member_id));
    // It leaves only when told to, by instance id alone.
    let left = older.call(&leave("", Some("i")), 5).await;
    assert_eq!(left.members[0].error_code, ErrorCode::NONE);
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_that_comes_back_fences_its_waiting_predecessor() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (_follower, _)) = pair(&cluster).await;
    let mut old = dial(&cluster).await;
    old.send(&join_static("", "i"), JOIN).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut new = dial(&cluster).await;
    new.send(&join_static("", "i"), JOIN).await;
    let fenced = old.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    assert_eq!(fenced.error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(heartbeat(&mut leader, &leader_id, 2).await, ErrorCode::REBALANCE_IN_PROGRESS);
    leader.send(&join(&leader_id), JOIN).await;
    let joined = new.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    assert_eq!(joined.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn static_members_are_kept_through_a_rebalance_that_they_miss() {
    let cluster = cluster().await;
    let (mut leader, leader_id) = alone(&cluster).await;
    let mut fixed = dial(&cluster).await;
    let request = JoinGroupRequest { session_timeout_ms: 1_000_000, ..join_static("", "i") };
    fixed.send(&request, JOIN).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    leader.call(&join(&leader_id), JOIN).await;
    let fixed_id = fixed.receive::<JoinGroupRequest>(JOIN).await.unwrap().member_id;
    fixed.send(&SyncGroupRequest { group_instance_id: Some("i".into()), ..sync(&fixed_id, 2, &[]) }, 5).await;
    leader.call(&sync(&leader_id, 2, &[]), 5).await;
    fixed.receive::<SyncGroupRequest>(5).await.unwrap();
    let began = Instant::now();
    let joined = leader.call(&join(&leader_id), JOIN).await;
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    assert_eq!((joined.generation_id, joined.members.len()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn another_coordinator_knows_what_was_written_down() {
    let cluster = cluster().await;
    let ((mut leader, leader_id), (mut follower, follower_id)) = pair(&cluster).await;
    // A rebalance is under way when the coordinator changes.
    leader.send(&join(&leader_id), JOIN).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let next = cluster.coordinator("g").await.unwrap() % 3 + 1;
    assert!(cluster.move_coordinator("g", next).await);
    let told = leader.receive::<JoinGroupRequest>(JOIN).await.unwrap();
    assert_eq!(told.error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(heartbeat(&mut follower, &follower_id, 2).await, ErrorCode::NOT_COORDINATOR);
    let mut moved = dial(&cluster).await;
    assert_eq!(heartbeat(&mut moved, &follower_id, 2).await, ErrorCode::NONE);
    assert_eq!(moved.call(&sync(&follower_id, 2, &[]), 5).await.assignment, "two");
    // Sessions go on.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(cluster.group("g").await.unwrap().members.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_expired_member_is_gone_at_once() {
    let cluster = cluster().await;
    let (mut client, id) = alone(&cluster).await;
    assert!(cluster.expire_member("g", &id).await);
    assert!(!cluster.expire_member("g", &id).await);
    assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_only_handed_out_expires_without_a_rebalance() {
    let cluster = cluster().await;
    let (mut member, id) = alone(&cluster).await;
    let handed_out = new_id(&mut dial(&cluster).await).await;
    assert!(cluster.expire_member("g", &handed_out).await);
    assert!(!cluster.expire_member("g", &handed_out).await);
    assert_eq!(heartbeat(&mut member, &id, 1).await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_members_agree() {
    let cluster = cluster().await;
    let coordinator = cluster.coordinator("g").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = connect(&cluster, coordinator).await;
        client.send(&join(""), 3).await;
        // Each joins while the group is rebalancing because of the one before.
        tokio::time::sleep(Duration::from_millis(1)).await;
        clients.push(client);
    }
    // The first one became a generation of its own; when it joins again all are together.
    let first = clients[0].receive::<JoinGroupRequest>(3).await.unwrap();
    assert_eq!(first.generation_id, 1);
    clients[0].send(&join(&first.member_id), 3).await;
    let mut members = 0;
    for client in &mut clients {
        let joined = client.receive::<JoinGroupRequest>(3).await.unwrap();
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::NONE, 2));
        members += joined.members.len();
    }
    assert_eq!(members, 100);
}
