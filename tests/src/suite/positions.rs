//! Where a consumer stands.

use kavka::{Client, Consumer, ErrorKind, OffsetReset, Start, TopicPartition};

use crate::data::{Rec, next, number, produce, produce_numbers, reader, take};
use crate::target::unique;
use crate::{Outcome, Target, soon};

/// A topic of one partition with the numbers from 0 to 99.
async fn hundred(target: &Target, client: &Client, name: &str) -> Outcome<(String, TopicPartition)> {
    let topic = target.topic(client, name, 1).await?;
    produce_numbers(client, &topic, 1, 0, 100).await?;
    Ok((topic.clone(), TopicPartition::new(topic, 0)))
}

async fn subscriber(client: &Client, topic: &str, reset: OffsetReset) -> kavka::Result<Consumer> {
    client.consumer().group(unique("group")).subscribe([topic]).auto_offset_reset(reset).start().await
}

/// `auto.offset.reset=earliest`.
pub async fn earliest_begins_at_the_first_record(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, _) = hundred(target, &client, "earliest").await?;
    let mut consumer = subscriber(&client, &topic, OffsetReset::Earliest).await?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 0);
    consumer.close().await?;
    Ok(())
}

/// `auto.offset.reset=latest`.
pub async fn latest_begins_behind_the_last_record(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, partition) = hundred(target, &client, "latest").await?;
    let mut consumer = subscriber(&client, &topic, OffsetReset::Latest).await?;
    let handle = consumer.handle();
    let mut asking = Box::pin(consumer.next());
    // What is written before the position is known is not "later", so the position is waited for.
    let known = crate::until("the position is known", async || handle.position(&partition).is_some());
    tokio::select! {
        early = &mut asking => return Err(format!("nothing new was there, but {early:?} came").into()),
        known = known => known?,
    }
    drop(asking);
    produce_numbers(&client, &topic, 1, 100, 110).await?;
    let batch = next(&mut consumer).await?;
    assert_eq!(batch.first_offset(), 100);
    consumer.close().await?;
    Ok(())
}

/// `auto.offset.reset=none`: nothing is guessed.
pub async fn none_without_a_commit_is_an_error(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, partition) = hundred(target, &client, "none").await?;
    let mut consumer = subscriber(&client, &topic, OffsetReset::None).await?;
    let error = soon("an error", consumer.next()).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!((error.topic(), error.partition()), (Some(topic.as_str()), Some(0)));
    assert!(error.to_string().contains("auto.offset.reset"), "{error}");
    consumer.seek(&partition, 42).await?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 42);
    consumer.close().await?;
    Ok(())
}

/// The offset, and what to do, are named; other partitions go on.
pub async fn an_offset_out_of_range_with_none_is_an_error_and_a_seek_mends_it(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "range", 2).await?;
    produce_numbers(&client, &topic, 2, 0, 20).await?;
    let all = [(topic.as_str(), 0, Start::Offset(5000)), (topic.as_str(), 1, Start::Beginning)];
    let mut consumer = client.consumer().assign(all).auto_offset_reset(OffsetReset::None).start().await?;
    let (mut error, mut good) = (None, 0);
    while error.is_none() || good < 20 {
        match soon("an error and a batch", consumer.next()).await? {
            Err(found) => error = Some(found),
            Ok(Some(batch)) => {
                assert_eq!(batch.partition(), 1);
                good += batch.len();
            }
            Ok(None) => return Err("closed".into()),
        }
    }
    let error = error.ok_or("no error")?;
    assert_eq!(
        (error.topic(), error.partition(), error.offset()),
        (Some(topic.as_str()), Some(0), Some(5000))
    );
    consumer.seek(&TopicPartition::new(topic, 0), 19).await?;
    let batch = next(&mut consumer).await?;
    assert_eq!((batch.partition(), batch.first_offset()), (0, 19));
    consumer.close().await?;
    Ok(())
}

/// After a seek no record from before it comes.
pub async fn seek_goes_back_and_forth(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, partition) = hundred(target, &client, "seek").await?;
    let mut consumer = reader(&client, &topic, 1).await?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 0);
    for offset in [77, 3, 99, 0, 50] {
        consumer.seek(&partition, offset).await?;
        let batch = next(&mut consumer).await?;
        assert_eq!(
            (batch.first_offset(), number(batch.iter().next().and_then(|r| r.value()))?),
            (offset, offset as u64)
        );
    }
    consumer.seek(&partition, Start::Beginning).await?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 0);
    consumer.seek(&partition, Start::End).await?;
    produce_numbers(&client, &topic, 1, 100, 101).await?;
    // The end is looked up when the consumer gets there, so the record may be behind it or in front of it.
    let resumed = consumer.seek(&partition, Start::Offset(100)).await;
    resumed?;
    assert_eq!(next(&mut consumer).await?.first_offset(), 100);
    consumer.close().await?;
    Ok(())
}

