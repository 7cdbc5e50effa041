//! The topics change under a group that reads them.

use std::time::Duration;

use kavka::NewTopic;

use super::{METADATA_MAX_AGE, Stage};
use crate::Outcome;
use crate::data::produce_numbers;
use crate::group::{Kind, Protocol, Terms};

/// How soon a change is noticed: by members with their metadata, or by the coordinator, which looks for topics of a pattern every
/// 10 s and tells each member with its heartbeat, which may be 5 s later, and after a revocation once more.
fn noticed(protocol: Protocol) -> Duration {
    let more = match protocol {
        Protocol::Classic(_) => 8,
        Protocol::Consumer => 23,
    };
    METADATA_MAX_AGE + Duration::from_secs(more)
}

/// Partitions are added: members get them, from their first record on.
///
/// # Errors
/// Something else happened.
pub async fn partitions_are_added(stage: &mut Stage<'_>, kinds: &[Kind], protocol: Protocol) -> Outcome {
    for kind in kinds {
        stage.join(*kind, &Terms::under(protocol))?;
    }
    stage.shared().await?;
    write(stage, 0, 50).await?;
    let total = stage.partitions * 2;
    for result in stage.client.admin().create_partitions([(&stage.topic, total)]).await {
        result?;
    }
    stage.partitions = total;
    stage.crew.patience = noticed(protocol);
    stage.shared().await?;
    // The old partitions hold 50 already.
    let producer = stage.client.producer().start().await?;
    for partition in 0..total {
        let first = if partition < total / 2 { 50 } else { 0 };
        for number in first..100 {
            let record = kavka::Record::to(&stage.topic).partition(partition);
            let value = number.to_string();
            drop(producer.send(record.value(&value)).await?);
        }
    }
    producer.close().await?;
    stage.crew.finish(total, 100).await
}

/// Topics come into being that match the pattern that members have subscribed to, and one that does not; then one is deleted.
///
/// # Errors
/// Something else happened.
pub async fn topics_match_a_pattern(stage: &mut Stage<'_>, kinds: &[Kind], protocol: Protocol) -> Outcome {
    let pattern = Some(format!("{}(-[a-z]+)?", stage.topic));
    for kind in kinds {
        stage.join(*kind, &Terms { pattern: pattern.clone(), ..Terms::under(protocol) })?;
    }
    stage.crew.patience = noticed(protocol);
    stage.shared().await?;
    write(stage, 0, 50).await?;
    let first = stage.topic.clone();
    create(stage, &format!("{first}-99")).await?;
    for suffix in ["more", "evenmore"] {
        let topic = format!("{first}-{suffix}");
        create(stage, &topic).await?;
        stage.crew.add_topic(&topic);
        stage.shared().await.map_err(|error| format!("{topic} was created: {error}"))?;
        produce_numbers(&stage.client, &topic, stage.partitions, 0, 50).await?;
        stage.crew.finish(stage.partitions, 50).await?;
    }
    let gone = format!("{first}-more");
    delete(stage, &gone).await?;
    stage.crew.forget_topic(&gone);
    Ok(stage.shared().await.map_err(|error| format!("{gone} was deleted: {error}"))?)
}

/// A topic is deleted and, `after` members have given it up or at once, created again: the new one is read from its first record on.
///
/// # Errors
/// Something else happened.
pub async fn a_topic_is_created_again(
    stage: &mut Stage<'_>,
    kinds: &[Kind],
    protocol: Protocol,
    at_once: bool,
) -> Outcome {
    for kind in kinds {
        stage.join(*kind, &Terms::under(protocol))?;
    }
    stage.shared().await?;
    stage.crew.patience = noticed(protocol);
    // The new topic has as many records as the old one in one round, and more in the other.
    for count in [50, 50, 80] {
        write(stage, 0, count).await?;
        let topic = stage.topic.clone();
        delete(stage, &topic).await?;
        if !at_once {
            let none = |crew: &crate::group::Crew| crew.owned().iter().all(Vec::is_empty);
            stage.crew.until("members give up the topic", none).await?;
        }
        stage.crew.forget_offsets(&topic);
        create(stage, &topic).await?;
    }
    write(stage, 0, 50).await
}

/// Numbers for each partition of the first topic; waits until they are handled and committed.
async fn write(stage: &mut Stage<'_>, first: u64, end: u64) -> Outcome {
    produce_numbers(&stage.client, &stage.topic, stage.partitions, first, end).await?;
    stage.crew.finish(stage.partitions, end as i64).await
}

async fn create(stage: &Stage<'_>, topic: &str) -> Outcome {
    let topic = NewTopic::new(topic, stage.partitions).config("retention.ms", "-1");
    for result in stage.client.admin().create_topics([topic]).await {
        result?;
    }
    Ok(())
}

async fn delete(stage: &Stage<'_>, topic: &str) -> Outcome {
    for result in stage.client.admin().delete_topics([topic]).await {
        result?;
    }
    Ok(())
}
