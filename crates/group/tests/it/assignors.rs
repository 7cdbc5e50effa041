//! `range` and `roundrobin`, with results worked out by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use kavka_group::assignor::{Assignor, GroupSubscription, MemberSubscription, Range, RoundRobin};
use kavka_group::{SortedSet, TopicInfo, TopicMap};
use proptest::prelude::*;

use crate::rig::{map, topics};

fn member(names: &[&str]) -> MemberSubscription {
    MemberSubscription { topics: topics(names).into(), ..Default::default() }
}

fn group(members: &[(&str, MemberSubscription)]) -> GroupSubscription {
    GroupSubscription { members: members.iter().map(|(id, m)| (Arc::from(*id), m.clone())).collect() }
}

/// `a=t-0,t-1 b=t-2`
fn run(assignor: &dyn Assignor, group: &GroupSubscription, topics: &TopicMap) -> String {
    let assignment = assignor.assign(group, topics);
    let lines = assignment.by_member().into_iter().map(|(id, partitions)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{id}={}", partitions.join(","))
    });
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn range_gives_the_first_members_the_extra_partition() {
    let two = group(&[("a", member(&["t", "u"])), ("b", member(&["t", "u"]))]);
    assert_eq!(run(&Range, &two, &map(&[("t", 3), ("u", 3)])), "a=t-0,t-1,u-0,u-1 b=t-2,u-2");
    let three = group(&[("a", member(&["t"])), ("b", member(&["t"])), ("c", member(&["t"]))]);
    assert_eq!(run(&Range, &three, &map(&[("t", 8)])), "a=t-0,t-1,t-2 b=t-3,t-4,t-5 c=t-6,t-7");
    assert_eq!(run(&Range, &three, &map(&[("t", 2)])), "a=t-0 b=t-1 c=");
}

#[test]
fn roundrobin_deals_over_all_topics() {
    let two = group(&[("a", member(&["t", "u"])), ("b", member(&["t", "u"]))]);
    assert_eq!(run(&RoundRobin, &two, &map(&[("t", 3), ("u", 3)])), "a=t-0,t-2,u-1 b=t-1,u-0,u-2");
    let uneven = group(&[("a", member(&["t"])), ("b", member(&["t", "u"])), ("c", member(&["t", "u", "v"]))]);
    assert_eq!(
        run(&RoundRobin, &uneven, &map(&[("t", 1), ("u", 2), ("v", 3)])),
        "a=t-0 b=u-0 c=u-1,v-0,v-1,v-2"
    );
}

#[test]
fn members_get_only_what_they_want_and_what_exists() {
    let mixed =
        group(&[("a", member(&["t1", "t2"])), ("b", member(&["t2", "t3"])), ("c", member(&["t4", "gone"]))]);
    let counts = map(&[("t1", 4), ("t2", 4), ("t3", 4), ("t4", 4)]);
    let expected = "a=t1-0,t1-1,t1-2,t1-3,t2-0,t2-1 b=t2-2,t2-3,t3-0,t3-1,t3-2,t3-3 c=t4-0,t4-1,t4-2,t4-3";
    assert_eq!(run(&Range, &mixed, &counts), expected);
    for assignor in [&Range as &dyn Assignor, &RoundRobin] {
        let sizes: Vec<usize> = assignor.assign(&mixed, &counts).by_member().values().map(Vec::len).collect();
        assert_eq!(sizes, [6, 6, 4], "{}", assignor.name());
        assert_eq!(run(assignor, &group(&[("a", member(&["gone"]))]), &counts), "a=");
        assert_eq!(run(assignor, &group(&[("a", member(&[]))]), &counts), "a=");
        assert_eq!(run(assignor, &group(&[]), &counts), "");
    }
}

#[test]
fn static_members_come_first_and_keep_their_share_under_a_new_member_id() {
    let fixed = |instance: &str| MemberSubscription { instance_id: Some(instance.into()), ..member(&["t"]) };
    for assignor in [&Range as &dyn Assignor, &RoundRobin] {
        let first = group(&[("a", member(&["t"])), ("x", fixed("2")), ("y", fixed("1"))]);
        let by_id = assignor.assign(&first, &map(&[("t", 3)])).by_member();
        let at = |id: &str| by_id[id][0].partition;
        assert_eq!((at("y"), at("x"), at("a")), (0, 1, 2), "{}", assignor.name());
        let again = group(&[("a", member(&["t"])), ("zz", fixed("1")), ("b", fixed("2"))]);
        let by_id = assignor.assign(&again, &map(&[("t", 3)])).by_member();
        assert_eq!((by_id["zz"][0].partition, by_id["b"][0].partition), (0, 1), "{}", assignor.name());
    }
}

fn in_rack(rack: &str, names: &[&str]) -> MemberSubscription {
    MemberSubscription { rack: Some(rack.into()), ..member(names) }
}

