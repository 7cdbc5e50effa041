//! Kafka's Java client and this one, through the same cluster.

use std::collections::BTreeMap;

use kavka::{Compression, IsolationLevel, Start, TopicPartition};
use kavka_tests::data::{CODECS, produce, produce_numbers, reader, shapes, take};
use kavka_tests::group::{Crew, Reporter};
use kavka_tests::{Outcome, Rec, Target};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::java::{self, Java};
use super::shared;

fn with_java(name: &str, body: impl AsyncFnOnce(&Target) -> Outcome) {
    shared(name, async |target: &Target| if java::is_here() { body(target).await } else { Ok(()) });
}

/// Equal field by field, in each codec.
#[test]
fn java_writes_and_kavka_reads() {
    with_java("java_writes_and_kavka_reads", async |target: &Target| {
        let client = target.client().await?;
        let topic = target.topic(&client, "from-java", 5).await?;
        let mut expected = BTreeMap::new();
        for (partition, (name, _)) in (0..).zip(CODECS) {
            let compression = format!("compression.type={name}");
            let mut java = Java::start(target, &["produce", &compression, "linger.ms=50"])?;
            let lines: Vec<Value> =
                shapes().iter().map(|record| java::record(&topic, partition, record)).collect();
            java.tell(&lines).await?;
            let answers = java.finish().await?;
            assert_eq!(answers.len(), lines.len(), "{name}");
            for (answer, record) in answers.iter().zip(shapes()) {
                expected.insert((partition, answer["offset"].as_i64().ok_or("no offset")?), record);
            }
        }
        let mut consumer = reader(&client, &topic, 5).await?;
        assert_eq!(take(&mut consumer, expected.len()).await?, expected);
        Ok(consumer.close().await?)
    });
}

/// Equal field by field, in each codec.
#[test]
fn kavka_writes_and_java_reads() {
    with_java("kavka_writes_and_java_reads", async |target: &Target| {
        let client = target.client().await?;
        let topic = target.topic(&client, "to-java", 5).await?;
        let mut expected = BTreeMap::new();
        for (partition, (_, codec)) in (0..).zip(CODECS) {
            let delivered = produce(&client, &topic, partition, &shapes(), codec).await?;
            let at = delivered.into_iter().map(|delivered| (partition, delivered.offset.unwrap_or(-1)));
            expected.extend(at.zip(shapes()));
        }
        let lines = Java::start(target, &["consume", "--topic", &topic])?.finish().await?;
        let read: BTreeMap<_, _> = lines.iter().map(java::read).collect::<Outcome<_>>()?;
        assert_eq!((lines.len(), read), (expected.len(), expected));
        Ok(())
    });
}

/// Transactions that commit, that abort, and one that is still open.
#[test]
fn aborted_transactions_of_java_are_not_read() {
    with_java("aborted_transactions_of_java_are_not_read", async |target: &Target| {
        let client = target.client().await?;
        let topic = target.topic(&client, "txn", 2).await?;
        let mut java =
            Java::start(target, &["produce", &format!("transactional.id={topic}"), "compression.type=lz4"])?;
        let mut committed = Vec::new();
        for (round, end) in ["commit", "abort", "abort", "commit", "abort", "commit"].into_iter().enumerate()
        {
            java.tell(&[json!({"txn": "begin"})]).await?;
            let records: Vec<Rec> =
                (0..20).map(|number| Rec::new(format!("{round} {end} {number}"))).collect();
            for record in &records {
                java.tell(&[java::record(&topic, 0, record), java::record(&topic, 1, record)]).await?;
            }
            java.tell(&[json!({"txn": end})]).await?;
            // Each record is answered with its offset, between the beginning and the end of its transaction.
            let answers = java.take(2 * records.len() + 2).await?;
            let verbs = [&answers[0]["txn"], &answers[answers.len() - 1]["txn"]];
            assert_eq!(verbs, ["begin", end]);
            let refused =
                answers[1..answers.len() - 1].iter().find(|answer| answer["offset"].as_i64() < Some(0));
            assert_eq!(refused, None);
            if end == "commit" {
                committed.extend(records);
            }
        }
        // Not ended: nothing from here on may be read yet, by those who want committed records only.
        java.tell(&[json!({"txn": "begin"}), java::record(&topic, 0, &Rec::new("open"))]).await?;
        let all = (0..2).map(|partition| (topic.as_str(), partition, Start::Beginning));
        let mut everything = client.consumer().assign(all.clone()).start().await?;
        let seen = take(&mut everything, 2 * 120 + 1).await?;
        assert_eq!(seen.values().filter(|record| record.value.as_deref() == Some(b"open")).count(), 1);
        everything.close().await?;

        let builder = client.consumer().assign(all).isolation_level(IsolationLevel::ReadCommitted);
        let mut consumer = builder.start().await?;
        let seen = take(&mut consumer, 2 * committed.len()).await?;
        for partition in 0..2 {
            let of = seen.iter().filter(|((at, _), _)| *at == partition).map(|(_, record)| record);
            assert!(of.eq(&committed), "partition {partition}: {seen:?}");
        }
        let early = tokio::time::timeout(std::time::Duration::from_secs(2), consumer.next()).await;
        assert!(early.is_err(), "it was not committed: {early:?}");
        java.tell(&[json!({"txn": "commit"})]).await?;
        let last = take(&mut consumer, 1).await?;
        assert!(last.into_values().eq([Rec::new("open")]));
        java.finish().await?;
        Ok(consumer.close().await?)
    });
}

