//! `kavka group`, run as a program against a cluster in this process.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use kavka::{Client, Consumer, Event, OffsetReset, Record};
use kavka_testbroker::Cluster;
use serde_json::{Value, json};
use tokio::process::Command;

struct Rig {
    cluster: Cluster,
    client: Client,
}

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// Its output, an object per line.
    fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its output, as cells.
    fn cells(&self) -> Vec<Vec<&str>> {
        self.out.lines().map(|line| line.split_whitespace().collect()).collect()
    }
}

/// The topic `t` has ten records in partition 0 with the timestamps 1000, 2000, … and three in partition 1.
async fn rig() -> Rig {
    let cluster = Cluster::builder().tcp().topic("t", 2).start().await.unwrap();
    let client = Client::connect(&cluster.bootstrap()).await.unwrap();
    let producer = client.producer().start().await.unwrap();
    for (partition, count) in [(0, 10), (1, 3)] {
        for number in 1..=count {
            let record = Record::to("t").partition(partition).value("x").timestamp(1_000 * number);
            producer.send(record).await.unwrap().await.unwrap();
        }
    }
    producer.close().await.unwrap();
    Rig { cluster, client }
}

impl Rig {
    async fn run(&self, args: &str) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_kavka"))
            .args(args.split_whitespace())
            .env("KAVKA_BOOTSTRAP", self.cluster.bootstrap())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn committed(&self, group: &str) -> [Option<i64>; 2] {
        let of =
            async |partition| self.cluster.committed(group, "t", partition).await.map(|view| view.offset);
        [of(0).await, of(1).await]
    }

