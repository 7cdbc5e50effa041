//! What the producer does when brokers err, move, fall silent or vanish.

use std::time::Duration;

use crate::support::{logs, start};
use kavka_client::{Acks, ErrorKind, Producer, Record};
use kavka_testbroker::Cluster;
use kavka_wire::{ApiKey, ErrorCode};
use tokio::time::Instant;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Sends numbers one batch each, without waiting for them.
async fn send_numbers(producer: &Producer, range: std::ops::Range<u32>) -> Vec<kavka_client::Delivery> {
    let mut deliveries = Vec::new();
    for n in range {
        deliveries.push(producer.send(Record::to("t").value(n.to_string())).await.unwrap());
        tokio::task::yield_now().await;
    }
    deliveries
}

async fn expect_all(deliveries: Vec<kavka_client::Delivery>) {
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_one_copy() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    for nth in 1..=6 {
        cluster.on(ApiKey::PRODUCE).nth(nth).disconnect_after_apply();
    }
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    expect_all(send_numbers(&producer, 0..50).await).await;
    assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..50)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again_in_order() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).nth(2).disconnect();
    cluster.on(ApiKey::PRODUCE).nth(5).disconnect();
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    expect_all(send_numbers(&producer, 0..50).await).await;
    assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..50)]);
}

#[tokio::test(start_paused = true)]
async fn retriable_errors_are_retried_with_growing_pauses() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).times(3).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    let seen = cluster.recent_requests().await;
    let times: Vec<_> =
        seen.iter().filter(|request| request.key == ApiKey::PRODUCE).map(|request| request.at).collect();
    assert_eq!(times.len(), 4);
    for (pair, nominal) in times.windows(2).zip([100, 200, 400]) {
        let gap = (pair[1] - pair[0]).as_millis();
        assert!((nominal * 8 / 10..=nominal * 12 / 10 + 2).contains(&gap), "{gap} instead of {nominal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_moves_is_followed() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    let mut deliveries = Vec::new();
    for round in 0..6u32 {
        deliveries.extend(send_numbers(&producer, round * 10..(round + 1) * 10).await);
        assert!(cluster.move_leader("t", 0, 1 + (round % 3) as i32).await);
    }
    let started = Instant::now();
    expect_all(deliveries).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..60)]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_is_replaced() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    expect_all(send_numbers(&producer, 0..10).await).await;
    let (leader, _) = cluster.leader("t", 0).await.unwrap();
    let deliveries = send_numbers(&producer, 10..20).await;
    cluster.stop_broker(leader.unwrap()).await;
    let more = send_numbers(&producer, 20..30).await;
    expect_all(deliveries).await;
    expect_all(more).await;
    assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..30)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_given_up_and_the_records_arrive_elsewhere() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client
        .producer()
        .linger(Duration::ZERO)
        .request_timeout(Duration::from_secs(5))
        .start()
        .await
        .unwrap();
    expect_all(send_numbers(&producer, 0..5).await).await;
    let (leader, _) = cluster.leader("t", 0).await.unwrap();
    cluster.isolate(leader.unwrap()).await;
    let started = Instant::now();
    expect_all(send_numbers(&producer, 5..10).await).await;
    // The new leader may be asked of the silent broker first, which takes the client's own request timeout of 30 s.
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..10)]);
}

#[tokio::test(start_paused = true)]
async fn no_answer_within_the_delivery_timeout_is_an_unknown_outcome() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).never_answer();
    let builder =
        client.producer().delivery_timeout(Duration::from_secs(8)).request_timeout(Duration::from_secs(3));
    let producer = builder.start().await.unwrap();
    let started = Instant::now();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    let error = delivery.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
    assert_eq!((error.topic(), error.partition()), (Some("t"), Some(0)));
    assert!(error.to_string().contains("delivery timeout of 8s"), "{error}");
    let took = started.elapsed();
    assert!((8000..8100).contains(&took.as_millis()), "{took:?}");
    let flushed = producer.flush().await.unwrap_err();
    assert_eq!(flushed.kind(), ErrorKind::UnknownOutcome);
    cluster.clear_faults();
    producer.send(Record::to("t").value("y")).await.unwrap().await.unwrap();
    assert_eq!(logs(&cluster, "t", 1).await, [["x", "y"]]);
}

