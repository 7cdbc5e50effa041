//! Consumer groups.

use std::time::Duration;

use kavka::{OffsetReset, TopicPartition};

use crate::data::{next, produce_numbers};
use crate::group::{Crew, Manners};
use crate::target::unique;
use crate::{Outcome, Target};

/// Each gets four, and each record is handled once.
pub async fn three_members_share_twelve_partitions(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "twelve", 12).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    for _ in 0..3 {
        crew.join();
    }
    crew.until("twelve are shared by three", |crew| crew.is_shared_evenly(12)).await?;
    produce_numbers(&client, &topic, 12, 0, 500).await?;
    crew.finish(12, 500).await?;
    assert_eq!(crew.again(), 0);
    crew.dismiss().await?;
    assert_eq!(crew.overlaps(), [""; 0]);
    assert_eq!(crew.failed_commits(), [""; 0]);
    crew.judge()
}

/// Committed by one member, resumed by the next; the metadata comes along.
pub async fn a_commit_is_where_the_next_member_resumes(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "resume", 1).await?;
    let group = unique("group");
    let partition = TopicPartition::new(topic.as_str(), 0);
    produce_numbers(&client, &topic, 1, 0, 100).await?;
    let consumer = || {
        let builder = client.consumer().group(&group).subscribe([topic.as_str()]);
        builder.auto_offset_reset(OffsetReset::Earliest).max_batch_records(30)
    };
    let mut first = consumer().start().await?;
    let batch = next(&mut first).await?;
    first.commit(&batch).await?;
    let committed = first.committed([partition.clone()]).await?.remove(&partition).ok_or("no answer")??;
    assert_eq!(committed.ok_or("no commit")?.offset, 30);
    first.close().await?;

    let mut second = consumer().start().await?;
    let batch = next(&mut second).await?;
    assert_eq!(batch.first_offset(), 30);
    let mut value = batch.offset_to_commit();
    (value.offset, value.metadata) = (41, "half of it".into());
    second.commit_offsets([(partition.clone(), value.clone())]).await?;
    let committed = second.committed([partition.clone()]).await?.remove(&partition).ok_or("no answer")??;
    assert_eq!(committed, Some(value));
    second.close().await?;

    let mut third = consumer().start().await?;
    assert_eq!(next(&mut third).await?.first_offset(), 41);
    third.close().await?;
    Ok(())
}

/// At least once: nothing is committed unless it was asked for.
pub async fn what_was_not_committed_comes_again(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "again", 1).await?;
    let group = unique("group");
    produce_numbers(&client, &topic, 1, 0, 50).await?;
    for _ in 0..3 {
        let builder = client.consumer().group(&group).subscribe([topic.as_str()]);
        let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await?;
        assert_eq!(next(&mut consumer).await?.first_offset(), 0);
        consumer.close().await?;
    }
    Ok(())
}

/// A rebalance while records flow, without a loss and without a repetition: what is handled is committed before it is handed over.
pub async fn a_member_that_joins_gets_its_share_and_nothing_twice(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "joins", 6).await?;
    produce_numbers(&client, &topic, 6, 0, 300).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    let lazy = Manners { lazy: true, ..Manners::default() };
    crew.join_with(lazy, |builder| builder.max_batch_records(20));
    crew.until("some are handled", |crew| crew.handled() > 200).await?;
    for members in 2..=4 {
        crew.join_with(Manners::default(), |builder| builder.max_batch_records(20));
        crew.until("the partitions are shared", |crew| {
            crew.owned().len() == members && crew.is_shared_evenly(6)
        })
        .await?;
    }
    produce_numbers(&client, &topic, 6, 300, 400).await?;
    crew.until("all are handled", |crew| crew.handled() == 2400).await?;
    crew.dismiss().await?;
    assert_eq!((crew.again(), crew.overlaps(), crew.failed_commits()), (0, &[][..], &[][..]));
    crew.judge()
}

/// The last one has it all in the end.
pub async fn members_that_leave_hand_over_what_they_committed(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "leave", 6).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    let (first, second) = (crew.join(), crew.join());
    crew.join();
    crew.until("six are shared by three", |crew| crew.is_shared_evenly(6)).await?;
    produce_numbers(&client, &topic, 6, 0, 100).await?;
    crew.until("some are handled", |crew| crew.handled() > 100).await?;
    crew.leave(first).await?;
    crew.until("two share", |crew| crew.is_shared_evenly(6)).await?;
    produce_numbers(&client, &topic, 6, 100, 200).await?;
    crew.leave(second).await?;
    crew.until("one has all", |crew| crew.is_shared_evenly(6)).await?;
    crew.finish(6, 200).await?;
    crew.dismiss().await?;
    assert_eq!((crew.again(), crew.overlaps(), crew.failed_commits()), (0, &[][..], &[][..]));
    crew.judge()
}

/// No goodbye: its partitions wait until the session is over, then go on behind its last commit.
pub async fn a_crashed_member_is_replaced_when_its_session_ends(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "crash", 4).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    let victim = crew.join();
    crew.join();
    crew.until("four are shared by two", |crew| crew.is_shared_evenly(4)).await?;
    produce_numbers(&client, &topic, 4, 0, 200).await?;
    crew.until("some are handled", |crew| crew.handled() > 100).await?;
    crew.crash(victim);
    produce_numbers(&client, &topic, 4, 200, 300).await?;
    crew.until("the other one has all", |crew| crew.is_shared_evenly(4)).await?;
    crew.finish(4, 300).await?;
    crew.dismiss().await?;
    crew.judge()
}

/// `store` is committed in the background, at the latest when the consumer is closed.
pub async fn stored_offsets_are_committed_on_close(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "stored", 1).await?;
    let group = unique("group");
    produce_numbers(&client, &topic, 1, 0, 50).await?;
    let consumer = || {
        let builder = client.consumer().group(&group).subscribe([topic.as_str()]).max_batch_records(10);
        builder.auto_offset_reset(OffsetReset::Earliest).commit_interval(Duration::from_secs(3600))
    };
    let mut first = consumer().start().await?;
    for _ in 0..3 {
        let batch = next(&mut first).await?;
        first.store(&batch)?;
    }
    // Handed out, but not said to be done.
    assert_eq!(next(&mut first).await?.first_offset(), 30);
    first.close().await?;
    let mut second = consumer().start().await?;
    assert_eq!(next(&mut second).await?.first_offset(), 30);
    second.close().await?;
    Ok(())
}

/// Offsets are those of a group.
pub async fn two_groups_do_not_know_each_other(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "groups", 3).await?;
    produce_numbers(&client, &topic, 3, 0, 100).await?;
    let (mut one, mut other) =
        (Crew::new(&client, &unique("one"), &topic), Crew::new(&client, &unique("other"), &topic));
    one.join();
    other.join();
    other.join();
    one.finish(3, 100).await?;
    other.finish(3, 100).await?;
    for mut crew in [one, other] {
        crew.dismiss().await?;
        crew.judge()?;
        assert_eq!(crew.overlaps(), [""; 0]);
    }
    Ok(())
}
