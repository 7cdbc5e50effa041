//! Creating, growing, deleting and describing topics.

use std::time::Duration;

use crate::support::start;
use kavka_client::{ErrorKind, NewTopic, Record};
use kavka_testbroker::Cluster;
use kavka_wire::{ApiKey, ErrorCode};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_topic_can_be_used_as_soon_as_it_is_created() {
    let (_cluster, client) = start(Cluster::builder()).await;
    let admin = client.admin();
    let topics = [NewTopic::new("a", 3).replication(3).config("retention.ms", "1000"), NewTopic::new("b", 1)];
    for result in admin.create_topics(topics).await {
        result.unwrap();
    }
    let producer = client.producer().start().await.unwrap();
    producer.send(Record::to("a").partition(2).value("x")).await.unwrap().await.unwrap();

    let described = admin.describe_topics(["a", "missing"]).await;
    let a = described[0].as_ref().unwrap();
    assert_eq!((&*a.name, a.partitions.len(), a.internal), ("a", 3, false));
    assert!(a.partitions.iter().all(|p| p.leader.is_some() && p.replicas.len() == 3 && p.in_sync.len() == 3));
    let error = described[1].as_ref().unwrap_err();
    assert_eq!(
        (error.code(), error.topic()),
        (Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Some("missing")),
        "{error}"
    );

    let listed = admin.list_topics().await.unwrap();
    let names: Vec<&str> = listed.iter().filter(|topic| !topic.internal).map(|topic| &*topic.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn each_topic_has_its_own_result() {
    let (_cluster, client) = start(Cluster::builder().topic("old", 1)).await;
    let topics = [
        NewTopic::new("old", 1),
        NewTopic::new("new", 1),
        NewTopic::new("no good", 1),
        NewTopic::new("many", 1).replication(9),
    ];
    let results = client.admin().create_topics(topics).await;
    let kinds: Vec<_> =
        results.iter().map(|result| result.as_ref().map_err(|error| (error.kind(), error.code()))).collect();
    assert_eq!(kinds[0], Err((ErrorKind::Configuration, Some(ErrorCode::TOPIC_ALREADY_EXISTS))));
    assert_eq!(kinds[1], Ok(&()));
    assert_eq!(kinds[2], Err((ErrorKind::Configuration, None)));
    assert_eq!(kinds[3], Err((ErrorKind::Configuration, Some(ErrorCode::INVALID_REPLICATION_FACTOR))));

    let deleted = client.admin().delete_topics(["new", "never"]).await;
    assert!(deleted[0].is_ok());
    assert_eq!(deleted[1].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert!(client.admin().describe_topics(["new"]).await[0].is_err());
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_grows_takes_records_in_its_new_partitions() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    for result in client.admin().create_partitions([("t", 4)]).await {
        result.unwrap();
    }
    let delivered = producer.send(Record::to("t").partition(3).value("x")).await.unwrap().await.unwrap();
    assert_eq!((delivered.partition, delivered.offset), (3, Some(0)));
    let less = client.admin().create_partitions([("t", 2)]).await;
    assert_eq!(less[0].as_ref().unwrap_err().code(), Some(ErrorCode::INVALID_PARTITIONS));
}

#[tokio::test(start_paused = true)]
async fn the_wrong_controller_is_asked_again_and_a_lost_answer_is_not() {
    let (cluster, client) = start(Cluster::builder()).await;
    cluster.on(ApiKey::CREATE_TOPICS).times(3).reply(ErrorCode::NOT_CONTROLLER);
    client.admin().create_topics([NewTopic::new("a", 1)]).await.remove(0).unwrap();
    assert_eq!(cluster.requests(ApiKey::CREATE_TOPICS).await, 4);

    cluster.on(ApiKey::CREATE_TOPICS).times(1).disconnect_after_apply();
    let error = client.admin().create_topics([NewTopic::new("b", 1)]).await.remove(0).unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::UnknownOutcome, Some("b")), "{error}");
    assert_eq!(cluster.requests(ApiKey::CREATE_TOPICS).await, 5);
    assert_eq!(client.admin().describe_topics(["b"]).await[0].as_ref().unwrap().partitions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_timeout() {
    let (cluster, client) = start(Cluster::builder()).await;
    cluster.on(ApiKey::CREATE_TOPICS).reply(ErrorCode::NOT_CONTROLLER);
    let started = Instant::now();
    let admin = client.admin().timeout(Duration::from_secs(3));
    let error = admin.create_topics([NewTopic::new("a", 1)]).await.remove(0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NOT_CONTROLLER));
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());

    cluster.clear_faults();
    cluster.on(ApiKey::CREATE_TOPICS).drop_request();
    let error = admin.create_topics([NewTopic::new("a", 1)]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
    assert!(started.elapsed() <= Duration::from_secs(7), "{:?}", started.elapsed());
}
