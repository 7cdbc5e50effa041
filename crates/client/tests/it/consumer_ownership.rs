//! Offsets belong to the ownership that they were read under.

use std::time::Duration;

use crate::support::*;
use kavka_client::{Batch, Claim, Consumer, ErrorKind, Event, OffsetAndMetadata, Revocation};
use kavka_wire::ApiKey;

/// Calls `event` until it is what is looked for.
async fn until<T>(consumer: &mut Consumer, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = within(consumer.event()).await.unwrap();
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

async fn batch_of(consumer: &mut Consumer) -> Batch {
    within(consumer.next()).await.unwrap().unwrap()
}

async fn loss(consumer: &mut Consumer) {
    until(consumer, |event| matches!(event, Event::Lost(_)).then_some(())).await;
}

async fn revocation(consumer: &mut Consumer) -> Revocation {
    until(consumer, |event| match event {
        Event::Revoked(revocation) => Some(revocation),
        _ => None,
    })
    .await
}

/// Waits until a fault was met.
async fn hit(rig: &Rig, fault: kavka_testbroker::FaultId) {
    while rig.cluster.fault_hits(fault).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes all members out of the group.
async fn expel(rig: &Rig) {
    for member in rig.cluster.group("g").await.unwrap().members {
        assert!(rig.cluster.expire_member("g", &member.member_id).await);
    }
}

/// The first member has a batch in hand; meanwhile the second one handled ten records and went; then the first has the partition again.
async fn gone_and_back(rig: &Rig) -> (Consumer, Batch) {
    rig.fill(1, 20, 5).await;
    let mut first = rig.member("g").max_batch_records(5).start().await.unwrap();
    let old = batch_of(&mut first).await;
    assert_eq!(old.next_offset(), 5);
    expel(rig).await;
    let mut second = rig.member("g").max_batch_records(10).start().await.unwrap();
    let newer = batch_of(&mut second).await;
    second.commit(&newer).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(10));
    loss(&mut first).await;
    second.close().await.unwrap();
    let again = batch_of(&mut first).await;
    assert_eq!(again.first_offset(), 10);
    (first, old)
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_of_a_batch_from_before_a_loss_is_fenced_and_not_sent() {
    let rig = rig(1).await;
    let (first, old) = gone_and_back(&rig).await;
    let sent = rig.cluster.requests(ApiKey::OFFSET_COMMIT).await;
    assert_eq!(first.store(&old).unwrap_err().kind(), ErrorKind::Fenced);
    let error = within(first.commit(&old)).await.unwrap_err();
    assert_eq!((error.kind(), error.topic(), error.partition()), (ErrorKind::Fenced, Some(TOPIC), Some(0)));
    assert_eq!(rig.cluster.requests(ApiKey::OFFSET_COMMIT).await, sent);
    assert_eq!(rig.committed("g", 0).await, Some(10));
    first.close().await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_waits_while_its_partition_is_lost_is_fenced() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut first = rig.member("g").max_batch_records(5).start().await.unwrap();
    let old = batch_of(&mut first).await;
    // One commit is on its way for a while, and so the next one waits.
    let slow = rig.cluster.on(ApiKey::OFFSET_COMMIT).times(1).delay(Duration::from_secs(20));
    let handle = first.handle();
    let (one, two) = (old.clone(), old.clone());
    let commits = tokio::spawn(async move {
        let other = handle.clone();
        tokio::join!(handle.commit(&one), async move { other.commit(&two).await })
    });
    hit(&rig, slow).await;
    expel(&rig).await;
    loss(&mut first).await;
    let (_, waited) = within(commits).await.unwrap();
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn offsets_given_at_a_release_that_comes_too_late_are_fenced() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut first = rig.member("g").max_batch_records(5).start().await.unwrap();
    batch_of(&mut first).await;
    first.handle().enforce_rebalance("a test").await.unwrap();
    let revocation = revocation(&mut first).await;
    expel(&rig).await;
    loss(&mut first).await;
    let again = batch_of(&mut first).await;
    assert_eq!(again.first_offset(), 0);
    first.commit(&again).await.unwrap();
    let late = revocation.commit_and_release([(tp(0), OffsetAndMetadata::new(1))]);
    assert_eq!(within(late).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(rig.committed("g", 0).await, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_batch_from_before_an_unsubscription_is_not_committed_after_it() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut first = rig.member("g").max_batch_records(5).start().await.unwrap();
    let old = batch_of(&mut first).await;
    first.handle().unsubscribe().await.unwrap();
    revocation(&mut first).await.release();
    first.subscribe([TOPIC]).await.unwrap();
    let again = batch_of(&mut first).await;
    assert_eq!(again.first_offset(), 0);
    let newer = batch_of(&mut first).await;
    first.commit(&newer).await.unwrap();
    assert_eq!(within(first.commit(&old)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(rig.committed("g", 0).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_close_with_an_unanswered_revocation_commits_what_was_stored() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut first = rig.member("g").max_batch_records(5).start().await.unwrap();
    let batch = batch_of(&mut first).await;
    first.store(&batch).unwrap();
    first.handle().enforce_rebalance("a test").await.unwrap();
    let revocation = revocation(&mut first).await;
    let handle = first.handle();
    within(first.close()).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(5));
    assert_eq!(handle.store(&batch).unwrap_err().kind(), ErrorKind::Fenced, "it would never be committed");
    drop(revocation);
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_a_seek_is_not_taken_for_what_is_stored_after_it() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let builder = rig.member("g").max_batch_records(5).commit_interval(Duration::from_secs(1));
    let mut first = builder.start().await.unwrap();
    batch_of(&mut first).await;
    let second = batch_of(&mut first).await;
    first.store(&second).unwrap();
    let slow = rig.cluster.on(ApiKey::OFFSET_COMMIT).times(1).delay(Duration::from_secs(3));
    hit(&rig, slow).await;
    // The commit of 10 is on its way; what is read again is behind that.
    first.seek(&tp(0), 0).await.unwrap();
    let again = batch_of(&mut first).await;
    first.store(&again).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.committed("g", 0).await, Some(5));
}

async fn claims(consumer: &mut Consumer) -> Vec<Claim> {
    until(consumer, |event| match event {
        Event::Assigned(claims) => Some(claims),
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_claim_lives_from_its_assignment_to_its_loss_and_knows_its_partition() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut consumer = rig.member("g").max_batch_records(5).start().await.unwrap();
    let claim = claims(&mut consumer).await.remove(0);
    assert_eq!((claim.partition(), claim.is_live(), claim.is_paused()), (&tp(0), true, false));
    let batch = batch_of(&mut consumer).await;
    assert_eq!(batch.claim(), claim);
    assert_eq!((claim.position(), claim.lag()), (Some(5), Some(15)));
    claim.pause().unwrap();
    assert!(claim.is_paused() && consumer.handle().is_paused(&tp(0)));
    nothing_comes(&mut consumer, Duration::from_secs(5)).await;
    claim.resume().unwrap();
    let second = batch_of(&mut consumer).await;
    claim.commit(second.next_offset()).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(10));
    let watched = claim.clone();
    let ended = tokio::spawn(async move { watched.ended().await });
    tokio::task::yield_now().await;
    assert!(!ended.is_finished());
    expel(&rig).await;
    loss(&mut consumer).await;
    within(ended).await.unwrap();
    let again = claims(&mut consumer).await.remove(0);
    assert!(again != claim && again.is_live() && !claim.is_live());
    for (what, outcome) in [
        ("store", claim.store(3)),
        ("commit", claim.commit(3).await),
        ("pause", claim.pause()),
        ("resume", claim.resume()),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Fenced, "{what}");
    }
    assert!(!again.is_paused());
    consumer.close().await.unwrap();
    assert!(!again.is_live());
    within(again.ended()).await;
    assert_eq!(rig.committed("g", 0).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_claim_stays_live_while_its_revocation_is_worked_on() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut consumer = rig.member("g").max_batch_records(5).start().await.unwrap();
    let claim = batch_of(&mut consumer).await.claim();
    consumer.handle().enforce_rebalance("a test").await.unwrap();
    let revocation = revocation(&mut consumer).await;
    assert_eq!(revocation.claims(), std::slice::from_ref(&claim));
    assert!(claim.is_live());
    claim.store(3).unwrap();
    assert_eq!(claim.store(-1).unwrap_err().kind(), ErrorKind::Configuration);
    claim.commit(2).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(2));
    let watched = claim.clone();
    let ended = tokio::spawn(async move { watched.ended().await });
    within(revocation.commit_stored_and_release()).await.unwrap();
    within(ended).await.unwrap();
    assert!(!claim.is_live());
    assert_eq!(rig.committed("g", 0).await, Some(3));
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn claims_end_with_a_consumer_that_is_dropped() {
    let rig = rig(1).await;
    rig.fill(1, 20, 5).await;
    let mut consumer = rig.member("g").start().await.unwrap();
    let claim = batch_of(&mut consumer).await.claim();
    let watched = claim.clone();
    let ended = tokio::spawn(async move { watched.ended().await });
    drop(consumer);
    within(ended).await.unwrap();
    assert!(!claim.is_live());
    assert_eq!(claim.store(1).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(claim.commit(1).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn records_are_shared_with_workers_and_count_until_the_last_is_dropped() {
    let rig = rig(1).await;
    for value in ["a", "b", "c"] {
        rig.produce(0, [value, "-"]).await;
    }
    let mut consumer = rig.member("g").start().await.unwrap();
    let batch = batch_of(&mut consumer).await;
    assert_eq!(batch.len(), 6);
    let shared: Vec<_> = batch.shared_records().collect();
    for (index, record) in batch.iter().enumerate() {
        let one = batch.shared(index).unwrap();
        assert_eq!((one.offset(), one.value(), one.key()), (record.offset(), record.value(), record.key()));
        assert_eq!((one.timestamp(), one.next_offset()), (record.timestamp(), record.offset() + 1));
        assert_eq!(batch.get(index).unwrap().value(), shared[index].value());
        assert_eq!(shared[index].record().headers().count(), record.headers().count());
    }
    assert!(batch.get(6).is_none() && batch.shared(6).is_none());
    let last = shared.into_iter().next_back().unwrap();
    drop(batch);
    let worker = tokio::spawn(async move {
        assert_eq!(last.value_bytes().unwrap(), "-");
        last.claim().commit(last.next_offset()).await
    });
    within(worker).await.unwrap().unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(6));
}
