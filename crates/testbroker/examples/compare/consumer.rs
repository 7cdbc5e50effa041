//! Questions about groups of the consumer protocol.

use kavka_wire::messages::consumer_group_heartbeat::RequestTopicPartitions;
use kavka_wire::messages::create_topics::CreatableTopic;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kavka_wire::messages::*;
use kavka_wire::{ErrorCode, Uuid};

use crate::Interview;

type Beat = ConsumerGroupHeartbeatRequest;

/// A member's first heartbeat: two topics, one of which does not exist.
pub(crate) fn join(group: &str, member: &str) -> Beat {
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["k1".into(), "absent".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

pub(crate) fn beat(group: &str, member: &str, member_epoch: i32) -> Beat {
    Beat { group_id: group.into(), member_id: member.into(), member_epoch, ..Default::default() }
}

pub(crate) fn owning(group: &str, member: &str, member_epoch: i32, owned: &[(Uuid, &[i32])]) -> Beat {
    let topic = |(topic_id, partitions): &(Uuid, &[i32])| RequestTopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    Beat { topic_partitions: Some(owned.iter().map(topic).collect()), ..beat(group, member, member_epoch) }
}

fn fixed(member: &str, instance: &str) -> Beat {
    Beat { instance_id: Some(instance.into()), ..join("cs", member) }
}

pub(crate) async fn create(i: &mut Interview, name: &str, partitions: i32) -> Uuid {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
    let made = i.client.call(&request, 7).await.topics[0].topic_id;
    // The coordinator hears of the topic a little later.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    made
}

pub(crate) async fn ask_all(i: &mut Interview) {
    for group in ["cg", "cp", "cs", "cr", "ce", "ca", "co"] {
        await_coordinator(i, group).await;
    }
    let k1 = create(i, "k1", 4).await;
    invalid(i).await;
    alone(i, k1).await;
    two(i, k1).await;
    statics(i, k1).await;
    regexes(i).await;
}

/// Kafka makes its groups topic when somebody asks for a coordinator.
pub(crate) async fn await_coordinator(i: &mut Interview, group: &str) {
    let find = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let list = OffsetFetchRequestGroup { group_id: group.into(), member_epoch: -1, ..Default::default() };
    let list = OffsetFetchRequest { groups: vec![list], ..Default::default() };
    while i.client.call(&find, 4).await.coordinators[0].error_code != ErrorCode::NONE
        || i.client.call(&list, 8).await.groups[0].error_code != ErrorCode::NONE
    {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn invalid(i: &mut Interview) {
    let cases = [
        ("no member id", join("cg", "")),
        ("no group id", join("", "m")),
        ("empty instance", Beat { instance_id: Some("".into()), ..join("cg", "m") }),
        ("empty rack", Beat { rack_id: Some("".into()), ..join("cg", "m") }),
        ("no rebalance timeout", Beat { rebalance_timeout_ms: -1, ..join("cg", "m") }),
        ("null owned", Beat { topic_partitions: None, ..join("cg", "m") }),
        ("owns at join", owning("cg", "m", 0, &[(Uuid([1; 16]), &[0])])),
        ("no subscription", Beat { subscribed_topic_names: None, ..join("cg", "m") }),
        ("assignor", Beat { server_assignor: Some("sticky".into()), ..join("cg", "m") }),
        ("bad regex", Beat { subscribed_topic_regex: Some("(".into()), ..join("cg", "m") }),
        ("look-ahead", Beat { subscribed_topic_regex: Some("a(?=b)".into()), ..join("cg", "m") }),
        ("unknown group", beat("cg", "m", 1)),
        ("leave unknown group", beat("cg", "m", -1)),
        ("static leave without instance", beat("cg", "m", -2)),
        ("epoch -3", beat("cg", "m", -3)),
        ("leave without member id", beat("cg", "", -1)),
        ("heartbeat without member id", beat("cg", "", 1)),
    ];
    for (name, request) in cases {
        for version in [0, 1] {
            // Version 0 makes up member ids: those joins are asked below.
            if version == 1 || (name != "no member id" && request.subscribed_topic_regex.is_none()) {
                i.ask(&format!("consumer: {name}"), &request, version).await;
            }
        }
    }
    describe(i, "cg", "before it is there").await;
}

async fn alone(i: &mut Interview, k1: Uuid) {
    i.ask("consumer: join", &join("cg", "a"), 1).await;
    i.ask("consumer: join again", &join("cg", "a"), 1).await;
    i.ask("consumer: heartbeat", &owning("cg", "a", 2, &[(k1, &[0, 1, 2, 3])]), 1).await;
    i.ask("consumer: epoch ahead", &beat("cg", "a", 3), 1).await;
    i.ask("consumer: unknown member", &beat("cg", "b", 2), 1).await;
    i.ask("consumer: unknown leaves", &beat("cg", "b", -1), 1).await;
    i.ask("consumer: unknown instance", &Beat { instance_id: Some("i".into()), ..beat("cg", "a", 2) }, 1)
        .await;
    i.ask("consumer: unknown topic owned", &owning("cg", "a", 2, &[(Uuid([9; 16]), &[0])]), 1).await;
    i.ask("consumer: foreign partition owned", &owning("cg", "a", 2, &[(k1, &[77])]), 1).await;
    describe(i, "cg", "with one member").await;
    commits(i, "cg", "a", 2).await;
    let full = Beat { rebalance_timeout_ms: 30_000, ..owning("cg", "a", 2, &[(k1, &[0, 1, 2, 3])]) };
    let full = Beat { subscribed_topic_names: Some(vec!["k1".into(), "absent".into()]), ..full };
    i.ask("consumer: full heartbeat", &full, 1).await;
    let changed = Beat { subscribed_topic_names: Some(vec!["k1".into()]), ..beat("cg", "a", 2) };
    i.ask("consumer: changed subscription", &changed, 1).await;
    i.ask("consumer: old epoch, nothing said", &beat("cg", "a", 2), 1).await;
    i.ask("consumer: old epoch, subset owned", &owning("cg", "a", 2, &[(k1, &[0])]), 1).await;
    i.ask("consumer: old epoch, more owned", &owning("cg", "a", 2, &[(k1, &[0, 9])]), 1).await;
    for epoch in [1, 2, 3, 9, -1] {
        commits(i, "cg", "a", epoch).await;
    }
    let none = Beat { subscribed_topic_names: Some(Vec::new()), ..beat("cg", "a", 3) };
    i.ask("consumer: nothing subscribed", &none, 1).await;
    describe(i, "cg", "unsubscribed").await;
    i.ask("consumer: revoked", &owning("cg", "a", 3, &[]), 1).await;
    i.ask("consumer: leave", &beat("cg", "a", -1), 1).await;
    i.ask("consumer: leave again", &beat("cg", "a", -1), 1).await;
    describe(i, "cg", "with nobody").await;
    commits(i, "cg", "", -1).await;
    let anonymous = i.client.call(&join("cg", ""), 0).await;
    let id = anonymous.member_id.unwrap_or_default();
    i.answers.push(("consumer: join without id".into(), format!("{} {}", id.len(), anonymous.member_epoch)));
    let left = i.client.call(&beat("cg", &id, -1), 0).await.member_id == Some(id);
    i.answers.push(("consumer: leave with a made-up id".into(), left.to_string()));
    let none = Beat { subscribed_topic_names: Some(Vec::new()), ..join("ce", "a") };
    i.ask("consumer: join for nothing", &none, 1).await;
    describe(i, "ce", "for nothing").await;
    let later = Beat { subscribed_topic_names: Some(vec!["k1".into()]), ..beat("ce", "a", 1) };
    i.ask("consumer: subscribe later", &later, 1).await;
    let elsewhere = Beat { subscribed_topic_names: Some(vec!["k2".into()]), ..beat("ce", "a", 2) };
    i.ask("consumer: a topic that is not there", &elsewhere, 1).await;
    i.ask("consumer: its partitions let go", &owning("ce", "a", 2, &[]), 1).await;
    let k2 = create(i, "k2", 2).await;
    i.ask("consumer: the topic appears", &owning("ce", "a", 3, &[]), 1).await;
    let more = CreatePartitionsRequest {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: "k2".into(),
            count: 3,
            ..Default::default()
        }],
        timeout_ms: 5000,
        ..Default::default()
    };
    i.client.call(&more, 3).await;
    pause().await;
    i.ask("consumer: the topic grows", &owning("ce", "a", 4, &[(k2, &[0, 1])]), 1).await;
    delete_topic(i, "k2").await;
    i.ask("consumer: the topic is gone", &owning("ce", "a", 5, &[(k2, &[0, 1, 2])]), 1).await;
    describe(i, "ce", "without the topic").await;
    i.ask("consumer: has nothing", &owning("ce", "a", 5, &[]), 1).await;
    describe(i, "ce", "in the end").await;
}

async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}

async fn delete_topic(i: &mut Interview, name: &str) {
    let request =
        DeleteTopicsRequest { topic_names: vec![name.into()], timeout_ms: 5000, ..Default::default() };
    i.client.call(&request, 5).await;
    pause().await;
}

async fn two(i: &mut Interview, k1: Uuid) {
    i.ask("pair: first", &join("cp", "a"), 1).await;
    i.ask("pair: second", &join("cp", "b"), 1).await;
    describe(i, "cp", "unrevoked").await;
    i.ask("pair: first hears", &beat("cp", "a", 2), 1).await;
    describe(i, "cp", "revoking").await;
    commits(i, "cp", "a", 2).await;
    i.ask("pair: second waits", &beat("cp", "b", 3), 1).await;
    i.ask("pair: still owned", &owning("cp", "a", 2, &[(k1, &[0, 1, 2, 3])]), 1).await;
    let unsaid = i.ask("pair: one is not let go", &owning("cp", "a", 2, &[(k1, &[0, 1, 3])]), 1).await;
    i.ask("pair: revoked", &owning("cp", "a", 2, &[(k1, &[0, 1])]), 1).await;
    i.ask("pair: its answer was lost", &owning("cp", "a", 2, &[(k1, &[0, 1])]), 1).await;
    drop(unsaid);
    i.ask("pair: second gets", &beat("cp", "b", 3), 1).await;
    i.ask("pair: second has", &owning("cp", "b", 3, &[(k1, &[2, 3])]), 1).await;
    describe(i, "cp", "stable").await;
    i.ask("pair: range wanted", &Beat { server_assignor: Some("range".into()), ..beat("cp", "b", 3) }, 1)
        .await;
    describe(i, "cp", "with range").await;
    assignors(i).await;
    i.ask("pair: third", &join("cp", "c"), 1).await;
    i.ask("pair: second hears of third", &beat("cp", "b", 4), 1).await;
    i.ask("pair: first hears of third", &beat("cp", "a", 3), 1).await;
    describe(i, "cp", "of three").await;
    i.ask("pair: third leaves", &beat("cp", "c", -1), 1).await;
    describe(i, "cp", "without the third").await;
    i.ask("pair: second gets back what it has", &beat("cp", "b", 4), 1).await;
    i.ask("pair: second has all", &owning("cp", "b", 4, &[(k1, &[2, 3])]), 1).await;
    i.ask("pair: first goes on", &owning("cp", "a", 5, &[(k1, &[0, 1])]), 1).await;
    describe(i, "cp", "again").await;
    i.ask("pair: second leaves", &beat("cp", "b", -1), 1).await;
    describe(i, "cp", "assigning").await;
    i.ask("pair: first takes all", &beat("cp", "a", 6), 1).await;
    describe(i, "cp", "taken").await;
    i.ask("pair: first leaves", &beat("cp", "a", -1), 1).await;
}

/// When it matters that a member asks for an assignor.
async fn assignors(i: &mut Interview) {
    let wishes = [
        ("a", "range"),
        ("b", "range"),
        ("a", "uniform"),
        ("b", "uniform"),
        ("b", "uniform"),
        ("a", "range"),
        ("b", "range"),
        ("c", "range"),
        ("c", "uniform"),
        ("c", "range"),
    ];
    let mut epochs = std::collections::BTreeMap::new();
    for member in ["a", "b", "c"] {
        let joined = i.ask(&format!("assignors: {member}"), &join("co", member), 1).await;
        epochs.insert(member, joined.map_or(0, |answer| answer.member_epoch));
    }
    for (member, name) in wishes {
        let epoch = epochs[member];
        let request = Beat { server_assignor: Some(name.into()), ..owning("co", member, epoch, &[]) };
        if let Some(answer) = i.ask(&format!("assignors: {member} wants {name}"), &request, 1).await {
            epochs.insert(member, answer.member_epoch);
        }
        describe(i, "co", &format!("when {member} wants {name}")).await;
    }
}

async fn statics(i: &mut Interview, k1: Uuid) {
    i.ask("static: join", &fixed("a", "i"), 1).await;
    i.ask("static: join again", &fixed("a", "i"), 1).await;
    i.ask("static: second", &fixed("b", "i"), 1).await;
    i.ask("static: unknown instance", &Beat { instance_id: Some("x".into()), ..beat("cs", "a", 2) }, 1).await;
    i.ask("static: no instance", &beat("cs", "a", 2), 1).await;
    let with = |member: &str, epoch| Beat { instance_id: Some("i".into()), ..beat("cs", member, epoch) };
    i.ask("static: other member", &with("b", 2), 1).await;
    i.ask("static: other member leaves", &with("b", -2), 1).await;
    commits(i, "cs", "a", 2).await;
    i.ask("static: away", &with("a", -2), 1).await;
    describe(i, "cs", "away").await;
    commits(i, "cs", "a", 2).await;
    i.ask("static: heartbeat while away", &with("a", 2), 1).await;
    i.ask("static: away twice", &with("a", -2), 1).await;
    i.ask("static: back with another id", &fixed("b", "i"), 1).await;
    i.ask("static: predecessor", &with("a", 2), 1).await;
    i.ask("static: predecessor joins", &fixed("a", "i"), 1).await;
    let all = Beat { instance_id: Some("i".into()), ..owning("cs", "b", 2, &[(k1, &[0, 1, 2, 3])]) };
    i.ask("static: has all", &all, 1).await;
    commits(i, "cs", "b", 2).await;
    commits(i, "cs", "b", 1).await;
    i.ask("static: predecessor leaves", &with("a", -1), 1).await;
    i.ask("static: away for the second time", &with("b", -2), 1).await;
    let elsewhere = Beat { subscribed_topic_names: Some(vec!["k1".into()]), ..fixed("c", "i") };
    i.ask("static: back for something else", &elsewhere, 1).await;
    describe(i, "cs", "back").await;
    i.ask("static: leaves", &with("c", -1), 1).await;
    describe(i, "cs", "left").await;
}

async fn regexes(i: &mut Interview) {
    let regex = |member: &str, regex: &str| Beat {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..join("cr", member)
    };
    i.ask("regex: join", &regex("a", "k.*"), 1).await;
    pause().await;
    describe(i, "cr", "resolved").await;
    i.ask("regex: heartbeat 0", &beat("cr", "a", 0), 1).await;
    i.ask("regex: heartbeat", &beat("cr", "a", 1), 1).await;
    describe(i, "cr", "reconciled").await;
    i.ask("regex: second", &regex("b", "k.*"), 1).await;
    describe(i, "cr", "joined by second").await;
    let bad = Beat { subscribed_topic_regex: Some("[".into()), ..beat("cr", "b", 3) };
    i.ask("regex: bad", &bad, 1).await;
    let change = Beat { subscribed_topic_regex: Some("k".into()), ..beat("cr", "b", 3) };
    i.ask("regex: part of a name, within 10 s", &change, 1).await;
    pause().await;
    i.ask("regex: heartbeat after the change", &beat("cr", "b", 3), 1).await;
    describe(i, "cr", "changed").await;
    let clear = Beat { subscribed_topic_regex: Some("".into()), ..beat("cr", "b", 3) };
    i.ask("regex: cleared", &clear, 1).await;
    describe(i, "cr", "cleared").await;
    i.ask("regex: empty at join", &regex("c", ""), 1).await;
    describe(i, "cr", "in the end").await;
    let all = Beat { group_id: "ca".into(), ..regex("a", ".*") };
    i.ask("regex: everything", &all, 1).await;
    pause().await;
    let answer = i.ask("regex: what is everything, discarded", &beat("ca", "a", 1), 1).await;
    i.answers.pop();
    let ids: Vec<Uuid> = answer
        .and_then(|answer| answer.assignment)
        .map(|all| all.topic_partitions.iter().map(|topic| topic.topic_id).collect())
        .unwrap_or_default();
    let everything = MetadataRequest { topics: None, ..Default::default() };
    let topics = i.client.call(&everything, 12).await.topics;
    let mut names: Vec<_> = topics.iter().filter(|t| ids.contains(&t.topic_id)).map(|t| &t.name).collect();
    names.sort();
    i.answers.push(("regex: everything".into(), format!("{names:?}")));
}

pub(crate) async fn describe(i: &mut Interview, group: &str, when: &str) {
    let ids = vec![group.into()];
    let request = ConsumerGroupDescribeRequest { group_ids: ids.clone(), ..Default::default() };
    for version in [0, 1] {
        let name = format!("consumer describe {group} {when}");
        let Some(mut answer) = i.ask(&name, &request, version).await else { continue };
        // Kafka lists members and topic names in no particular order.
        for group in &mut answer.groups {
            group.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
            for member in &mut group.members {
                member.subscribed_topic_names.sort();
            }
        }
        i.answers.pop();
        i.answers.push((format!("{name} (v{version})"), crate::mask(&format!("{answer:?}"))));
    }
    let request = DescribeGroupsRequest { groups: ids, ..Default::default() };
    i.ask(&format!("classic describe {group} {when}"), &request, 6).await;
    for kind in ["consumer", "classic"] {
        let request = ListGroupsRequest { types_filter: vec![kind.into()], ..Default::default() };
        let Some(answer) = i.ask(&format!("list {kind}, discarded"), &request, 5).await else { continue };
        i.answers.pop();
        let found = answer.groups.iter().find(|listed| listed.group_id == group);
        let found = found.map(|g| (&g.protocol_type, &g.group_state, &g.group_type));
        i.answers.push((format!("listed as {kind}: {group} {when}"), format!("{found:?}")));
    }
}

async fn commits(i: &mut Interview, group: &str, member: &str, epoch: i32) {
    let commit = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: epoch,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "k1".into(),
            partitions: vec![
                OffsetCommitRequestPartition { partition_index: 0, ..Default::default() },
                OffsetCommitRequestPartition { partition_index: 3, ..Default::default() },
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    i.ask(&format!("commit to {group} in epoch {epoch}"), &commit, 9).await;
    i.ask(&format!("commit to {group} in epoch {epoch}"), &commit, 8).await;
    let stranger = OffsetCommitRequest { member_id: "stranger".into(), ..commit };
    i.ask(&format!("commit to {group} as stranger in {epoch}"), &stranger, 9).await;
    for (who, epoch) in
        [(Some(member), epoch), (Some("stranger"), epoch), (None, -1), (Some(""), -1), (None, epoch)]
    {
        let asked = OffsetFetchRequestGroup {
            group_id: group.into(),
            member_id: who.map(Into::into),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "k1".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
        let answer = i.client.call(&request, 9).await;
        let error: ErrorCode = answer.groups[0].error_code;
        i.answers.push((format!("fetch of {group} as {who:?} in {epoch}"), format!("{error:?}")));
    }
}
