//! The member of the consumer protocol (KIP-848): joining, heartbeats and reconciliation.

use std::sync::Arc;

use kavka_group::{
    CallLane, Config, Event, GroupProtocol, GroupReply, GroupRequest, Input, Subscription, TopicInfo,
    TopicMap, TopicPartition,
};
use kavka_wire::messages::consumer_group_heartbeat::{Assignment, ResponseTopicPartitions};
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kavka_wire::{ErrorCode, Uuid};

use crate::rig::*;

/// The id of the topic that is called `name` in these tests.
pub(crate) fn id(name: &str) -> Uuid {
    let mut bytes = [0xee; 16];
    bytes[0] = name.as_bytes()[0];
    Uuid(bytes)
}

/// Topics with their ids, of ten partitions each.
pub(crate) fn known(names: &[&str]) -> Arc<TopicMap> {
    let mut map = TopicMap::new();
    for name in names {
        map.insert(*name, TopicInfo { id: Some(id(name)), partitions: 10, racks: Vec::new() });
    }
    Arc::new(map)
}

pub(crate) fn target(topics: &[(&str, &[i32])]) -> Option<Assignment> {
    let topic = |(name, partitions): &(&str, &[i32])| ResponseTopicPartitions {
        topic_id: id(name),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let topic_partitions = topics.iter().map(topic).collect();
    Some(Assignment { topic_partitions, ..Default::default() })
}

pub(crate) fn ok(epoch: i32, assignment: Option<Assignment>) -> GroupReply {
    GroupReply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
        member_epoch: epoch,
        heartbeat_interval_ms: 5_000,
        assignment,
        ..Default::default()
    })
}

pub(crate) fn refusal(code: ErrorCode, message: Option<&str>) -> GroupReply {
    GroupReply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
        error_code: code,
        error_message: message.map(Into::into),
        member_epoch: 0,
        ..Default::default()
    })
}

pub(crate) fn said(call: &Call) -> &ConsumerGroupHeartbeatRequest {
    match &call.request {
        GroupRequest::ConsumerGroupHeartbeat(request) => request,
        other => panic!("{other:?}"),
    }
}

/// What a heartbeat says is owned; `None` when it says nothing about that.
pub(crate) fn owned(call: &Call) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let topics = said(call).topic_partitions.as_ref()?;
    Some(topics.iter().map(|topic| (topic.topic_id, topic.partitions.clone())).collect())
}

pub(crate) fn names(call: &Call) -> Option<Vec<&str>> {
    said(call).subscribed_topic_names.as_ref().map(|names| names.iter().map(|name| &**name).collect())
}

/// A member that asked to join, with its coordinator known and `t` and `u` known by their ids.
pub(crate) fn joining(change: impl FnOnce(&mut Config)) -> Rig {
    let mut rig = Rig::new(|config| {
        config.protocol = GroupProtocol::Consumer;
        change(config);
    });
    rig.feed(Input::Metadata(known(&["t", "u"])));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig
}

/// A member at epoch 1 that owns these partitions of `t`, acknowledged.
pub(crate) fn member(partitions: &[i32], change: impl FnOnce(&mut Config)) -> Rig {
    let mut rig = joining(change);
    rig.beat(ok(1, target(&[("t", partitions)])));
    rig.beat(ok(1, None));
    assert_eq!(rig.assigned().unwrap().1, parts("t", partitions));
    rig
}

impl Rig {
    /// Answers the next heartbeat, waiting for it as long as an interval.
    pub(crate) fn beat(&mut self, reply: GroupReply) -> Call {
        if !self.calls.iter().any(|call| kind(&call.request) == "ConsumerGroupHeartbeat") {
            self.pass(ms(5_000));
        }
        let call = self.expect("ConsumerGroupHeartbeat");
        self.reply(&call, reply);
        call
    }

    pub(crate) fn beats_now(&self) -> bool {
        self.calls.iter().any(|call| kind(&call.request) == "ConsumerGroupHeartbeat")
    }
}

fn release(rig: &mut Rig) -> Vec<TopicPartition> {
    let (epoch, partitions) = rig.revocation();
    rig.feed(Input::Released { epoch });
    partitions
}