/// A member of Kafka's own client, with the crew's books.
async fn java_member(mut java: Java, reporter: Reporter, mut leave: oneshot::Receiver<()>) -> Outcome {
    loop {
        let line = tokio::select! {
            // A sender that is gone is a crew that is gone.
            _ = &mut leave => break,
            line = java.next() => line?.ok_or("the Java member ended by itself")?,
        };
        report(&reporter, &line)?;
    }
    for line in java.finish().await? {
        report(&reporter, &line)?;
    }
    Ok(())
}

fn report(reporter: &Reporter, line: &Value) -> Outcome {
    let place = |item: &Value| -> Outcome<TopicPartition> {
        let (topic, partition) = (item[0].as_str(), item[1].as_i64());
        Ok(TopicPartition::new(topic.ok_or("no topic")?, partition.ok_or("no partition")? as i32))
    };
    let places =
        |list: &Value| -> Outcome<Vec<_>> { list.as_array().into_iter().flatten().map(place).collect() };
    match line["event"].as_str() {
        Some("assigned") => reporter.assigned(places(&line["partitions"])?),
        Some("revoked" | "lost") => reporter.released(places(&line["partitions"])?),
        Some("committed") => {
            for item in line["offsets"].as_array().ok_or("no offsets")? {
                reporter.committed(place(item)?, item[2].as_i64().ok_or("no offset")?);
            }
        }
        Some("closed") => {}
        Some(other) => return Err(format!("event {other}").into()),
        None => {
            let ((partition, offset), record) = java::read(line)?;
            if kavka_tests::data::number(record.value.as_deref())? as i64 != offset {
                return Err(format!("partition {partition}, offset {offset} holds {:?}", record.value).into());
            }
            let topic = line["topic"].as_str().ok_or("no topic")?;
            reporter.handled(TopicPartition::new(topic, partition), offset);
        }
    }
    Ok(())
}

/// Two of each share all partitions, whoever leads; then one of each leaves, and the other two go on.
async fn mixed_group(target: &Target, java_first: bool) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "mixed", 8).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    let java = |crew: &mut Crew| -> Outcome<usize> {
        let strategy = "partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor";
        let arguments =
            ["group", "--topic", &topic, "--group", &topic, strategy, "heartbeat.interval.ms=500"];
        let java = Java::start(target, &arguments)?;
        Ok(crew.join_foreign(|reporter, leave| java_member(java, reporter, leave)))
    };
    let mut leaving = Vec::new();
    let mut java_joins = java_first;
    for members in 1..=4 {
        leaving.push(if java_joins { java(&mut crew)? } else { crew.join() });
        java_joins = !java_joins;
        // One after the other, so that the first one leads.
        crew.until("the partitions are shared", |crew| {
            crew.owned().len() == members && crew.is_shared_evenly(8)
        })
        .await?;
    }
    produce_numbers(&client, &topic, 8, 0, 500).await?;
    crew.finish(8, 500).await?;
    crew.leave(leaving[0]).await?;
    crew.leave(leaving[1]).await?;
    crew.until("two share the partitions", |crew| crew.is_shared_evenly(8)).await?;
    produce_numbers(&client, &topic, 8, 500, 800).await?;
    crew.finish(8, 800).await?;
    crew.dismiss().await?;
    crew.judge()
}

#[test]
fn a_group_of_both_with_java_as_the_leader() {
    with_java("a_group_of_both_with_java_as_the_leader", async |target: &Target| {
        mixed_group(target, true).await
    });
}

#[test]
fn a_group_of_both_with_kavka_as_the_leader() {
    with_java("a_group_of_both_with_kavka_as_the_leader", async |target: &Target| {
        mixed_group(target, false).await
    });
}

/// What one client commits, the other one resumes at.
#[test]
fn commits_are_understood_by_both() {
    with_java("commits_are_understood_by_both", async |target: &Target| {
        let client = target.client().await?;
        let topic = target.topic(&client, "commits", 1).await?;
        produce(&client, &topic, 0, &numbers(0, 100), Compression::Gzip).await?;
        let mut crew = Crew::new(&client, &topic, &topic);
        let first = crew.join();
        crew.finish(1, 100).await?;
        crew.leave(first).await?;
        produce(&client, &topic, 0, &numbers(100, 200), Compression::Zstd).await?;
        let java = Java::start(target, &["group", "--topic", &topic, "--group", &topic])?;
        let second = crew.join_foreign(|reporter, leave| java_member(java, reporter, leave));
        crew.finish(1, 200).await?;
        crew.leave(second).await?;
        produce(&client, &topic, 0, &numbers(200, 300), Compression::Snappy).await?;
        crew.join();
        crew.finish(1, 300).await?;
        crew.dismiss().await?;
        assert_eq!(crew.again(), 0);
        crew.judge()?;
        let builder = client.consumer().group(&topic).assign([(topic.as_str(), 0, Start::Committed)]);
        let consumer = builder.start().await?;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let known =
            consumer.committed([partition.clone()]).await?.remove(&partition).ok_or("no answer")??;
        assert_eq!(known.map(|at| at.offset), Some(300));
        Ok(consumer.close().await?)
    });
}

fn numbers(first: u64, end: u64) -> Vec<Rec> {
    (first..end).map(|number| Rec::new(number.to_string())).collect()
}
