//! What the leader of a generation does.

use kavka_group::SortedSet;
use std::sync::Arc;

use bytes::Bytes;
use kavka_group::assignor::{Assignment, Assignor, GroupSubscription, MemberSubscription, RebalanceProtocol};
use kavka_group::{Event, GroupErrorKind, GroupReply, Input, TopicInfo, TopicMap};
use kavka_wire::ErrorCode;
use kavka_wire::codec::{Message, Writer};
use kavka_wire::messages::ConsumerProtocolSubscription;
use kavka_wire::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;

use crate::rig::*;

fn subscribed(names: &[&str], rack: Option<&str>) -> Bytes {
    subscription(ConsumerProtocolSubscription {
        topics: names.iter().map(|name| (*name).into()).collect(),
        rack_id: rack.map(Into::into),
        ..Default::default()
    })
}

/// Wants `t` and has some of its partitions.
fn owning(partitions: &[i32]) -> Bytes {
    let owned = OwnedTopic { topic: "t".into(), partitions: partitions.to_vec() };
    subscription(ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        owned_partitions: vec![owned],
        ..Default::default()
    })
}

fn subscription(subscription: ConsumerProtocolSubscription) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&3i16.to_be_bytes());
    subscription.encode(&mut writer, 3).unwrap();
    writer.into_bytes()
}

/// A leader of these members, its JoinGroup just answered.
fn leads(members: &[(&str, Bytes)], metadata: &[(&str, i32)]) -> Rig {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Metadata(map(metadata)));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    rig.reply(&call, leading(1, "range", members));
    rig
}

fn given(call: &Call) -> Vec<(String, usize)> {
    sync_of(call).assignments.iter().map(|a| (a.member_id.to_string(), a.assignment.len())).collect()
}

#[test]
fn the_leader_shares_the_topics_of_all_members() {
    let members = [(MEMBER, subscribed(&["t"], None)), ("m-2", subscribed(&["u"], None))];
    let mut rig = leads(&members, &[("t", 1), ("u", 2)]);
    let sync = rig.expect("SyncGroup");
    let expected = |partitions: &[_]| assignment(partitions).slice(2..);
    let assignments = &sync_of(&sync).assignments;
    assert_eq!(assignments[0].assignment.slice(2..), expected(&parts("t", &[0])));
    assert_eq!(assignments[1].assignment.slice(2..), expected(&parts("u", &[0, 1])));
    assert_eq!(sync_of(&sync).protocol_name.as_deref(), Some("range"));
}

#[test]
fn the_leader_waits_for_the_metadata_of_topics_that_only_others_want() {
    let members = [(MEMBER, subscribed(&["t"], None)), ("m-2", subscribed(&["u"], None))];
    let mut rig = leads(&members, &[("t", 1)]);
    rig.none("SyncGroup");
    assert_eq!(rig.events(), [Event::WantMetadata { topics: topics(&["t", "u"]) }]);
    rig.heartbeat(ErrorCode::NONE);
    rig.feed(Input::Metadata(map(&[("t", 1), ("u", 2)])));
    assert_eq!(given(&rig.expect("SyncGroup")).len(), 2);
}

#[test]
fn a_topic_that_does_not_exist_is_not_waited_for() {
    let members = [(MEMBER, subscribed(&["t", "gone"], None))];
    let mut rig = leads(&members, &[("t", 1)]);
    let mut metadata = TopicMap::new();
    metadata.insert("t", TopicInfo { partitions: 1, ..TopicInfo::default() });
    metadata.insert_missing("gone");
    rig.feed(Input::Metadata(Arc::new(metadata)));
    rig.expect("SyncGroup");
}

#[test]
fn metadata_that_never_comes_does_not_stop_the_group() {
    let members = [(MEMBER, subscribed(&["t", "u"], None))];
    let mut rig = leads(&members, &[("t", 1)]);
    rig.pass(ms(15_000));
    let sync = rig.expect("SyncGroup");
    rig.reply(&sync, synced(ErrorCode::NONE, assignment(&parts("t", &[0]))));
    rig.events();
    rig.feed(Input::Metadata(map(&[("t", 1), ("u", 4)])));
    rig.revocation();
}