#[test]
fn joining_says_everything_and_owns_nothing() {
    let mut rig = joining(|config| {
        config.rack = Some("r1".into());
        config.server_assignor = Some("range".into());
        config.instance_id = Some("i".into());
    });
    let call = rig.expect("ConsumerGroupHeartbeat");
    let request = said(&call);
    assert_eq!(call.lane, CallLane::Group);
    assert_eq!((&*request.group_id, request.member_epoch, request.rebalance_timeout_ms), ("g", 0, 300_000));
    assert_eq!((request.member_id.len(), names(&call)), (22, Some(vec!["t"])), "an id of its own making");
    let id: Uuid = request.member_id.parse().unwrap();
    assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2), "marked as a random one");
    assert_eq!(request.rack_id.as_deref(), Some("r1"));
    assert_eq!(request.server_assignor.as_deref(), Some("range"));
    assert_eq!(request.instance_id.as_deref(), Some("i"));
    assert_eq!((owned(&call), request.subscribed_topic_regex.as_deref()), (Some(vec![]), None));
}

#[test]
fn members_make_different_ids_and_the_same_seed_makes_the_same() {
    let id_of = |seed| {
        let mut rig = joining(|config| config.seed = seed);
        said(&rig.expect("ConsumerGroupHeartbeat")).member_id.to_string()
    };
    assert_eq!(id_of(1), id_of(1));
    assert_ne!(id_of(1), id_of(2));
}

#[test]
fn what_is_assigned_is_taken_told_and_acknowledged_at_once() {
    let mut rig = joining(|_| {});
    let join = rig.beat(ok(1, target(&[("t", &[2, 0])])));
    assert_eq!(rig.protocols, [GroupProtocol::Consumer]);
    assert_eq!(rig.assigned(), Some((parts("t", &[0, 2]), parts("t", &[0, 2]))));
    let ack = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(owned(&ack), Some(vec![(id("t"), vec![0, 2])]));
    assert_eq!((said(&ack).member_epoch, &said(&ack).member_id), (1, &said(&join).member_id));
    assert_eq!((names(&ack), said(&ack).rebalance_timeout_ms), (None, -1), "only what is new");
    rig.reply(&ack, ok(1, None));
    assert!(rig.events.is_empty() && rig.calls.is_empty());
}

#[test]
fn an_empty_assignment_is_told_once_and_needs_no_acknowledgement() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[])));
    assert_eq!(rig.assigned(), Some((vec![], vec![])));
    assert!(!rig.beats_now());
    rig.beat(ok(2, None));
    rig.beat(ok(2, target(&[])));
    assert!(rig.events.is_empty() && !rig.beats_now());
}

#[test]
fn an_answer_without_an_assignment_is_no_assignment_of_nothing() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, None));
    assert!(rig.events.is_empty(), "nothing is decided yet");
    rig.beat(ok(1, target(&[("t", &[1])])));
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[1]));
}

#[test]
fn heartbeats_keep_the_coordinators_interval_and_come_one_at_a_time() {
    let mut rig = member(&[0], |_| {});
    rig.pass(ms(4_999));
    assert!(!rig.beats_now());
    rig.pass(ms(1));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((names(&call), owned(&call)), (None, None));
    rig.pass(ms(20_000));
    assert!(!rig.beats_now(), "one is in flight");
    rig.reply(&call, ok(1, None));
    assert!(rig.beats_now());
}

#[test]
fn an_interval_that_makes_no_sense_is_not_followed() {
    for (told, waits) in [(0, 3_000), (-7, 3_000), (i32::MAX, 15_000), (1, 10)] {
        let mut rig = joining(|_| {});
        rig.beat(ok(1, target(&[("t", &[0])])));
        rig.beat(GroupReply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
            member_epoch: 1,
            heartbeat_interval_ms: told,
            ..Default::default()
        }));
        rig.pass(ms(waits - 1));
        assert!(!rig.beats_now(), "{told}");
        rig.pass(ms(1));
        assert!(rig.beats_now(), "{told}");
    }
}

#[test]
fn a_member_that_joins_without_partitions_asks_for_them_soon_and_not_for_ever() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[])));
    let mut waits = Vec::new();
    while waits.last() != Some(&5_000) {
        let mut waited = 0;
        while !rig.beats_now() {
            rig.pass(ms(50));
            waited += 50;
        }
        let call = rig.expect("ConsumerGroupHeartbeat");
        rig.reply(&call, ok(1, None));
        waits.push(waited);
    }
    assert_eq!(waits[..6], [50, 100, 200, 400, 500, 500]);
    assert!((20..26).contains(&waits.len()), "two intervals, ten beats in each: {waits:?}");
}

#[test]
fn a_member_that_joins_and_gets_partitions_has_no_reason_to_hurry() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("t", &[0])])));
    rig.beat(ok(1, None));
    rig.pass(ms(4_900));
    assert!(!rig.beats_now());
}

