//! Topics that are deleted and created again under a consumer, and offsets that nobody commits anew.

use std::time::Duration;

use kavka::{ErrorKind, GroupProtocol, OffsetAndMetadata, OffsetReset, Start, TopicPartition};
use kavka_testbroker::{Cluster, Settings};
use kavka_tests::Outcome;
use kavka_tests::data::{next, produce_numbers};
use kavka_tests::watched::{Watched, all_of};
use kavka_wire::ApiKey;

use super::{GROUP, Scene, TOPIC, by_both, play};

by_both!(
    a_topic_that_is_another_one_is_read_from_its_beginning,
    a_batch_of_the_old_topic_is_not_committed_for_the_new
);

async fn a_topic_that_is_another_one_is_read_from_its_beginning(protocol: GroupProtocol) -> Outcome {
    for reset in [OffsetReset::Earliest, OffsetReset::Latest] {
        let scene = Scene::new(protocol, 2).await?;
        let member = Watched::start(scene.member().subscribe([TOPIC]).auto_offset_reset(reset)).await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        kavka_tests::until("it has positions", async || {
            all_of(TOPIC, 2).iter().all(|p| member.handle.position(p).is_some())
        })
        .await?;
        produce_numbers(&scene.client, TOPIC, 2, 0, 30).await?;
        let read = |end: i64| {
            move |member: &Watched| all_of(TOPIC, 2).iter().all(|p| member.position(p) == Some(end))
        };
        member.until("the old one is read", read(30)).await?;
        assert!(scene.cluster().delete_topic(TOPIC).await);
        scene.cluster().create_topic(TOPIC, 2).await?;
        produce_numbers(&scene.target.client().await?, TOPIC, 2, 0, 20).await?;
        let begun = tokio::time::Instant::now();
        member.until("the new one is read", read(20)).await?;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        member.close().await?;
        assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(20));
    }
    Ok(())
}

async fn a_batch_of_the_old_topic_is_not_committed_for_the_new(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    produce_numbers(&scene.client, TOPIC, 1, 0, 30).await?;
    let mut consumer = scene.member().subscribe([TOPIC]).start().await?;
    let old = next(&mut consumer).await?;
    consumer.store(&old)?;
    assert!(scene.cluster().delete_topic(TOPIC).await);
    scene.cluster().create_topic(TOPIC, 1).await?;
    produce_numbers(&scene.target.client().await?, TOPIC, 1, 0, 5).await?;
    let new = next(&mut consumer).await?;
    assert_eq!((new.first_offset(), new.next_offset()), (0, 5));
    assert_eq!(consumer.commit(&old).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(consumer.store(&old).unwrap_err().kind(), ErrorKind::Fenced);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await, None);
    consumer.commit(&new).await?;
    assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(5));
    consumer.close().await?;
    Ok(())
}

/// Without a group.
#[test]
fn a_topic_that_was_assigned_by_hand_is_read_from_its_beginning() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 1).await?;
        let builder = scene.client.consumer().assign([(TOPIC, 0, Start::End)]);
        let reader = Watched::start(builder).await?;
        let partition = TopicPartition::new(TOPIC, 0);
        kavka_tests::until("it stands somewhere", async || reader.handle.position(&partition).is_some())
            .await?;
        produce_numbers(&scene.client, TOPIC, 1, 0, 30).await?;
        reader.until("the old one is read", |reader| reader.position(&partition) == Some(30)).await?;
        assert!(scene.cluster().delete_topic(TOPIC).await);
        scene.cluster().create_topic(TOPIC, 1).await?;
        produce_numbers(&scene.target.client().await?, TOPIC, 1, 0, 20).await?;
        reader.until("the new one is read", |reader| reader.position(&partition) == Some(20)).await?;
        reader.close().await
    });
}

/// A broker forgets the offsets of a group without members: what is committed is committed again from time to time, with its note.
#[test]
fn committed_offsets_of_a_quiet_consumer_are_kept_alive() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 2).await?;
        let consumer =
            scene.client.consumer().group(GROUP).assign([0, 1].map(|p| (TOPIC, p, Start::Committed)));
        let consumer = consumer.offsets_refresh(Duration::from_secs(60)).start().await?;
        let mut value = OffsetAndMetadata::new(3);
        value.metadata = "half".into();
        consumer.commit_offsets([(TopicPartition::new(TOPIC, 0), value)]).await?;
        let commits = async || scene.cluster().requests(ApiKey::OFFSET_COMMIT).await;
        assert_eq!(commits().await, 1);
        // In the first minute there was a commit of its own; then one in each minute is made.
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(commits().await, 1);
        tokio::time::sleep(Duration::from_secs(180)).await;
        assert_eq!(commits().await, 3);
        let kept = scene.cluster().committed(GROUP, TOPIC, 0).await.ok_or("it is gone")?;
        assert_eq!((kept.offset, &*kept.metadata), (3, "half"));
        assert_eq!(scene.cluster().committed(GROUP, TOPIC, 1).await, None, "nothing was committed for it");
        consumer.close().await?;
        Ok(())
    });
}

/// The same with a coordinator that forgets offsets after an hour.
#[test]
fn a_quiet_consumer_finds_its_offsets_past_their_retention_only_if_it_refreshes_them() {
    play(async {
        for (refresh, kept) in [(Some(Duration::from_secs(600)), true), (None, false)] {
            let builder = Cluster::builder().topic(TOPIC, 1);
            let hour = |settings: &mut Settings| settings.offsets_retention = Duration::from_secs(3600);
            let scene = Scene::of(GroupProtocol::Classic, builder.settings(hour)).await?;
            let quiet = scene.client.consumer().group(GROUP).assign([(TOPIC, 0, Start::Committed)]);
            let quiet = quiet.offsets_refresh(refresh).start().await?;
            let partition = TopicPartition::new(TOPIC, 0);
            quiet.commit_offsets([(partition.clone(), OffsetAndMetadata::new(0))]).await?;
            tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
            let committed = quiet.handle().committed([partition.clone()]).await?.remove(&partition);
            let committed = committed.ok_or("no answer for the partition")??;
            assert_eq!(committed.is_some(), kept, "{refresh:?}: {committed:?}");
            assert_eq!(scene.cluster().group(GROUP).await.is_some(), kept, "{refresh:?}");
            quiet.close().await?;
        }
        Ok(())
    });
}
