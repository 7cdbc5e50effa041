//! Listing, describing and deleting groups, and removing members.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{InMemory, start};
use kavka_client::{
    Admin, Client, Consumer, ErrorCode, ErrorKind, Event, GroupFilter, GroupState, GroupType, IsolationLevel,
    NewTopic, OffsetAndMetadata, OffsetReset, OffsetSpec, TopicPartition,
};
use kavka_net::{CallOptions, Lane, Net, To};
use kavka_testbroker::{Builder, Cluster};
use kavka_wire::ApiKey;
use kavka_wire::messages::ConsumerGroupHeartbeatRequest;
use tokio::time::Instant;

fn cluster() -> Builder {
    Cluster::builder().topic("t", 4)
}

/// A group without members.
async fn commit(client: &Client, group: &str) {
    let offsets = [(TopicPartition::new("t", 0), OffsetAndMetadata::new(1))];
    client.admin().alter_group_offsets(group, offsets).await.remove(0).unwrap();
}

/// A member that has its partitions.
async fn member(client: &Client, group: &str, instance: &str) -> Consumer {
    let builder = client.consumer().group(group).subscribe(["t"]).instance_id(instance);
    let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await.unwrap();
    match consumer.event().await.unwrap() {
        Event::Assigned(partitions) => assert_eq!(partitions.len(), 4),
        other => panic!("{other:?}"),
    }
    consumer
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_from_every_broker_by_state_and_type() {
    let (cluster, client) = start(cluster()).await;
    let names: Vec<String> = (0..9).map(|number| format!("g{number}")).collect();
    for name in &names {
        commit(&client, name).await;
    }
    let consumer = member(&client, "live", "one").await;

    let listed = client.admin().list_groups(GroupFilter::new()).await.unwrap();
    assert!(listed.errors.is_empty(), "{:?}", listed.errors);
    let found: Vec<&str> = listed.groups.iter().map(|group| &*group.group).collect();
    assert_eq!(found, ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "live"]);
    let mut coordinators = std::collections::BTreeSet::new();
    for group in &listed.groups {
        assert_eq!(Some(group.coordinator), cluster.coordinator(&group.group).await, "{}", group.group);
        assert_eq!(group.kind, Some(GroupType::Classic));
        coordinators.insert(group.coordinator);
    }
    assert_eq!(coordinators.len(), 3, "all brokers were asked");

    let of = async |filter: GroupFilter| {
        let listed = client.admin().list_groups(filter).await.unwrap();
        assert!(listed.errors.is_empty(), "{:?}", listed.errors);
        listed.groups.iter().map(|group| group.group.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(GroupFilter::new().states(["stable".parse().unwrap()])).await, ["live"]);
    assert_eq!(of(GroupFilter::new().states([GroupState::Empty])).await, names);
    assert_eq!(of(GroupFilter::new().types([GroupType::Consumer])).await, [""; 0]);
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_refuses_to_list_is_named_and_the_others_are_heard() {
    let (cluster, client) = start(cluster()).await;
    for number in 0..9 {
        commit(&client, &format!("g{number}")).await;
    }
    cluster.on(ApiKey::LIST_GROUPS).broker(2).reply(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    cluster.on(ApiKey::LIST_GROUPS).broker(3).times(1).disconnect_after_apply();
    cluster.on(ApiKey::LIST_GROUPS).broker(1).times(3).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let listed = client.admin().list_groups(GroupFilter::new()).await.unwrap();
    let kinds: Vec<_> = listed.errors.iter().map(|error| (error.kind(), error.broker_id())).collect();
    assert_eq!(kinds, [(ErrorKind::Authorization, Some(2))]);
    let coordinators: std::collections::BTreeSet<i32> =
        listed.groups.iter().map(|group| group.coordinator).collect();
    assert_eq!(coordinators.into_iter().collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_brokers_are_too_old_for_is_refused_and_no_filter_is_not() {
    let (_cluster, client) = start(cluster().versions(ApiKey::LIST_GROUPS, 0..=3)).await;
    commit(&client, "g").await;
    let listed = client.admin().list_groups(GroupFilter::new()).await.unwrap();
    assert_eq!((listed.groups.len(), listed.errors.len()), (1, 0));
    assert_eq!((&listed.groups[0].state, &listed.groups[0].kind), (&None, &None));
    let listed = client.admin().list_groups(GroupFilter::new().states([GroupState::Empty])).await.unwrap();
    assert_eq!(listed.groups.len(), 0);
    assert_eq!(listed.errors.len(), 3);
    assert!(listed.errors.iter().all(|error| error.kind() == ErrorKind::Unsupported), "{:?}", listed.errors);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_described_with_its_members() {
    let (cluster, client) = start(cluster()).await;
    let consumer = member(&client, "g", "one").await;
    commit(&client, "quiet").await;
    let mut described = client.admin().describe_groups(["g", "nobody", "quiet", "g"]).await;
    let again = described.pop().unwrap().unwrap();
    let group = described[0].as_ref().unwrap();
    assert_eq!(*group, again);
    assert_eq!((&*group.group, &group.kind, &group.state), ("g", &GroupType::Classic, &GroupState::Stable));
    assert_eq!(
        (&*group.protocol_type, group.coordinator.id),
        ("consumer", cluster.coordinator("g").await.unwrap())
    );
    assert_eq!(*group.assignor, *cluster.group("g").await.unwrap().protocol.unwrap());
    let [member] = &group.members[..] else { panic!("{:?}", group.members) };
    assert_eq!((&*member.client_id, member.instance_id.as_deref()), ("kavka", Some("one")));
    assert!(!member.host.is_empty() && member.member_id.starts_with("one"), "{member:?}");
    assert_eq!((member.topics.len(), &*member.topics[0], member.epoch), (1, "t", None));
    let all: Vec<_> = (0..4).map(|number| TopicPartition::new("t", number)).collect();
    assert_eq!((&member.assignment, &member.target), (&all, &None));

    let error = described[1].as_ref().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    assert!(error.to_string().starts_with("group nobody: "), "{error}");
    let quiet = described[2].as_ref().unwrap();
    assert_eq!((&quiet.state, quiet.members.len()), (&GroupState::Empty, 0));
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn old_brokers_are_asked_in_their_versions() {
    let builder = cluster()
        .versions(ApiKey::FIND_COORDINATOR, 0..=3)
        .versions(ApiKey::DESCRIBE_GROUPS, 0..=5)
        .versions(ApiKey::DELETE_GROUPS, 0..=1)
        .without(ApiKey::CONSUMER_GROUP_DESCRIBE);
    let (cluster, client) = start(builder).await;
    commit(&client, "a").await;
    commit(&client, "b").await;
    let described = client.admin().describe_groups(["a", "nobody", "b"]).await;
    assert_eq!(described[0].as_ref().unwrap().state, GroupState::Empty);
    assert_eq!(described[1].as_ref().unwrap_err().code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(&*described[2].as_ref().unwrap().group, "b");
    for result in client.admin().delete_groups(["a", "b"]).await {
        result.unwrap();
    }
    assert_eq!(cluster.group("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn groups_with_members_are_not_deleted_and_the_others_are() {
    let (cluster, client) = start(cluster()).await;
    commit(&client, "empty").await;
    let consumer = member(&client, "busy", "one").await;
    let results = client.admin().delete_groups(["busy", "empty", "nobody"]).await;
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().map_err(|error| error.code())).collect();
    assert_eq!(
        codes,
        [Err(Some(ErrorCode::NON_EMPTY_GROUP)), Ok(&()), Err(Some(ErrorCode::GROUP_ID_NOT_FOUND))]
    );
    assert!(results[0].as_ref().unwrap_err().to_string().contains("stop its members"), "{:?}", results[0]);
    assert_eq!(cluster.group("empty").await, None);
    assert!(cluster.group("busy").await.is_some());
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_moves_or_loads_is_looked_for_again() {
    let (cluster, client) = start(cluster()).await;
    commit(&client, "g").await;
    cluster.on(ApiKey::DESCRIBE_GROUPS).times(2).reply(ErrorCode::NOT_COORDINATOR);
    cluster.on(ApiKey::FIND_COORDINATOR).times(2).reply(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    client.admin().describe_groups(["g"]).await.remove(0).unwrap();
    cluster.on(ApiKey::DELETE_GROUPS).times(3).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let old = cluster.coordinator("g").await.unwrap();
    assert!(cluster.move_coordinator("g", old % 3 + 1).await);
    client.admin().delete_groups(["g"]).await.remove(0).unwrap();
    assert_eq!(cluster.requests(ApiKey::DELETE_GROUPS).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_asked_again_when_its_answer_is_lost_and_a_change_is_not() {
    let (cluster, client) = start(cluster()).await;
    commit(&client, "g").await;
    cluster.on(ApiKey::DESCRIBE_GROUPS).times(1).disconnect_after_apply();
    client.admin().describe_groups(["g"]).await.remove(0).unwrap();
    assert_eq!(cluster.requests(ApiKey::DESCRIBE_GROUPS).await, 2);

    cluster.on(ApiKey::DELETE_GROUPS).times(1).disconnect_after_apply();
    let error = client.admin().delete_groups(["g"]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
    assert!(error.to_string().contains("group g"), "{error}");
    assert_eq!(cluster.requests(ApiKey::DELETE_GROUPS).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_about_a_group_ends_at_its_timeout_and_says_what_the_broker_said() {
    let (cluster, client) = start(cluster()).await;
    cluster.on(ApiKey::FIND_COORDINATOR).reply(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let started = Instant::now();
    let admin = client.admin().timeout(Duration::from_secs(3));
    let error = admin.describe_groups(["g"]).await.remove(0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::COORDINATOR_NOT_AVAILABLE), "{error}");
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn static_members_are_removed_by_name() {
    let (cluster, client) = start(cluster()).await;
    let consumer = member(&client, "g", "one").await;
    let removed = client.admin().remove_members("g", ["two", "one"]).await;
    let error = removed[0].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Configuration, Some(ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(error.to_string().contains("instance two"), "{error}");
    assert!(removed[1].is_ok(), "{removed:?}");
    assert_eq!(cluster.group("g").await.unwrap().members.len(), 0);
    assert!(client.admin().remove_members("g", [""; 0]).await.is_empty());
    drop(consumer);
}

/// A member of the consumer protocol, by its heartbeat alone.
async fn joined(cluster: &Cluster, group: &str) {
    let mut config = kavka_net::Config::new(cluster.bootstrap().split(','));
    config.client_id = "by-hand".into();
    config.dialer = Arc::new(InMemory(cluster.connector()));
    let net = Net::start(config).unwrap();
    net.refresh(kavka_net::clock::after(Duration::from_secs(30))).await.unwrap();
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "hand".into(),
        rack_id: Some("r2".into()),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let to = To::Broker(cluster.coordinator(group).await.unwrap());
    let answer = net.call(to, Lane::General, &request, CallOptions::default()).await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_the_consumer_protocol_is_described_beside_a_classic_one() {
    let (cluster, client) = start(cluster()).await;
    joined(&cluster, "new").await;
    commit(&client, "old").await;
    let described = client.admin().describe_groups(["old", "new"]).await;
    assert_eq!(described[0].as_ref().unwrap().kind, GroupType::Classic);
    let group = described[1].as_ref().unwrap();
    assert_eq!((&group.kind, &*group.protocol_type), (&GroupType::Consumer, "consumer"));
    assert!(
        !group.assignor.is_empty() && group.epoch.is_some() && group.assignment_epoch.is_some(),
        "{group:?}"
    );
    let [member] = &group.members[..] else { panic!("{:?}", group.members) };
    assert_eq!(
        (&*member.member_id, &*member.client_id, member.rack.as_deref()),
        ("hand", "by-hand", Some("r2"))
    );
    assert_eq!((member.epoch, member.classic), (group.epoch, Some(false)));
    assert_eq!(member.topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), ["t"]);
    let all: Vec<_> = (0..4).map(|number| TopicPartition::new("t", number)).collect();
    assert_eq!(member.target.as_ref(), Some(&all));
    let listed = client.admin().list_groups(GroupFilter::new().types([GroupType::Consumer])).await.unwrap();
    assert_eq!(listed.groups.iter().map(|group| &*group.group).collect::<Vec<_>>(), ["new"]);

    // Whatever the code is by which a coordinator refuses nobody's commit, the group has members.
    let offsets = [(TopicPartition::new("t", 0), OffsetAndMetadata::new(1))];
    let error = client.admin().alter_group_offsets("new", offsets).await.remove(0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NON_EMPTY_GROUP), "{error}");
}

#[test]
fn what_an_admin_does_can_be_spawned() {
    fn is_send(_: impl Send) {}
    let partition = || TopicPartition::new("t", 0);
    // Never called: it is enough that it compiles.
    let _ = |admin: Admin, group: &str| {
        is_send(admin.list_groups(GroupFilter::new()));
        is_send(admin.describe_groups([group]));
        is_send(admin.delete_groups([group]));
        is_send(admin.remove_members(group, ["i"]));
        is_send(admin.list_group_offsets([group]));
        is_send(admin.alter_group_offsets(group, [(partition(), OffsetAndMetadata::new(0))]));
        is_send(admin.delete_group_offsets(group, [partition()]));
        is_send(admin.list_offsets([(partition(), OffsetSpec::Latest)], IsolationLevel::ReadCommitted));
        is_send(admin.create_topics([NewTopic::new("t", 1)]));
        is_send(admin.delete_topics(["t"]));
        is_send(admin.create_partitions([("t", 1)]));
        is_send(admin.list_topics());
        is_send(admin.describe_topics(["t"]));
    };
}
