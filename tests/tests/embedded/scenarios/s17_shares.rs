//! S17: who gets what.

use std::sync::Arc;

use kavka::assignor::{Assignor, CooperativeSticky, Range, RoundRobin};
use kavka::{GroupProtocol, TopicPartition};
use kavka_testbroker::Cluster;
use kavka_tests::Outcome;
use kavka_tests::watched::Watched;

use super::{Scene, TOPIC, play};

fn assignor(name: &str) -> Arc<dyn Assignor> {
    match name {
        "range" => Arc::new(Range),
        "roundrobin" => Arc::new(RoundRobin),
        _ => Arc::new(CooperativeSticky),
    }
}

/// Three members of different topics: 4 + 2, 2 + 4 and 4 partitions.
#[test]
fn members_of_different_topics_share_what_they_have_in_common() {
    play(async {
        for name in ["range", "roundrobin", "cooperative-sticky"] {
            let builder =
                ["t1", "t2", "t3", "t4"].iter().fold(Cluster::builder(), |b, topic| b.topic(topic, 4));
            let scene = Scene::of(GroupProtocol::Classic, builder).await?;
            let join = async |topics: &[&'static str]| {
                let builder = scene.member().subscribe(topics.iter().copied()).assignors([assignor(name)]);
                Watched::start(builder).await
            };
            let members = [join(&["t1", "t2"]).await?, join(&["t2", "t3"]).await?, join(&["t4"]).await?];
            let of = |member: &Watched, topic: &str| {
                member.owned().iter().filter(|partition| *partition.topic == *topic).count()
            };
            let shares = |member: &Watched| ["t1", "t2", "t3", "t4"].map(|topic| of(member, topic));
            for (member, share) in members.iter().zip([[4, 2, 0, 0], [0, 2, 4, 0], [0, 0, 0, 4]]) {
                member.until(&format!("{name} gives {share:?}"), |member| shares(member) == share).await?;
            }
        }
        Ok(())
    });
}

/// The first assignor in the list that all members have decides.
#[test]
fn the_order_of_assignors_decides() {
    play(async {
        for (order, share) in [(["range", "roundrobin"], [0, 1]), (["roundrobin", "range"], [0, 2])] {
            let scene = Scene::new(GroupProtocol::Classic, 4).await?;
            let join = async || {
                Watched::start(scene.member().subscribe([TOPIC]).assignors(order.map(assignor))).await
            };
            let (one, two) = (join().await?, join().await?);
            one.until("it has a share", |member| member.owned().len() == 2).await?;
            two.until("it has a share", |member| member.owned().len() == 2).await?;
            let first = |member: &Watched| member.owned().contains(&TopicPartition::new(TOPIC, 0));
            let holder = if first(&one) { &one } else { &two };
            let numbers: Vec<i32> = holder.owned().iter().map(|partition| partition.partition).collect();
            assert_eq!(numbers, share);
        }
        Outcome::Ok(())
    });
}
