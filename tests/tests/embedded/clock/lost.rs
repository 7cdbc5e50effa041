//! Requests and answers that are lost, at each API that consuming and producing needs.

use std::time::Duration;

use kavka_testbroker::{FaultId, Rule};
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::group::Manners;
use kavka_wire::{ApiKey, ErrorCode};

use super::{Stage, play};

/// Puts a rule in force.
type Lose = fn(Rule) -> FaultId;

/// Ways to lose a request or its answer.
const WAYS: [(&str, Lose); 6] = [
    ("the request is lost, the connection is closed", Rule::disconnect),
    ("the answer is lost, the connection is closed", Rule::disconnect_after_apply),
    ("the request is lost, the connection is silent", Rule::drop_request),
    ("the answer is lost, the connection is silent", Rule::never_answer),
    ("the answer is late", |rule| rule.delay_answer(Duration::from_secs(4))),
    ("the request is late", |rule| rule.delay(Duration::from_secs(4))),
];

/// A group works, a member joins, another leaves, while the first, the second or the third request of this kind is lost.
async fn scenario(key: ApiKey, nth: u32, lose: Lose) -> Outcome {
    let stage = Stage::new(6).await?;
    let mut crew = stage.crew();
    let member = |crew: &mut kavka_tests::group::Crew| {
        crew.join_with(Manners::default(), |builder| {
            builder.rebalance_timeout(Duration::from_secs(20)).max_batch_records(20)
        })
    };
    let fault = lose(stage.cluster().on(key).nth(nth));
    let first = member(&mut crew);
    produce_numbers(&stage.client, &stage.topic, 6, 0, 50).await?;
    crew.until("some are handled", |crew| crew.handled() > 100).await?;
    heartbeats(&stage, 3).await?;
    member(&mut crew);
    produce_numbers(&stage.client, &stage.topic, 6, 50, 100).await?;
    crew.finish(6, 100).await?;
    let shared = |crew: &kavka_tests::group::Crew| crew.owned().len() == 2 && crew.is_shared_evenly(6);
    crew.until("both have their share", shared).await?;
    crew.leave(first).await?;
    produce_numbers(&stage.client, &stage.topic, 6, 100, 150).await?;
    crew.until("the other one has all", |crew| crew.is_shared_evenly(6)).await?;
    crew.finish(6, 150).await?;
    crew.dismiss().await?;
    crew.judge()?;
    // A member that leaves and is not heard is missed only when its session is over.
    let hits = stage.cluster().fault_hits(fault).await;
    assert_eq!(hits, 1, "the fault was not met");
    for partition in 0..6 {
        let (_, end) = stage.cluster().log_offsets(&stage.topic, partition).await.ok_or("no log")?;
        assert_eq!(end, 150, "partition {partition} holds records twice, or too few");
        let committed =
            stage.cluster().committed(&stage.topic, &stage.topic, partition).await.ok_or("no commit")?;
        assert_eq!(committed.offset, 150, "partition {partition}");
    }
    Ok(())
}

/// Waits for so many heartbeats in all: nothing else makes time pass.
async fn heartbeats(stage: &Stage, count: u64) -> Outcome {
    kavka_tests::until("heartbeats", async || stage.cluster().requests(ApiKey::HEARTBEAT).await >= count)
        .await
}

/// Each way to lose each of the first `most` requests.
fn lose(key: ApiKey, most: u32) {
    for (way, verb) in WAYS {
        for nth in 1..=most {
            play(async {
                let outcome = scenario(key, nth, verb).await;
                outcome.map_err(|error| format!("{key:?}, number {nth}, {way}: {error}").into())
            });
        }
    }
}

/// The broker answers each of the first `most` requests with an error that goes away.
fn refuse(key: ApiKey, most: u32, codes: &[ErrorCode]) {
    for code in codes.iter().copied() {
        for nth in 1..=most {
            play(async {
                let outcome = refused(key, nth, code).await;
                outcome.map_err(|error| format!("{key:?}, number {nth}, {code}: {error}").into())
            });
        }
    }
}

async fn refused(key: ApiKey, nth: u32, code: ErrorCode) -> Outcome {
    let stage = Stage::new(4).await?;
    let mut crew = stage.crew();
    let fault = stage.cluster().on(key).nth(nth).reply(code);
    let first = crew.join();
    crew.join();
    produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
    crew.finish(4, 50).await?;
    crew.leave(first).await?;
    produce_numbers(&stage.client, &stage.topic, 4, 50, 80).await?;
    crew.finish(4, 80).await?;
    crew.dismiss().await?;
    crew.judge()?;
    assert_eq!(stage.cluster().fault_hits(fault).await, 1, "the fault was not met");
    for partition in 0..4 {
        let (_, end) = stage.cluster().log_offsets(&stage.topic, partition).await.ok_or("no log")?;
        assert_eq!(end, 80, "partition {partition} holds records twice, or too few");
    }
    Ok(())
}

macro_rules! lost {
    ($($name:ident: $key:ident up to $most:literal;)*) => { $(
        #[test]
        fn $name() {
            lose(ApiKey::$key, $most);
        }
    )* };
}

lost! {
    a_join_is_lost: JOIN_GROUP up to 5;
    a_sync_is_lost: SYNC_GROUP up to 4;
    a_heartbeat_is_lost: HEARTBEAT up to 3;
    a_leave_is_lost: LEAVE_GROUP up to 1;
    a_commit_is_lost: OFFSET_COMMIT up to 4;
    an_offset_fetch_is_lost: OFFSET_FETCH up to 2;
    a_coordinator_lookup_is_lost: FIND_COORDINATOR up to 1;
    a_fetch_is_lost: FETCH up to 6;
    an_offset_lookup_is_lost: LIST_OFFSETS up to 2;
    a_produce_is_lost: PRODUCE up to 4;
    a_producer_id_is_lost: INIT_PRODUCER_ID up to 1;
    metadata_are_lost: METADATA up to 1;
}

macro_rules! refused {
    ($($name:ident: $key:ident up to $most:literal [$($code:ident)*];)*) => { $(
        #[test]
        fn $name() {
            refuse(ApiKey::$key, $most, &[$(ErrorCode::$code),*]);
        }
    )* };
}

refused! {
    a_join_is_refused: JOIN_GROUP up to 3
        [COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS];
    a_sync_is_refused: SYNC_GROUP up to 3
        [COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR UNKNOWN_MEMBER_ID ILLEGAL_GENERATION REBALANCE_IN_PROGRESS];
    a_heartbeat_is_refused: HEARTBEAT up to 1
        [COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR UNKNOWN_MEMBER_ID ILLEGAL_GENERATION REBALANCE_IN_PROGRESS];
    a_commit_is_refused: OFFSET_COMMIT up to 3
        [COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR UNKNOWN_MEMBER_ID ILLEGAL_GENERATION REBALANCE_IN_PROGRESS
         REQUEST_TIMED_OUT];
    an_offset_fetch_is_refused: OFFSET_FETCH up to 2
        [COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR UNSTABLE_OFFSET_COMMIT];
    a_fetch_is_refused: FETCH up to 3
        [NOT_LEADER_OR_FOLLOWER UNKNOWN_LEADER_EPOCH FENCED_LEADER_EPOCH KAFKA_STORAGE_ERROR OFFSET_NOT_AVAILABLE
         FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH UNKNOWN_TOPIC_ID];
    a_produce_is_refused: PRODUCE up to 3
        [NOT_LEADER_OR_FOLLOWER NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND KAFKA_STORAGE_ERROR
         REQUEST_TIMED_OUT CORRUPT_MESSAGE];
}
