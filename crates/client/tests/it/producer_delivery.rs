//! What the producer promises when nothing goes wrong: content, order, batching, limits.

use std::time::Duration;

use crate::support::{log, logs, start};
use kavka_client::{
    Acks, Choice, Compression, ErrorKind, Partitioner, PartitionerTopic, Partitioning, Record,
    murmur2_partition,
};
use kavka_testbroker::Cluster;
use kavka_wire::ApiKey;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_record_arrives_as_it_was_sent() {
    for codec in Compression::ALL {
        let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
        let producer = client.producer().compression(codec).start().await.unwrap();
        let record = Record::to("t")
            .key("k")
            .value(b"v")
            .header("a", "1")
            .header("a", None::<&str>)
            .timestamp(1_700_000_000_123);
        let delivered = producer.send(record).await.unwrap().await.unwrap();
        assert_eq!((&*delivered.topic, delivered.partition, delivered.offset), ("t", 0, Some(0)));
        assert_eq!(delivered.timestamp, 1_700_000_000_123);
        let second = producer.send(Record::to("t")).await.unwrap().await.unwrap();
        assert_eq!(second.offset, Some(1));
        assert!(second.timestamp > delivered.timestamp, "stamped by the clock");

        let stored = log(&cluster, "t", 0).await;
        assert_eq!(stored.len(), 2);
        assert_eq!(
            (stored[0].key.as_deref(), stored[0].value.as_deref()),
            (Some(&b"k"[..]), Some(&b"v"[..]))
        );
        assert_eq!(stored[0].timestamp, delivered.timestamp);
        assert_eq!(stored[0].headers, [("a".into(), Some("1".into())), ("a".into(), None)]);
        assert_eq!((&stored[1].key, &stored[1].value, stored[1].timestamp), (&None, &None, second.timestamp));
    }
}

#[tokio::test(start_paused = true)]
async fn keys_go_where_the_java_client_sends_them_and_keep_their_order() {
    let (cluster, client) = start(Cluster::builder().topic("t", 6)).await;
    let producer = client.producer().start().await.unwrap();
    for n in 0..600 {
        let (key, value) = (format!("key-{}", n % 20), n.to_string());
        let delivery = producer.send(Record::to("t").key(&key).value(&value)).await.unwrap();
        assert_eq!(Some(delivery.partition()), murmur2_partition(key.as_bytes(), 6));
    }
    producer.flush().await.unwrap();
    let logs = logs(&cluster, "t", 6).await;
    assert_eq!(logs.iter().map(Vec::len).sum::<usize>(), 600);
    for log in logs {
        let numbers: Vec<u32> = log.iter().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_linger_a_record_goes_out_at_once() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    let started = Instant::now();
    for _ in 0..10 {
        producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(cluster.requests(ApiKey::PRODUCE).await, 10);
    assert_eq!(cluster.requests(ApiKey::INIT_PRODUCER_ID).await, 1);
}

#[tokio::test(start_paused = true)]
async fn records_gather_while_they_linger() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::from_millis(50)).start().await.unwrap();
    let started = Instant::now();
    let mut deliveries = Vec::new();
    for n in 0..100 {
        deliveries.push(producer.send(Record::to("t").value(n.to_string())).await.unwrap());
    }
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, Some(n as i64));
    }
    assert_eq!(cluster.requests(ApiKey::PRODUCE).await, 1);
    let took = started.elapsed();
    assert!((50..60).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_linger_and_flush_hurries_the_rest() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::from_secs(10)).batch_size(1000).start().await.unwrap();
    let started = Instant::now();
    for _ in 0..25 {
        drop(producer.send(Record::to("t").value(&[b'x'; 100])).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_, end) = cluster.log_offsets("t", 0).await.unwrap();
    assert!((16..25).contains(&end), "{end}");
    producer.flush().await.unwrap();
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 25)));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn many_batches_of_many_partitions_share_requests() {
    let (cluster, client) = start(Cluster::builder().topic("t", 30)).await;
    let producer = client.producer().start().await.unwrap();
    for n in 0..300 {
        drop(producer.send(Record::to("t").partition(n % 30).value("x")).await.unwrap());
    }
    producer.flush().await.unwrap();
    assert_eq!(cluster.requests(ApiKey::PRODUCE).await, 3, "one for each broker");
}

#[tokio::test(start_paused = true)]
async fn records_without_a_key_spread_over_the_partitions() {
    let (cluster, client) = start(Cluster::builder().topic("t", 3)).await;
    let producer = client.producer().batch_size(2000).start().await.unwrap();
    for _ in 0..3000 {
        drop(producer.send(Record::to("t").value(&[b'x'; 100])).await.unwrap());
    }
    producer.close().await.unwrap();
    for partition in 0..3 {
        let (_, end) = cluster.log_offsets("t", partition).await.unwrap();
        assert!(end > 400, "partition {partition} got {end} of 3000");
    }
}

