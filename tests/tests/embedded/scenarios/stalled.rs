//! S11, the fine points: who counts as one that takes no records any more.

use std::time::Duration;

use kavka::{ErrorKind, Event, GroupProtocol};
use kavka_tests::data::{next, produce_numbers};
use kavka_tests::{Outcome, soon};

use super::{GROUP, Scene, TOPIC, by_both};

by_both!(
    who_waits_for_records_takes_part,
    who_holds_a_batch_is_taken_out_and_joins_by_asking,
    who_works_on_a_revocation_takes_part,
    who_has_paused_everything_takes_part,
);

const LIMIT: Duration = Duration::from_secs(20);

async fn members(scene: &Scene) -> usize {
    scene.cluster().group(GROUP).await.map_or(0, |group| group.members.len())
}

async fn who_waits_for_records_takes_part(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    let mut consumer = scene.member().subscribe([TOPIC]).max_processing_time(LIMIT).start().await?;
    assert!(tokio::time::timeout(LIMIT * 10, consumer.next()).await.is_err());
    assert_eq!(members(&scene).await, 1);
    // Nor does one who was told all that there is.
    tokio::time::sleep(LIMIT * 10).await;
    assert_eq!(members(&scene).await, 1);
    produce_numbers(&scene.client, TOPIC, 1, 0, 1).await?;
    next(&mut consumer).await?;
    consumer.close().await?;
    Ok(())
}

async fn who_holds_a_batch_is_taken_out_and_joins_by_asking(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    produce_numbers(&scene.client, TOPIC, 1, 0, 10).await?;
    let mut consumer = scene.member().subscribe([TOPIC]).max_processing_time(LIMIT).start().await?;
    let batch = next(&mut consumer).await?;
    tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
    assert_eq!(members(&scene).await, 1);
    consumer.commit(&batch).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(members(&scene).await, 0);
    assert_eq!(consumer.assignment(), []);
    assert!(matches!(soon("a loss", consumer.event()).await??, Event::Lost(lost) if lost.len() == 1));
    let error = soon("an error", consumer.event()).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("max.poll.interval.ms"), "{error}");
    produce_numbers(&scene.client, TOPIC, 1, 10, 20).await?;
    let batch = next(&mut consumer).await?;
    assert_eq!(batch.first_offset(), 10);
    consumer.close().await?;
    Ok(())
}

async fn who_works_on_a_revocation_takes_part(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 2).await?;
    let builder = || scene.member().subscribe([TOPIC]).max_processing_time(LIMIT);
    let mut first = builder().rebalance_timeout(LIMIT * 5).start().await?;
    produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
    next(&mut first).await?;
    let mut second = builder().start().await?;
    let revocation = loop {
        if let Event::Revoked(revocation) = soon("a revocation", first.event()).await?? {
            break revocation;
        }
    };
    tokio::time::sleep(LIMIT * 3).await;
    assert_eq!(members(&scene).await, 2);
    revocation.release();
    soon("the second has a share", async {
        while second.event().await.is_ok() && second.assignment().is_empty() {}
    })
    .await?;
    first.close().await?;
    second.close().await?;
    Ok(())
}

async fn who_has_paused_everything_takes_part(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    produce_numbers(&scene.client, TOPIC, 1, 0, 10).await?;
    let builder = scene.member().subscribe([TOPIC]).max_processing_time(LIMIT).max_batch_records(1);
    let mut consumer = builder.start().await?;
    let batch = next(&mut consumer).await?;
    consumer.pause([batch.topic_partition()])?;
    tokio::time::sleep(LIMIT * 5).await;
    assert_eq!(members(&scene).await, 1);
    consumer.resume([batch.topic_partition()])?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 1);
    consumer.close().await?;
    Ok(())
}
