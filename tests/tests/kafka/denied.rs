//! What the client may not do, decided by Kafka's own authorizer.

use std::time::Duration;

use kavka::GroupProtocol;
use kavka_tests::denied::{self, Gate};
use kavka_tests::{Outcome, Target};

use super::acls::Acls;
use super::shared;

fn play(name: &str, body: impl AsyncFnOnce(&Acls<'_>) -> Outcome) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(acls) = Acls::new(target)? else { return Ok(()) };
        let outcome = body(&acls).await;
        let removed = acls.allow_all().await;
        acls.close().await;
        outcome.and(removed)
    });
}

#[test]
fn no_permission_to_create_topics() {
    play("no_permission_to_create_topics", async |acls| denied::creating_a_topic(acls).await);
}

#[test]
fn no_permission_to_write_one_topic_does_not_stop_another() {
    let name = "no_permission_to_write_one_topic_does_not_stop_another";
    play(name, async |acls| denied::writing_one_of_two_topics(acls).await);
}

#[test]
fn no_permission_to_read_one_topic_does_not_stop_another() {
    let name = "no_permission_to_read_one_topic_does_not_stop_another";
    play(name, async |acls| denied::reading_one_of_two_topics(acls).await);
}

#[test]
fn no_permission_to_use_a_group_classic() {
    let name = "no_permission_to_use_a_group_classic";
    play(name, async |acls| denied::using_a_group(acls, GroupProtocol::Classic).await);
}

#[test]
fn no_permission_to_use_a_group_consumer() {
    let name = "no_permission_to_use_a_group_consumer";
    play(name, async |acls| {
        if !acls.owner().has(GroupProtocol::Consumer) {
            return Ok(());
        }
        denied::using_a_group(acls, GroupProtocol::Consumer).await
    });
}

/// S27.
async fn one_topic_too_many(acls: &Acls<'_>, protocol: GroupProtocol) -> Outcome {
    if !acls.owner().has(protocol) {
        return Ok(());
    }
    let client = acls.guest().builder().metadata_max_age(Duration::from_secs(1)).connect().await?;
    denied::subscribing_to_one_topic_too_many(acls, &client, protocol, Duration::from_secs(4)).await
}

#[test]
fn a_topic_that_may_not_be_read_is_told_and_read_once_it_may_classic() {
    let name = "a_topic_that_may_not_be_read_is_told_and_read_once_it_may_classic";
    play(name, async |acls| one_topic_too_many(acls, GroupProtocol::Classic).await);
}

#[test]
fn a_topic_that_may_not_be_read_is_told_and_read_once_it_may_consumer() {
    let name = "a_topic_that_may_not_be_read_is_told_and_read_once_it_may_consumer";
    play(name, async |acls| one_topic_too_many(acls, GroupProtocol::Consumer).await);
}
