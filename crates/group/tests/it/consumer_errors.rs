//! What the member of the consumer protocol does about each error, and which protocol it goes by.

use kavka_group::{CallLane, Event, GroupErrorKind, GroupProtocol, Input};
use kavka_wire::ErrorCode;

use crate::consumer::*;
use crate::rig::*;

/// A member of which the next heartbeat was refused, and who owned t-0.
fn refused(code: ErrorCode) -> Rig {
    let mut rig = member(&[0], |config| config.instance_id = Some("i".into()));
    rig.beat(refusal(code, Some("words of the broker")));
    rig
}

#[test]
fn load_in_progress_is_asked_again_after_a_while_with_everything() {
    let mut rig = refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert!(rig.calls.is_empty() && rig.events.is_empty());
    rig.pass(ms(130));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((said(&call).member_epoch, names(&call)), (1, Some(vec!["t"])));
    assert_eq!(owned(&call), Some(vec![(id("t"), vec![0])]));
}

#[test]
fn waits_grow_while_the_coordinator_refuses() {
    let mut rig = refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let mut beats = 0;
    for _ in 0..100 {
        rig.pass(ms(100));
        if let Some(call) = rig.take(|_| true) {
            beats += 1;
            rig.reply(&call, refusal(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, None));
        }
    }
    assert!((10..20).contains(&beats), "{beats} in ten seconds");
}

#[test]
fn a_coordinator_that_is_none_is_looked_for_and_told_everything() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut rig = refused(code);
        rig.node = 2;
        rig.pass(ms(130));
        rig.find();
        let call = rig.expect("ConsumerGroupHeartbeat");
        assert_eq!(
            (said(&call).member_epoch, owned(&call).is_some()),
            (1, true),
            "at once, and still a member"
        );
        assert!(rig.events.is_empty());
    }
}

#[test]
fn a_fenced_or_unknown_member_loses_everything_and_joins_again_under_its_id() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::GROUP_ID_NOT_FOUND]
    {
        let mut rig = member(&[0], |_| {});
        let before = rig.beat(refusal(code, None));
        assert_eq!(rig.lost(), Some(parts("t", &[0])));
        let join = rig.expect("ConsumerGroupHeartbeat");
        assert_eq!((said(&join).member_epoch, &said(&join).member_id), (0, &said(&before).member_id));
        assert_eq!((names(&join), owned(&join)), (Some(vec!["t"]), Some(vec![])));
        // Not again and again without a pause.
        let unknown = if code == ErrorCode::GROUP_ID_NOT_FOUND { ErrorCode::UNKNOWN_MEMBER_ID } else { code };
        rig.reply(&join, refusal(unknown, None));
        assert!(!rig.beats_now());
        rig.pass(ms(130));
        rig.beat(ok(7, target(&[("t", &[0])])));
        assert_eq!(rig.assigned().unwrap().0, parts("t", &[0]));
    }
}

#[test]
fn a_refusal_that_may_pass_is_told_and_asked_for_again() {
    for (code, kind) in [
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, GroupErrorKind::Authorization),
        (ErrorCode::UNKNOWN_SERVER_ERROR, GroupErrorKind::Retriable),
    ] {
        let mut rig = refused(code);
        let [Event::Refused(error)] = &rig.events()[..] else { panic!() };
        assert_eq!((error.kind, error.code), (kind, Some(code)));
        assert!(error.what.contains("words of the broker"), "{error}");
        rig.pass(ms(130));
        let call = rig.expect("ConsumerGroupHeartbeat");
        rig.reply(&call, ok(1, None));
        assert!(rig.events.is_empty());
    }
}

#[test]
fn other_errors_are_fatal_and_say_why() {
    for code in [
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::GROUP_MAX_SIZE_REACHED,
        ErrorCode::UNSUPPORTED_ASSIGNOR,
        ErrorCode::INVALID_REGULAR_EXPRESSION,
        ErrorCode::UNSUPPORTED_VERSION,
        ErrorCode::FENCED_INSTANCE_ID,
        ErrorCode::UNRELEASED_INSTANCE_ID,
        ErrorCode(999),
    ] {
        let mut rig = refused(code);
        let events = rig.events();
        assert!(matches!(&events[0], Event::Lost { .. }), "{code}: {events:?}");
        let Event::Fatal(error) = &events[1] else { panic!("{code}: {events:?}") };
        assert_eq!(error.code, Some(code));
        assert!(error.what.contains("words of the broker"), "{error}");
        assert!(rig.calls.is_empty());
        rig.pass(ms(100_000));
        assert!(rig.calls.is_empty() && rig.events.is_empty());
    }
}

/// It is one that the coordinator does not make into a group of the consumer protocol.
#[test]
fn a_group_that_cannot_be_joined_is_fatal() {
    let mut rig = joining(|_| {});
    rig.beat(refusal(ErrorCode::GROUP_ID_NOT_FOUND, Some("online upgrade is disabled")));
    let [Event::Fatal(error)] = &rig.events()[..] else { panic!() };
    assert!(error.what.contains("online upgrade is disabled"), "{error}");
    rig.pass(ms(100_000));
    assert!(rig.calls.is_empty() && rig.events.is_empty());
}

#[test]
fn a_lost_answer_is_followed_by_everything() {
    let mut rig = member(&[0], |_| {});
    rig.pass(ms(5_000));
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&call);
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    let call = rig.expect("ConsumerGroupHeartbeat");
    assert_eq!((said(&call).member_epoch, names(&call).is_some(), owned(&call).is_some()), (1, true, true));
    rig.reply(&call, ok(1, target(&[("t", &[0])])));
    assert!(rig.events.is_empty());
    let call = rig.beat(ok(1, None));
    assert_eq!((names(&call), owned(&call)), (None, None));
}