#[test]
fn bytes_that_make_no_sense_cost_only_their_member() {
    let members = [
        (MEMBER, subscribed(&["t"], None)),
        ("m-2", Bytes::from_static(&[0, 3, 0xff])),
        ("m-3", Bytes::new()),
    ];
    let mut rig = leads(&members, &[("t", 3)]);
    let sync = rig.expect("SyncGroup");
    assert_eq!(sync_of(&sync).assignments.len(), 3);
    assert_eq!(
        sync_of(&sync).assignments[0].assignment.slice(2..),
        assignment(&parts("t", &[0, 1, 2])).slice(2..)
    );
}

/// A stable leader over t (2 partitions) and u (1), the latter wanted by another member.
fn stable_leader(rack: Option<&str>) -> Rig {
    let members = [(MEMBER, subscribed(&["t"], rack)), ("m-2", subscribed(&["u"], None))];
    let mut rig = leads(&members, &[("t", 2), ("u", 1)]);
    rig.give(&parts("t", &[0, 1]));
    rig.events();
    rig
}

#[test]
fn the_leader_rejoins_when_partitions_are_added_to_any_topic_of_the_group() {
    let mut rig = stable_leader(None);
    rig.feed(Input::Metadata(map(&[("t", 2), ("u", 1), ("other", 9)])));
    assert!(rig.events.is_empty(), "what nobody wants does not matter");
    rig.feed(Input::Metadata(map(&[("t", 2), ("u", 2)])));
    rig.revocation();
}

#[test]
fn the_leader_rejoins_when_a_topic_disappears() {
    let mut rig = stable_leader(None);
    let mut metadata = TopicMap::new();
    metadata.insert("t", TopicInfo { partitions: 2, ..TopicInfo::default() });
    metadata.insert_missing("u");
    rig.feed(Input::Metadata(Arc::new(metadata)));
    rig.revocation();
}

#[test]
fn a_follower_does_not_watch() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Metadata(map(&[("t", 5)])));
    assert!(rig.events.is_empty());
}

#[test]
fn a_change_during_the_rebalance_is_seen_after_it() {
    let members = [(MEMBER, subscribed(&["t"], None))];
    let mut rig = leads(&members, &[("t", 2)]);
    rig.feed(Input::Metadata(map(&[("t", 4)])));
    rig.give(&parts("t", &[0, 1]));
    rig.revocation();
}

fn racked(rack: &str) -> Arc<TopicMap> {
    let racks = |rack: &str| vec![SortedSet::from([Arc::from(rack)]), SortedSet::from([Arc::from("r0")])];
    let mut metadata = TopicMap::new();
    metadata.insert("t", TopicInfo { partitions: 2, racks: racks(rack), ..TopicInfo::default() });
    metadata.insert("u", TopicInfo { partitions: 1, ..TopicInfo::default() });
    Arc::new(metadata)
}

#[test]
fn racks_are_watched_only_when_a_member_has_one() {
    for (member, rejoins) in [(None, false), (Some("r1"), true)] {
        let members = [(MEMBER, subscribed(&["t"], None)), ("m-2", subscribed(&["u"], member))];
        let mut rig = Rig::new(|_| {});
        rig.feed(Input::Metadata(racked("r1")));
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        let call = rig.expect("JoinGroup");
        rig.reply(&call, leading(1, "range", &members));
        rig.give(&parts("t", &[0, 1]));
        rig.events();
        rig.feed(Input::Metadata(racked("r1")));
        assert!(rig.events.is_empty());
        rig.feed(Input::Metadata(racked("r2")));
        assert_eq!(rig.events.is_empty(), !rejoins);
    }
}

#[test]
fn a_static_leader_that_came_back_does_not_share_again_but_watches() {
    let mut rig = Rig::new(|config| config.instance_id = Some("i".into()));
    rig.feed(Input::Metadata(map(&[("t", 2)])));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    let GroupReply::JoinGroup(mut response) = leading(4, "range", &[(MEMBER, subscribed(&["t"], None))])
    else {
        panic!()
    };
    response.skip_assignment = true;
    rig.reply(&call, GroupReply::JoinGroup(response));
    assert!(sync_of(&rig.give(&parts("t", &[0, 1]))).assignments.is_empty());
    rig.events();
    rig.feed(Input::Metadata(map(&[("t", 3)])));
    rig.revocation();
}

/// An assignor of a user's own that breaks a rule.
#[derive(Debug)]
struct Broken(fn(&GroupSubscription, &TopicMap) -> Assignment);

impl Assignor for Broken {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        (self.0)(group, topics)
    }
}

