//! What people expect of a group, by both protocols.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kavka::assignor::{Assignor, CooperativeSticky};
use kavka::{
    Client, ConsumerBuilder, ErrorCode, ErrorKind, GroupProtocol, NewTopic, OffsetReset, TopicPartition,
};

use crate::data::produce_numbers;
use crate::target::unique;
use crate::watched::{Step, Watched, all_of};
use crate::{Outcome, Target, until};

/// A client that looks at its metadata every second.
async fn quick_client(target: &Target) -> kavka::Result<Client> {
    target.builder().metadata_max_age(Duration::from_secs(1)).connect().await
}

fn member(client: &Client, group: &str, protocol: GroupProtocol) -> ConsumerBuilder {
    let builder = client.consumer().group(group).group_protocol(protocol);
    builder.auto_offset_reset(OffsetReset::Earliest).missing_topic_timeout(None)
}

async fn create(client: &Client, name: &str, partitions: i32) -> Outcome {
    for result in client.admin().create_topics([NewTopic::new(name, partitions)]).await {
        result?;
    }
    Ok(())
}

async fn grow(client: &Client, name: &str, partitions: i32) -> Outcome {
    for result in client.admin().create_partitions([(name, partitions)]).await {
        result?;
    }
    Ok(())
}

async fn delete(client: &Client, name: &str) -> Outcome {
    for result in client.admin().delete_topics([name]).await {
        result?;
    }
    Ok(())
}

fn topics_of(member: &Watched) -> BTreeSet<String> {
    member.owned().iter().map(|partition| partition.topic.to_string()).collect()
}

fn revoked(member: &Watched) -> usize {
    let gone = |step: &Step| if let Step::Revoked(partitions) = step { partitions.len() } else { 0 };
    member.steps().iter().map(gone).sum()
}

