//! Against a real Kafka, which `cargo xtask kafka test` starts: `KAVKA_TEST_BOOTSTRAP` says where it is. Without it, the tests skip
//! themselves.

use std::sync::Arc;
use std::time::Duration;

use kavka_net::{CallOptions, Config, Lane, Net, To, clock};
use kavka_wire::messages::create_topics::CreatableTopic;
use kavka_wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, ListGroupsRequest,
};
use kavka_wire::{ApiKey, ErrorCode};

fn start() -> Option<Net> {
    let Ok(bootstrap) = std::env::var("KAVKA_TEST_BOOTSTRAP") else {
        eprintln!("skipped: KAVKA_TEST_BOOTSTRAP is not set; see `cargo xtask kafka`");
        return None;
    };
    Some(Net::start(Config::new(bootstrap.split(','))).unwrap())
}

fn soon() -> std::time::Instant {
    clock::after(Duration::from_secs(30))
}

async fn create(net: &Net, name: &str, num_partitions: i32) -> ErrorCode {
    let topics = vec![CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: -1,
        ..Default::default()
    }];
    let request = CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    net.call(To::Any, Lane::General, &request, CallOptions::default()).await.unwrap().topics[0].error_code
}

async fn delete(net: &Net, name: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![kavka_wire::messages::delete_topics::DeleteTopicState {
            name: Some(name.into()),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = net.call(To::Any, Lane::General, &request, CallOptions::default()).await.unwrap();
    assert_eq!(answer.responses[0].error_code, ErrorCode::NONE);
}

/// Refreshes until the topic is as wanted.
async fn until(net: &Net, name: &str, wanted: impl Fn(&kavka_net::Topic) -> bool) -> Arc<kavka_net::Cluster> {
    let deadline = soon();
    loop {
        let cluster = net.refresh(deadline).await.unwrap();
        if cluster.topic(name).is_some_and(|topic| wanted(topic)) {
            return cluster;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_seen_created_and_created_again() {
    let Some(net) = start() else { return };
    let name: Arc<str> = format!("kavka-net-{}", Config::new([""]).seed).into();
    net.track([name.clone()]);
    until(&net, &name, |topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    assert_eq!(create(&net, &name, 3).await, ErrorCode::NONE);
    let whole =
        |n| move |topic: &kavka_net::Topic| topic.error == ErrorCode::NONE && topic.partitions.len() == n;
    let cluster = until(&net, &name, whole(3)).await;
    let first = cluster.topic(&name).unwrap().id;
    assert!(!first.is_zero() && cluster.topic_by_id(first).is_some());
    assert!(cluster.features.level("metadata.version") > 0);

    delete(&net, &name).await;
    until(&net, &name, |topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    while create(&net, &name, 1).await != ErrorCode::NONE {}
    let cluster = until(&net, &name, whole(1)).await;
    assert_ne!(cluster.topic(&name).unwrap().id, first);
    assert!(cluster.topic_by_id(first).is_none());
    delete(&net, &name).await;
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_one_connection_to_each_broker() {
    let Some(net) = start() else { return };
    let cluster = net.refresh(soon()).await.unwrap();
    for id in cluster.brokers.keys().copied() {
        let connection = net.connection(To::Broker(id), Lane::General, soon()).await.unwrap();
        assert!(connection.supports(ApiKey::METADATA, 12) && connection.broker() == id);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..2000 {
            let (net, timeout) = (net.clone(), Duration::from_secs(30));
            let options = CallOptions { timeout, ..CallOptions::default() };
            tasks.spawn(async move {
                if n % 2 == 0 {
                    let answer =
                        net.call(To::Broker(id), Lane::General, &ListGroupsRequest::default(), options).await;
                    let code = answer.unwrap().error_code;
                    assert!(code == ErrorCode::NONE || code.is_retriable(), "{code}");
                } else {
                    let coordinator_keys = vec![format!("group-{n}").as_str().into()];
                    let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
                    let answer = net.call(To::Broker(id), Lane::General, &request, options).await.unwrap();
                    assert_eq!(&*answer.coordinators[0].key, &format!("group-{n}"));
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(!connection.is_closed() && connection.load() == 0);
    }
}
