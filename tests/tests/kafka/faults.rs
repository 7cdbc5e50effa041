//! Nodes die under a group at work: nothing is lost, nothing gets stuck, nobody helps.

use std::time::Duration;

use kavka::Client;
use kavka_cli::args::{Demo, Output};
use kavka_cli::demo;
use kavka_cli::output::Printer;
use kavka_tests::data::Load;
use kavka_tests::group::Crew;
use kavka_tests::{Outcome, Target};

use super::nodes::{self, Hurt};
use super::{alone, shared};

const PARTITIONS: i32 = 6;

/// A group of three under load.
struct Stage {
    client: Client,
    topic: String,
    crew: Crew,
    load: Load,
}

impl Stage {
    /// `None` when the cluster must not be hurt.
    async fn new(target: &Target) -> Outcome<Option<Stage>> {
        let client = target.client().await?;
        if !nodes::can_be_hurt(&client).await {
            return Ok(None);
        }
        nodes::in_sync(&client).await?;
        let topic = target.topic(&client, "fault", PARTITIONS).await?;
        let mut crew = Crew::new(&client, &topic, &topic);
        for _ in 0..3 {
            crew.join();
        }
        crew.until("the partitions are shared", |crew| crew.is_shared_evenly(PARTITIONS)).await?;
        let load = Load::start(&client, &topic, PARTITIONS);
        let mut stage = Stage { client, topic, crew, load };
        stage.goes_on().await?;
        Ok(Some(stage))
    }

    /// Waits until more records of every partition were handled.
    async fn goes_on(&mut self) -> Outcome {
        let before = self.crew.progress(PARTITIONS);
        let further = |crew: &Crew| {
            crew.progress(PARTITIONS).iter().zip(&before).all(|(now, before)| *now > before + 200)
        };
        self.crew.until("every partition goes on", further).await
    }

    /// The group goes on without the node, and with it when it is back.
    async fn survives(&mut self, hurt: Hurt) -> Outcome {
        self.goes_on().await?;
        hurt.mend(&self.client).await?;
        self.goes_on().await
    }

    /// Every record was handled and committed, none was lost, none came again after its commit.
    async fn judge(mut self) -> Outcome {
        let count = self.load.finish().await?;
        self.crew.finish(PARTITIONS, count as i64).await?;
        self.crew.dismiss().await?;
        self.crew.judge()
    }
}

#[test]
fn the_coordinator_is_killed() {
    alone("the_coordinator_is_killed", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        for _ in 0..2 {
            let node = nodes::coordinator(target, &stage.topic).await?;
            stage.survives(Hurt::kill(node).await?).await?;
        }
        stage.judge().await
    });
}

#[test]
fn a_partition_leader_is_killed() {
    alone("a_partition_leader_is_killed", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        let node = nodes::leader(&stage.client, &stage.topic, 0).await?;
        stage.survives(Hurt::kill(node).await?).await?;
        stage.judge().await
    });
}

#[test]
fn each_node_is_killed_in_turn() {
    alone("each_node_is_killed_in_turn", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        for node in stage.client.broker_ids() {
            stage.survives(Hurt::kill(node).await?).await?;
        }
        stage.judge().await
    });
}

#[test]
fn each_node_is_restarted_in_turn() {
    alone("each_node_is_restarted_in_turn", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        for node in stage.client.broker_ids() {
            stage.survives(Hurt::stop(node).await?).await?;
        }
        stage.judge().await
    });
}

#[test]
fn the_coordinator_freezes() {
    alone("the_coordinator_freezes", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        // Requests that wait at the frozen node time out only after 30 s.
        stage.crew.patience = Duration::from_secs(150);
        let node = nodes::coordinator(target, &stage.topic).await?;
        stage.survives(Hurt::freeze(node).await?).await?;
        stage.judge().await
    });
}

/// A member leaves, one crashes, two join, while each node is killed and brought back.
#[test]
fn members_come_and_go_while_each_node_is_killed() {
    alone("members_come_and_go_while_each_node_is_killed", async |target: &Target| {
        let Some(mut stage) = Stage::new(target).await? else { return Ok(()) };
        let mut members = vec![1, 2, 3];
        for node in stage.client.broker_ids() {
            let hurt = Hurt::kill(node).await?;
            stage.crew.crash(members.remove(0));
            members.push(stage.crew.join());
            stage.goes_on().await?;
            hurt.mend(&stage.client).await?;
            stage.crew.leave(members.remove(0)).await?;
            members.push(stage.crew.join());
            stage.goes_on().await?;
        }
        stage
            .crew
            .until("the partitions are shared", |crew| {
                crew.owned().len() == 3 && crew.is_shared_evenly(PARTITIONS)
            })
            .await?;
        stage.judge().await
    });
}

/// What `kavka demo` shows to people, on a cluster that is all right.
#[test]
fn the_demo_keeps_its_promises() {
    shared("the_demo_keeps_its_promises", async |target: &Target| {
        let args = Demo {
            records: 200_000,
            partitions: 12,
            size: 100,
            commit_every: 1000,
            session_timeout: Duration::from_secs(6),
            calm: false,
            bootstrap: Some(target.bootstrap().to_owned()),
            deadline: Duration::from_secs(120),
        };
        let printer = Printer::new(Output::Human);
        let outcome = demo::run(target.bootstrap(), &args, &printer).await.map_err(|failure| failure.what)?;
        assert_eq!(outcome.violations, [""; 0]);
        assert_eq!(outcome.handled, args.records);
        Ok(())
    });
}
