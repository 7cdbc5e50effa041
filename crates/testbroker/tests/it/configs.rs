//! Settings that are changed while the cluster runs.

use std::time::Duration;

use crate::common::consumer::{beat, cluster_with, dial, join};
use crate::common::{Client, batch};
use kavka_wire::ErrorCode;
use kavka_wire::messages::describe_configs::DescribeConfigsResource;
use kavka_wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use kavka_wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const SESSION: &str = "consumer.session.timeout.ms";

type Change<'a> = (i8, &'a str, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change<'_>]) -> AlterConfigsResource {
    let change = |(operation, name, value): &Change<'_>| AlterableConfig {
        name: (*name).into(),
        config_operation: *operation,
        value: value.map(Into::into),
        ..Default::default()
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: changes.iter().map(change).collect(),
        ..Default::default()
    }
}

async fn alter(client: &mut Client, kind: i8, name: &str, changes: &[Change<'_>]) -> ErrorCode {
    let resources = vec![resource(kind, name, changes)];
    let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
    client.call(&request, 1).await.responses[0].error_code
}

/// A setting's value and where it comes from.
async fn describe(client: &mut Client, kind: i8, name: &str, setting: &str) -> (String, i8) {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: Some(vec![setting.into()]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = client.call(&request, 4).await;
    let config = &answer.results[0].configs[0];
    (config.value.as_deref().unwrap().to_owned(), config.config_source)
}

#[tokio::test(start_paused = true)]
async fn a_group_has_a_heartbeat_interval_and_a_session_timeout_of_its_own() {
    let cluster = cluster_with(|_| {}).await;
    let mut client = dial(&cluster).await;
    let changes = [(SET, HEARTBEAT, Some("7000")), (SET, SESSION, Some("50000"))];
    assert_eq!(alter(&mut client, GROUP, "g", &changes).await, ErrorCode::NONE);
    assert_eq!(describe(&mut client, GROUP, "g", SESSION).await, ("50000".to_owned(), 8));
    assert_eq!(describe(&mut client, GROUP, "other", SESSION).await, ("45000".to_owned(), 5));
    let answer = client.call(&join("a"), 1).await;
    assert_eq!(answer.heartbeat_interval_ms, 7_000);
    tokio::time::sleep(Duration::from_secs(49)).await;
    let answer = client.call(&beat("a", answer.member_epoch), 1).await;
    assert_eq!(answer.error_code, ErrorCode::NONE, "its session is longer than others'");
    // The next heartbeat begins a session of the length that holds then.
    assert_eq!(alter(&mut client, GROUP, "g", &[(DELETE, SESSION, None)]).await, ErrorCode::NONE);
    assert_eq!(client.call(&beat("a", answer.member_epoch), 1).await.heartbeat_interval_ms, 7_000);
    tokio::time::sleep(Duration::from_secs(46)).await;
    let answer = client.call(&beat("a", answer.member_epoch), 1).await;
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(alter(&mut client, GROUP, "g", &[(DELETE, HEARTBEAT, None)]).await, ErrorCode::NONE);
    assert_eq!(client.call(&join("a"), 1).await.heartbeat_interval_ms, 5_000);
}

#[tokio::test(start_paused = true)]
async fn settings_outlive_the_coordinator_and_the_group() {
    let cluster = cluster_with(|s| s.offsets_retention_check_interval = Duration::from_secs(1)).await;
    let mut client = dial(&cluster).await;
    assert_eq!(alter(&mut client, GROUP, "g", &[(SET, HEARTBEAT, Some("6000"))]).await, ErrorCode::NONE);
    client.call(&join("a"), 1).await;
    client.call(&beat("a", -1), 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.group("g").await, None);
    let new = cluster.coordinator("g").await.unwrap() % 3 + 1;
    cluster.move_coordinator("g", new).await;
    assert_eq!(dial(&cluster).await.call(&join("a"), 1).await.heartbeat_interval_ms, 6_000);
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_are_refused_and_change_nothing() {
    let cluster = cluster_with(|s| {
        s.group_consumer_min_session_timeout = Duration::from_secs(6);
        s.group_consumer_session_timeout = Duration::from_secs(6);
        s.group_consumer_min_heartbeat_interval = Duration::from_secs(1);
    })
    .await;
    let mut client = dial(&cluster).await;
    let (invalid, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let cases: &[(i8, &str, &[Change<'_>], ErrorCode)] = &[
        (GROUP, "g", &[(SET, SESSION, Some("5999"))], invalid),
        (GROUP, "g", &[(SET, SESSION, Some("60001"))], invalid),
        (GROUP, "g", &[(SET, SESSION, Some("-1"))], invalid),
        (GROUP, "g", &[(SET, SESSION, Some("x"))], invalid),
        (GROUP, "g", &[(SET, HEARTBEAT, Some("999"))], invalid),
        (GROUP, "g", &[(SET, HEARTBEAT, Some("15001"))], invalid),
        (GROUP, "g", &[(SET, HEARTBEAT, Some("6000"))], invalid),
        (GROUP, "g", &[(SET, "no.such", Some("1"))], invalid),
        (GROUP, "g", &[(APPEND, SESSION, Some("45000"))], invalid),
        (GROUP, "g", &[(SET, SESSION, None)], request),
        (GROUP, "g", &[(9, SESSION, Some("45000"))], ErrorCode::UNKNOWN_SERVER_ERROR),
        (GROUP, "g", &[(SET, SESSION, Some("45000")), (DELETE, SESSION, None)], request),
        (GROUP, "", &[(SET, SESSION, Some("45000"))], request),
        (TOPIC, "t", &[(SET, "no.such", Some("1"))], invalid),
        (TOPIC, "t", &[(SET, "retention.ms", Some("x"))], invalid),
        (TOPIC, "t", &[(APPEND, "retention.ms", Some("1"))], invalid),
        (TOPIC, "nope", &[(SET, "retention.ms", Some("1"))], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a b", &[(SET, "retention.ms", Some("1"))], ErrorCode::INVALID_TOPIC_EXCEPTION),
        (TOPIC, "", &[(SET, "retention.ms", Some("1"))], request),
        (BROKER, "1", &[(SET, "num.partitions", Some("2"))], request),
        (77, "1", &[(SET, "num.partitions", Some("2"))], request),
    ];
    for (kind, name, changes, error) in cases {
        assert_eq!(alter(&mut client, *kind, name, changes).await, *error, "{kind} {name:?} {changes:?}");
    }
    let twice = resource(GROUP, "g", &[(SET, SESSION, Some("7000"))]);
    let request =
        IncrementalAlterConfigsRequest { resources: vec![twice.clone(), twice], ..Default::default() };
    let answer = client.call(&request, 1).await;
    assert!(answer.responses.iter().all(|r| r.error_code == ErrorCode::INVALID_REQUEST));
    assert_eq!(describe(&mut client, GROUP, "g", SESSION).await, ("6000".to_owned(), 5));
    assert_eq!(describe(&mut client, TOPIC, "t", "retention.ms").await.1, 5);
}

#[tokio::test(start_paused = true)]
async fn a_topics_settings_are_changed_and_set_back() {
    let cluster = cluster_with(|_| {}).await;
    let mut client = crate::common::connect(&cluster, cluster.leader("t", 0).await.unwrap().0.unwrap()).await;
    let most = |value| [(SET, "max.message.bytes", Some(value))];
    let dry = IncrementalAlterConfigsRequest {
        resources: vec![resource(TOPIC, "t", &most("10"))],
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(client.call(&dry, 1).await.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code, ErrorCode::NONE);
    assert_eq!(alter(&mut client, TOPIC, "t", &most("10")).await, ErrorCode::NONE);
    let refused = client.produce("t", 0, batch(&["a"]).bytes()).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(alter(&mut client, TOPIC, "t", &[(DELETE, "max.message.bytes", None)]).await, ErrorCode::NONE);
    assert_eq!(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code, ErrorCode::NONE);
    for (operation, policy, then) in [
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (APPEND, "compact", "compact"),
    ] {
        let change = [(operation, "cleanup.policy", Some(policy))];
        assert_eq!(alter(&mut client, TOPIC, "t", &change).await, ErrorCode::NONE);
        assert_eq!(describe(&mut client, TOPIC, "t", "cleanup.policy").await, (then.to_owned(), 1));
    }
}
