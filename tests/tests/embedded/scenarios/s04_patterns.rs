//! S04: topics that match a pattern are created one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kavka::assignor::{Assignor, CooperativeSticky, Range};
use kavka::{ConsumerBuilder, ErrorKind, GroupProtocol};
use kavka_testbroker::Cluster;
use kavka_tests::Outcome;
use kavka_tests::watched::{Watched, all_of};
use kavka_wire::ApiKey;

use super::{Scene, play};

async fn every_topic_so_far(scene: Scene, change: impl Fn(ConsumerBuilder) -> ConsumerBuilder) -> Outcome {
    let member = Watched::start(change(scene.member().subscribe_pattern("t-[0-9]+"))).await?;
    let mut wanted = BTreeSet::new();
    for number in 0..50 {
        let (name, partitions) = (format!("t-{number}"), number % 8 + 1);
        scene.cluster().create_topic(&name, partitions).await?;
        scene.cluster().create_topic(&format!("other-{number}"), 1).await?;
        wanted.extend(all_of(&name, partitions));
        if number % 15 == 14 {
            member.owns(&wanted).await?;
        }
    }
    member.owns(&wanted).await?;
    for number in 0..10 {
        assert!(scene.cluster().delete_topic(&format!("t-{number}")).await);
        wanted.retain(|partition| *partition.topic != *format!("t-{number}"));
    }
    member.owns(&wanted).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

#[test]
fn with_range() {
    play(async {
        let scene = Scene::of(GroupProtocol::Classic, Cluster::builder()).await?;
        every_topic_so_far(scene, |builder| builder.assignors([Arc::new(Range) as Arc<dyn Assignor>])).await
    });
}

#[test]
fn with_cooperative_sticky() {
    play(async {
        let scene = Scene::of(GroupProtocol::Classic, Cluster::builder()).await?;
        let assignor = || [Arc::new(CooperativeSticky) as Arc<dyn Assignor>];
        every_topic_so_far(scene, |builder| builder.assignors(assignor())).await
    });
}

#[test]
fn with_the_coordinators_assignor() {
    play(async {
        let scene = Scene::of(GroupProtocol::Consumer, Cluster::builder()).await?;
        every_topic_so_far(scene, |builder| builder).await
    });
}

/// The coordinator may be one that has no consumer protocol: then patterns are matched on this side.
#[test]
fn with_whatever_protocol_there_is() {
    play(async {
        let builder = Cluster::builder().without(ApiKey::CONSUMER_GROUP_HEARTBEAT);
        let scene = Scene::of(GroupProtocol::Auto, builder).await?;
        every_topic_so_far(scene, |builder| builder).await?;
        let scene = Scene::of(GroupProtocol::Auto, Cluster::builder()).await?;
        every_topic_so_far(scene, |builder| builder).await
    });
}

/// A topic that is named, and others that match.
#[test]
fn names_and_patterns_add_up() {
    play(async {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            let builder = Cluster::builder().topic("a", 1).topic("b-1", 2).topic("b-2", 1).topic("c", 1);
            let scene = Scene::of(protocol, builder).await?;
            let member = Watched::start(scene.member().subscribe(["a"]).subscribe_pattern("b-.*")).await?;
            member.owns(&(&(&all_of("a", 1) | &all_of("b-1", 2)) | &all_of("b-2", 1))).await?;
            member.close().await?;
        }
        Ok(())
    });
}

/// A pattern of 40,000 bytes that matches the scenes' topic.
fn long_pattern() -> String {
    format!("{}|{}", super::TOPIC, "x".repeat(40_000))
}

/// No heartbeat can carry so much: the coordinator would never hear of the member.
#[test]
fn patterns_that_the_coordinator_cannot_be_told_are_refused() {
    play(async {
        let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
        let error = scene.member().subscribe_pattern(long_pattern()).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        let member = Watched::start(scene.member().subscribe([super::TOPIC])).await?;
        member.owns(&all_of(super::TOPIC, 2)).await?;
        let error = member.handle.subscribe_pattern([long_pattern()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(member.owned(), all_of(super::TOPIC, 2), "nothing changed");
        member.close().await
    });
}

/// The client matches them itself where it may choose.
#[test]
fn patterns_that_the_coordinator_cannot_be_told_are_for_the_classic_protocol() {
    play(async {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Auto] {
            let scene = Scene::new(protocol, 2).await?;
            let member = Watched::start(scene.member().subscribe_pattern(long_pattern())).await?;
            member.owns(&all_of(super::TOPIC, 2)).await?;
            // Now that the protocol is the classic one, it takes any other, too.
            let other = format!("{}|y", long_pattern());
            member.handle.subscribe_pattern([other]).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            member.owns(&all_of(super::TOPIC, 2)).await?;
            assert_eq!(member.errors().len(), 0, "{}", member.story());
            member.close().await?;
        }
        Ok(())
    });
}

/// Kafka's own topics are not for consumers.
#[test]
fn a_pattern_for_everything_leaves_internal_topics_out() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 2).await?;
        let member = Watched::start(scene.member().subscribe_pattern(".*")).await?;
        member.owns(&all_of(super::TOPIC, 2)).await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(member.owned(), all_of(super::TOPIC, 2));
        member.close().await
    });
}
