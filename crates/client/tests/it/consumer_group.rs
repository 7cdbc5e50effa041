//! Members of a group: assignment, commits, rebalances, ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::*;
use kavka_client::{Consumer, ErrorKind, Event, OffsetAndMetadata, Start};
use kavka_testbroker::{GroupState, GroupView};
use kavka_wire::{ApiKey, ErrorCode};

fn sorted(mut partitions: Vec<kavka_client::TopicPartition>) -> Vec<i32> {
    partitions.sort();
    partitions.iter().map(|partition| partition.partition).collect()
}

fn names(claims: &[kavka_client::Claim]) -> Vec<kavka_client::TopicPartition> {
    claims.iter().map(|claim| claim.partition().clone()).collect()
}

/// Calls `event` until it is what is looked for.
async fn until<T>(consumer: &mut Consumer, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = within(consumer.event()).await.unwrap();
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn commits_and_resumes() {
    let rig = rig(2).await;
    rig.fill(2, 100, 10).await;
    let mut first = rig.member("g").max_batch_records(10).start().await.unwrap();
    let mut seen = BTreeMap::<i32, usize>::new();
    for _ in 0..8 {
        let batch = within(first.next()).await.unwrap().unwrap();
        *seen.entry(batch.partition()).or_default() += batch.len();
        first.commit(&batch).await.unwrap();
        assert_eq!(rig.committed("g", batch.partition()).await, Some(batch.next_offset()));
    }
    let committed = first.committed([tp(0), tp(1)]).await.unwrap();
    for (partition, offset) in committed {
        let offset = offset.unwrap().map_or(0, |committed| committed.offset);
        assert_eq!(offset as usize, seen.get(&partition.partition).copied().unwrap_or(0));
    }
    first.close().await.unwrap();

    let mut second = rig.member("g").start().await.unwrap();
    let rest = take(&mut second, 120).await;
    for (partition, values) in rest {
        let from = seen.get(&partition).copied().unwrap_or(0);
        let expected: Vec<String> = (from..100).map(|number| format!("{partition}:{number}")).collect();
        assert_eq!(values, expected);
    }
    second.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_members_share_everything_once() {
    let rig = rig(6).await;
    let mut members = tokio::task::JoinSet::new();
    let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
    let mut closers = Vec::new();
    for _ in 0..3 {
        let mut consumer = rig.member("g").start().await.unwrap();
        closers.push(consumer.closer());
        let seen = seen.clone();
        members.spawn(async move {
            while let Some(batch) = consumer.next().await.unwrap() {
                consumer.commit(&batch).await.unwrap();
                for record in &batch {
                    seen.send((batch.partition(), record.offset())).unwrap();
                }
            }
        });
    }
    let shared = |group: &GroupView| group.members.len() == 3 && group.state == GroupState::Stable;
    within(rig.cluster.group_until("g", shared)).await.unwrap();
    rig.fill(6, 200, 10).await;
    let mut counted = BTreeSet::new();
    while counted.len() < 1200 {
        let record = within(all.recv()).await.unwrap();
        assert!(counted.insert(record), "{record:?} came twice");
    }
    closers.iter().for_each(|closer| closer.close());
    while let Some(member) = within(members.join_next()).await {
        member.unwrap();
    }
    assert_eq!(rig.cluster.group("g").await.unwrap().members.len(), 0, "all have left");
    for partition in 0..6 {
        assert_eq!(rig.committed("g", partition).await, Some(200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_holds_partitions_until_it_is_released() {
    let rig = rig(2).await;
    rig.fill(2, 10, 10).await;
    let mut first = rig.member("g").start().await.unwrap();
    let assigned = until(&mut first, |event| match event {
        Event::Assigned(partitions) => Some(partitions),
        _ => None,
    })
    .await;
    assert_eq!(sorted(names(&assigned)), [0, 1]);
    let mut batches = Vec::new();
    while batches.len() < 2 {
        if let Event::Records(batch) = within(first.event()).await.unwrap() {
            batches.push(batch);
        }
    }
    let mut second = rig.member("g").start().await.unwrap();
    let revocation = until(&mut first, |event| match event {
        Event::Revoked(revocation) => Some(revocation),
        Event::Records(batch) => panic!("{batch:?}"),
        _ => None,
    })
    .await;
    assert_eq!(sorted(revocation.partitions().to_vec()), [0, 1]);
    assert!(revocation.remaining() > Duration::from_secs(200));
    assert_eq!((revocation.position(&tp(0)), revocation.position(&tp(2))), (Some(10), None));
    assert_eq!(first.assignment(), []);
    // Half a session and more: heartbeats go on, and nobody else gets the partitions.
    assert!(tokio::time::timeout(Duration::from_secs(100), second.event()).await.is_err());
    let done = batches.iter().map(|batch| (batch.topic_partition().clone(), batch.offset_to_commit()));
    within(revocation.commit_and_release(done)).await.unwrap();
    let (mut of_first, mut of_second) = (None, None);
    while of_first.is_none() || of_second.is_none() {
        tokio::select! {
            event = within(first.event()) => if let Event::Assigned(partitions) = event.unwrap() {
                of_first = Some(partitions);
            },
            event = within(second.event()) => match event.unwrap() {
                Event::Assigned(partitions) => of_second = Some(partitions),
                event => panic!("{event:?}"),
            },
        }
    }
    let all: Vec<i32> = sorted(names(&[of_first.unwrap(), of_second.unwrap()].concat()));
    assert_eq!(all, [0, 1]);
    rig.fill(2, 1, 1).await;
    assert_eq!(within(second.next()).await.unwrap().unwrap().first_offset(), 10);
    assert_eq!(within(first.next()).await.unwrap().unwrap().first_offset(), 10);
    // What was handled before is not this member's to commit any more, unless it got it back.
    let foreign = batches.iter().find(|batch| !first.assignment().contains(batch.topic_partition())).unwrap();
    assert_eq!(first.commit(foreign).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(first.store(foreign).unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn once_a_revocation_was_told_no_record_of_its_partitions_comes() {
    let rig = rig(2).await;
    rig.fill(2, 1000, 100).await;
    let mut first = rig.member("g").max_batch_records(1).start().await.unwrap();
    take(&mut first, 10).await;
    let _second = rig.member("g").start().await.unwrap();
    let_pass(Duration::from_secs(10)).await;
    let revocation = until(&mut first, |event| match event {
        Event::Revoked(revocation) => Some(revocation),
        Event::Records(batch) => panic!("{batch:?}"),
        _ => None,
    })
    .await;
    // Much is fetched and not handed out.
    let waited = tokio::time::timeout(Duration::from_secs(20), first.event()).await;
    assert!(waited.is_err(), "{waited:?}");
    revocation.release();
    let assigned = until(&mut first, |event| match event {
        Event::Assigned(partitions) => Some(partitions),
        Event::Records(batch) => panic!("{batch:?}"),
        _ => None,
    })
    .await;
    let batch = within(first.next()).await.unwrap().unwrap();
    assert_eq!((batch.first_offset(), assigned), (0, vec![batch.claim()]));
}

#[tokio::test(start_paused = true)]
async fn stored_offsets_are_committed_in_time_and_at_the_end() {
    let rig = rig(1).await;
    rig.fill(1, 30, 10).await;
    let mut consumer = rig.member("g").max_batch_records(10).start().await.unwrap();
    let first = within(consumer.next()).await.unwrap().unwrap();
    let second = within(consumer.next()).await.unwrap().unwrap();
    consumer.store(&second).unwrap();
    consumer.store(&first).unwrap();
    assert_eq!(rig.committed("g", 0).await, None);
    let_pass(Duration::from_secs(6)).await;
    assert_eq!(rig.committed("g", 0).await, Some(20), "the highest one");
    let third = within(consumer.next()).await.unwrap().unwrap();
    consumer.store(&third).unwrap();
    consumer.close().await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(30));
    assert_eq!(rig.cluster.group("g").await.unwrap().members.len(), 0);
}

async fn let_pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn auto_commit_commits_what_a_later_call_has_proved_handled() {
    let rig = rig(1).await;
    rig.fill(1, 20, 10).await;
    let mut consumer =
        rig.member("g").max_batch_records(10).auto_commit(Duration::from_secs(1)).start().await.unwrap();
    assert_eq!(within(consumer.next()).await.unwrap().unwrap().next_offset(), 10);
    let_pass(Duration::from_secs(30)).await;
    assert_eq!(rig.committed("g", 0).await, None, "the application still works on it");
    assert_eq!(within(consumer.next()).await.unwrap().unwrap().next_offset(), 20);
    let_pass(Duration::from_secs(3)).await;
    assert_eq!(rig.committed("g", 0).await, Some(10));
    drop(consumer);
    let_pass(Duration::from_secs(60)).await;
    assert_eq!(rig.committed("g", 0).await, Some(10), "a dropped consumer commits nothing");
}

#[tokio::test(start_paused = true)]
async fn a_crashed_member_is_replaced_after_its_session() {
    let rig = rig(2).await;
    rig.fill(2, 10, 10).await;
    let mut first = rig.member("g").session_timeout(Duration::from_secs(10)).start().await.unwrap();
    take(&mut first, 20).await;
    drop(first);
    let started = tokio::time::Instant::now();
    let mut second = rig.member("g").start().await.unwrap();
    take(&mut second, 20).await;
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(7) && waited < Duration::from_secs(12), "{waited:?}");
    second.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_expelled_reports_the_loss_and_comes_back() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    let mut consumer = rig.member("g").start().await.unwrap();
    let batch = until(&mut consumer, |event| match event {
        Event::Records(batch) => Some(batch),
        _ => None,
    })
    .await;
    let member = rig.cluster.group("g").await.unwrap().members[0].member_id.clone();
    assert!(rig.cluster.expire_member("g", &member).await);
    let lost = until(&mut consumer, |event| match event {
        Event::Lost(partitions) => Some(partitions),
        Event::Revoked(revocation) => panic!("{revocation:?}"),
        _ => None,
    })
    .await;
    assert_eq!(sorted(lost), [0]);
    assert_eq!(consumer.store(&batch).unwrap_err().kind(), ErrorKind::Fenced);
    let again = until(&mut consumer, |event| match event {
        Event::Records(batch) => Some(batch),
        _ => None,
    })
    .await;
    assert_eq!(again.first_offset(), 0, "nothing was committed");
    consumer.commit(&again).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn closing_from_elsewhere_revokes_first() {
    let rig = rig(1).await;
    rig.fill(1, 20, 10).await;
    let mut consumer = rig.member("g").max_batch_records(10).start().await.unwrap();
    let batch = within(consumer.next()).await.unwrap().unwrap();
    consumer.closer().close();
    let_pass(Duration::from_secs(1)).await;
    // The batch in hand can still be committed.
    consumer.commit(&batch).await.unwrap();
    let revocation = until(&mut consumer, |event| match event {
        Event::Revoked(revocation) => Some(revocation),
        Event::Records(batch) => panic!("{batch:?}"),
        _ => None,
    })
    .await;
    assert_eq!(revocation.partitions(), [tp(0)]);
    let to_commit = [(tp(0), OffsetAndMetadata::new(7))];
    within(revocation.commit_and_release(to_commit)).await.unwrap();
    assert!(matches!(within(consumer.event()).await.unwrap(), Event::Closed));
    assert!(within(consumer.next()).await.unwrap().is_none());
    assert_eq!(rig.committed("g", 0).await, Some(7));
    assert_eq!(rig.cluster.group("g").await.unwrap().members.len(), 0);
    assert_eq!(consumer.seek(&tp(0), 0).await.unwrap_err().kind(), ErrorKind::Closed);
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_exist_is_told_and_waited_for() {
    let rig = rig(1).await;
    let mut consumer = rig
        .consumer()
        .group("g")
        .subscribe(["later"])
        .missing_topic_timeout(Duration::from_secs(20))
        .start()
        .await
        .unwrap();
    let error = within(consumer.next()).await.unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Configuration, Some("later")));
    assert!(error.to_string().contains("create the topic"), "{error}");
    nothing_comes(&mut consumer, Duration::from_secs(60)).await;
    rig.cluster.create_topic("later", 2).await.unwrap();
    rig.write("later", 1, batch(["x"], kavka_client::Compression::None)).await;
    let batch = within(consumer.next()).await.unwrap().unwrap();
    assert_eq!((batch.topic(), batch.partition()), ("later", 1));
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_ends_the_membership_and_is_told_once() {
    let rig = rig(1).await;
    rig.cluster.deny_group("g");
    let mut consumer = rig.member("g").start().await.unwrap();
    let error = within(consumer.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization);
    assert!(error.to_string().contains("group g"), "{error}");
    assert!(within(consumer.next()).await.unwrap().is_none());
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_group_without_members_keeps_offsets_of_assigned_partitions() {
    let rig = rig(1).await;
    rig.fill(1, 20, 10).await;
    let alone = || rig.consumer().group("g").assign([(TOPIC, 0, Start::Committed)]).max_batch_records(10);
    let mut consumer = alone().start().await.unwrap();
    let batch = within(consumer.next()).await.unwrap().unwrap();
    consumer.commit(&batch).await.unwrap();
    within(consumer.next()).await.unwrap().unwrap();
    consumer.seek(&tp(0), Start::Committed).await.unwrap();
    let again = within(consumer.next()).await.unwrap().unwrap();
    assert_eq!(again.first_offset(), 10);
    consumer.store(&again).unwrap();
    consumer.close().await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(20));
    let mut consumer = alone().start().await.unwrap();
    nothing_comes(&mut consumer, Duration::from_secs(1)).await;
    assert_eq!(consumer.position(&tp(0)), Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_moves_costs_nothing() {
    let rig = rig(1).await;
    rig.fill(1, 40, 10).await;
    let mut consumer = rig.member("g").max_batch_records(10).start().await.unwrap();
    for round in 0..4 {
        let batch = within(consumer.next()).await.unwrap().unwrap();
        assert_eq!(batch.first_offset(), round * 10);
        let coordinator = rig.cluster.coordinator("g").await.unwrap();
        rig.cluster.move_coordinator("g", coordinator % 3 + 1).await;
        within(consumer.commit(&batch)).await.unwrap();
    }
    assert_eq!(rig.committed("g", 0).await, Some(40));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_made_again() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    let mut consumer = rig.member("g").start().await.unwrap();
    let batch = within(consumer.next()).await.unwrap().unwrap();
    rig.cluster.on(ApiKey::OFFSET_COMMIT).nth(1).disconnect_after_apply();
    rig.cluster.on(ApiKey::OFFSET_COMMIT).nth(1).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    within(consumer.commit(&batch)).await.unwrap();
    assert_eq!(rig.committed("g", 0).await, Some(10));
    rig.cluster.on(ApiKey::OFFSET_COMMIT).reply(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let error = within(consumer.commit(&batch)).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Authorization, Some(0)));
}