#[test]
fn a_revocation_is_acknowledged_after_the_release_and_before_anything_is_taken() {
    let mut rig = member(&[0, 1], |_| {});
    rig.beat(ok(2, target(&[("t", &[1])])));
    assert!(!rig.beats_now(), "what is being given up is still owned");
    let keepalive = rig.beat(ok(2, None));
    assert_eq!((owned(&keepalive), said(&keepalive).member_epoch), (None, 2));
    assert_eq!(release(&mut rig), parts("t", &[0]));
    let ack = rig.beat(ok(2, None));
    assert_eq!(owned(&ack), Some(vec![(id("t"), vec![1])]));
    assert_eq!(rig.assigned(), Some((vec![], parts("t", &[1]))));
}

#[test]
fn a_released_partition_waits_for_its_commits_and_heartbeats_go_on() {
    let mut rig = member(&[0, 1], |_| {});
    rig.beat(ok(2, target(&[("t", &[1])])));
    rig.commit(1, &[(tp("t", 0), 7)]);
    release(&mut rig);
    assert_eq!(owned(&rig.beat(ok(3, None))), None, "not released yet");
    let commit = rig.expect("OffsetCommit");
    let reply = commit_reply(&commit, ErrorCode::STALE_MEMBER_EPOCH);
    rig.reply(&commit, reply);
    rig.pass(ms(200));
    let commit = rig.expect("OffsetCommit");
    assert_eq!(commit_of(&commit).generation_id_or_member_epoch, 3, "the newest epoch");
    assert!(!rig.beats_now());
    let reply = commit_reply(&commit, ErrorCode::NONE);
    rig.reply(&commit, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")), Some(vec![(id("t"), vec![1])]));
}

#[test]
fn a_full_heartbeat_during_a_revocation_still_owns_what_is_given_up() {
    let mut rig = member(&[0, 1], |_| {});
    rig.beat(ok(2, target(&[("t", &[1])])));
    rig.pass(ms(5_000));
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&call);
    rig.pass(ms(200));
    rig.find();
    rig.pass(ms(200));
    let full = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(owned(&full), Some(vec![(id("t"), vec![0, 1])]));
    assert_eq!((names(&full), said(&full).rebalance_timeout_ms), (Some(vec!["t"]), 300_000));
}

#[test]
fn one_reconciliation_at_a_time() {
    let mut rig = member(&[0, 1, 2], |_| {});
    rig.beat(ok(2, target(&[("t", &[1, 2])])));
    let (epoch, partitions) = rig.revocation();
    assert_eq!(partitions, parts("t", &[0]));
    rig.beat(ok(3, target(&[("t", &[2, 5])])));
    assert!(rig.events.is_empty(), "the next one waits");
    rig.feed(Input::Released { epoch });
    let ack = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(owned(&ack), Some(vec![(id("t"), vec![1, 2])]), "the first one is reported before the second");
    assert_eq!(release(&mut rig), parts("t", &[1]));
    assert!(!rig.beats_now() && rig.events.is_empty(), "a report is in flight, and it lacks what comes next");
    rig.reply(&ack, ok(3, None));
    assert_eq!(rig.assigned(), Some((parts("t", &[5]), parts("t", &[2, 5]))));
    assert_eq!(owned(&rig.beat(ok(3, None))), Some(vec![(id("t"), vec![2, 5])]));
    assert!(!rig.beats_now());
}

#[test]
fn a_release_of_an_older_revocation_releases_nothing() {
    let mut rig = member(&[0, 1], |_| {});
    rig.beat(ok(2, target(&[("t", &[1])])));
    let (first, _) = rig.revocation();
    rig.feed(Input::Released { epoch: first });
    rig.beat(ok(3, target(&[])));
    rig.revocation();
    rig.feed(Input::Released { epoch: first });
    assert_eq!(owned(&rig.beat(ok(3, None))), None);
}

#[test]
fn partitions_that_are_not_released_in_time_are_lost() {
    let mut rig = member(&[0, 1], |config| config.rebalance_timeout = ms(20_000));
    rig.beat(ok(2, target(&[])));
    rig.events();
    for _ in 0..3 {
        rig.beat(ok(2, None));
    }
    rig.pass(ms(5_000));
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    let join = rig.expect("ConsumerGroupHeartbeat");
    // The one that was in flight is forgotten, the next one joins.
    let join = if said(&join).member_epoch == 0 { join } else { rig.expect("ConsumerGroupHeartbeat") };
    assert_eq!((said(&join).member_epoch, owned(&join)), (0, Some(vec![])));
}

