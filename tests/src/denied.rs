//! What a client may not do: an error that says who refused what; everything else goes on, and works again once it may.
//!
//! The bodies run against the cluster in the process, which can refuse anything by itself, and against a real Kafka with
//! ACLs. What differs is the [`Gate`].

use std::time::Duration;

use kavka::{Client, ErrorCode, ErrorKind, GroupProtocol, NewTopic, OffsetReset, Record};

use crate::data::{next, produce_numbers};
use crate::target::unique;
use crate::watched::{Watched, all_of};
use crate::{Outcome, Target, soon};

/// What is refused.
#[derive(Debug, Clone, Copy)]
pub enum Denied<'a> {
    /// To create this topic.
    Create(&'a str),
    /// To write to this topic.
    Write(&'a str),
    /// To read this topic.
    Read(&'a str),
    /// To do anything with this topic, or learn of it.
    Topic(&'a str),
    /// To be a member of this group.
    Group(&'a str),
}

/// Whoever decides what a client may do. Until it denies something, everything is allowed.
pub trait Gate {
    /// Where the client comes in that feels what is denied.
    fn guest(&self) -> &Target;

    /// Where a client comes in that may do everything.
    fn owner(&self) -> &Target;

    /// Denies something; done when every broker knows.
    ///
    /// # Errors
    /// The cluster does not do so.
    fn deny(&self, denied: Denied<'_>) -> impl Future<Output = Outcome>;

    /// Takes all of it back; done when every broker knows.
    ///
    /// # Errors
    /// The cluster does not do so.
    fn allow_all(&self) -> impl Future<Output = Outcome>;
}

fn check(error: &kavka::Error, topic: &str) {
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some(topic)), "{error}");
}

/// The error names the topic.
///
/// # Errors
/// As all bodies.
pub async fn creating_a_topic(gate: &impl Gate) -> Outcome {
    let client = gate.guest().client().await?;
    let name = unique("forbidden");
    gate.deny(Denied::Create(&name)).await?;
    let error = client.admin().create_topics([NewTopic::new(&name, 1)]).await.remove(0).unwrap_err();
    check(&error, &name);
    assert!(error.to_string().contains("AUTHORIZATION_FAILED"), "{error}");
    gate.allow_all().await?;
    client.admin().create_topics([NewTopic::new(&name, 1)]).await.remove(0)?;
    Ok(())
}

/// One topic is refused; the producer goes on with the other.
///
/// # Errors
/// As all bodies.
pub async fn writing_one_of_two_topics(gate: &impl Gate) -> Outcome {
    let (owner, client) = (gate.owner().client().await?, gate.guest().client().await?);
    let good = gate.owner().topic(&owner, "good", 1).await?;
    let bad = gate.owner().topic(&owner, "bad", 1).await?;
    let producer = client.producer().start().await?;
    // Known already, so that the Produce request is what is refused.
    soon("the first", producer.send(Record::to(&bad).value("0")).await?).await??;
    gate.deny(Denied::Write(&bad)).await?;
    let refused = producer.send(Record::to(&bad).value("1")).await?;
    let written = producer.send(Record::to(&good).value("1")).await?;
    check(&soon("an error", refused).await?.unwrap_err(), &bad);
    assert_eq!(soon("the other topic", written).await??.offset, Some(0));
    gate.allow_all().await?;
    let again = soon("the topic again", producer.send(Record::to(&bad).value("2")).await?).await??;
    assert_eq!(again.offset, Some(1));
    // What was not written since the last flush is told at the end once more.
    check(&producer.close().await.unwrap_err(), &bad);
    Ok(())
}

/// One of the topics is refused in the middle of reading; the consumer goes on with the other.
///
/// # Errors
/// As all bodies.
pub async fn reading_one_of_two_topics(gate: &impl Gate) -> Outcome {
    let (owner, client) = (gate.owner().client().await?, gate.guest().client().await?);
    let good = gate.owner().topic(&owner, "good", 1).await?;
    let bad = gate.owner().topic(&owner, "bad", 1).await?;
    produce_numbers(&owner, &good, 1, 0, 10).await?;
    produce_numbers(&owner, &bad, 1, 0, 10).await?;
    let builder = client.consumer().group(unique("group")).subscribe([good.as_str(), &bad]);
    let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await?;
    let (mut of_good, mut of_bad) = (0, 0);
    while (of_good, of_bad) != (10, 10) {
        let batch = next(&mut consumer).await?;
        let read = if batch.topic() == bad { &mut of_bad } else { &mut of_good };
        *read += batch.len();
    }
    gate.deny(Denied::Read(&bad)).await?;
    produce_numbers(&owner, &good, 1, 10, 20).await?;
    let (mut error, mut read) = (None, 0);
    while error.is_none() || read < 10 {
        match soon("ten records and an error", consumer.next()).await? {
            Ok(batch) => {
                let batch = batch.ok_or("closed")?;
                assert_eq!(batch.topic(), good);
                read += batch.len();
            }
            Err(found) => error = Some(found),
        }
    }
    check(&error.ok_or("no error")?, &bad);
    gate.allow_all().await?;
    produce_numbers(&owner, &bad, 1, 10, 11).await?;
    let back = async {
        loop {
            match consumer.next().await {
                Ok(Some(batch)) if batch.topic() == bad => return Ok(batch.first_offset()),
                Ok(None) => return Err("closed"),
                // What was said while it was not allowed yet.
                Err(error) if error.kind() != ErrorKind::Authorization => return Err("another error"),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    };
    assert_eq!(soon("the topic again", back).await??, 10);
    consumer.close().await?;
    Ok(())
}

/// The error names the group and says what helps.
///
/// # Errors
/// As all bodies.
pub async fn using_a_group(gate: &impl Gate, protocol: GroupProtocol) -> Outcome {
    let (owner, client) = (gate.owner().client().await?, gate.guest().client().await?);
    let topic = gate.owner().topic(&owner, "t", 1).await?;
    let group = unique("forbidden");
    gate.deny(Denied::Group(&group)).await?;
    let join = || client.consumer().group(&group).group_protocol(protocol).subscribe([topic.as_str()]);
    let mut consumer = join().start().await?;
    let error = soon("an error", consumer.next()).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
    assert_eq!(error.code(), Some(ErrorCode::GROUP_AUTHORIZATION_FAILED), "{error}");
    let text = error.to_string();
    assert!(text.contains(&group) && text.contains("grant"), "{text}");
    drop(consumer);
    gate.allow_all().await?;
    let member = Watched::start(join()).await?;
    member.owns(&all_of(&topic, 1)).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

/// S27: a subscription with one topic that may not be read says so, not too often, and reads it once it may.
///
/// The client's metadata are to be looked at every few seconds. Waits `watched` to see how often it complains.
///
/// # Errors
/// As all bodies.
pub async fn subscribing_to_one_topic_too_many(
    gate: &impl Gate,
    client: &Client,
    protocol: GroupProtocol,
    watched: Duration,
) -> Outcome {
    let owner = gate.owner().client().await?;
    let open = gate.owner().topic(&owner, "open", 1).await?;
    let closed = gate.owner().topic(&owner, "closed", 1).await?;
    gate.deny(Denied::Topic(&closed)).await?;
    let builder = client.consumer().group(unique("group")).group_protocol(protocol);
    let builder = builder.auto_offset_reset(OffsetReset::Earliest).missing_topic_timeout(None);
    let member = Watched::start(builder.subscribe([open.as_str(), &closed])).await?;
    let refused = |error: &kavka::Error| {
        error.kind() == ErrorKind::Authorization
            && error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)
    };
    member.until("it is told", |member| member.errors().iter().any(refused)).await?;
    tokio::time::sleep(watched).await;
    let errors = member.errors().len();
    assert!(errors < 20, "{errors} errors in {watched:?}: {}", member.story());
    gate.allow_all().await?;
    member.owns(&(&all_of(&open, 1) | &all_of(&closed, 1))).await?;
    produce_numbers(&owner, &closed, 1, 0, 10).await?;
    let read = |member: &Watched| all_of(&closed, 1).iter().all(|p| member.position(p) == Some(10));
    member.until("it is read", read).await?;
    assert!(member.errors().iter().all(refused), "{}", member.story());
    member.close().await
}
