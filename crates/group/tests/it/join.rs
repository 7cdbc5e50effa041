//! Joining, adopting, and giving up: eager, cooperative and static members.

use std::sync::Arc;

use bytes::Bytes;
use kavka_group::assignor::{Assignment, Assignor, GroupSubscription, TopicMap};
use kavka_group::{Event, Input, SortedSet, TopicPartition};
use kavka_wire::ErrorCode;
use kavka_wire::codec::{Limits, Message, Reader};
use kavka_wire::messages::ConsumerProtocolSubscription;

use crate::rig::*;

fn subscription(metadata: &Bytes) -> (i16, ConsumerProtocolSubscription) {
    let version = i16::from_be_bytes(*metadata.first_chunk().unwrap());
    let mut reader = Reader::new(metadata.slice(2..), &Limits::default());
    (version, ConsumerProtocolSubscription::decode(&mut reader, version).unwrap())
}

/// The topics of which a JoinGroup claims partitions, and the generation of that claim.
pub(crate) fn claims(join: &Call) -> (Vec<String>, i32) {
    let (_, sent) = subscription(&join_of(join).protocols[0].metadata);
    (sent.owned_partitions.iter().map(|owned| owned.topic.to_string()).collect(), sent.generation_id)
}

fn coop(partitions: &[i32]) -> Rig {
    Rig::stable(partitions, |config| config.assignors = vec![Arc::new(Coop)])
}

#[test]
fn a_follower_joins_syncs_and_gets_its_partitions() {
    let mut rig = Rig::new(|config| config.rack = Some("r1".into()));
    rig.feed(Input::Subscribe(topics(&["u", "t"]).into()));
    rig.find();
    let join = rig.follow();
    let names: Vec<&str> = join_of(&join).protocols.iter().map(|p| &*p.name).collect();
    assert_eq!(names, ["range", "cooperative-sticky"], "in the order of preference");
    let (version, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert_eq!((version, sent.generation_id, sent.rack_id.as_deref()), (3, -1, Some("r1")));
    assert_eq!(sent.topics, ["t", "u"], "sorted");
    let sync = rig.give(&[tp("t", 1), tp("u", 0), tp("t", 0)]);
    assert!(sync_of(&sync).assignments.is_empty());
    let all = vec![tp("t", 0), tp("t", 1), tp("u", 0)];
    assert_eq!(rig.assigned(), Some((all.clone(), all)));
}

#[test]
fn partitions_named_twice_are_one() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    rig.give(&parts("t", &[0, 0, 1]));
    assert_eq!(rig.assigned().unwrap().1, parts("t", &[0, 1]));
}

