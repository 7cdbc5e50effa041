//! Leaders and coordinators that move, and brokers that come and go.

use std::time::Duration;

use kavka_tests::data::produce_numbers;
use kavka_tests::group::Manners;
use kavka_wire::ApiKey;

use super::{Stage, play};

/// While one member still works on what it is to release, and the other one waits in its JoinGroup.
#[test]
fn the_coordinator_moves_while_members_join() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        let slow = Manners { release_after: Duration::from_secs(4), ..Manners::default() };
        let member = |builder: kavka::ConsumerBuilder| builder.rebalance_timeout(Duration::from_secs(30));
        crew.join_with(slow, member);
        produce_numbers(&stage.client, &stage.topic, 4, 0, 50).await?;
        crew.finish(4, 50).await?;
        for round in 1..=5 {
            let at = stage.cluster().coordinator(&stage.topic).await.ok_or("no coordinator")?;
            let joins = stage.cluster().requests(ApiKey::JOIN_GROUP).await;
            let number = crew.join_with(slow, member);
            kavka_tests::until("the new member waits", async || {
                stage.cluster().requests(ApiKey::JOIN_GROUP).await >= joins + 2
            })
            .await?;
            assert!(stage.cluster().move_coordinator(&stage.topic, at % 3 + 1).await);
            produce_numbers(&stage.client, &stage.topic, 4, round * 50, round * 50 + 50).await?;
            crew.finish(4, round as i64 * 50 + 50).await?;
            crew.until("both have their share", |crew| crew.is_shared_evenly(4) && crew.owned().len() == 2)
                .await?;
            crew.leave(number).await?;
        }
        crew.dismiss().await?;
        crew.judge()
    });
}

/// A coordinator that hangs answers nothing, not even that another broker took over; a JoinGroup may wait for minutes in good order,
/// so the wait alone tells nothing.
#[test]
fn the_coordinator_hangs_and_another_takes_over_while_joins_wait() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        crew.join();
        crew.join();
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        produce_numbers(&stage.client, &stage.topic, 4, 0, 30).await?;
        crew.finish(4, 30).await?;
        let at = stage.cluster().coordinator(&stage.topic).await.ok_or("no coordinator")?;
        let joins = stage.cluster().requests(ApiKey::JOIN_GROUP).await;
        for key in [ApiKey::HEARTBEAT, ApiKey::JOIN_GROUP, ApiKey::OFFSET_COMMIT, ApiKey::FIND_COORDINATOR] {
            stage.cluster().on(key).broker(at).drop_request();
        }
        kavka_tests::until("both join anew", async || {
            stage.cluster().requests(ApiKey::JOIN_GROUP).await >= joins + 2
        })
        .await?;
        assert!(stage.cluster().move_coordinator(&stage.topic, at % 3 + 1).await);
        crew.patience = Duration::from_secs(60);
        crew.until("both are without partitions", |crew| crew.owned().iter().all(Vec::is_empty)).await?;
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        produce_numbers(&stage.client, &stage.topic, 4, 30, 60).await?;
        crew.finish(4, 60).await?;
        stage.cluster().clear_faults();
        crew.dismiss().await?;
        crew.judge()
    });
}

/// Members and their commits follow; nobody loses a partition for it, so nothing comes twice.
#[test]
fn the_coordinator_moves_under_a_group_that_works() {
    play(async {
        let stage = Stage::new(4).await?;
        let mut crew = stage.crew();
        crew.join();
        crew.join();
        crew.until("both have their share", |crew| crew.is_shared_evenly(4)).await?;
        for round in 0..12 {
            let at = stage.cluster().coordinator(&stage.topic).await.ok_or("no coordinator")?;
            produce_numbers(&stage.client, &stage.topic, 4, round * 30, round * 30 + 30).await?;
            assert!(stage.cluster().move_coordinator(&stage.topic, at % 3 + 1).await);
            crew.finish(4, round as i64 * 30 + 30).await?;
        }
        crew.dismiss().await?;
        assert_eq!((crew.again(), crew.overlaps()), (0, &[][..]));
        crew.judge()
    });
}

/// A fetch waits at the old leader; records go to the new one.
#[test]
fn leaders_move_while_fetches_wait() {
    play(async {
        let stage = Stage::new(3).await?;
        let mut crew = stage.crew();
        crew.join();
        crew.join();
        crew.until("both have their share", |crew| crew.owned().iter().flatten().count() == 3).await?;
        for round in 0..12 {
            for partition in 0..3 {
                let (leader, _) = stage.cluster().leader(&stage.topic, partition).await.ok_or("no topic")?;
                let other = leader.ok_or("no leader")? % 3 + 1;
                assert!(stage.cluster().move_leader(&stage.topic, partition, other).await);
            }
            produce_numbers(&stage.client, &stage.topic, 3, round * 30, round * 30 + 30).await?;
            crew.finish(3, round as i64 * 30 + 30).await?;
        }
        crew.dismiss().await?;
        assert_eq!((crew.again(), crew.overlaps(), crew.failed_commits()), (0, &[][..], &[][..]));
        crew.judge()
    });
}

/// Each broker stops and comes back while records are written and read.
#[test]
fn brokers_stop_and_start_one_after_the_other() {
    play(async {
        let stage = Stage::new(6).await?;
        let mut crew = stage.crew();
        for _ in 0..3 {
            crew.join();
        }
        for round in 0..6 {
            let broker = round % 3 + 1;
            let first = round as u64 * 60;
            let (client, topic) = (stage.client.clone(), stage.topic.clone());
            let load =
                tokio::spawn(async move { produce_numbers(&client, &topic, 6, first, first + 60).await });
            stage.cluster().stop_broker(broker).await;
            load.await??;
            crew.finish(6, first as i64 + 60).await?;
            stage.cluster().start_broker(broker).await?;
        }
        crew.dismiss().await?;
        crew.judge()
    });
}

/// Connections stay open and nothing comes through them, as when a cable is pulled.
#[test]
fn brokers_are_cut_off_one_after_the_other() {
    play(async {
        let stage = Stage::new(6).await?;
        let mut crew = stage.crew();
        for _ in 0..3 {
            crew.join();
        }
        for round in 0..6 {
            let broker = round % 3 + 1;
            let first = round as u64 * 60;
            let (client, topic) = (stage.client.clone(), stage.topic.clone());
            let load =
                tokio::spawn(async move { produce_numbers(&client, &topic, 6, first, first + 60).await });
            stage.cluster().isolate(broker).await;
            load.await??;
            crew.finish(6, first as i64 + 60).await?;
            stage.cluster().heal(broker).await;
        }
        crew.dismiss().await?;
        crew.judge()
    });
}