#[test]
fn topics_that_are_not_known_by_name_are_asked_for_until_they_are() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("t", &[0]), ("x", &[3, 3])])));
    let asked = Event::WantTopicIds { ids: [id("x")].into() };
    assert!(rig.events.contains(&asked));
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[0]), "what is known is taken meanwhile");
    assert_eq!(owned(&rig.beat(ok(1, None))), Some(vec![(id("t"), vec![0])]));
    rig.feed(Input::Metadata(known(&["t", "u"])));
    assert!(rig.events.is_empty(), "not again and again");
    rig.pass(ms(200));
    assert_eq!(rig.events(), [asked]);
    rig.feed(Input::Metadata(known(&["t", "x"])));
    assert_eq!(rig.assigned(), Some((parts("x", &[3]), [parts("t", &[0]), parts("x", &[3])].concat())));
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")).unwrap().len(), 2);
    rig.pass(ms(4_000));
    assert!(rig.events.is_empty());
}

#[test]
fn nothing_is_taken_while_a_report_without_it_is_on_its_way() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("x", &[0, 1])])));
    rig.events();
    let report = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(owned(&report), Some(vec![]));
    rig.feed(Input::Metadata(known(&["t", "x"])));
    assert!(rig.events.is_empty(), "the coordinator may give them to others by that report");
    rig.reply(&report, ok(2, target(&[("x", &[0])])));
    assert_eq!(rig.assigned().unwrap().0, parts("x", &[0]));
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")), Some(vec![(id("x"), vec![0])]));
}

#[test]
fn nothing_is_taken_while_it_is_unknown_what_the_coordinator_was_told_last() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("x", &[0, 1])])));
    rig.events();
    let report = rig.expect("ConsumerGroupHeartbeat");
    rig.reply(&report, refusal(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, None));
    rig.feed(Input::Metadata(known(&["t", "x"])));
    assert!(rig.events.is_empty());
    rig.beat(ok(1, None));
    assert_eq!(rig.assigned().unwrap().0, parts("x", &[0, 1]));
}

#[test]
fn an_assignment_that_takes_back_what_was_never_known_is_acknowledged() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("x", &[3])])));
    rig.beat(ok(1, None));
    rig.beat(ok(2, target(&[])));
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")), Some(vec![]), "the coordinator waits for it");
    rig.events();
    rig.pass(ms(4_000));
    assert!(rig.events.is_empty(), "nothing is left to ask for");
}

#[test]
fn nothing_unknown_is_carried_into_the_next_membership() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("t", &[0]), ("x", &[3])])));
    rig.beat(refusal(ErrorCode::FENCED_MEMBER_EPOCH, None));
    let join = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((said(&join).member_epoch, owned(&join)), (0, Some(vec![])));
    rig.events();
    rig.feed(Input::Metadata(known(&["t", "x"])));
    rig.pass(ms(1_000));
    assert!(rig.events.is_empty());
}

#[test]
fn the_assignment_of_one_membership_is_none_of_the_next() {
    let mut rig = member(&[0], |_| {});
    rig.beat(refusal(ErrorCode::FENCED_MEMBER_EPOCH, None));
    rig.events();
    rig.beat(ok(4, None));
    assert!(rig.events.is_empty(), "nothing was assigned to this one yet");
    rig.beat(ok(4, target(&[("t", &[0])])));
    assert_eq!(rig.assigned(), Some((parts("t", &[0]), parts("t", &[0]))));
}

#[test]
fn a_session_counts_from_the_sending_of_the_last_answered_heartbeat() {
    let mut rig = member(&[0], |_| {});
    rig.pass(ms(5_000));
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.pass(ms(20_000));
    rig.reply(&call, ok(1, None));
    rig.pass(ms(24_900));
    assert!(rig.events.is_empty());
    rig.pass(ms(200));
    assert_eq!(rig.lost(), Some(parts("t", &[0])), "45 seconds after second 5");
}

#[test]
fn hostile_assignments_are_taken_for_what_makes_sense_in_them() {
    let mut rig = joining(|_| {});
    let mut assignment = target(&[("t", &[1, -4, 1]), ("t", &[2])]).unwrap();
    let nobody = ResponseTopicPartitions { topic_id: Uuid::ZERO, partitions: vec![0], ..Default::default() };
    assignment.topic_partitions.push(nobody);
    rig.beat(ok(1, Some(assignment)));
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[1, 2]));
}