    /// A member that has both partitions.
    async fn member(&self, group: &str) -> Consumer {
        let builder = self.client.consumer().group(group).subscribe(["t"]);
        let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await.unwrap();
        match consumer.event().await.unwrap() {
            Event::Assigned(partitions) => assert_eq!(partitions.len(), 2),
            other => panic!("{other:?}"),
        }
        consumer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_changes_nothing_until_it_is_executed() {
    let rig = rig().await;
    let planned = rig.run("group reset g --topic t --to-offset 5").await;
    assert_eq!((planned.code, rig.committed("g").await), (Some(0), [None, None]), "{planned:?}");
    assert!(planned.err.contains("--execute"), "{planned:?}");
    assert_eq!(planned.cells()[0], ["TOPIC", "PARTITION", "OLD", "NEW", "NOTE"]);
    assert_eq!(planned.cells()[1], ["t", "0", "-", "5"]);
    assert_eq!(planned.cells()[2][..4], ["t", "1", "-", "3"]);
    assert!(planned.out.contains("5 is behind the log: its end"), "{planned:?}");

    let done = rig.run("group reset g --topic t --to-offset 5 --execute").await;
    assert_eq!((done.code, rig.committed("g").await), (Some(0), [Some(5), Some(3)]), "{done:?}");
    assert_eq!(done.out, planned.out);

    let shifted = rig.run("--output json group reset g --all-topics --shift-by -4 --execute").await;
    assert_eq!(
        shifted.json(),
        [
            json!({ "group": "g", "topic": "t", "partition": 0, "old": 5, "new": 1, "note": null, "applied": true }),
            json!({
                "group": "g", "topic": "t", "partition": 1, "old": 3, "new": 0,
                "note": "-1 is before the log: its beginning", "applied": true,
            }),
        ]
    );
    assert_eq!(rig.committed("g").await, [Some(1), Some(0)]);
    rig.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_goes_to_every_kind_of_place() {
    let rig = rig().await;
    rig.run("group reset g --topic t:0 --to-offset 2 --execute").await;
    for (to, new) in [
        ("--topic t --to-earliest", [0, 0]),
        ("--topic t --to-latest", [10, 3]),
        ("--topic t --to-datetime 1970-01-01T00:00:03Z", [2, 2]),
        ("--topic t --to-datetime 1970-01-01T01:00:03.500+01:00", [3, 3]),
        ("--topic t --by-duration PT1H", [10, 3]),
        ("--topic t --by-duration P99999D", [0, 0]),
        ("--topic t --to-current", [2, 3]),
    ] {
        let planned = rig.run(&format!("--output json group reset g {to}")).await;
        let found: Vec<i64> = planned.json().iter().map(|line| line["new"].as_i64().unwrap()).collect();
        assert_eq!(found, new, "{to}");
        assert!(planned.json().iter().all(|line| line["applied"] == json!(false)), "{planned:?}");
    }
    assert_eq!(rig.committed("g").await, [Some(2), None]);
    rig.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_plan_can_be_read_again() {
    let rig = rig().await;
    let exported = rig.run("group reset g --topic t --to-latest --export").await;
    assert_eq!((exported.code, &*exported.out), (Some(0), "t,0,10\nt,1,3\n"), "{exported:?}");
    let path: PathBuf = std::env::temp_dir().join(format!("kavka-plan-{}.csv", std::process::id()));
    std::fs::write(&path, &exported.out).unwrap();
    let done = rig.run(&format!("group reset g --from-file {} --execute", path.display())).await;
    assert_eq!((done.code, rig.committed("g").await), (Some(0), [Some(10), Some(3)]), "{done:?}");

    std::fs::write(&path, "t,0,10\nt,one,3\n").unwrap();
    let wrong = rig.run(&format!("group reset g --from-file {}", path.display())).await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("line 2"), "{wrong:?}");
    rig.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reset_is_said_and_nothing_is_done() {
    let rig = rig().await;
    for (args, code, says) in [
        ("group reset g --topic none --to-latest --execute", 1, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("group reset g --topic t:7 --to-latest --execute", 1, "no partition 7"),
        ("group reset g --all-topics --to-latest --execute", 1, "committed nothing"),
        ("group reset g --topic t --shift-by 1 --execute", 1, "nothing was reset"),
        ("group reset g --topic t --execute", 2, "--to-earliest"),
        ("group reset g --to-latest", 2, "--all-topics"),
        ("--output json group reset g --topic t --to-latest --export", 2, "CSV"),
    ] {
        let ran = rig.run(args).await;
        assert_eq!((ran.code, &*ran.out), (Some(code), ""), "{args}: {ran:?}");
        assert!(ran.err.contains(says), "{args}: {ran:?}");
    }
    let consumer = rig.member("g").await;
    let busy = rig.run("group reset g --topic t --to-latest --execute").await;
    assert_eq!(busy.code, Some(1));
    assert!(busy.err.contains("1 member"), "{busy:?}");
    let busy = rig.run("group delete g").await;
    assert_eq!(busy.code, Some(1));
    assert!(busy.err.contains("NON_EMPTY_GROUP"), "{busy:?}");
    consumer.close().await.unwrap();
    assert_eq!(rig.committed("g").await, [None, None]);
    rig.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted() {
    let rig = rig().await;
    rig.run("group reset idle --topic t --to-offset 2 --execute").await;
    let consumer = rig.member("live").await;
    let id = rig.cluster.group("live").await.unwrap().members[0].member_id.clone();
    let coordinator = rig.cluster.coordinator("live").await.unwrap();

    let listed = rig.run("group list").await;
    let idle = rig.cluster.coordinator("idle").await.unwrap().to_string();
    assert_eq!(listed.cells()[0], ["GROUP", "TYPE", "STATE", "PROTOCOL", "COORDINATOR"]);
    assert_eq!(listed.cells()[1], ["idle", "classic", "Empty", "-", &idle]);
    let listed = rig.run("group list --state STABLE --output json").await;
    let expected = json!({
        "group": "live", "type": "classic", "state": "Stable", "protocol": "consumer", "coordinator": coordinator,
    });
    assert_eq!(listed.json(), [expected]);

    let described = rig.run("group describe live idle --output json").await;
    let [live, idle] = &described.json()[..] else { panic!("{described:?}") };
    assert_eq!(
        (&live["members"], &live["lag"], &live["coordinator"]),
        (&json!(1), &json!(null), &json!(coordinator))
    );
    assert_eq!(
        (&live["partitions"][0]["member"], &live["partitions"][1]["committed"]),
        (&json!(id), &json!(null))
    );
    assert_eq!(
        (&idle["lag"], &idle["partitions"][0]["lag"], &idle["partitions"][1]["end"]),
        (&json!(9), &json!(8), &json!(3))
    );
    let human = rig.run("group describe idle").await;
    assert_eq!(human.cells()[2], ["t", "0", "2", "10", "8", "-", "-", "-"], "{human:?}");
    assert!(human.out.starts_with("idle: Empty, classic protocol, 0 members"), "{human:?}");

    let members = rig.run("group members live --output json").await.json();
    let both = json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }]);
    assert_eq!((members.len(), &members[0]["member"], &members[0]["assignment"]), (1, &json!(id), &both));
    let verbose = rig.run("group members live --verbose").await;
    assert!(verbose.out.contains("has t(0,1)") && verbose.out.contains("subscribed to t"), "{verbose:?}");
    consumer.close().await.unwrap();

    let deleted = rig.run("group delete nobody idle").await;
    assert_eq!((deleted.code, &*deleted.out), (Some(1), "deleted idle\n"), "{deleted:?}");
    assert!(deleted.err.contains("GROUP_ID_NOT_FOUND"), "{deleted:?}");
    let unknown = rig.run("group describe idle").await;
    assert_eq!((unknown.code, &*unknown.out), (Some(1), ""), "{unknown:?}");
    rig.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_ends_what_an_admin_waits_for() {
    let rig = rig().await;
    rig.run("group reset g --topic t --to-latest --execute").await;
    let seen = rig.cluster.recent_requests().await;
    let key =
        seen.iter().map(|request| request.key).find(|key| key.to_string() == "FindCoordinator").unwrap();
    rig.cluster.on(key).drop_request();
    let started = std::time::Instant::now();
    let ran = rig.run("group describe g --timeout 1s").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("group g"), "{ran:?}");
    // Two questions, and time for a slow machine.
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    rig.cluster.shutdown().await;
}
