//! What goes wrong on a cluster that is all right.

use std::time::Duration;

use kavka::{ErrorKind, Record, Start};

use crate::data::{next, produce, produce_numbers, reader, take};
use crate::peers::{Manner, Peer};
use crate::target::{partitions, unique};
use crate::{Outcome, Target, soon, within};

/// Within `max_block`, naming the topic and what to do.
pub async fn producing_to_an_unknown_topic_fails_in_time(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "known", 1).await?;
    let producer = client.producer().max_block(Duration::from_secs(1)).start().await?;
    let unknown = unique("unknown");
    let sending = producer.send(Record::to(&unknown).value("lost?"));
    let error = within(Duration::from_secs(5), "an error", sending).await?.unwrap_err();
    assert_eq!(error.topic(), Some(unknown.as_str()), "{error}");
    let text = error.to_string();
    assert!(text.contains("UNKNOWN_TOPIC_OR_PARTITION") && text.contains("create the topic"), "{text}");
    let beyond = producer.send(Record::to(&topic).partition(7).value("")).await.unwrap_err();
    assert_eq!((beyond.kind(), beyond.partition()), (ErrorKind::Configuration, Some(7)), "{beyond}");
    let delivery = producer.send(Record::to(&topic).value("others go on")).await?;
    assert_eq!(soon("the other topic", delivery).await??.offset, Some(0));
    producer.close().await?;
    Ok(())
}

/// One error, and records of the topics that exist before and after it; found when it comes to exist.
pub async fn consuming_an_unknown_topic_says_so_and_goes_on_with_others(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (topic, unknown) = (target.topic(&client, "there", 1).await?, unique("not-there"));
    produce_numbers(&client, &topic, 1, 0, 10).await?;
    let builder = client.consumer().group(unique("group")).subscribe([topic.as_str(), &unknown]);
    let builder = builder.auto_offset_reset(kavka::OffsetReset::Earliest);
    let mut consumer = builder.missing_topic_timeout(Duration::from_secs(1)).start().await?;
    let (mut seen, mut error) = (0, None);
    while seen < 10 || error.is_none() {
        match soon("ten records and one error", consumer.next()).await? {
            Ok(batch) => {
                let batch = batch.ok_or("closed")?;
                assert_eq!(batch.topic(), topic);
                seen += batch.len();
            }
            Err(found) => assert!(error.replace(found).is_none(), "two errors for one topic"),
        }
    }
    let error = error.ok_or("no error")?;
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Configuration, Some(unknown.as_str())), "{error}");
    produce_numbers(&client, &topic, 1, 10, 12).await?;
    assert_eq!(next(&mut consumer).await?.topic(), topic);
    for result in client.admin().create_topics([kavka::NewTopic::new(&unknown, 1)]).await {
        result?;
    }
    produce_numbers(&client, &unknown, 1, 0, 1).await?;
    while next(&mut consumer).await?.topic() != unknown {}
    consumer.close().await?;
    Ok(())
}

/// A fetch whose answer may not come in: an error that names the option, not a wait for ever.
pub async fn an_answer_over_the_limit_names_the_limit(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "frames", 1).await?;
    let records = [crate::Rec::new(vec![7; 300_000])];
    produce(&client, &topic, 0, &records, kavka::Compression::None).await?;
    let small = target.builder().max_response_bytes(100_000).connect().await?;
    let mut consumer = small.consumer().assign([(topic.as_str(), 0, Start::Beginning)]).start().await?;
    let error = soon("an error", consumer.next()).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(
        error.to_string().contains("100000") && error.to_string().contains("max_response_bytes"),
        "{error}"
    );
    drop(consumer);
    // Nothing is wrong with the records.
    let mut consumer = reader(&client, &topic, 1).await?;
    assert!(take(&mut consumer, 1).await?.into_values().eq(records));
    consumer.close().await?;
    Ok(())
}

/// Dead, deaf, and not even Kafka: any one broker that answers will do.
pub async fn one_good_address_among_bad_ones_is_enough(target: &Target) -> Outcome {
    let good = target.builder().connect().await?;
    let topic = target.topic(&good, "good", 1).await?;
    let (silent, http) = (Peer::start(Manner::Silent).await?, Peer::start(Manner::Http).await?);
    let closed = Peer::closed().await?;
    let bad = format!("{closed},{},{}", silent.address(), http.address());
    let builder = kavka::Client::builder().bootstrap(&bad);
    let builder = match target.cluster() {
        // The bad ones are on sockets, so this needs a cluster that is, too.
        Some(cluster) if cluster.bootstrap().contains("broker-") => return Ok(()),
        _ => builder.bootstrap(target.bootstrap()),
    };
    let client = builder.connect_timeout(Duration::from_secs(60)).connect().await?;
    assert_eq!(partitions(&client, &topic).await?, 1);
    Ok(())
}