#[test]
fn a_changed_subscription_is_told_at_once_and_only_it() {
    let mut rig = member(&[0], |_| {});
    rig.feed(Input::Subscribe(topics(&["t", "u"]).into()));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((names(&call), owned(&call)), (Some(vec!["t", "u"]), None));
    assert_eq!((said(&call).rebalance_timeout_ms, said(&call).member_epoch), (-1, 1));
    // It changes again before the answer.
    rig.feed(Input::Subscribe(topics(&["u"]).into()));
    assert!(!rig.beats_now());
    rig.reply(&call, ok(2, None));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(names(&call), Some(vec!["u"]));
    rig.reply(&call, ok(3, None));
    assert!(!rig.beats_now());
}

#[test]
fn a_pattern_is_told_and_taken_back_and_its_topics_are_trusted() {
    let mut rig = Rig::new(|config| config.protocol = GroupProtocol::Consumer);
    rig.feed(Input::Metadata(known(&["u"])));
    let pattern = |regex: Option<&str>| Subscription { topics: topics(&["t"]), regex: regex.map(Into::into) };
    rig.feed(Input::Subscribe(pattern(Some("u.*"))));
    rig.find();
    let call = rig.beat(ok(1, target(&[("u", &[0])])));
    assert_eq!((said(&call).subscribed_topic_regex.as_deref(), names(&call)), (Some("u.*"), Some(vec!["t"])));
    assert_eq!(rig.assigned().unwrap().0, parts("u", &[0]));
    rig.beat(ok(1, None));
    rig.feed(Input::Subscribe(pattern(None)));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((said(&call).subscribed_topic_regex.as_deref(), names(&call)), (Some(""), None));
}

#[test]
fn a_topic_that_was_created_anew_is_given_up_before_the_new_one_is_taken() {
    let mut rig = member(&[0], |_| {});
    let anew = Uuid([9; 16]);
    let mut map = TopicMap::new();
    map.insert("t", TopicInfo { id: Some(anew), partitions: 1, racks: Vec::new() });
    rig.feed(Input::Metadata(Arc::new(map)));
    let topic = ResponseTopicPartitions { topic_id: anew, partitions: vec![0], ..Default::default() };
    let assignment = Assignment { topic_partitions: vec![topic], ..Default::default() };
    rig.beat(ok(2, Some(assignment)));
    assert_eq!(release(&mut rig), parts("t", &[0]));
    assert_eq!(rig.assigned(), Some((parts("t", &[0]), parts("t", &[0]))));
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")), Some(vec![(anew, vec![0])]));
}

#[test]
fn an_echo_of_the_assignment_does_not_make_heartbeats_follow_each_other() {
    let mut rig = member(&[0], |_| {});
    for _ in 0..3 {
        rig.beat(ok(1, target(&[("t", &[0])])));
        assert!(!rig.beats_now() && rig.events.is_empty());
    }
}

#[test]
fn an_older_epoch_is_not_taken_over() {
    let mut rig = member(&[0], |_| {});
    rig.beat(ok(5, None));
    rig.beat(ok(3, None));
    assert_eq!(said(&rig.beat(ok(5, None))).member_epoch, 5);
    rig.beat(ok(-1, None));
    assert_eq!(said(&rig.beat(ok(5, None))).member_epoch, 5);
}

#[test]
fn answers_to_requests_that_are_not_awaited_are_dropped() {
    let mut rig = member(&[0], |_| {});
    rig.pass(ms(5_000));
    let old = rig.expect("ConsumerGroupHeartbeat");
    rig.reply(&old, ok(2, None));
    rig.reply(&old, ok(9, target(&[("t", &[7])])));
    rig.reply(&old, refusal(ErrorCode::UNKNOWN_MEMBER_ID, None));
    assert!(rig.events.is_empty());
    assert_eq!(said(&rig.beat(ok(2, None))).member_epoch, 2);
}

#[test]
fn the_session_ends_when_no_heartbeat_is_answered() {
    let mut rig = member(&[0, 1], |_| {});
    rig.pass(ms(44_999));
    assert!(rig.events.is_empty());
    let late = rig.expect("ConsumerGroupHeartbeat");
    rig.pass(ms(1));
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    rig.reply(&late, ok(1, target(&[("t", &[0, 1])])));
    assert!(rig.events.is_empty(), "that membership is over");
    let join = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((said(&join).member_epoch, &said(&join).member_id), (0, &said(&late).member_id));
}

#[test]
fn rejoining_for_no_reason_is_left_to_the_coordinator() {
    let mut rig = member(&[0], |_| {});
    rig.feed(Input::Rejoin { reason: "the test".into() });
    assert!(rig.events.is_empty() && rig.calls.is_empty());
}