#[test]
fn an_eager_member_gives_up_everything_before_it_joins() {
    let mut rig = Rig::stable(&[0, 1], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, partitions) = rig.revocation();
    assert_eq!(partitions, parts("t", &[0, 1]));
    rig.feed(Input::Released { epoch });
    let join = rig.follow();
    let (_, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert!(sent.owned_partitions.is_empty());
    rig.give(&parts("t", &[1]));
    assert_eq!(rig.assigned(), Some((parts("t", &[1]), parts("t", &[1]))));
}

#[test]
fn an_eager_member_without_partitions_joins_at_once() {
    let mut rig = Rig::stable(&[], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.expect("JoinGroup");
    assert!(rig.events.is_empty());
}

#[test]
fn a_cooperative_member_keeps_its_partitions_and_tells_them() {
    let mut rig = coop(&[0, 1, 2]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(rig.events.is_empty());
    let join = rig.follow();
    let (_, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert_eq!((sent.generation_id, &sent.owned_partitions[0].partitions), (1, &vec![0, 1, 2]));
    rig.give(&parts("t", &[0, 1, 2]));
    assert_eq!(rig.assigned(), Some((vec![], parts("t", &[0, 1, 2]))));
}

#[test]
fn a_cooperative_member_gives_up_what_goes_to_another_and_joins_once_more() {
    let mut rig = coop(&[0, 1, 2]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.follow();
    rig.give(&parts("t", &[0, 3]));
    let events = rig.events();
    let [Event::Assigned { added, all, .. }, Event::Revoke { epoch, partitions, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((added, all, partitions), (&parts("t", &[3]), &parts("t", &[0, 3]), &parts("t", &[1, 2])));
    rig.pass(ms(3_000));
    rig.heartbeat(ErrorCode::NONE);
    rig.feed(Input::Released { epoch: *epoch });
    let join = rig.follow();
    let (_, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert_eq!(sent.owned_partitions[0].partitions, [0, 3]);
}

#[test]
fn a_cooperative_member_gives_up_topics_that_it_does_not_want_any_more_before_it_joins() {
    let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(Coop)]);
    rig.feed(Input::Subscribe(topics(&["t", "u"]).into()));
    rig.find();
    rig.follow();
    rig.give(&[tp("t", 0), tp("u", 0)]);
    rig.events();
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    assert_eq!(rig.revocation().1, [tp("u", 0)]);
}

#[test]
fn a_subscription_changed_while_the_join_is_parked_is_joined_with_next() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let parked = rig.expect("JoinGroup");
    rig.feed(Input::Subscribe(topics(&["u"]).into()));
    rig.none("JoinGroup");
    rig.reply(&parked, joined(1, "leader", MEMBER));
    rig.give(&parts("t", &[0]));
    let (added, _) = rig.assigned().unwrap();
    assert_eq!(added, [], "nobody wants t any more");
    let join = rig.expect("JoinGroup");
    let (_, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert_eq!(sent.topics, ["u"]);
}

#[test]
fn an_assignment_of_topics_that_nobody_here_wants_is_joined_against_and_not_for_ever_at_once() {
    let mut rig = Rig::stable(&[0], |config| config.instance_id = Some("i".into()));
    let foreign = parts("u", &[0, 1]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    let mut joins = 0;
    for _ in 0..3_000 {
        if rig.calls.iter().any(|call| kind(&call.request) == "JoinGroup") {
            joins += 1;
            rig.follow();
            rig.give(&foreign);
            assert_eq!(rig.assigned(), Some((vec![], vec![])));
        }
        if rig.calls.iter().any(|call| kind(&call.request) == "Heartbeat") {
            rig.heartbeat(ErrorCode::NONE);
        }
        rig.pass(ms(100));
    }
    assert!((8..30).contains(&joins), "{joins} in five minutes");
    rig.pass(ms(40_000));
    rig.follow();
    rig.give(&parts("t", &[0]));
    rig.pass(ms(2_000));
    rig.none("JoinGroup");
}

#[test]
fn the_same_subscription_again_changes_nothing() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    assert!(rig.calls.is_empty() && rig.events.is_empty());
}

#[test]
fn a_rejoin_tells_its_reason() {
    let mut rig = Rig::stable(&[], |_| {});
    rig.feed(Input::Rejoin { reason: "because".into() });
    assert_eq!(join_of(&rig.expect("JoinGroup")).reason.as_deref(), Some("because"));
}

#[test]
fn one_revocation_at_a_time() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Rejoin { reason: "a".into() });
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Rejoin { reason: "b".into() });
    rig.feed(Input::Subscribe(topics(&["t", "u"]).into()));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(rig.events.is_empty());
    rig.feed(Input::Released { epoch });
    let join = rig.expect("JoinGroup");
    let (_, sent) = subscription(&join_of(&join).protocols[0].metadata);
    assert_eq!(sent.topics, ["t", "u"]);
}

#[test]
fn a_second_choice_of_another_kind_is_taken_as_the_eager_member_that_this_one_is() {
    let assignors: Vec<Arc<dyn Assignor>> = vec![Arc::new(kavka_group::assignor::RoundRobin), Arc::new(Coop)];
    let mut rig = Rig::new(|config| config.assignors = assignors);
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.follow();
    let offered: Vec<&str> = join_of(&call).protocols.iter().map(|protocol| &*protocol.name).collect();
    assert_eq!(offered, ["roundrobin", "range"], "in the order of preference");
    rig.give(&parts("t", &[0, 1]));
    rig.events();
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, partitions) = rig.revocation();
    assert_eq!(partitions, parts("t", &[0, 1]), "not every member can keep its partitions yet");
    rig.feed(Input::Released { epoch });
    rig.follow();
    rig.give(&parts("t", &[1]));
    assert_eq!(rig.assigned().unwrap().1, parts("t", &[1]));
    rig.none("JoinGroup");
}

#[test]
fn a_sync_of_the_generation_before_is_not_taken_for_the_current_one() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    let old = rig.expect("SyncGroup");
    rig.unreachable(&old);
    rig.pass(ms(200));
    rig.find();
    rig.pass(ms(200));
    rig.follow();
    rig.reply(&old, synced(ErrorCode::NONE, assignment(&parts("t", &[0]))));
    rig.reply(&old, synced(ErrorCode::UNKNOWN_MEMBER_ID, assignment(&[])));
    assert!(rig.events.is_empty());
    rig.give(&parts("t", &[1]));
    assert_eq!(rig.assigned().unwrap().1, parts("t", &[1]));
}

#[test]
fn a_static_member_names_itself_in_every_request_and_does_not_leave() {
    let mut rig = Rig::new(|config| config.instance_id = Some("i".into()));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let instance = Some("i".into());
    assert_eq!(join_of(&rig.follow()).group_instance_id, instance);
    assert_eq!(sync_of(&rig.give(&parts("t", &[0]))).group_instance_id, instance);
    rig.commit(1, &[(tp("t", 0), 1)]);
    let commit = rig.expect("OffsetCommit");
    assert_eq!(commit_of(&commit).group_instance_id, instance);
    let reply = commit_reply(&commit, ErrorCode::NONE);
    rig.reply(&commit, reply);
    rig.pass(ms(3_000));
    let kavka_group::GroupRequest::Heartbeat(heartbeat) = rig.expect("Heartbeat").request else { panic!() };
    assert_eq!(heartbeat.group_instance_id, instance);
    rig.feed(Input::Leave { reason: "test".into() });
    assert!(rig.left());
    rig.none("LeaveGroup");
}

#[test]
fn an_answer_without_a_generation_or_for_another_kind_of_group_is_fatal() {
    let spoil: [fn(&mut kavka_wire::messages::JoinGroupResponse); 4] = [
        |response| response.generation_id = -1,
        |response| response.member_id = "".into(),
        |response| response.protocol_type = Some("connect".into()),
        |response| response.protocol_name = Some("unheard-of".into()),
    ];
    for spoil in spoil {
        let mut rig = Rig::new(|_| {});
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        let call = rig.expect("JoinGroup");
        let kavka_group::GroupReply::JoinGroup(mut response) = joined(1, "leader", MEMBER) else { panic!() };
        spoil(&mut response);
        rig.reply(&call, kavka_group::GroupReply::JoinGroup(response));
        assert!(rig.fatal().is_some());
    }
}

/// Tells in its user data what it is asked to remember.
#[derive(Debug)]
struct Remembers;

impl Assignor for Remembers {
    fn name(&self) -> &str {
        "range"
    }

    fn user_data(&self, owned: &SortedSet<TopicPartition>, generation: Option<i32>) -> Option<Bytes> {
        let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
        Some(format!("{owned:?} in {generation:?}").into())
    }

    fn assign(&self, _: &GroupSubscription, _: &TopicMap) -> Assignment {
        Assignment::default()
    }
}

#[test]
fn assignors_are_told_the_last_assignment_after_it_was_given_up_and_after_it_was_lost() {
    let told = |call: &Call| {
        let (_, sent) = subscription(&join_of(call).protocols[0].metadata);
        String::from_utf8(sent.user_data.unwrap().to_vec()).unwrap()
    };
    let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(Remembers)]);
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    assert_eq!(told(&rig.follow()), "[] in None");
    rig.give(&parts("t", &[0, 2]));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    assert_eq!(told(&rig.follow()), "[\"t-0\", \"t-2\"] in Some(1)");
    rig.give(&parts("t", &[1]));
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(told(&rig.follow()), "[\"t-1\"] in Some(2)");
}
