//! Faults of members and brokers under a paused clock: minutes of timeouts pass in milliseconds.

mod lost;
mod members;
mod moves;

use std::time::Duration;

use kavka::Client;
use kavka_testbroker::Cluster;
use kavka_tests::group::Crew;
use kavka_tests::{Outcome, Target};

/// A cluster in memory, a client of it, and a topic.
struct Stage {
    target: Target,
    client: Client,
    topic: String,
}

impl Stage {
    async fn new(partitions: i32) -> Outcome<Stage> {
        let target = Target::memory().await?;
        // Three answers may be lost within the time that a test gives a record.
        let client = target.builder().request_timeout(Duration::from_secs(10)).connect().await?;
        let topic = target.topic(&client, "clock", partitions).await?;
        Ok(Stage { target, client, topic })
    }

    fn cluster(&self) -> &Cluster {
        self.target.cluster().unwrap()
    }

    /// A group named as the topic.
    fn crew(&self) -> Crew {
        let mut crew = Crew::new(&self.client, &self.topic, &self.topic);
        crew.patience = Duration::from_secs(600);
        crew
    }
}

/// Runs a test; its steps are bounded by the crew's patience, in the clock that is paused.
fn play(body: impl Future<Output = Outcome>) {
    super::paused(async { body.await.unwrap() });
}