/// S01.
async fn topics_come_grow_and_go(target: &Target, protocol: GroupProtocol) -> Outcome {
    let client = quick_client(target).await?;
    let (one, two) = (unique("one"), unique("two"));
    let builder = member(&client, &one, protocol).subscribe([one.as_str(), two.as_str()]);
    let member = Watched::start(builder).await?;
    // Long enough for the group to have formed several times over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(member.owned(), BTreeSet::new());
    create(&client, &one, 2).await?;
    member.owns(&all_of(&one, 2)).await?;
    grow(&client, &one, 4).await?;
    member.owns(&all_of(&one, 4)).await?;
    create(&client, &two, 1).await?;
    member.owns(&(&all_of(&one, 4) | &all_of(&two, 1))).await?;
    delete(&client, &two).await?;
    member.owns(&all_of(&one, 4)).await?;
    produce_numbers(&client, &one, 4, 0, 10).await?;
    let read = |member: &Watched| all_of(&one, 4).iter().all(|p| member.position(p) == Some(10));
    member.until("all is read", read).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

/// Also under the classic protocol.
pub async fn topics_come_grow_and_go_classic(target: &Target) -> Outcome {
    topics_come_grow_and_go(target, GroupProtocol::Classic).await
}

/// Also under the consumer protocol.
pub async fn topics_come_grow_and_go_consumer(target: &Target) -> Outcome {
    topics_come_grow_and_go(target, GroupProtocol::Consumer).await
}

/// S02.
async fn each_subscription_gives_exactly_its_topics(target: &Target, protocol: GroupProtocol) -> Outcome {
    let client = quick_client(target).await?;
    let stem = unique("sets");
    let name = |suffix: &str| format!("{stem}-{suffix}");
    let [a1, a2, b1] = ["a1", "a2", "b1"].map(name);
    for topic in [&a1, &a2, &b1] {
        create(&client, topic, 1).await?;
        produce_numbers(&client, topic, 1, 0, 10).await?;
    }
    let set = |topics: &[&String]| topics.iter().map(|topic| topic.to_string()).collect::<BTreeSet<_>>();
    let builder = member(&client, &stem, protocol).subscribe([a1.as_str(), b1.as_str()]);
    let member = Watched::start(builder).await?;
    let gets = async |topics: &[&String]| {
        let wanted = set(topics);
        member.until(&format!("it has {wanted:?}"), |member| topics_of(member) == wanted).await
    };
    gets(&[&a1, &b1]).await?;
    member.handle.subscribe([name("none"), a2.clone()]).await?;
    gets(&[&a2]).await?;
    member.handle.subscribe_pattern([format!("^{stem}.*")]).await?;
    gets(&[&a1, &a2, &b1]).await?;
    member.handle.subscribe_pattern([format!("{stem}-a[0-9]")]).await?;
    gets(&[&a1, &a2]).await?;
    member.handle.subscribe_pattern([format!("{stem}-.1"), format!("{stem}-b.*")]).await?;
    gets(&[&a1, &b1]).await?;
    let wrong = [
        member.handle.subscribe_pattern(["^.*[0"]).await,
        member.handle.subscribe_pattern([""]).await,
        member.handle.subscribe_pattern(Vec::<&str>::new()).await,
        member.handle.subscribe(Vec::<&str>::new()).await,
        member.handle.subscribe([""]).await,
    ];
    for result in wrong {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Configuration);
    }
    gets(&[&a1, &b1]).await?;
    // The consumer protocol sends them as one string, which may have 32,767 bytes.
    let many = if protocol == GroupProtocol::Classic { 10_000 } else { 500 };
    member.handle.subscribe_pattern((0..many).map(|n| format!("{stem}-[ab]{n}"))).await?;
    gets(&[&a1, &a2, &b1]).await?;
    // Created later, it belongs to it as well.
    let a3 = name("a3");
    create(&client, &a3, 2).await?;
    gets(&[&a1, &a2, &a3, &b1]).await?;
    member.handle.unsubscribe().await?;
    gets(&[]).await?;
    member.handle.subscribe([b1.as_str()]).await?;
    gets(&[&b1]).await?;
    produce_numbers(&client, &b1, 1, 10, 20).await?;
    let partition = TopicPartition::new(b1.as_str(), 0);
    member.until("all is read", |member| member.position(&partition) == Some(20)).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

/// Under the classic protocol.
pub async fn each_subscription_gives_exactly_its_topics_classic(target: &Target) -> Outcome {
    each_subscription_gives_exactly_its_topics(target, GroupProtocol::Classic).await
}

/// Under the consumer protocol.
pub async fn each_subscription_gives_exactly_its_topics_consumer(target: &Target) -> Outcome {
    each_subscription_gives_exactly_its_topics(target, GroupProtocol::Consumer).await
}

/// S07: the classic protocol gives the name to the newcomer.
pub async fn a_name_in_use_is_taken_over_classic(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "names", 3).await?;
    let join = async |name: &'static str| {
        let builder = member(&client, &topic, GroupProtocol::Classic).subscribe([topic.as_str()]);
        Watched::start(builder.instance_id(name)).await
    };
    let (first, other) = (join("same").await?, join("other").await?);
    first.until("it has a share", |member| !member.owned().is_empty()).await?;
    other.until("it has a share", |member| !member.owned().is_empty()).await?;
    let second = join("same").await?;
    first.until("it is told", |member| !member.errors().is_empty()).await?;
    let error = first.errors().remove(0);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some(ErrorCode::FENCED_INSTANCE_ID)));
    second.until("it has a share", |member| !member.owned().is_empty()).await?;
    assert_eq!(other.errors().len() + second.errors().len(), 0);
    second.close().await?;
    other.close().await
}