fn racked(of: &[(&str, &[&str])]) -> TopicMap {
    let mut metadata = TopicMap::new();
    for (topic, racks) in of {
        let racks: Vec<SortedSet<Arc<str>>> =
            racks.iter().map(|list| list.split('+').map(Arc::from).collect()).collect();
        metadata.insert(*topic, TopicInfo { partitions: racks.len() as i32, racks, ..TopicInfo::default() });
    }
    metadata
}

#[test]
fn range_prefers_the_members_rack_within_equal_shares() {
    let members = group(&[("a", in_rack("r1", &["t"])), ("b", in_rack("r2", &["t"]))]);
    assert_eq!(run(&Range, &members, &racked(&[("t", &["r2", "r1", "r2", "r1"])])), "a=t-1,t-3 b=t-0,t-2");
    // All replicas in one rack: the shares stay equal.
    assert_eq!(run(&Range, &members, &racked(&[("t", &["r1", "r1", "r1", "r1"])])), "a=t-0,t-1 b=t-2,t-3");
    // Every partition everywhere, or racks without members: plain ranges.
    assert_eq!(run(&Range, &members, &racked(&[("t", &["r1+r2", "r1+r2"])])), "a=t-0 b=t-1");
    assert_eq!(run(&Range, &members, &racked(&[("t", &["r9", "r8"])])), "a=t-0 b=t-1");
}

#[test]
fn range_keeps_topics_of_one_shape_together_also_by_rack() {
    let members = group(&[("a", in_rack("r1", &["t", "u"])), ("b", in_rack("r2", &["t", "u"]))]);
    let metadata = racked(&[("t", &["r2", "r1"]), ("u", &["r2", "r1"])]);
    assert_eq!(run(&Range, &members, &metadata), "a=t-1,u-1 b=t-0,u-0");
    // Their racks disagree: staying together comes first.
    let metadata = racked(&[("t", &["r2", "r1"]), ("u", &["r1", "r2"])]);
    assert_eq!(run(&Range, &members, &metadata), "a=t-0,u-0 b=t-1,u-1");
}

#[test]
fn a_member_without_a_rack_takes_part() {
    let members = group(&[("a", member(&["t"])), ("b", in_rack("r2", &["t"]))]);
    assert_eq!(run(&Range, &members, &racked(&[("t", &["r2", "r1", "r2", "r1"])])), "a=t-0,t-1 b=t-2,t-3");
}

fn any_group() -> impl Strategy<Value = (GroupSubscription, TopicMap)> {
    let rack = prop_oneof![Just(None), Just(Some("r0")), Just(Some("r1"))];
    let member = (prop::collection::btree_set(0usize..5, 0..5), rack, any::<bool>());
    let topic = prop::collection::vec(prop::collection::btree_set(0usize..3, 0..3), 0..9);
    (prop::collection::vec(member, 0..7), prop::collection::vec(topic, 5)).prop_map(|(members, counts)| {
        let mut group = GroupSubscription::default();
        for (index, (wanted, rack, fixed)) in members.into_iter().enumerate() {
            let subscription = MemberSubscription {
                topics: Arc::new(wanted.into_iter().map(|t| Arc::from(format!("t{t}"))).collect()),
                rack: rack.map(Arc::from),
                instance_id: fixed.then(|| Arc::from(format!("i{}", 9 - index))),
                ..Default::default()
            };
            group.members.insert(format!("m{index}").into(), subscription);
        }
        let mut metadata = TopicMap::new();
        for (index, partitions) in counts.into_iter().enumerate() {
            let racks: Vec<SortedSet<Arc<str>>> = partitions
                .iter()
                .map(|racks| racks.iter().map(|r| Arc::from(format!("r{r}"))).collect())
                .collect();
            metadata.insert(
                format!("t{index}"),
                TopicInfo { partitions: racks.len() as i32, racks, ..TopicInfo::default() },
            );
        }
        (group, metadata)
    })
}

proptest! {
    #[test]
    fn every_wanted_partition_goes_to_exactly_one_member_that_wants_it((group, metadata) in any_group()) {
        for assignor in [&Range as &dyn Assignor, &RoundRobin] {
            let assignment = assignor.assign(&group, &metadata);
            let mut seen = BTreeSet::new();
            for (id, partition) in assignment.iter() {
                prop_assert!(group.members[id].topics.contains(&partition.topic));
                prop_assert!(seen.insert(partition.clone()), "{partition} twice");
            }
            let wanted: i32 = group.topics().iter().map(|topic| metadata.partitions(topic)).sum();
            prop_assert_eq!(seen.len(), wanted as usize);
        }
    }

    #[test]
    fn range_shares_of_one_topic_differ_by_one_at_most((group, metadata) in any_group()) {
        let assignment = Range.assign(&group, &metadata).by_member();
        for topic in group.topics() {
            let takers = group.members.iter().filter(|(_, member)| member.topics.contains(&topic));
            let sizes: Vec<usize> = takers
                .map(|(id, _)| assignment.get(id).map_or(0, |p| p.iter().filter(|p| p.topic == topic).count()))
                .collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{topic}: {sizes:?}");
        }
    }
}