#[tokio::test(start_paused = true)]
async fn refusals_within_the_delivery_timeout_are_not_written() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
    let producer = client.producer().delivery_timeout(Duration::from_secs(8)).start().await.unwrap();
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "{error}");
    cluster.clear_faults();
    producer.send(Record::to("t").value("y")).await.unwrap().await.unwrap();
    assert_eq!(logs(&cluster, "t", 1).await, [["y"]]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_does_not_hold_up_the_next_ones() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    producer.send(Record::to("t").value("0")).await.unwrap().await.unwrap();
    cluster.on(ApiKey::PRODUCE).nth(1).reply(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let mut deliveries = send_numbers(&producer, 1..20).await;
    let error = deliveries.remove(0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
    producer.flush().await.unwrap_err();
    producer.flush().await.unwrap();
    let written: Vec<String> = logs(&cluster, "t", 1).await.remove(0);
    let mut refused = 0;
    for delivery in deliveries {
        refused += u32::from(delivery.await.is_err());
    }
    assert_eq!(written.len() as u32, 20 - 1 - refused);
    assert_eq!(*written.last().unwrap(), "19");
}

#[tokio::test(start_paused = true)]
async fn too_large_batches_are_split_and_too_large_records_are_not() {
    let (cluster, client) =
        start(Cluster::builder().topic("t", 1).settings(|s| s.message_max_bytes = 2000)).await;
    let producer = client.producer().start().await.unwrap();
    for n in 0..100 {
        drop(producer.send(Record::to("t").value(format!("{n:0100}"))).await.unwrap());
    }
    let large = producer.send(Record::to("t").value(&[b'x'; 3000])).await.unwrap();
    let last = producer.send(Record::to("t").value("last")).await.unwrap();
    let error = large.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Rejected, Some(ErrorCode::MESSAGE_TOO_LARGE)),
        "{error}"
    );
    last.await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "only the large one: {error}");
    let values = logs(&cluster, "t", 1).await.remove(0);
    let expected: Vec<String> = (0..100).map(|n| format!("{n:0100}")).chain(["last".into()]).collect();
    assert_eq!(values, expected);
}