/// `offsetsForTimes`.
pub async fn a_timestamp_is_a_place_to_start(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "time", 1).await?;
    for hour in 0..5 {
        let record = Rec { timestamp: 1_700_000_000_000 + hour * 3_600_000, ..Rec::new(hour.to_string()) };
        produce(&client, &topic, 0, &[record], kavka::Compression::None).await?;
    }
    let start = Start::Timestamp(1_700_000_000_000 + 2 * 3_600_000 - 1);
    let mut consumer = client.consumer().assign([(topic.as_str(), 0, start)]).start().await?;
    let taken = take(&mut consumer, 3).await?;
    assert!(taken.into_keys().eq([(0, 2), (0, 3), (0, 4)]));
    consumer.close().await?;
    Ok(())
}

/// Pause, seek, resume: records of other partitions come, those of the paused one are all still there.
pub async fn a_paused_partition_gives_nothing_and_loses_nothing(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "pause", 2).await?;
    produce_numbers(&client, &topic, 2, 0, 300).await?;
    let all = (0..2).map(|partition| (topic.as_str(), partition, Start::Beginning));
    let mut consumer = client.consumer().assign(all).max_batch_records(10).start().await?;
    let paused = TopicPartition::new(topic, 0);
    let mut seen = [0, 0];
    // Some of the partition has been handed out, and some fetched, when it is paused.
    while seen[0] < 50 {
        let batch = next(&mut consumer).await?;
        assert_eq!(batch.first_offset(), seen[batch.partition() as usize]);
        seen[batch.partition() as usize] = batch.next_offset();
    }
    consumer.pause([&paused])?;
    let stopped = seen[0];
    while seen[1] < 300 {
        let batch = next(&mut consumer).await?;
        assert_eq!((batch.partition(), batch.first_offset()), (1, seen[1]));
        seen[1] = batch.next_offset();
    }
    assert_eq!(consumer.position(&paused), Some(stopped));
    consumer.resume([&paused])?;
    while seen[0] < 300 {
        let batch = next(&mut consumer).await?;
        assert_eq!((batch.partition(), batch.first_offset()), (0, seen[0]));
        seen[0] = batch.next_offset();
    }
    consumer.close().await?;
    Ok(())
}

/// Manual assignment: no group is made.
pub async fn whole_partitions_are_read_without_a_group(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "manual", 3).await?;
    produce_numbers(&client, &topic, 3, 0, 40).await?;
    let some = [(topic.as_str(), 0, Start::Offset(10)), (topic.as_str(), 2, Start::Beginning)];
    let mut consumer = client.consumer().assign(some).start().await?;
    let taken = take(&mut consumer, 70).await?;
    let expected = (10..40).map(|offset| (0, offset)).chain((0..40).map(|offset| (2, offset)));
    assert!(taken.into_keys().eq(expected));
    assert_eq!(consumer.assignment(), [0, 2].map(|partition| TopicPartition::new(topic.as_str(), partition)));
    let wrong =
        client.consumer().assign(some).subscribe([topic.as_str()]).start().await.map(drop).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Configuration, "{wrong}");
    consumer.close().await?;
    Ok(())
}

/// In a `select!` a future of `next` is dropped at any await: nothing is lost, nothing comes twice.
pub async fn next_may_be_dropped_at_any_time(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "dropped", 3).await?;
    produce_numbers(&client, &topic, 3, 0, 300).await?;
    let all = (0..3).map(|partition| (topic.as_str(), partition, Start::Beginning));
    let mut consumer =
        client.consumer().assign(all).max_batch_records(10).fetch_max_bytes(500).start().await?;
    let reading = async {
        let (mut seen, mut dropped) = ([0; 3], 0);
        while seen != [300; 3] {
            // Polled once: ready, or dropped where it stands.
            let once = tokio::time::timeout(std::time::Duration::ZERO, consumer.next()).await;
            let Ok(batch) = once else {
                dropped += 1;
                tokio::task::yield_now().await;
                continue;
            };
            let batch = batch?.ok_or("closed")?;
            let seen = &mut seen[batch.partition() as usize];
            assert_eq!(batch.first_offset(), *seen);
            *seen = batch.next_offset();
        }
        Outcome::Ok(dropped)
    };
    let dropped = soon("all records", reading).await??;
    assert!(dropped > 0, "nothing was dropped, so nothing was tried");
    consumer.close().await?;
    Ok(())
}

/// The position moves with what was handed out, not with what was fetched; the lag is what is left.
pub async fn the_position_is_what_was_handed_out(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, partition) = hundred(target, &client, "position").await?;
    let all = [(topic.as_str(), 0, Start::Offset(20))];
    let mut consumer = client.consumer().assign(all).max_batch_records(7).start().await?;
    for step in 0..11 {
        let batch = next(&mut consumer).await?;
        assert_eq!((batch.first_offset(), batch.len()), (20 + step * 7, 7));
        assert_eq!(consumer.position(&partition), Some(27 + step * 7));
        assert_eq!(consumer.lag(&partition), Some(73 - step as u64 * 7));
    }
    assert_eq!(next(&mut consumer).await?.len(), 3);
    assert_eq!((consumer.position(&partition), consumer.lag(&partition)), (Some(100), Some(0)));
    consumer.close().await?;
    Ok(())
}