/// S07: the consumer protocol leaves it with the one who has it.
pub async fn a_name_in_use_is_refused_consumer(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "names", 3).await?;
    let join = async |name: &'static str| {
        let builder = member(&client, &topic, GroupProtocol::Consumer).subscribe([topic.as_str()]);
        Watched::start(builder.instance_id(name)).await
    };
    let first = join("same").await?;
    first.owns(&all_of(&topic, 3)).await?;
    let second = join("same").await?;
    second.until("it is told", |member| !member.errors().is_empty()).await?;
    let error = second.errors().remove(0);
    assert_eq!(error.code(), Some(ErrorCode::UNRELEASED_INSTANCE_ID), "{error}");
    produce_numbers(&client, &topic, 3, 0, 10).await?;
    let read = |member: &Watched| all_of(&topic, 3).iter().all(|p| member.position(p) == Some(10));
    first.until("all is read", read).await?;
    assert_eq!(first.errors().len(), 0, "{}", first.story());
    first.close().await
}

/// S08: what is kept is not given up for a moment.
async fn members_that_join_one_by_one_take_only_what_moves(
    target: &Target,
    protocol: GroupProtocol,
) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "steps", 6).await?;
    let mut members: Vec<Watched> = Vec::new();
    for (count, gone) in [(1, 0), (2, 3), (3, 5)] {
        let end = count as u64 * 10;
        let mut builder = member(&client, &topic, protocol).subscribe([topic.as_str()]);
        if protocol == GroupProtocol::Classic {
            builder = builder.assignors([Arc::new(CooperativeSticky) as Arc<dyn Assignor>]);
        }
        members.push(Watched::start(builder).await?);
        until("they share evenly", async || members.iter().all(|member| member.owned().len() == 6 / count))
            .await?;
        // As many as the others have now, so none of those that stayed was among them.
        assert_eq!(members.iter().map(revoked).sum::<usize>(), gone);
        produce_numbers(&client, &topic, 6, end - 10, end).await?;
        let read = |member: &Watched| member.owned().iter().all(|p| member.position(p) == Some(end as i64));
        until("all is read", async || members.iter().all(read)).await?;
    }
    let all: BTreeSet<TopicPartition> = members.iter().flat_map(Watched::owned).collect();
    assert_eq!(all, all_of(&topic, 6));
    for member in members {
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        assert_eq!(member.count(|step| matches!(step, Step::Lost(_))), 0, "{}", member.story());
        member.close().await?;
    }
    Ok(())
}

/// Under the classic protocol, with an assignor that is cooperative.
pub async fn members_that_join_one_by_one_take_only_what_moves_classic(target: &Target) -> Outcome {
    members_that_join_one_by_one_take_only_what_moves(target, GroupProtocol::Classic).await
}

/// Under the consumer protocol.
pub async fn members_that_join_one_by_one_take_only_what_moves_consumer(target: &Target) -> Outcome {
    members_that_join_one_by_one_take_only_what_moves(target, GroupProtocol::Consumer).await
}

/// S11.
async fn who_stops_taking_records_is_taken_out(target: &Target, protocol: GroupProtocol) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "slow", 2).await?;
    let join = async || {
        let builder = member(&client, &topic, protocol).subscribe([topic.as_str()]);
        Watched::start(builder.max_processing_time(Duration::from_secs(4))).await
    };
    let (slow, quick) = (join().await?, join().await?);
    slow.until("it has a share", |member| member.owned().len() == 1).await?;
    quick.until("it has a share", |member| member.owned().len() == 1).await?;
    slow.stall(true);
    produce_numbers(&client, &topic, 2, 0, 10).await?;
    quick.owns(&all_of(&topic, 2)).await?;
    produce_numbers(&client, &topic, 2, 10, 20).await?;
    let read = |member: &Watched| all_of(&topic, 2).iter().all(|p| member.position(p) == Some(20));
    quick.until("all is read", read).await?;
    assert_eq!(slow.errors().len(), 0, "it is told when it asks");
    slow.stall(false);
    slow.until("it is told and has a share again", |member| {
        member.errors().len() == 1 && member.owned().len() == 1
    })
    .await?;
    assert_eq!(slow.count(|step| matches!(step, Step::Lost(_))), 1, "{}", slow.story());
    let error = slow.errors().remove(0);
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("max_processing_time"), "{error}");
    quick.until("it has one left", |member| member.owned().len() == 1).await?;
    slow.close().await?;
    quick.close().await
}