#[test]
fn a_lost_acknowledgement_is_made_up_for() {
    let mut rig = joining(|_| {});
    rig.beat(ok(1, target(&[("t", &[0])])));
    let ack = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&ack);
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    assert_eq!(owned(&rig.expect("ConsumerGroupHeartbeat")), Some(vec![(id("t"), vec![0])]));
}

fn static_join_again() -> Rig {
    let mut rig = joining(|config| config.instance_id = Some("i".into()));
    let lost = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&lost);
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    rig.beat(refusal(ErrorCode::UNRELEASED_INSTANCE_ID, None));
    assert!(rig.events.is_empty());
    rig
}

#[test]
fn a_static_member_whose_join_was_not_answered_frees_its_own_name_and_joins() {
    let mut rig = static_join_again();
    let call = rig.beat(ok(-2, None));
    assert_eq!((said(&call).member_epoch, said(&call).instance_id.as_deref()), (-2, Some("i")));
    let join = rig.beat(ok(3, target(&[("t", &[0])])));
    assert_eq!(said(&join).member_epoch, 0);
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[0]));

    let mut rig = static_join_again();
    rig.beat(ok(-2, None));
    rig.beat(refusal(ErrorCode::UNRELEASED_INSTANCE_ID, None));
    assert!(rig.fatal().is_some(), "not for ever");
}

#[test]
fn a_static_member_does_not_free_the_name_of_another() {
    let mut rig = static_join_again();
    rig.beat(refusal(ErrorCode::FENCED_INSTANCE_ID, None));
    assert_eq!(rig.fatal().unwrap().code, Some(ErrorCode::FENCED_INSTANCE_ID));

    let mut rig = joining(|config| config.instance_id = Some("i".into()));
    rig.beat(refusal(ErrorCode::UNRELEASED_INSTANCE_ID, None));
    let error = rig.fatal().unwrap();
    assert!(error.what.contains("still in the group"), "{error}");
}

#[test]
fn a_join_without_an_epoch_breaks_the_protocol() {
    let mut rig = joining(|_| {});
    rig.beat(ok(0, None));
    assert_eq!(rig.fatal().unwrap().kind, GroupErrorKind::Protocol);
}

#[test]
fn who_asks_for_the_consumer_protocol_and_cannot_have_it_is_told() {
    let mut rig = joining(|_| {});
    rig.beat(refusal(ErrorCode::UNSUPPORTED_VERSION, Some("not here")));
    let error = rig.fatal().unwrap();
    assert!(error.kind == GroupErrorKind::Unsupported && error.what.contains("KIP-848"), "{error}");

    let mut rig = joining(|_| {});
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.impossible(&call);
    let error = rig.fatal().unwrap();
    assert!(error.kind == GroupErrorKind::Unsupported && error.what.contains("KIP-848"), "{error}");
}

fn falls_back(rig: &mut Rig) {
    assert_eq!(rig.protocols, [GroupProtocol::Classic]);
    assert!(rig.events.is_empty());
    let join = rig.follow();
    assert_eq!(join.lane, CallLane::Join);
    rig.give(&parts("t", &[0]));
    assert_eq!(rig.assigned(), Some((parts("t", &[0]), parts("t", &[0]))));
    assert_eq!(rig.protocols, [GroupProtocol::Classic], "told once");
}

#[test]
fn auto_goes_on_with_the_classic_protocol_where_there_is_no_other() {
    let mut rig = joining(|config| config.protocol = GroupProtocol::Auto);
    rig.beat(refusal(ErrorCode::UNSUPPORTED_VERSION, None));
    falls_back(&mut rig);

    let mut rig = joining(|config| config.protocol = GroupProtocol::Auto);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.impossible(&call);
    falls_back(&mut rig);
}

#[test]
fn auto_tries_again_what_only_was_not_answered() {
    let mut rig = joining(|config| config.protocol = GroupProtocol::Auto);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.unreachable(&call);
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    rig.beat(ok(1, target(&[("t", &[0])])));
    assert_eq!(rig.protocols, [GroupProtocol::Consumer]);
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[0]));
}

#[test]
fn auto_does_not_change_the_protocol_once_it_was_a_member() {
    let mut rig = member(&[0], |config| config.protocol = GroupProtocol::Auto);
    rig.beat(refusal(ErrorCode::UNSUPPORTED_VERSION, None));
    assert_eq!(rig.protocols, [GroupProtocol::Consumer]);
    assert!(rig.fatal().is_some());
}

#[test]
fn auto_that_falls_back_while_it_leaves_leaves() {
    let mut rig = joining(|config| config.protocol = GroupProtocol::Auto);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.feed(Input::Leave { reason: "the test is over".into() });
    rig.reply(&call, refusal(ErrorCode::UNSUPPORTED_VERSION, None));
    if let Some(leave) = rig.take(|request| kind(request) == "ConsumerGroupHeartbeat") {
        rig.reply(&leave, refusal(ErrorCode::UNSUPPORTED_VERSION, None));
    }
    assert!(rig.left());
    rig.none("JoinGroup");
}

#[test]
fn who_has_the_classic_protocol_is_told_too() {
    let rig = Rig::stable(&[0], |_| {});
    assert_eq!(rig.protocols, [GroupProtocol::Classic]);
}