#[tokio::test(start_paused = true)]
async fn other_partitioners() {
    struct Last;
    impl Partitioner for Last {
        fn choose(&self, topic: &PartitionerTopic<'_>, record: &Record<'_>) -> Choice {
            match record.key_bytes() {
                Some(b"bad") => Choice::Partition(topic.partitions),
                Some(_) => Choice::Partition(topic.partitions - 1),
                None => Choice::Any,
            }
        }
    }
    let (_cluster, client) = start(Cluster::builder().topic("t", 5)).await;
    let producer = client.producer().partitioner(Last).start().await.unwrap();
    assert_eq!(producer.send(Record::to("t").key("k")).await.unwrap().await.unwrap().partition, 4);
    assert!(producer.send(Record::to("t")).await.unwrap().await.is_ok());
    let error = producer.send(Record::to("t").key("bad")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");

    let producer = client.producer().partitioner(Partitioning::Crc32).start().await.unwrap();
    let delivery = producer.send(Record::to("t").key("123456789")).await.unwrap();
    assert_eq!(delivery.partition(), (0xcbf4_3926_u32 % 5) as i32);
    let error = producer.send(Record::to("t").partition(5)).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Configuration, Some(5)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn less_than_all_acks() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().acks(Acks::None).start().await.unwrap();
    for _ in 0..3 {
        assert_eq!(producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap().offset, None);
    }
    let producer = client.producer().acks(Acks::Leader).start().await.unwrap();
    assert_eq!(producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap().offset, Some(3));
    assert_eq!(cluster.requests(ApiKey::INIT_PRODUCER_ID).await, 0);
}

#[tokio::test(start_paused = true)]
async fn brokers_without_topic_ids() {
    let builder = Cluster::builder().topic("t", 2).versions(ApiKey::METADATA, 0..=9);
    let (cluster, client) = start(builder).await;
    let producer = client.producer().start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    let seen = cluster.recent_requests().await;
    let produce = seen.iter().find(|request| request.key == ApiKey::PRODUCE).unwrap();
    assert_eq!(produce.version, 12);

    let (cluster, client) = start(Cluster::builder().topic("t", 2).versions(ApiKey::PRODUCE, 3..=7)).await;
    let producer = client.producer().start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    assert_eq!(cluster.requests(ApiKey::PRODUCE).await, 1);
}

#[tokio::test(start_paused = true)]
async fn close_takes_nothing_more_and_delivers_the_rest() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::from_secs(60)).start().await.unwrap();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    let other = producer.clone();
    producer.close().await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    assert_eq!(other.send(Record::to("t").value("y")).await.unwrap_err().kind(), ErrorKind::Closed);
    other.close().await.unwrap();
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_producer_delivers_what_it_has() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::from_secs(60)).start().await.unwrap();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, Some(0));
}

#[tokio::test(start_paused = true)]
async fn send_waits_for_room_and_keeps_the_order() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().buffer_memory(3000).batch_size(1000).start().await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let producer = producer.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let value = format!("{task}:{n:090}");
                    drop(producer.send(Record::to("t").value(&value)).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    producer.flush().await.unwrap();
    let values = logs(&cluster, "t", 1).await.remove(0);
    assert_eq!(values.len(), 400);
    for task in 0..4 {
        let own = values
            .iter()
            .filter_map(|value| value.strip_prefix(&format!("{task}:")))
            .map(|n| n.parse::<u32>().unwrap());
        assert!(own.eq(0..100), "the order of task {task}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_and_options_are_named() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().max_request_size(200_000).start().await.unwrap();
    let error = producer.send(Record::to("t").value(vec![0; 300_000])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let text = error.to_string();
    assert!(
        text.contains("300097") && text.contains("200000") && text.contains("raise max_request_size"),
        "{text}"
    );

    for (builder, named) in [
        (client.producer().batch_size(0), "batch_size"),
        (client.producer().batch_size(2 << 20), "max_request_size"),
        (client.producer().acks(Acks::Leader).idempotent(true), "idempotent"),
        (client.producer().max_in_flight(6).idempotent(true), "idempotent"),
        (client.producer().linger(Duration::from_secs(200)), "delivery_timeout"),
        (client.producer().compression(Compression::Gzip).compression_level(77), "77"),
        (client.producer().compression_level(1), "compression"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(named), "{error}");
    }
}
