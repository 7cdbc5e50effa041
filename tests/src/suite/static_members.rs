//! S06: static members, by both protocols.

use std::time::Duration;

use kavka::{Client, ErrorKind, GroupProtocol, NewTopic, OffsetReset};
use tokio::time::Instant;

use crate::data::produce_numbers;
use crate::target::unique;
use crate::watched::{Step, Watched, all_of};
use crate::{Outcome, Target};

/// A group whose members want all topics that begin with its name, and its first topic, with four partitions.
struct Party {
    client: Client,
    protocol: GroupProtocol,
    group: String,
    topic: String,
}

impl Party {
    /// With two members that share its topic.
    async fn of_two(target: &Target, protocol: GroupProtocol) -> Outcome<(Party, Watched, Watched)> {
        let client = target.builder().metadata_max_age(Duration::from_secs(1)).connect().await?;
        let group = unique("static");
        let topic = format!("{group}-1");
        let party = Party { client, protocol, group, topic };
        party.create(&party.topic).await?;
        let (one, two) = (party.join("one").await?, party.join("two").await?);
        party.have([&one, &two], 2).await?;
        Ok((party, one, two))
    }

    async fn create(&self, topic: &str) -> Outcome {
        for result in self.client.admin().create_topics([NewTopic::new(topic, 4)]).await {
            result?;
        }
        Ok(())
    }

    async fn join(&self, name: &str) -> Outcome<Watched> {
        let builder = self.client.consumer().group(&*self.group).group_protocol(self.protocol);
        let builder = builder.subscribe_pattern(format!("{}-.*", self.group)).instance_id(name);
        let builder = builder.auto_offset_reset(OffsetReset::Earliest);
        let builder = builder.max_processing_time(Duration::from_secs(9));
        // The session timeout of the consumer protocol is the broker's.
        let classic = self.protocol == GroupProtocol::Classic;
        let builder = if classic { builder.session_timeout(Duration::from_secs(6)) } else { builder };
        Ok(Watched::start(builder).await?)
    }

    async fn have(&self, members: [&Watched; 2], partitions: usize) -> Outcome {
        for member in members {
            member.until("it has a share", |member| member.owned().len() == partitions).await?;
        }
        Ok(())
    }

    /// Writes numbers to the topic and waits until the members have read them.
    async fn produce(&self, members: [&Watched; 2], from: u64, to: u64) -> Outcome {
        produce_numbers(&self.client, &self.topic, 4, from, to).await?;
        let read = |member: &Watched| {
            let mut owned = all_of(&self.topic, 4).into_iter().filter(|one| member.owned().contains(one));
            owned.all(|partition| member.position(&partition) == Some(to as i64))
        };
        for member in members {
            member.until("its share is read", read).await?;
        }
        Ok(())
    }
}

/// How often it was told of anything but records.
fn told(member: &Watched) -> usize {
    member.count(|step| !matches!(step, Step::Records(..)))
}

async fn a_static_member_that_restarts_is_missed_by_nobody(
    target: &Target,
    protocol: GroupProtocol,
) -> Outcome {
    let (party, one, two) = Party::of_two(target, protocol).await?;
    party.produce([&one, &two], 0, 50).await?;
    let (share, before) = (two.owned(), told(&one));
    two.close().await?;
    let two = party.join("two").await?;
    two.owns(&share).await?;
    party.produce([&one, &two], 50, 60).await?;
    assert_eq!(two.count(|step| matches!(step, Step::Records(_, 0, _))), 0, "{}", two.story());
    assert_eq!(told(&one), before, "{}", one.story());
    // Another topic concerns both.
    party.create(&format!("{}-2", party.group)).await?;
    party.have([&one, &two], 4).await?;
    // Gone for good, which nobody knows until its session ends: that is from two thirds of it to all of it later.
    one.close().await?;
    let closed = Instant::now();
    two.until("it has all", |member| member.owned().len() == 8).await?;
    let waited = closed.elapsed();
    assert!(waited >= Duration::from_secs(2), "{waited:?}: {}", two.story());
    two.close().await
}

/// Under the classic protocol.
pub async fn a_static_member_that_restarts_is_missed_by_nobody_classic(target: &Target) -> Outcome {
    a_static_member_that_restarts_is_missed_by_nobody(target, GroupProtocol::Classic).await
}

/// Under the consumer protocol.
pub async fn a_static_member_that_restarts_is_missed_by_nobody_consumer(target: &Target) -> Outcome {
    a_static_member_that_restarts_is_missed_by_nobody(target, GroupProtocol::Consumer).await
}

async fn a_static_member_that_takes_no_records_is_missed(
    target: &Target,
    protocol: GroupProtocol,
) -> Outcome {
    let (party, one, two) = Party::of_two(target, protocol).await?;
    produce_numbers(&party.client, &party.topic, 4, 0, 10).await?;
    two.until("it holds records", |member| member.count(|step| matches!(step, Step::Records(..))) > 0)
        .await?;
    two.stall(true);
    // It may take the records of one of its two partitions, and leaves the others lie.
    produce_numbers(&party.client, &party.topic, 4, 10, 20).await?;
    // Only its session ends: others get its share when that is over.
    one.owns(&all_of(&party.topic, 4)).await?;
    two.stall(false);
    two.until("it is told", |member| member.errors().len() == 1).await?;
    assert_eq!(two.errors()[0].kind(), ErrorKind::Fenced);
    two.until("it has a share again", |member| member.owned().len() == 2).await?;
    party.produce([&one, &two], 20, 30).await?;
    one.close().await?;
    two.close().await
}

/// Under the classic protocol.
pub async fn a_static_member_that_takes_no_records_is_missed_classic(target: &Target) -> Outcome {
    a_static_member_that_takes_no_records_is_missed(target, GroupProtocol::Classic).await
}

/// Under the consumer protocol.
pub async fn a_static_member_that_takes_no_records_is_missed_consumer(target: &Target) -> Outcome {
    a_static_member_that_takes_no_records_is_missed(target, GroupProtocol::Consumer).await
}
