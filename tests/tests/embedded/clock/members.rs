//! Members that crash, dawdle, are taken for dead, or come back.

use std::time::Duration;

use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::group::Manners;
use tokio::time::Instant;

use super::{Stage, play};

/// Not before its session is over, and not long after.
#[test]
fn a_crashed_member_is_replaced_when_its_session_is_over() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        let (victim, _) = (crew.join(), crew.join());
        produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
        crew.finish(4, 50).await?;
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        let crashed = Instant::now();
        crew.crash(victim);
        produce_numbers(&stage.client, &stage.topic, 4, 50, 80).await?;
        crew.until("the other one has all", |crew| crew.is_shared_evenly(4)).await?;
        let gap = crashed.elapsed();
        assert!((Duration::from_secs(5)..Duration::from_secs(9)).contains(&gap), "after {gap:?}");
        crew.finish(4, 80).await?;
        crew.dismiss().await?;
        assert_eq!((crew.again(), crew.overlaps()), (0, &[][..]));
        crew.judge()
    });
}

/// It works on for half a minute after it was asked to give its partitions up; its heartbeats say that it lives, and nobody else
/// has them before.
#[test]
fn a_member_that_dawdles_is_waited_for() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        let slow = Manners { release_after: Duration::from_secs(30), ..Manners::default() };
        crew.join_with(slow, |builder| builder.rebalance_timeout(Duration::from_secs(60)));
        produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
        crew.finish(4, 50).await?;
        let asked = Instant::now();
        crew.join_with(Manners::default(), |builder| builder.rebalance_timeout(Duration::from_secs(60)));
        produce_numbers(&stage.client, &stage.topic, 4, 50, 80).await?;
        crew.until("both have their share", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
            .await?;
        let gap = asked.elapsed();
        assert!((Duration::from_secs(30)..Duration::from_secs(35)).contains(&gap), "after {gap:?}");
        crew.finish(4, 80).await?;
        crew.dismiss().await?;
        assert_eq!((crew.again(), crew.overlaps(), crew.failed_commits()), (0, &[][..], &[][..]));
        crew.judge()
    });
}

/// Longer than the rebalance timeout: the group goes on without it, and it comes back by itself.
#[test]
fn a_member_that_dawdles_too_long_is_left_behind_and_comes_back() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        let slow = Manners { release_after: Duration::from_secs(40), lazy: true, ..Manners::default() };
        crew.join_with(slow, |builder| builder.rebalance_timeout(Duration::from_secs(10)));
        produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
        crew.until("all are handled", |crew| crew.handled() == 200).await?;
        let asked = Instant::now();
        let other =
            crew.join_with(Manners::default(), |builder| builder.rebalance_timeout(Duration::from_secs(10)));
        // What the slow one had handled was not committed, so the other one handles it again.
        crew.finish(4, 50).await?;
        let gap = asked.elapsed();
        assert!(gap < Duration::from_secs(20), "after {gap:?}");
        assert_eq!(crew.again(), 200);
        crew.until("both have their share", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
            .await?;
        produce_numbers(&stage.client, &stage.topic, 4, 50, 80).await?;
        crew.until("all are handled", |crew| crew.handled() == 320).await?;
        crew.leave(other).await?;
        crew.dismiss().await?;
        crew.judge()
    });
}

/// The coordinator declares a member dead that is alive: it notices, forgets what it had, and joins again.
#[test]
fn a_member_that_is_taken_for_dead_joins_again() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        crew.join();
        crew.join();
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        for round in 0..10 {
            produce_numbers(&stage.client, &stage.topic, 4, round * 20, round * 20 + 10).await?;
            let view = stage.cluster().group(&stage.topic).await.ok_or("no group")?;
            let victim = view.members.get(round as usize % 2).ok_or("no members")?.member_id.clone();
            assert!(stage.cluster().expire_member(&stage.topic, &victim).await);
            produce_numbers(&stage.client, &stage.topic, 4, round * 20 + 10, round * 20 + 20).await?;
            crew.finish(4, round as i64 * 20 + 20).await?;
            crew.until("both have their share", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
                .await?;
        }
        crew.dismiss().await?;
        crew.judge()
    });
}

/// A static member that restarts within its session keeps its partitions, and nobody rebalances.
#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        let named = |name: &'static str| {
            move |builder: kavka::ConsumerBuilder| {
                builder.instance_id(name).session_timeout(Duration::from_secs(30))
            }
        };
        let one = crew.join_with(Manners::default(), named("one"));
        let two = crew.join_with(Manners::default(), named("two"));
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
        crew.finish(4, 50).await?;
        let before = stage.cluster().group(&stage.topic).await.ok_or("no group")?;
        // In good order and without: neither tells the group, as it is to come back.
        crew.leave(one).await?;
        crew.join_with(Manners::default(), named("one"));
        crew.until("it has its share again", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
            .await?;
        crew.crash(two);
        crew.join_with(Manners::default(), named("two"));
        crew.until("it has its share again", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
            .await?;
        produce_numbers(&stage.client, &stage.topic, 4, 50, 80).await?;
        crew.finish(4, 80).await?;
        let after = stage.cluster().group(&stage.topic).await.ok_or("no group")?;
        assert_eq!(after.generation, before.generation);
        crew.dismiss().await?;
        assert_eq!((crew.again(), crew.overlaps()), (0, &[][..]));
        crew.judge()
    });
}

/// Two processes with one instance id: the first is told, in an error that names the remedy.
#[test]
fn the_second_of_two_static_members_with_one_name_takes_over() {
    play(async {
        let stage = Stage::new(2).await?;
        let consumer = async || {
            let builder = stage.client.consumer().group(&stage.topic).subscribe([stage.topic.as_str()]);
            builder.instance_id("same").auto_offset_reset(kavka::OffsetReset::Earliest).start().await
        };
        produce_numbers(&stage.client, &stage.topic, 2, 0, 10).await?;
        let mut first = consumer().await?;
        kavka_tests::data::next(&mut first).await?;
        let mut second = consumer().await?;
        kavka_tests::data::next(&mut second).await?;
        let error = loop {
            match kavka_tests::soon("an error", first.next()).await? {
                Ok(Some(_)) => {}
                Ok(None) => return Err("closed without an error".into()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), kavka::ErrorKind::Fenced, "{error}");
        assert!(error.to_string().contains("group.instance.id"), "{error}");
        second.close().await?;
        Outcome::Ok(())
    });
}