/// Under the classic protocol.
pub async fn who_stops_taking_records_is_taken_out_classic(target: &Target) -> Outcome {
    who_stops_taking_records_is_taken_out(target, GroupProtocol::Classic).await
}

/// Under the consumer protocol.
pub async fn who_stops_taking_records_is_taken_out_consumer(target: &Target) -> Outcome {
    who_stops_taking_records_is_taken_out(target, GroupProtocol::Consumer).await
}

/// S12: a JoinGroup that waits for a slow member blocks nothing and does not time out.
pub async fn a_member_may_wait_longer_than_a_request_for_the_others(target: &Target) -> Outcome {
    let client = target.builder().request_timeout(Duration::from_secs(2)).connect().await?;
    let topic = target.topic(&client, "patient", 2).await?;
    let join = || member(&client, &topic, GroupProtocol::Classic).subscribe([topic.as_str()]);
    produce_numbers(&client, &topic, 2, 0, 10).await?;
    let mut first = join().start().await?;
    while first.assignment().len() < 2 {
        crate::soon("an event", first.event()).await??;
    }
    let second = Watched::start(join()).await?;
    let revocation = loop {
        if let kavka::Event::Revoked(revocation) = crate::soon("a revocation", first.event()).await?? {
            break revocation;
        }
    };
    // Three times the request timeout.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((second.owned().len(), second.errors().len()), (0, 0), "{}", second.story());
    assert_eq!(client.admin().describe_topics([topic.as_str()]).await.remove(0)?.partitions.len(), 2);
    revocation.release();
    second.until("it has a share", |member| !member.owned().is_empty()).await?;
    assert_eq!(second.errors().len(), 0, "{}", second.story());
    drop(first);
    second.crash();
    Ok(())
}

/// S13.
pub async fn who_stays_gets_partitions_that_were_added(target: &Target) -> Outcome {
    let client = quick_client(target).await?;
    let topic = target.topic(&client, "added", 2).await?;
    let join = async || {
        let builder = member(&client, &topic, GroupProtocol::Classic).subscribe([topic.as_str()]);
        Watched::start(builder).await
    };
    let (first, second) = (join().await?, join().await?);
    first.until("it has a share", |member| member.owned().len() == 1).await?;
    second.until("it has a share", |member| member.owned().len() == 1).await?;
    grow(&client, &topic, 4).await?;
    first.close().await?;
    second.owns(&all_of(&topic, 4)).await?;
    second.close().await
}

/// S13: by hand, a partition that the client's metadata do not have yet.
pub async fn a_partition_that_is_newer_than_the_metadata_is_read(target: &Target) -> Outcome {
    let client = target.client().await?;
    let topic = target.topic(&client, "newer", 1).await?;
    let other = target.client().await?;
    let start = || kavka::Start::Beginning;
    let reader = client.consumer().assign([(topic.as_str(), 0, start()), (topic.as_str(), 1, start())]);
    let reader = Watched::start(reader).await?;
    produce_numbers(&other, &topic, 1, 0, 10).await?;
    let old = TopicPartition::new(topic.as_str(), 0);
    reader.until("the old one is read", |member| member.position(&old) == Some(10)).await?;
    grow(&other, &topic, 2).await?;
    produce_numbers(&other, &topic, 2, 10, 20).await?;
    let read = |member: &Watched| {
        member.position(&old) == Some(20)
            && member.position(&TopicPartition::new(topic.as_str(), 1)).is_some()
    };
    reader.until("both are read", read).await?;
    assert_eq!(reader.errors().len(), 0, "{}", reader.story());
    reader.close().await
}
