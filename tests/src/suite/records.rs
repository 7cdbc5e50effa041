//! Records go out and come back.

use std::collections::BTreeMap;

use kavka::{Compression, ErrorKind, Record};

use crate::data::{CODECS, Rec, produce, reader, shapes, take};
use crate::{Outcome, Target, soon};

/// Without compression.
pub async fn every_shape_comes_back_uncompressed(target: &Target) -> Outcome {
    every_shape_comes_back(target, Compression::None).await
}

/// gzip.
pub async fn every_shape_comes_back_through_gzip(target: &Target) -> Outcome {
    every_shape_comes_back(target, Compression::Gzip).await
}

/// snappy.
pub async fn every_shape_comes_back_through_snappy(target: &Target) -> Outcome {
    every_shape_comes_back(target, Compression::Snappy).await
}

/// lz4.
pub async fn every_shape_comes_back_through_lz4(target: &Target) -> Outcome {
    every_shape_comes_back(target, Compression::Lz4).await
}

/// zstd.
pub async fn every_shape_comes_back_through_zstd(target: &Target) -> Outcome {
    every_shape_comes_back(target, Compression::Zstd).await
}

async fn every_shape_comes_back(target: &Target, codec: Compression) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "shapes", 2).await?;
    let sent = shapes();
    let delivered = produce(&client, &topic, 1, &sent, codec).await?;
    for (offset, (delivered, record)) in delivered.iter().zip(&sent).enumerate() {
        assert_eq!((delivered.partition, delivered.offset), (1, Some(offset as i64)));
        assert_eq!((&*delivered.topic, delivered.timestamp), (topic.as_str(), record.timestamp));
    }
    let mut consumer = reader(&client, &topic, 2).await?;
    let expected = sent.into_iter().enumerate().map(|(offset, record)| ((1, offset as i64), record));
    assert_eq!(take(&mut consumer, delivered.len()).await?, expected.collect());
    consumer.close().await?;
    Ok(())
}

/// One partition, many producers, many codecs: what is read does not depend on how it was written.
pub async fn batches_of_all_codecs_lie_in_one_partition(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "codecs", 1).await?;
    let mut expected = BTreeMap::new();
    for round in 0..3 {
        for (name, codec) in CODECS {
            let records: Vec<_> =
                (0..40).map(|n| Rec::new(format!("{name} {round} {n}").repeat(20))).collect();
            let delivered = produce(&client, &topic, 0, &records, codec).await?;
            let at = delivered.into_iter().map(|delivered| (0, delivered.offset.unwrap_or(-1)));
            expected.extend(at.zip(records));
        }
    }
    let mut consumer = reader(&client, &topic, 1).await?;
    assert_eq!(take(&mut consumer, 600).await?, expected);
    consumer.close().await?;
    Ok(())
}

/// A record that fills a batch of the broker's limit, among small ones, through a fetch that is smaller than it.
pub async fn records_near_the_limit_go_through(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "large", 1).await?;
    // Not compressible, and 100 bytes are more than a batch with one record adds. Kafka's limit is 1 MiB + 12.
    let large: Vec<u8> =
        (0..(1 << 20) - 100u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent: Vec<_> = [b"small".to_vec(), large.clone(), b"small".to_vec(), large].map(Rec::new).into();
    let producer = client.producer().max_request_size(2 << 20).start().await?;
    for record in &sent {
        drop(producer.send(record.to(&topic, 0)).await?);
    }
    soon("large records are written", producer.close()).await??;
    let start = [(topic.as_str(), 0, kavka::Start::Beginning)];
    let mut consumer = client
        .consumer()
        .assign(start)
        .fetch_max_bytes(10_000)
        .max_partition_fetch_bytes(1000)
        .start()
        .await?;
    let taken = take(&mut consumer, 4).await?;
    assert!(taken.into_values().eq(sent), "the records differ");
    consumer.close().await?;
    Ok(())
}

/// Refused before it is sent; the producer goes on.
pub async fn a_record_over_the_producers_limit_is_refused_with_its_sizes(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "too-large", 1).await?;
    let producer = client.producer().start().await?;
    let error = producer.send(Record::to(&topic).value(vec![1; 2 << 20])).await.unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Rejected, Some(topic.as_str())), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("1048576")
            && text.contains("not sent: the record takes 2097249 bytes")
            && text.contains("max_request_size"),
        "{text}"
    );
    let delivered = producer.send(Record::to(&topic).value("small enough")).await?;
    assert_eq!(soon("the next one", delivered).await??.offset, Some(0));
    producer.close().await?;
    Ok(())
}

/// The broker refuses one batch: its record fails, others before and after it do not.
pub async fn a_record_over_the_topics_limit_is_refused_and_the_others_go_on(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic_with(&client, "limit", 2, |t| t.config("max.message.bytes", "5000")).await?;
    let producer = client.producer().start().await?;
    let mut deliveries = Vec::new();
    for (partition, size) in [(0, 100), (0, 9000), (0, 200), (1, 300)] {
        let record = Record::to(&topic).partition(partition).value(vec![b'x'; size]);
        deliveries.push(producer.send(record).await?);
    }
    let mut results = Vec::new();
    for delivery in deliveries {
        results.push(soon("an answer", delivery).await?);
    }
    let error = results.remove(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert_eq!((error.topic(), error.partition()), (Some(topic.as_str()), Some(0)), "{error}");
    assert!(
        error.to_string().contains("MESSAGE_TOO_LARGE") && error.to_string().contains("max.message.bytes"),
        "{error}"
    );
    let offsets: Vec<_> =
        results.into_iter().map(|result| result.map(|at| at.offset)).collect::<Result<_, _>>()?;
    assert_eq!(offsets, [Some(0), Some(1), Some(0)]);
    let flushed = producer.close().await.unwrap_err();
    assert_eq!(flushed.kind(), ErrorKind::Rejected, "{flushed}");
    Ok(())
}

/// Equal keys meet in one partition, in the order in which they were sent.
pub async fn keys_stay_in_their_partition_and_in_order(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "keys", 7).await?;
    let producer = client.producer().batch_size(500).start().await?;
    for number in 0..2000 {
        let key = (number % 13).to_string();
        drop(producer.send(Record::to(&topic).key(&key).value(number.to_string())).await?);
    }
    soon("all are written", producer.close()).await??;
    let mut consumer = reader(&client, &topic, 7).await?;
    let mut homes: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    let mut last: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    for ((partition, offset), record) in take(&mut consumer, 2000).await? {
        let key = record.key.ok_or("no key")?;
        assert_eq!(*homes.entry(key.clone()).or_insert(partition), partition, "{key:?}");
        let number: i32 = String::from_utf8(record.value.ok_or("no value")?)?.parse()?;
        let before = last.insert(key, number);
        assert!(
            before.is_none_or(|before| before < number),
            "{number} after {before:?} at {partition}-{offset}"
        );
    }
    assert_eq!(homes.len(), 13);
    // As Kafka's own producer: murmur2 of the key.
    for (key, partition) in homes {
        assert_eq!(kavka::murmur2_partition(&key, 7), Some(partition));
    }
    consumer.close().await?;
    Ok(())
}
