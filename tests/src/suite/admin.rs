//! What an operator sees and changes of groups.

use std::time::Duration;

use kavka::{
    Consumer, ErrorCode, Event, GroupFilter, GroupState, GroupType, IsolationLevel, OffsetAndMetadata,
    OffsetReset, OffsetSpec, TopicPartition,
};

use crate::data::produce_numbers;
use crate::target::unique;
use crate::{Outcome, Target, soon, until};

async fn assigned(consumer: &mut Consumer) -> kavka::Result<Vec<TopicPartition>> {
    loop {
        if let Event::Assigned(claims) = consumer.event().await? {
            return Ok(crate::partitions_of(&claims));
        }
    }
}

/// Seen while it lives, and when its members are gone; its offsets are moved then, and it is deleted.
pub async fn a_group_is_seen_reset_and_deleted(target: &Target) -> Outcome {
    let client = target.client().await?;
    let admin = client.admin();
    let topic = target.topic(&client, "operated", 2).await?;
    produce_numbers(&client, &topic, 2, 0, 20).await?;
    let group = unique("operated");
    let builder = client.consumer().group(&group).subscribe([topic.as_str()]);
    let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await?;
    assert_eq!(soon("an assignment", assigned(&mut consumer)).await??.len(), 2);
    // The coordinator calls a group stable when it has sent the assignments.
    until("the group is stable", async || {
        let described = admin.describe_groups([&group]).await.remove(0);
        described.is_ok_and(|group| group.state == GroupState::Stable)
    })
    .await?;
    let described = admin.describe_groups([&group]).await.remove(0)?;
    let [member] = &described.members[..] else { return Err(format!("{described:?}").into()) };
    assert_eq!((&described.kind, &*described.protocol_type), (&GroupType::Classic, "consumer"));
    assert_eq!((&*member.client_id, member.assignment.len()), ("kavka-tests", 2));
    assert_eq!(member.topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), [topic.as_str()]);
    let listed = admin.list_groups(GroupFilter::new().states([GroupState::Stable])).await?;
    assert!(listed.errors.is_empty(), "{:?}", listed.errors);
    let found = listed.groups.iter().find(|listed| *listed.group == *group).ok_or("it is not listed")?;
    assert_eq!(found.coordinator, described.coordinator.id);

    let first = TopicPartition::new(topic.as_str(), 0);
    let set = async |offset| {
        let offsets = [(first.clone(), OffsetAndMetadata::new(offset))];
        admin.alter_group_offsets(&group, offsets).await.remove(0)
    };
    assert_eq!(set(7).await.map_err(|error| error.code()), Err(Some(ErrorCode::NON_EMPTY_GROUP)));
    let deleted = admin.delete_groups([&group]).await.remove(0);
    assert_eq!(deleted.map_err(|error| error.code()), Err(Some(ErrorCode::NON_EMPTY_GROUP)));
    consumer.close().await?;

    until("the group is empty", async || set(7).await.is_ok()).await?;
    let offsets = admin.list_group_offsets([&group]).await.remove(0)?;
    assert_eq!(offsets[&first].as_ref().map_err(Clone::clone)?.offset, 7);
    admin.delete_group_offsets(&group, [first.clone()]).await.remove(0)?;
    // The broker forgets a group with its last offset in its own time, so there must be one.
    set(3).await?;
    admin.delete_groups([&group]).await.remove(0)?;
    let gone = admin.describe_groups([&group]).await.remove(0);
    assert_eq!(gone.map_err(|error| error.code()).err(), Some(Some(ErrorCode::GROUP_ID_NOT_FOUND)));
    assert!(admin.list_group_offsets([&group]).await.remove(0)?.is_empty());
    Ok(())
}

/// Offsets by the ends of a log and by time.
pub async fn a_log_tells_its_offsets(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "ends", 2).await?;
    let producer = client.producer().start().await?;
    for number in 1..=5 {
        let record = kavka::Record::to(&topic).partition(0).value("x").timestamp(1_000 * number);
        producer.send(record).await?.await?;
    }
    producer.close().await?;
    let partition = |number| TopicPartition::new(topic.as_str(), number);
    let asked = [
        (partition(0), OffsetSpec::Earliest),
        (partition(0), OffsetSpec::Latest),
        (partition(0), OffsetSpec::Timestamp(3_000)),
        (partition(0), OffsetSpec::Timestamp(3_001)),
        (partition(0), OffsetSpec::Timestamp(9_000)),
        (partition(0), OffsetSpec::MaxTimestamp),
        (partition(1), OffsetSpec::Latest),
        (partition(7), OffsetSpec::Latest),
    ];
    let admin = client.admin().timeout(Duration::from_secs(30));
    let mut listed = admin.list_offsets(asked, IsolationLevel::ReadUncommitted).await;
    let unknown = listed.pop().ok_or("no answer")?;
    assert_eq!(
        unknown.map_err(|error| error.code()).err(),
        Some(Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
    );
    let offsets: Vec<_> =
        listed.into_iter().map(|listed| Ok(listed?.offset)).collect::<kavka::Result<_>>()?;
    assert_eq!(offsets, [Some(0), Some(5), Some(2), Some(3), None, Some(4), Some(0)]);
    Ok(())
}
