//! The nodes of the cluster: to be killed, stopped, frozen and brought back.

use std::process::Stdio;

use kavka::Client;
use kavka_net::{CallOptions, Config, Lane, Net, To};
use kavka_tests::{Outcome, Target, until};
use kavka_wire::messages::FindCoordinatorRequest;
use tokio::process::Command;

const XTASK: &str = "KAVKA_XTASK";

/// Whether the environment lets tests hurt the nodes, and there are enough of them; says so if not.
pub(crate) async fn can_be_hurt(client: &Client) -> bool {
    let fine = std::env::var_os(XTASK).is_some() && client.broker_ids().len() >= 3;
    if !fine {
        eprintln!("skipped: it needs three nodes and {XTASK}; see `cargo xtask kafka test`");
    }
    fine
}

/// A node that is down or frozen. Dropped, it is brought back, so that a test that fails leaves the others a whole cluster.
#[derive(Debug)]
pub(crate) struct Hurt {
    node: i32,
    mend: Option<&'static str>,
}

impl Hurt {
    /// `kill -9`.
    pub(crate) async fn kill(node: i32) -> Outcome<Hurt> {
        Hurt::new(node, "kill", "restart").await
    }

    /// A controlled shutdown.
    pub(crate) async fn stop(node: i32) -> Outcome<Hurt> {
        Hurt::new(node, "stop", "restart").await
    }

    /// `SIGSTOP`: connections stay open and nobody answers.
    pub(crate) async fn freeze(node: i32) -> Outcome<Hurt> {
        Hurt::new(node, "pause", "cont").await
    }

    async fn new(node: i32, hurt: &str, mend: &'static str) -> Outcome<Hurt> {
        order(hurt, node).await?;
        Ok(Hurt { node, mend: Some(mend) })
    }

    /// Brings it back and waits until it has caught up: before that, a second loss could take acknowledged records along.
    pub(crate) async fn mend(mut self, client: &Client) -> Outcome {
        if let Some(mend) = self.mend.take() {
            order(mend, self.node).await?;
        }
        in_sync(client).await
    }
}

impl Drop for Hurt {
    fn drop(&mut self) {
        let Some(mend) = self.mend else { return };
        let program = std::env::var_os(XTASK).unwrap_or_default();
        let status =
            std::process::Command::new(program).args(["kafka", mend, &self.node.to_string()]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("node {} did not come back", self.node);
        }
    }
}

async fn order(verb: &str, node: i32) -> Outcome {
    let program = std::env::var_os(XTASK).ok_or("no KAVKA_XTASK")?;
    let output =
        Command::new(program).args(["kafka", verb, &node.to_string()]).stdin(Stdio::null()).output().await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{verb} {node}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Waits until every replica of every partition is in sync.
pub(crate) async fn in_sync(client: &Client) -> Outcome {
    until("all replicas are in sync", async || {
        // While a node comes up, it may be the one that was asked.
        let Ok(topics) = client.admin().list_topics().await else { return false };
        let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
        partitions.all(|partition| {
            partition.leader.is_some() && partition.in_sync.len() == partition.replicas.len()
        })
    })
    .await
}

/// Which node coordinates a group.
pub(crate) async fn coordinator(target: &Target, group: &str) -> Outcome<i32> {
    let net = Net::start(Config::new(target.bootstrap().split(',')))?;
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let answer = net.call(To::Any, Lane::General, &request, CallOptions::default()).await?;
    net.close().await;
    let found = answer.coordinators.first().ok_or("no coordinator")?;
    found.error_code.ok().map_err(|code| format!("no coordinator: {code}"))?;
    Ok(found.node_id)
}

/// Which node leads a partition.
pub(crate) async fn leader(client: &Client, topic: &str, partition: usize) -> Outcome<i32> {
    let topic = client.admin().describe_topics([topic]).await.remove(0)?;
    Ok(topic.partitions.get(partition).and_then(|partition| partition.leader).ok_or("no leader")?)
}
