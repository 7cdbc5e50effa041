//! Settings of topics and groups, and what they may be.

use kavka_wire::messages::describe_configs::DescribeConfigsResource;
use kavka_wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use kavka_wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::Interview;

const TOPIC: i8 = 2;
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

async fn alter(i: &mut Interview, kind: i8, name: &str, changes: &[Change<'_>]) {
    let resources = vec![resource(kind, name, changes)];
    let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
    i.ask(&format!("alter {kind} {name:?} {changes:?}"), &request, 1).await;
    // Kafka's brokers hear of it from the controller, a moment later.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

async fn describe(i: &mut Interview, kind: i8, name: &str, setting: &str) {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: Some(vec![setting.into()]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    i.ask(&format!("describe {kind} {name:?} {setting}"), &request, 4).await;
}

pub(crate) async fn ask_all(i: &mut Interview) {
    describe(i, GROUP, "cg", SESSION).await;
    describe(i, GROUP, "", SESSION).await;
    let cases: &[(i8, &str, &[Change<'_>])] = &[
        (GROUP, "cg", &[(SET, SESSION, Some("999"))]),
        (GROUP, "cg", &[(SET, SESSION, Some("60001"))]),
        (GROUP, "cg", &[(SET, SESSION, Some("-1"))]),
        (GROUP, "cg", &[(SET, SESSION, Some("0"))]),
        (GROUP, "cg", &[(SET, SESSION, Some("x"))]),
        (GROUP, "cg", &[(SET, SESSION, Some(""))]),
        (GROUP, "cg", &[(SET, HEARTBEAT, Some("199"))]),
        (GROUP, "cg", &[(SET, HEARTBEAT, Some("15001"))]),
        (GROUP, "cg", &[(SET, HEARTBEAT, Some("6000")), (SET, SESSION, Some("6000"))]),
        (GROUP, "cg", &[(SET, "no.such", Some("1"))]),
        (GROUP, "cg", &[(DELETE, "no.such", None)]),
        (GROUP, "cg", &[(APPEND, SESSION, Some("45000"))]),
        (GROUP, "cg", &[(APPEND, "no.such", Some("45000"))]),
        (GROUP, "cg", &[(SET, SESSION, None)]),
        (GROUP, "cg", &[(9, SESSION, Some("45000"))]),
        (GROUP, "cg", &[(SET, SESSION, Some("45000")), (DELETE, SESSION, None)]),
        (GROUP, "", &[(SET, SESSION, Some("45000"))]),
        (GROUP, "cg", &[]),
        (GROUP, "cg", &[(SET, SESSION, Some(" 46000 ")), (SET, HEARTBEAT, Some("6000"))]),
    ];
    for (kind, name, changes) in cases {
        alter(i, *kind, name, changes).await;
    }
    describe(i, GROUP, "cg", SESSION).await;
    describe(i, GROUP, "cg", HEARTBEAT).await;
    alter(i, GROUP, "cg", &[(DELETE, SESSION, Some("ignored"))]).await;
    describe(i, GROUP, "cg", SESSION).await;
    topics(i).await;
}

async fn topics(i: &mut Interview) {
    let cases: &[(i8, &str, &[Change<'_>])] = &[
        (TOPIC, "t", &[(SET, "no.such", Some("1"))]),
        (TOPIC, "t", &[(DELETE, "no.such", None)]),
        (TOPIC, "t", &[(SET, "retention.ms", Some("x"))]),
        (TOPIC, "t", &[(SET, "retention.ms", None)]),
        (TOPIC, "t", &[(APPEND, "retention.ms", Some("1"))]),
        (TOPIC, "t", &[(APPEND, "no.such", Some("1"))]),
        (TOPIC, "t", &[(9, "retention.ms", Some("1"))]),
        (TOPIC, "nope", &[(SET, "retention.ms", Some("1"))]),
        (TOPIC, "a b", &[(SET, "retention.ms", Some("1"))]),
        (TOPIC, "", &[(SET, "retention.ms", Some("1"))]),
        (77, "t", &[(SET, "retention.ms", Some("1"))]),
        (TOPIC, "t", &[(APPEND, "cleanup.policy", Some("compact"))]),
        (TOPIC, "t", &[(APPEND, "cleanup.policy", Some("compact"))]),
        (TOPIC, "t", &[(SUBTRACT, "cleanup.policy", Some("nothing"))]),
        (TOPIC, "t", &[(SUBTRACT, "cleanup.policy", Some("delete"))]),
        (TOPIC, "t", &[(APPEND, "cleanup.policy", Some("x"))]),
    ];
    for (kind, name, changes) in cases {
        alter(i, *kind, name, changes).await;
        describe(i, TOPIC, "t", "cleanup.policy").await;
    }
    let twice = resource(TOPIC, "t", &[(DELETE, "cleanup.policy", None)]);
    let resources = vec![twice.clone(), twice];
    let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
    i.ask("alter twice", &request, 1).await;
    alter(i, TOPIC, "t", &[(DELETE, "cleanup.policy", None)]).await;
}