/// A cooperative one that gives one partition to one member.
#[derive(Debug)]
struct Taking(&'static str, i32);

impl Assignor for Taking {
    fn name(&self) -> &str {
        "taking"
    }

    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        one(group, topics, self.0, "t", self.1)
    }
}

#[test]
fn a_cooperative_assignor_gives_nothing_away_that_somebody_has() {
    // Both say they have t-1: it can stay with either.
    let members = [(MEMBER, owning(&[0, 1])), ("m-2", owning(&[1])), ("m-3", owning(&[]))];
    let cases = [
        (Taking(MEMBER, 0), None),
        (Taking("m-2", 0), Some("t-0 for `m-2` while `m-1` still has it")),
        (Taking(MEMBER, 1), None),
        (Taking("m-2", 1), None),
        (Taking("m-3", 1), Some("t-1 for `m-3` while `m-1` still has it")),
        (Taking("m-3", 2), None),
    ];
    for (assignor, why) in cases {
        let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(assignor)]);
        rig.feed(Input::Metadata(map(&[("t", 3)])));
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        let call = rig.expect("JoinGroup");
        rig.reply(&call, leading(1, "taking", &members));
        let Some(why) = why else {
            assert_eq!(given(&rig.expect("SyncGroup")).len(), 3);
            continue;
        };
        rig.none("SyncGroup");
        let error = rig.fatal().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// Gives one partition; of a group and topics that are not those that were asked about, if some are given.
fn one(
    group: &GroupSubscription,
    topics: &TopicMap,
    member: &str,
    topic: &str,
    partition: i32,
) -> Assignment {
    let mut assignment = Assignment::new(group, topics);
    assignment.give(member, topic, partition);
    assignment
}

fn group_of(members: &[(&str, &[&str])]) -> GroupSubscription {
    let member = |(id, wanted): &(&str, &[&str])| {
        (Arc::from(*id), MemberSubscription { topics: topics(wanted).into(), ..Default::default() })
    };
    GroupSubscription { members: members.iter().map(member).collect() }
}

#[test]
fn an_assignor_that_breaks_the_rules_is_stopped() {
    type Assign = fn(&GroupSubscription, &TopicMap) -> Assignment;
    let broken: [(Assign, &str); 7] = [
        (|group, topics| one(group, topics, "nobody", "t", 0), "t-0 for `nobody`"),
        (|group, topics| one(group, topics, MEMBER, "t", 9), "t-9 for `m-1`"),
        (|group, topics| one(group, topics, MEMBER, "unwanted", 0), "unwanted-0 for `m-1`"),
        (|group, topics| one(group, topics, MEMBER, "u", 0), "u-0 for `m-1`, which does not want the topic"),
        (
            |_, topics| one(&group_of(&[("m-0", &["t"]), (MEMBER, &["t"])]), topics, "m-0", "t", 0),
            "t-0 for `m-0`, which is no member of the group",
        ),
        (
            |_, topics| one(&group_of(&[(MEMBER, &["t", "unwanted"])]), topics, MEMBER, "unwanted", 0),
            "unwanted-0 for `m-1`, which does not want the topic",
        ),
        (|group, _| one(group, &map(&[("t", 3)]), MEMBER, "t", 2), "t-2, which does not exist"),
    ];
    for (assign, why) in broken {
        let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(Broken(assign))]);
        rig.feed(Input::Metadata(map(&[("t", 2), ("u", 1), ("unwanted", 1)])));
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        let call = rig.expect("JoinGroup");
        let members = [(MEMBER, subscribed(&["t"], None)), ("m-2", subscribed(&["u"], None))];
        rig.reply(&call, leading(1, "range", &members));
        rig.none("SyncGroup");
        let error = rig.fatal().unwrap();
        assert_eq!(error.kind, GroupErrorKind::Configuration);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn an_assignor_may_leave_members_out() {
    let left_out = Broken(|_, topics| one(&group_of(&[("m-2", &["t"])]), topics, "m-2", "t", 0));
    let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(left_out)]);
    rig.feed(Input::Metadata(map(&[("t", 2)])));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    let members = [(MEMBER, subscribed(&["t"], None)), ("m-2", subscribed(&["t"], None))];
    rig.reply(&call, leading(1, "range", &members));
    let sync = rig.expect("SyncGroup");
    let assignments = &sync_of(&sync).assignments;
    assert_eq!(assignments[0].assignment.slice(2..), assignment(&[]).slice(2..));
    assert_eq!(assignments[1].assignment.slice(2..), assignment(&parts("t", &[0])).slice(2..));
}
