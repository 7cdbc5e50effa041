//! Consumers whose partitions are assigned by hand.

use std::time::Duration;

use crate::support::*;
use kavka_client::{Compression, ErrorKind, Start};

#[tokio::test(start_paused = true)]
async fn every_record_comes_once_and_in_order() {
    let rig = rig(3).await;
    rig.fill(3, 1000, 70).await;
    let partitions = (0..3).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer = rig.consumer().assign(partitions).start().await.unwrap();
    let taken = take(&mut consumer, 3000).await;
    for partition in 0..3 {
        let expected: Vec<String> = (0..1000).map(|number| format!("{partition}:{number}")).collect();
        assert_eq!(taken[&partition], expected);
        assert_eq!(consumer.position(&tp(partition)), Some(1000));
        assert_eq!(consumer.lag(&tp(partition)), Some(0));
    }
    nothing_comes(&mut consumer, Duration::from_secs(5)).await;
    rig.produce(1, ["late"]).await;
    assert_eq!(take(&mut consumer, 1).await[&1], ["late"]);
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_codec_is_read_and_small_batches_come_together() {
    let rig = rig(1).await;
    let mut expected = Vec::new();
    for round in 0..20 {
        for codec in Compression::ALL {
            let values = [format!("{codec}-{round}-a"), format!("{codec}-{round}-b")];
            rig.write(TOPIC, 0, batch(&values, codec)).await;
            expected.extend(values);
        }
    }
    let mut consumer = rig.consumer().assign([(TOPIC, 0, Start::Beginning)]).start().await.unwrap();
    assert_eq!(take(&mut consumer, expected.len()).await[&0], expected);

    let rig = crate::support::rig(1).await;
    rig.fill(1, 300, 1).await;
    let mut consumer = rig.consumer().assign([(TOPIC, 0, Start::Beginning)]).start().await.unwrap();
    let first = within(consumer.next()).await.unwrap().unwrap();
    assert_eq!(first.len(), 300, "300 wire batches of one record are one batch");
    assert_eq!(first.next_offset(), 300);
    check(&first);
}

#[tokio::test(start_paused = true)]
async fn large_batches_come_in_pieces() {
    let rig = rig(1).await;
    for codec in [Compression::None, Compression::Lz4] {
        let values: Vec<String> = (0..1234).map(|number| number.to_string()).collect();
        rig.write(TOPIC, 0, batch(&values, codec)).await;
    }
    let mut consumer =
        rig.consumer().assign([(TOPIC, 0, Start::Offset(100))]).max_batch_records(500).start().await.unwrap();
    let mut sizes = Vec::new();
    let mut next = 100;
    while next < 2468 {
        let batch = within(consumer.next()).await.unwrap().unwrap();
        check(&batch);
        assert_eq!(batch.first_offset(), next);
        assert_eq!(texts(&batch)[0], (next % 1234).to_string());
        next = batch.next_offset();
        assert_eq!(consumer.position(&tp(0)), Some(next));
        sizes.push(batch.len());
    }
    assert_eq!(sizes, [500, 500, 134, 500, 500, 234]);
}

#[tokio::test(start_paused = true)]
async fn starts_where_it_is_told_to() {
    let rig = rig(1).await;
    rig.fill(1, 10, 5).await;
    for (start, first) in [
        (Start::Beginning, Some("0:0")),
        (Start::Offset(7), Some("0:7")),
        (Start::Timestamp(1003), Some("0:3")),
        (Start::End, None),
    ] {
        let mut consumer = rig.consumer().assign([(TOPIC, 0, start)]).start().await.unwrap();
        match first {
            Some(first) => {
                let batch = within(consumer.next()).await.unwrap().unwrap();
                assert_eq!(texts(&batch)[0], first, "{start:?}");
            }
            None => nothing_comes(&mut consumer, Duration::from_secs(2)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_seek_nothing_from_before_comes() {
    let rig = rig(1).await;
    rig.fill(1, 1000, 100).await;
    let mut consumer =
        rig.consumer().assign([(TOPIC, 0, Start::Beginning)]).max_batch_records(10).start().await.unwrap();
    for offset in [500, 3, 980, 0, 77] {
        take(&mut consumer, 10).await;
        consumer.seek(&tp(0), offset).await.unwrap();
        assert_eq!(consumer.position(&tp(0)), Some(offset));
        let batch = within(consumer.next()).await.unwrap().unwrap();
        assert_eq!(batch.first_offset(), offset);
    }
    consumer.seek(&tp(0), Start::End).await.unwrap();
    nothing_comes(&mut consumer, Duration::from_secs(1)).await;
    assert_eq!(consumer.position(&tp(0)), Some(1000));
    consumer.seek(&tp(0), Start::Beginning).await.unwrap();
    assert_eq!(within(consumer.next()).await.unwrap().unwrap().first_offset(), 0);

    let error = consumer.seek(&tp(1), 0).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Configuration, Some(1)));
    assert_eq!(consumer.seek(&tp(0), -5).await.unwrap_err().kind(), ErrorKind::Configuration);
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_keeps_its_records_and_its_order() {
    let rig = rig(2).await;
    rig.fill(2, 500, 50).await;
    let partitions = (0..2).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer = rig.consumer().assign(partitions).max_batch_records(10).start().await.unwrap();
    let mut seen = [Vec::new(), Vec::new()];
    for round in 0..60 {
        if round % 3 == 0 {
            let paused = tp((round / 3) % 2);
            consumer.pause([&paused]).unwrap();
            assert!(consumer.handle().is_paused(&paused));
        }
        let batch = within(consumer.next()).await.unwrap().unwrap();
        let partition = batch.topic_partition().clone();
        assert!(!consumer.handle().is_paused(&partition), "{batch:?}");
        seen[batch.partition() as usize].extend(texts(&batch));
        if round % 3 == 2 {
            consumer.resume([&tp((round / 3) % 2)]).unwrap();
        }
    }
    let left = 1000 - seen[0].len() - seen[1].len();
    for (partition, values) in take(&mut consumer, left).await {
        seen[partition as usize].extend(values);
    }
    for (partition, values) in seen.iter().enumerate() {
        let expected: Vec<String> = (0..500).map(|number| format!("{partition}:{number}")).collect();
        assert_eq!(*values, expected);
    }
    consumer.pause([&tp(0), &tp(1)]).unwrap();
    rig.produce(0, ["more"]).await;
    nothing_comes(&mut consumer, Duration::from_secs(3)).await;
    consumer.resume([&tp(0)]).unwrap();
    assert_eq!(take(&mut consumer, 1).await[&0], ["more"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_next_loses_and_repeats_nothing() {
    let rig = rig(2).await;
    rig.fill(2, 400, 40).await;
    let partitions = (0..2).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer = rig.consumer().assign(partitions).max_batch_records(7).start().await.unwrap();
    let mut seen = [Vec::new(), Vec::new()];
    let mut dropped = 0;
    while seen[0].len() + seen[1].len() < 800 {
        tokio::select! {
            biased;
            () = yields(dropped % 5) => dropped += 1,
            batch = consumer.next() => {
                let batch = batch.unwrap().unwrap();
                seen[batch.partition() as usize].extend(texts(&batch));
                dropped += 1;
            }
        }
    }
    for (partition, values) in seen.iter().enumerate() {
        let expected: Vec<String> = (0..400).map(|number| format!("{partition}:{number}")).collect();
        assert_eq!(*values, expected);
    }
}

async fn yields(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_options_are_named() {
    let rig = rig(1).await;
    let builders = [
        (rig.client.consumer(), "subscribe() nor assign()"),
        (rig.client.consumer().subscribe([TOPIC]), "group()"),
        (rig.member("g").assign([(TOPIC, 0, Start::End)]), "exclude"),
        (rig.consumer().assign([(TOPIC, 0, Start::End), (TOPIC, 0, Start::End)]), "twice"),
        (rig.consumer().assign([(TOPIC, 0, Start::Committed)]), "group()"),
        (rig.consumer().assign([(TOPIC, -1, Start::End)]), "orders--1"),
        (rig.consumer().assign([(TOPIC, 0, Start::End)]).auto_commit(Duration::from_secs(1)), "auto_commit"),
        (rig.member("g").heartbeat_interval(Duration::from_secs(60)), "session_timeout"),
        (rig.member("g").max_batch_records(0), "max_batch_records"),
        (rig.member(""), "group()"),
        (rig.member("g").buffer_bytes(10), "buffer_bytes"),
        (rig.consumer().group("g").subscribe([""]), "empty name"),
    ];
    for (builder, what) in builders {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(what), "{error}");
    }
}
