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
            ErrorCode::GROUP_ID_NOT_FOUND,
        ] {
            ends_the_member(code, 1).await?;
            ends_the_member(code, 2).await?;
        }
        Ok(())
    });
}

/// S19: nobody is told of what passes.
#[test]
fn a_coordinator_that_loads_is_asked_again_in_silence() {
    play(async {
        for nth in 1..=2 {
            let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
            scene.cluster().on(BEAT).nth(nth).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
            produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
            let member = scene.join().await?;
            let read = |member: &Watched| all_of(TOPIC, 2).iter().all(|p| member.position(p) == Some(10));
            member.until("all is read", read).await?;
            let some = |step: &Step| matches!(step, Step::Assigned(partitions) if !partitions.is_empty());
            assert_eq!((member.count(some), member.errors().len()), (1, 0), "{}", member.story());
            member.close().await?;
        }
        Ok(())
    });
}
