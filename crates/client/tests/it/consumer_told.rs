//! What a consumer is told is visible to it.

use std::time::Duration;

use crate::support::*;
use kavka_client::{Consumer, Event};

/// Two hundred consumers, each of which uses its handle as soon as it is told of partitions, while its task runs on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn partitions_can_be_paused_as_soon_as_they_are_told() {
    for (partitions, tries) in [(12, 150), (300, 50)] {
        let rig = rig(partitions).await;
        for attempt in 0..tries {
            let group = format!("g-{partitions}-{attempt}");
            let mut consumer = rig.member(&group).start().await.unwrap();
            let Event::Assigned(told) = within(consumer.event()).await.unwrap() else {
                panic!("no partitions")
            };
            // By name and by claim.
            consumer.pause(told.iter().map(|claim| claim.partition())).unwrap();
            told.iter().for_each(|claim| claim.pause().unwrap());
            assert_eq!(consumer.assignment().len(), partitions as usize);
            assert!(
                told.iter().all(|claim| claim.is_live() && consumer.handle().is_paused(claim.partition()))
            );
            consumer.close().await.unwrap();
        }
    }
}

/// What a consumer tells until it has nothing to say for a while, but for records.
async fn story(consumer: &mut Consumer) -> Vec<String> {
    let mut story = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), consumer.event()).await {
        match event.unwrap() {
            Event::Records(_) => {}
            Event::Assigned(partitions) => story.push(format!("assigned {}", partitions.len())),
            Event::Revoked(revocation) => story.push(format!("revoked {}", revocation.partitions().len())),
            Event::Lost(partitions) => story.push(format!("lost {}", partitions.len())),
            other => panic!("{other:?}"),
        }
    }
    story
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_nobody_took_in_time_is_told_as_a_loss_and_only_so() {
    let rig = rig(2).await;
    let builder = || rig.member("g").rebalance_timeout(Duration::from_secs(10));
    let mut first = builder().start().await.unwrap();
    assert_eq!(story(&mut first).await, ["assigned 2"]);
    // The application is busy while another member joins and gets all.
    let mut second = builder().start().await.unwrap();
    let other = tokio::spawn(async move { while second.next().await.unwrap().is_some() {} });
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told = story(&mut first).await;
    assert_eq!(told[..1], ["lost 2"], "{told:?}");
    assert!(!told.iter().any(|told| told.starts_with("revoked")), "{told:?}");
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_ended_before_it_was_taken_is_not_told_and_neither_is_its_end() {
    let rig = rig(2).await;
    let mut consumer = rig.member("g").start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    for member in rig.cluster.group("g").await.unwrap().members {
        assert!(rig.cluster.expire_member("g", &member.member_id).await);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(consumer.assignment().len(), 2, "it has joined again");
    assert_eq!(story(&mut consumer).await, ["assigned 2"]);
}