#[tokio::test(start_paused = true)]
async fn topics_that_cannot_be_written_to() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1).topic("secret", 1)).await;
    let producer = client.producer().start().await.unwrap();
    let started = Instant::now();
    let error = producer.send(Record::to("no such topic")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    cluster.deny_topic("secret");
    let error = producer.send(Record::to("secret")).await.unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some("secret")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1), "both fail at once");

    let error = producer.send(Record::to("missing")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let text = error.to_string();
    assert!(text.contains("missing") && text.contains("create the topic"), "{text}");
    assert!((58..=60).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());

    cluster.allow_all();
    producer.send(Record::to("secret")).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_meanwhile() {
    let (cluster, client) = start(Cluster::builder()).await;
    let producer = client.producer().start().await.unwrap();
    let sending =
        tokio::spawn(async move { producer.send(Record::to("late").value("x")).await.unwrap().await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.create_topic("late", 1).await.unwrap();
    let started = Instant::now();
    assert_eq!(sending.await.unwrap().unwrap().offset, Some(0));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_fails_after_max_block() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).drop_request();
    let builder = client.producer().buffer_memory(1000).batch_size(500).max_block(Duration::from_secs(7));
    let producer = builder.start().await.unwrap();
    let error = loop {
        let started = Instant::now();
        match producer.send(Record::to("t").value(&[b'x'; 100])).await {
            Ok(delivery) => drop(delivery),
            Err(error) => {
                assert_eq!(started.elapsed().as_secs(), 7);
                break error;
            }
        }
    };
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(error.to_string().contains("buffer_memory"), "{error}");
    assert!(producer.try_send(Record::to("t").value(&[b'x'; 100])).unwrap_err().is_retriable());
}

/// No request can carry it, and so none would have carried the other topics either.
#[tokio::test(start_paused = true)]
async fn a_name_that_no_topic_can_have_does_not_keep_other_topics_from_being_found() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().start().await.unwrap();
    let endless = "x".repeat(40_000);
    let record = || Record::to(&endless).value("x");
    assert_eq!(producer.try_send(record()).unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(producer.send(record()).await.unwrap_err().kind(), ErrorKind::Configuration);
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_producer_id_is_asked_for_until_it_is_given_or_refused() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::INIT_PRODUCER_ID).times(3).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let producer = client.producer().start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    assert_eq!(cluster.requests(ApiKey::INIT_PRODUCER_ID).await, 4);

    cluster.on(ApiKey::INIT_PRODUCER_ID).reply(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let producer = client.producer().start().await.unwrap();
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
    assert!(error.to_string().contains("idempotent(false)"), "{error}");
    assert!(producer.close().await.is_err());
    let producer = client.producer().idempotent(false).start().await.unwrap();
    producer.send(Record::to("t").value("y")).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_producer_id_or_a_leader_records_expire_as_not_written() {
    let (cluster, client) = start(Cluster::builder().brokers(1).topic("t", 1)).await;
    cluster.on(ApiKey::INIT_PRODUCER_ID).drop_request();
    let builder =
        || client.producer().delivery_timeout(Duration::from_secs(9)).linger(Duration::from_secs(2));
    let producer = builder().start().await.unwrap();
    let started = Instant::now();
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Retriable, 9), "{error}");
    assert!(error.to_string().contains("no broker gave the producer an id"), "{error}");

    let producer = builder().idempotent(false).start().await.unwrap();
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    cluster.stop_broker(1).await;
    let started = Instant::now();
    let error = producer.send(Record::to("t").value("y")).await.unwrap().await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Retriable, 9), "{error}");
    assert!(error.to_string().starts_with("not written"), "{error}");
    cluster.start_broker(1).await.unwrap();
    producer.send(Record::to("t").value("z")).await.unwrap().await.unwrap();
    assert_eq!(logs(&cluster, "t", 1).await, [["x", "z"]]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_numbering_is_repaired() {
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
        let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
        expect_all(send_numbers(&producer, 0..5).await).await;
        cluster.on(ApiKey::PRODUCE).nth(1).reply(code);
        expect_all(send_numbers(&producer, 5..30).await).await;
        assert_eq!(logs(&cluster, "t", 1).await, [numbers(0..30)], "{code}");
        let ids = 1 + u64::from(code == ErrorCode::INVALID_PRODUCER_EPOCH);
        assert_eq!(cluster.requests(ApiKey::INIT_PRODUCER_ID).await, ids, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_ends_the_producer() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).drop_request();
    let producer = client.producer().start().await.unwrap();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.close().await;
    let error = delivery.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "it was on its way: {error}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(producer.send(Record::to("t").value("x")).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_acks_the_producer_outlives_a_broker() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    let producer = client.producer().acks(Acks::None).linger(Duration::ZERO).start().await.unwrap();
    expect_all(send_numbers(&producer, 0..5).await).await;
    let (leader, _) = cluster.leader("t", 0).await.unwrap();
    cluster.stop_broker(leader.unwrap()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    expect_all(send_numbers(&producer, 5..10).await).await;
    producer.close().await.unwrap();
    let (_, end) = cluster.log_offsets("t", 0).await.unwrap();
    assert!(end >= 5, "{end}");
}

#[tokio::test(start_paused = true)]
async fn times_of_centuries_are_no_reason_to_end() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::PRODUCE).times(3).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
    let max = Duration::MAX;
    let builders = [
        client.producer().delivery_timeout(max).linger(Duration::ZERO),
        client.producer().delivery_timeout(max).linger(max - Duration::from_secs(1)),
        client.producer().request_timeout(max).max_block(max).linger(Duration::ZERO),
    ];
    for builder in builders {
        let producer = builder.start().await.unwrap();
        let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
        producer.flush().await.unwrap();
        delivery.await.unwrap();
    }
    // Waits for centuries at the first failure, and is closed meanwhile.
    let producer = client.producer().retry_backoff(max, max).linger(Duration::ZERO).start().await.unwrap();
    cluster.on(ApiKey::PRODUCE).times(1).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    let error = delivery.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
}

#[tokio::test(start_paused = true)]
async fn pauses_of_nothing_are_pauses_all_the_same() {
    for (first, most) in
        [(Duration::from_secs(1), Duration::ZERO), (Duration::from_nanos(1), Duration::from_nanos(1))]
    {
        let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
        cluster.on(ApiKey::PRODUCE).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
        let builder = client.producer().retry_backoff(first, most).linger(Duration::ZERO);
        let producer = builder.delivery_timeout(Duration::from_secs(5)).start().await.unwrap();
        let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
        delivery.await.unwrap_err();
        let requests = cluster.requests(ApiKey::PRODUCE).await;
        assert!(requests <= 6500, "{requests} requests in five seconds");
    }
}
