//! Topics come and go.

use std::collections::BTreeSet;

use kavka::ErrorKind;

use crate::data::produce_numbers;
use crate::group::Crew;
use crate::target::{partitions, unique};
use crate::{Outcome, Target, until};

/// Created, listed, described, deleted, gone.
pub async fn topics_are_created_described_and_deleted(target: &Target) -> Outcome {
    let client = target.client().await?;
    let admin = client.admin();
    let name = target.topic(&client, "life", 5).await?;
    let listed: Vec<_> =
        admin.list_topics().await?.into_iter().filter(|topic| *topic.name == *name).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let described = admin.describe_topics([&name]).await.remove(0)?;
    assert_eq!(described, listed[0]);
    assert!(!described.internal);
    let numbers: Vec<i32> = described.partitions.iter().map(|partition| partition.partition).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    for partition in &described.partitions {
        let leader = partition.leader.ok_or("no leader")?;
        let replicas: BTreeSet<i32> = partition.replicas.iter().copied().collect();
        assert!(replicas.contains(&leader), "{partition:?}");
        assert!(partition.in_sync.contains(&leader) && partition.offline.is_empty(), "{partition:?}");
    }
    assert_eq!(partitions(&client, &name).await?, 5);
    for result in admin.delete_topics([&name]).await {
        result?;
    }
    until("the topic is gone everywhere", async || {
        let gone = admin.describe_topics([&name]).await.remove(0);
        gone.is_err_and(|error| error.topic() == Some(&name))
    })
    .await?;
    let again = admin.delete_topics([&name]).await.remove(0).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Retriable, "{again}");
    assert!(again.to_string().contains(&name), "{again}");
    Ok(())
}

/// One result for each topic asked for.
pub async fn a_topic_that_exists_is_not_created_again(target: &Target) -> Outcome {
    let client = target.client().await?;
    let (old, new) = (target.topic(&client, "old", 1).await?, unique("new"));
    let wanted =
        [kavka::NewTopic::new(&old, 3), kavka::NewTopic::new(&new, 2), kavka::NewTopic::new("no/name", 1)];
    let results = client.admin().create_topics(wanted).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.topic(), Some(old.as_str()));
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("TOPIC_ALREADY_EXISTS"), "{error}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(results[2].as_ref().unwrap_err().kind(), ErrorKind::Configuration, "{results:?}");
    assert_eq!(partitions(&client, &new).await?, 2);
    assert_eq!(partitions(&client, &old).await?, 1);
    Ok(())
}

/// The group's leader sees a topic grow and shares out what is new.
pub async fn partitions_are_added_while_a_group_consumes(target: &Target) -> Outcome {
    // The metadata is asked for often, so that the test need not wait five minutes.
    let client = target.builder().metadata_max_age(std::time::Duration::from_millis(500)).connect().await?;
    let topic = target.topic(&client, "grows", 2).await?;
    produce_numbers(&client, &topic, 2, 0, 50).await?;
    let mut crew = Crew::new(&client, &topic, &topic);
    crew.join();
    crew.join();
    crew.finish(2, 50).await?;
    for result in client.admin().create_partitions([(&topic, 6)]).await {
        result?;
    }
    produce_numbers(&client, &topic, 2, 50, 60).await?;
    crew.until("six partitions are shared", |crew| crew.is_shared_evenly(6)).await?;
    let producer = client.producer().start().await?;
    for partition in 2..6 {
        for number in 0..60 {
            let record = kavka::Record::to(&topic).partition(partition).value(number.to_string());
            drop(producer.send(record).await?);
        }
    }
    producer.close().await?;
    crew.finish(6, 60).await?;
    crew.dismiss().await?;
    assert_eq!((crew.again(), crew.overlaps()), (0, &[][..]));
    crew.judge()
}
