//! Finding a coordinator, without a group around it.

use std::time::Instant;

use kavka_group::{CallError, CallTo, Coordinator, CoordinatorType, FindCoordinator, LookupId, Term};
use kavka_wire::ErrorCode;
use kavka_wire::messages::FindCoordinatorResponse;

use crate::rig::{epoch_of_time, ms};

fn new() -> (Coordinator, Instant) {
    (Coordinator::new(CoordinatorType::Transaction, "payments", ms(100), ms(1_000), 1), epoch_of_time())
}

fn ask(coordinator: &mut Coordinator, now: Instant) -> LookupId {
    coordinator.want(now);
    coordinator.poll().expect("a lookup").0
}

fn found(node_id: i32) -> FindCoordinatorResponse {
    FindCoordinatorResponse { node_id, host: "b".into(), port: 9092, ..Default::default() }
}

fn known(coordinator: &Coordinator) -> Option<(i32, Term)> {
    coordinator.known().map(|(to, term)| match to {
        CallTo::Coordinator { node, .. } => (*node, term),
        other => panic!("{other:?}"),
    })
}

#[test]
fn bad_news_of_a_coordinator_that_was_is_not_held_against_the_one_that_is() {
    let (mut coordinator, now) = new();
    let lookup = ask(&mut coordinator, now);
    coordinator.reply(now, lookup, Ok(found(0))).unwrap();
    let (node, first) = known(&coordinator).expect("a broker may have the number 0");
    assert_eq!(node, 0);
    coordinator.lost(now, first);
    assert_eq!(known(&coordinator), None);
    let later = now + ms(1_000);
    let lookup = ask(&mut coordinator, later);
    coordinator.reply(later, lookup, Ok(found(0))).unwrap();
    coordinator.lost(later, first);
    let (_, second) = known(&coordinator).expect("it was found again since");
    coordinator.lost(later, second);
    assert_eq!(known(&coordinator), None);
}

#[test]
fn an_answer_to_an_earlier_lookup_is_none_to_the_present_one() {
    let (mut coordinator, now) = new();
    let first = ask(&mut coordinator, now);
    coordinator.reply(now, first, Err(CallError::Unreachable("it broke".into()))).unwrap();
    let later = now + ms(1_000);
    let second = ask(&mut coordinator, later);
    coordinator.reply(later, first, Ok(found(1))).unwrap();
    assert_eq!(known(&coordinator), None);
    coordinator.reply(later, second, Ok(found(2))).unwrap();
    assert_eq!(known(&coordinator).map(|(node, _)| node), Some(2));
}

#[test]
fn who_may_not_know_the_coordinator_is_told_of_what() {
    let (mut coordinator, now) = new();
    let lookup = ask(&mut coordinator, now);
    let error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    let refused = FindCoordinatorResponse { error_code, ..Default::default() };
    let error = coordinator.reply(now, lookup, Ok(refused)).unwrap_err();
    assert_eq!(error.code, Some(error_code));
    assert!(error.what.contains("payments"), "{error:?}");
}

#[test]
fn old_versions_ask_for_one_key_at_a_time() {
    let asked = FindCoordinator::new(CoordinatorType::Group, ["a".into(), "b".into()]);
    assert_eq!((asked.fit(3), asked.fit(4)), (1, 2));
    assert_eq!((&*asked.at(3).key, asked.at(3).coordinator_keys.len()), ("a", 0));
    assert_eq!((&*asked.at(4).key, asked.at(4).coordinator_keys.len()), ("", 2));
}
