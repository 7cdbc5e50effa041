//! S18, S19: heartbeats of the consumer protocol that are refused, for good or for a while.

use std::time::Duration;

use kavka::GroupProtocol;
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_wire::{ApiKey, ErrorCode};

use super::{Scene, TOPIC, play};

const BEAT: ApiKey = ApiKey::CONSUMER_GROUP_HEARTBEAT;

/// S18: told once, partitions given up as lost, and no heartbeat more: not even to leave.
async fn ends_the_member(code: ErrorCode, nth: u32) -> Outcome {
    let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
    scene.cluster().on(BEAT).nth(nth).reply(code);
    let member = scene.join().await?;
    member.until(&format!("{code} is told"), |member| !member.errors().is_empty()).await?;
    let error = member.errors().remove(0);
    assert_eq!(error.code(), Some(code), "{error}");
    let beats = scene.cluster().requests(BEAT).await;
    assert_eq!(beats, u64::from(nth), "{code}");
    let had = member.count(|step| matches!(step, Step::Assigned(partitions) if !partitions.is_empty()));
    assert_eq!(member.count(|step| matches!(step, Step::Lost(_))), had, "{}", member.story());
    assert_eq!(member.owned().len(), 0);
    member.close().await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.cluster().requests(BEAT).await, beats, "{code}");
    Ok(())
}

#[test]
fn a_refusal_that_nothing_mends_ends_the_member() {
    play(async {
        for code in [
            ErrorCode::INVALID_REQUEST,
            ErrorCode::GROUP_MAX_SIZE_REACHED,
            ErrorCode::UNSUPPORTED_ASSIGNOR,
            ErrorCode::UNSUPPORTED_VERSION,
            ErrorCode::UNRELEASED_INSTANCE_ID,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ] {
            ends_the_member(code, 1).await?;
            ends_the_member(code, 2).await?;
        }
        // To a member that was in the group it says that the group is gone, and it joins another: see S20.
        ends_the_member(ErrorCode::GROUP_ID_NOT_FOUND, 1).await
    });
}

/// How a heartbeat goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Loads,
    Breaks,
    Hangs,
}

/// S19: nobody is told of what passes, and it costs one heartbeat: the one that failed, the one that joins or says what is owned again,
/// the other of the two, and the one that leaves.
async fn costs_one_heartbeat(fault: Fault, nth: u32) -> Outcome {
    let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
    let rule = scene.cluster().on(BEAT).nth(nth);
    match fault {
        Fault::Loads => rule.reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        Fault::Breaks => rule.disconnect(),
        Fault::Hangs => rule.drop_request(),
    };
    produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
    let member = scene.join().await?;
    let read = |member: &Watched| all_of(TOPIC, 2).iter().all(|p| member.position(p) == Some(10));
    member.until("all is read", read).await?;
    kavka_tests::until("it has acknowledged", async || scene.cluster().requests(BEAT).await == 3).await?;
    member.handle.unsubscribe().await?;
    member.until("it has given up", |member| member.owned().is_empty()).await?;
    kavka_tests::until("it has left", async || scene.cluster().requests(BEAT).await == 4).await?;
    let had = member.count(|step| matches!(step, Step::Assigned(partitions) if partitions.len() == 2));
    let gone = member.count(|step| matches!(step, Step::Revoked(partitions) if partitions.len() == 2));
    assert_eq!((had, gone, member.errors().len()), (1, 1, 0), "{fault:?} {nth}: {}", member.story());
    member.close().await?;
    assert_eq!(scene.cluster().requests(BEAT).await, 4, "{fault:?} {nth}");
    Ok(())
}

#[test]
fn what_passes_is_tried_again_in_silence() {
    play(async {
        for fault in [Fault::Loads, Fault::Breaks, Fault::Hangs] {
            costs_one_heartbeat(fault, 1).await?;
            costs_one_heartbeat(fault, 2).await?;
        }
        Ok(())
    });
}
