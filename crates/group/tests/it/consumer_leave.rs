//! Leaving and pausing in the consumer protocol, and pausing in the classic one.

use kavka_group::{CommitId, Config, Event, GroupProtocol, Input, OffsetAndMetadata, ToCommit};
use kavka_wire::ErrorCode;

use crate::consumer::*;
use crate::join::claims;
use crate::rig::*;

fn leave(rig: &mut Rig) {
    rig.feed(Input::Leave { reason: "the test is over".into() });
}

fn suspend(rig: &mut Rig) {
    rig.feed(Input::Suspend { reason: "the application hangs".into() });
}

fn is_static(config: &mut Config) {
    config.instance_id = Some("i".into());
}

#[test]
fn a_leave_says_so_and_ends() {
    for (epoch, change) in [(-1, (|_| {}) as fn(&mut Config)), (-2, is_static)] {
        let mut rig = member(&[0], change);
        leave(&mut rig);
        let call = rig.expect("ConsumerGroupHeartbeat");
        assert_eq!((said(&call).member_epoch, names(&call), owned(&call)), (epoch, None, None));
        assert_eq!(said(&call).instance_id.is_some(), epoch == -2);
        assert!(!rig.left());
        rig.reply(&call, ok(epoch, None));
        assert!(rig.left());
        rig.pass(ms(60_000));
        assert!(rig.calls.is_empty() && rig.events.is_empty());
    }
}

#[test]
fn commits_come_before_the_leave_and_heartbeats_go_on_meanwhile() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    leave(&mut rig);
    let commit = rig.expect("OffsetCommit");
    for _ in 0..6 {
        let call = rig.beat(ok(4, target(&[])));
        assert!(said(&call).member_epoch > 0);
    }
    let reply = commit_reply(&commit, ErrorCode::STALE_MEMBER_EPOCH);
    rig.reply(&commit, reply);
    rig.pass(ms(130));
    let commit = rig.expect("OffsetCommit");
    assert_eq!(commit_of(&commit).generation_id_or_member_epoch, 4, "taken over while leaving, too");
    let reply = commit_reply(&commit, ErrorCode::NONE);
    rig.reply(&commit, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    assert_eq!(said(&rig.expect("ConsumerGroupHeartbeat")).member_epoch, -1);
}

#[test]
fn a_leave_does_not_overtake_the_heartbeat_in_flight() {
    let mut rig = joining(|_| {});
    let join = rig.expect("ConsumerGroupHeartbeat");
    leave(&mut rig);
    assert!(!rig.beats_now() && !rig.left());
    rig.reply(&join, ok(1, target(&[("t", &[0])])));
    assert!(rig.events.is_empty(), "nothing new is begun");
    assert_eq!(said(&rig.expect("ConsumerGroupHeartbeat")).member_epoch, -1);
}

#[test]
fn who_never_asked_to_join_leaves_without_a_word() {
    let mut rig = Rig::new(|config| config.protocol = GroupProtocol::Consumer);
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    leave(&mut rig);
    assert!(rig.left());
}

#[test]
fn a_leave_goes_to_the_new_coordinator() {
    let mut rig = member(&[0], |_| {});
    leave(&mut rig);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.reply(&call, refusal(ErrorCode::NOT_COORDINATOR, None));
    rig.node = 2;
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!(said(&call).member_epoch, -1);
    rig.reply(&call, refusal(ErrorCode::UNKNOWN_MEMBER_ID, None));
    assert!(rig.left(), "there is nothing more to leave");
}

#[test]
fn a_leave_that_nobody_answers_ends() {
    let mut rig = member(&[0], |_| {});
    leave(&mut rig);
    rig.expect("ConsumerGroupHeartbeat");
    rig.pass(ms(30_000));
    assert!(rig.left());

    let mut rig = member(&[0], |_| {});
    leave(&mut rig);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&call);
    rig.pass(ms(5_000));
    assert!(rig.left(), "a coordinator that is gone is not looked for long");
}

#[test]
fn an_empty_subscription_leaves() {
    let mut rig = member(&[0], |_| {});
    rig.feed(Input::Subscribe(Default::default()));
    assert_eq!(said(&rig.expect("ConsumerGroupHeartbeat")).member_epoch, -1);
}

#[test]
fn a_suspended_member_leaves_loses_its_partitions_and_is_silent_until_it_comes_back() {
    for (epoch, change) in [(-1, (|_| {}) as fn(&mut Config)), (-2, is_static)] {
        let mut rig = member(&[0], change);
        rig.commit(1, &[(tp("t", 0), 5)]);
        let commit = rig.expect("OffsetCommit");
        rig.commit(2, &[(tp("t", 0), 6)]);
        suspend(&mut rig);
        let results = rig.commit_done(2).unwrap();
        assert!(results[0].1.is_err(), "nothing is committed for what is lost");
        let events = rig.events();
        let [Event::Lost { partitions, error }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&partitions[..], &*error.what), (&parts("t", &[0])[..], "the application hangs"));
        let call = rig.expect("ConsumerGroupHeartbeat");
        assert_eq!(said(&call).member_epoch, epoch);
        rig.reply(&call, ok(epoch, None));
        let reply = commit_reply(&commit, ErrorCode::NONE);
        rig.reply(&commit, reply);
        rig.events();
        rig.pass(ms(1_000_000));
        assert!(rig.calls.is_empty() && rig.events.is_empty(), "silent");
        rig.feed(Input::Resume);
        let join = rig.expect("ConsumerGroupHeartbeat");
        assert_eq!((said(&join).member_epoch, owned(&join)), (0, Some(vec![])));
        assert_eq!(said(&join).member_id, said(&call).member_id);
        rig.reply(&join, ok(9, target(&[("t", &[3])])));
        assert_eq!(rig.assigned().unwrap().1, parts("t", &[3]));
    }
}

