//! Range and round robin, with results worked out by hand from the rules of Kafka's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use kavka_group::assignor::{Assignor, GroupSubscription, MemberSubscription, Range, RoundRobin};
use kavka_group::{TopicInfo, TopicMap};
use proptest::prelude::*;

fn member(topics: &[&str]) -> MemberSubscription {
    MemberSubscription { topics: topics.iter().map(|t| Arc::from(*t)).collect(), ..Default::default() }
}

fn group(members: &[(&str, MemberSubscription)]) -> GroupSubscription {
    GroupSubscription { members: members.iter().map(|(id, m)| (Arc::from(*id), m.clone())).collect() }
}

fn cluster(topics: &[(&str, i32)]) -> TopicMap {
    let mut map = TopicMap::new();
    for (topic, partitions) in topics {
        map.insert(*topic, TopicInfo { partitions: *partitions, racks: Vec::new() });
    }
    map
}

/// `member: topic-partition …` lines.
fn shown(assignor: &dyn Assignor, group: &GroupSubscription, topics: &TopicMap) -> Vec<String> {
    let line = |(id, partitions): (&Arc<str>, &Vec<kavka_group::TopicPartition>)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{id}: {}", partitions.join(" "))
    };
    assignor.assign(group, topics).iter().map(line).collect()
}

#[test]
fn range_gives_the_first_members_one_more() {
    let group = group(&[("a", member(&["t", "u"])), ("b", member(&["t", "u"]))]);
    let topics = cluster(&[("t", 3), ("u", 3)]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-0 t-1 u-0 u-1", "b: t-2 u-2"]);
}

#[test]
fn range_counts_only_the_members_that_want_a_topic() {
    let group = group(&[("a", member(&["t"])), ("b", member(&["t", "u"])), ("c", member(&["u"]))]);
    let topics = cluster(&[("t", 3), ("u", 2)]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-0 t-1", "b: t-2 u-0", "c: u-1"]);
}

#[test]
fn topics_that_do_not_exist_and_members_without_a_share_are_no_problem() {
    let group = group(&[("a", member(&["t", "gone"])), ("b", member(&["t"])), ("c", member(&["gone"]))]);
    for assignor in [&Range as &dyn Assignor, &RoundRobin] {
        assert_eq!(shown(assignor, &group, &cluster(&[("t", 1)])), ["a: t-0", "b: ", "c: "]);
    }
}

#[test]
fn static_members_come_first_in_the_order_of_their_instances() {
    let instance = |id: &str| MemberSubscription { instance_id: Some(id.into()), ..member(&["t"]) };
    let group = group(&[("a", member(&["t"])), ("y", instance("i2")), ("z", instance("i1"))]);
    let topics = cluster(&[("t", 4)]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-3", "y: t-2", "z: t-0 t-1"]);
    assert_eq!(shown(&RoundRobin, &group, &topics), ["a: t-2", "y: t-1", "z: t-0 t-3"]);
}

#[test]
fn round_robin_goes_on_from_topic_to_topic() {
    let group = group(&[("a", member(&["t", "u"])), ("b", member(&["t", "u"]))]);
    let topics = cluster(&[("t", 3), ("u", 3)]);
    assert_eq!(shown(&RoundRobin, &group, &topics), ["a: t-0 t-2 u-1", "b: t-1 u-0 u-2"]);
}

#[test]
fn round_robin_passes_over_members_that_do_not_want_a_topic() {
    let group = group(&[("a", member(&["t"])), ("b", member(&["t", "u"])), ("c", member(&["t", "u", "v"]))]);
    let topics = cluster(&[("t", 1), ("u", 2), ("v", 3)]);
    assert_eq!(shown(&RoundRobin, &group, &topics), ["a: t-0", "b: u-0", "c: u-1 v-0 v-1 v-2"]);
}

fn rack(name: &str, topics: &[&str]) -> MemberSubscription {
    MemberSubscription { rack: Some(name.into()), ..member(topics) }
}

fn with_racks(topics: &[(&str, &[&[&str]])]) -> TopicMap {
    let mut map = TopicMap::new();
    for (topic, partitions) in topics {
        let racks = partitions
            .iter()
            .map(|racks| racks.iter().map(|r| Arc::from(*r)).collect::<BTreeSet<_>>())
            .collect();
        map.insert(*topic, TopicInfo { partitions: partitions.len() as i32, racks });
    }
    map
}

#[test]
fn range_prefers_partitions_with_a_replica_in_the_members_rack() {
    let group = group(&[("a", rack("r1", &["t"])), ("b", rack("r2", &["t"]))]);
    let topics = with_racks(&[("t", &[&["r2"], &["r1"], &["r2"], &["r1"]])]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-1 t-3", "b: t-0 t-2"]);
}

#[test]
fn balance_goes_before_racks() {
    let group = group(&[("a", rack("r1", &["t"])), ("b", rack("r2", &["t"]))]);
    let topics = with_racks(&[("t", &[&["r1"], &["r1"], &["r1"], &["r2"]])]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-0 t-1", "b: t-2 t-3"]);
}

#[test]
fn equally_partitioned_topics_stay_together_also_with_racks() {
    let group = group(&[("a", rack("r1", &["t", "u"])), ("b", rack("r2", &["t", "u"]))]);
    let racks: &[&[&str]] = &[&["r2"], &["r1"]];
    let topics = with_racks(&[("t", racks), ("u", racks)]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-1 u-1", "b: t-0 u-0"]);
}

#[test]
fn racks_that_hold_every_partition_change_nothing() {
    let group = group(&[("a", rack("r1", &["t"])), ("b", rack("r2", &["t"]))]);
    let all: &[&str] = &["r1", "r2"];
    let topics = with_racks(&[("t", &[all, all, all])]);
    assert_eq!(shown(&Range, &group, &topics), ["a: t-0 t-1", "b: t-2"]);
}

proptest! {
    #[test]
    fn every_wanted_partition_has_one_owner_that_wants_it(
        wants in prop::collection::vec(prop::collection::vec(0usize..4, 0..4), 1..7),
        sizes in prop::collection::vec(0i32..9, 4),
        racks in prop::collection::vec(prop::option::of(0u8..3), 7),
        places in prop::collection::vec(0u8..3, 36),
    ) {
        let names = ["t0", "t1", "t2", "t3"];
        let rack_name = |rack: u8| Arc::<str>::from(format!("r{rack}"));
        let mut members = GroupSubscription::default();
        for (index, topics) in wants.iter().enumerate() {
            let topics: Vec<&str> = topics.iter().map(|t| names[*t]).collect();
            let one = MemberSubscription { rack: racks[index].map(rack_name), ..member(&topics) };
            members.members.insert(format!("m{index}").into(), one);
        }
        let mut topics = TopicMap::new();
        for (index, size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
            let racks = (0..*size as usize).map(|p| BTreeSet::from([rack_name(places[index * 9 + p])])).collect();
            topics.insert(names[index], TopicInfo { partitions: *size, racks });
        }
        for assignor in [&Range as &dyn Assignor, &RoundRobin] {
            let assignment = assignor.assign(&members, &topics);
            let mut seen = BTreeSet::new();
            for (id, partitions) in &assignment {
                for partition in partitions {
                    prop_assert!(members.members[id].topics.contains(&partition.topic));
                    prop_assert!(seen.insert(partition.clone()), "{partition} twice");
                }
            }
            let expected: usize = members.topics().iter().map(|t| topics.partitions(t) as usize).sum();
            prop_assert_eq!(seen.len(), expected, "{}", assignor.name());
        }
    }
}