#[test]
fn who_comes_back_before_the_leave_is_answered_joins_after_it() {
    let mut rig = member(&[0], |_| {});
    suspend(&mut rig);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.feed(Input::Resume);
    assert!(!rig.beats_now());
    rig.reply(&call, ok(-1, None));
    assert_eq!(said(&rig.expect("ConsumerGroupHeartbeat")).member_epoch, 0);
}

#[test]
fn a_suspended_member_can_leave_for_good() {
    let mut rig = member(&[0], |_| {});
    suspend(&mut rig);
    let call = rig.expect("ConsumerGroupHeartbeat");
    leave(&mut rig);
    assert!(!rig.left());
    rig.reply(&call, ok(-1, None));
    assert!(rig.left());

    let mut rig = member(&[0], |_| {});
    suspend(&mut rig);
    rig.beat(ok(-1, None));
    leave(&mut rig);
    assert!(rig.left());
}

#[test]
fn a_suspension_in_the_middle_of_a_heartbeat_waits_for_its_answer_and_drops_it() {
    let mut rig = joining(|_| {});
    let join = rig.expect("ConsumerGroupHeartbeat");
    suspend(&mut rig);
    assert!(!rig.beats_now());
    rig.reply(&join, ok(1, target(&[("t", &[0])])));
    assert!(rig.events.is_empty());
    let call = rig.beat(ok(-1, None));
    assert_eq!(said(&call).member_epoch, -1);
    rig.pass(ms(100_000));
    assert!(rig.calls.is_empty());
}

#[test]
fn while_suspended_nothing_can_be_committed_and_the_subscription_may_change() {
    let mut rig = member(&[0], |_| {});
    suspend(&mut rig);
    rig.beat(ok(-1, None));
    rig.events();
    let offsets = vec![ToCommit::now(tp("t", 0), OffsetAndMetadata::new(3))];
    rig.feed(Input::Commit { id: CommitId(1), offsets });
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    rig.feed(Input::Subscribe(topics(&["u"]).into()));
    assert!(rig.calls.is_empty());
    rig.feed(Input::Resume);
    assert_eq!(names(&rig.expect("ConsumerGroupHeartbeat")), Some(vec!["u"]));
}

#[test]
fn a_suspended_classic_member_leaves_and_joins_as_a_new_one() {
    let mut rig = Rig::stable(&[0], |_| {});
    suspend(&mut rig);
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
    let call = rig.expect("LeaveGroup");
    let kavka_group::GroupRequest::LeaveGroup(request) = &call.request else { panic!() };
    assert_eq!(request.at(5).members[0].reason.as_deref(), Some("the application hangs"));
    rig.reply(&call, left(ErrorCode::NONE));
    rig.pass(ms(1_000_000));
    assert!(rig.calls.is_empty() && rig.events.is_empty(), "silent");
    rig.feed(Input::Resume);
    let call = rig.follow();
    assert_eq!(&*join_of(&call).member_id, "", "the old member is gone");
    rig.give(&parts("t", &[0]));
    assert!(rig.assigned().is_some());
    rig.pass(ms(3_000));
    assert!(rig.take(|request| kind(request) == "Heartbeat").is_some());
}

#[test]
fn a_suspended_classic_static_member_falls_silent_and_keeps_its_id() {
    let mut rig = Rig::stable(&[0], is_static);
    suspend(&mut rig);
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
    rig.pass(ms(1_000_000));
    assert!(rig.calls.is_empty() && rig.events.is_empty());
    assert_eq!(rig.group.member(), None, "the generation is over");
    rig.feed(Input::Subscribe(topics(&["t", "u"]).into()));
    assert!(rig.calls.is_empty());
    rig.feed(Input::Resume);
    let call = rig.follow();
    assert_eq!(&*join_of(&call).member_id, MEMBER);
    assert_eq!(claims(&call), (vec![], -1), "what it had is nothing to claim");
    rig.give(&parts("t", &[0]));
    rig.none("JoinGroup");
}

#[test]
fn a_suspension_forgets_a_parked_join() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    let parked = rig.expect("JoinGroup");
    suspend(&mut rig);
    rig.reply(&parked, joined(2, "leader", MEMBER));
    rig.none("SyncGroup");
    let call = rig.expect("LeaveGroup");
    rig.feed(Input::Resume);
    rig.none("JoinGroup");
    rig.reply(&call, left(ErrorCode::NONE));
    rig.expect("JoinGroup");
}

#[test]
fn a_classic_leave_during_a_suspension_ends() {
    let mut rig = Rig::stable(&[0], |_| {});
    suspend(&mut rig);
    let call = rig.expect("LeaveGroup");
    leave(&mut rig);
    rig.reply(&call, left(ErrorCode::NONE));
    assert!(rig.left());

    let mut rig = Rig::stable(&[0], is_static);
    suspend(&mut rig);
    rig.events();
    leave(&mut rig);
    assert!(rig.left());
}
