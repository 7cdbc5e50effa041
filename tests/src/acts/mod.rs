//! Groups of long life under load: who the members are, and what torments them, is the caller's.

pub mod changes;
pub mod coordinator;
pub mod mixed;
pub mod rolling;
pub mod statics;

use std::time::Duration;

use kavka::Client;

use crate::data::Load;
use crate::group::{Crew, Jvm, Kind, Terms};
use crate::{Outcome, Target};

/// The variable that says for how many seconds an act goes on. Half a minute is what it takes to see all of it once.
pub const SECONDS: &str = "KAVKA_TEST_SECONDS";

/// How long an act goes on.
pub fn length() -> Duration {
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// A topic, a group that reads it, and a load on it.
pub struct Stage<'t> {
    /// The cluster.
    pub target: &'t Target,
    /// A client of it.
    pub client: Client,
    /// The topic, which is the group's name too.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// The group.
    pub crew: Crew,
    load: Option<Load>,
}

impl<'t> Stage<'t> {
    /// None, said on standard error, when members of these kinds are not to be had.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn new(
        target: &'t Target,
        name: &str,
        partitions: i32,
        kinds: &[Kind],
    ) -> Outcome<Option<Stage<'t>>> {
        let builder = target.builder().metadata_max_age(METADATA_MAX_AGE);
        // On a cluster with faults three answers may be lost within the time that a test gives a record.
        let client = builder.request_timeout(Duration::from_secs(10)).connect().await?;
        let jvm = match kinds.contains(&Kind::Java) {
            true => match Jvm::start(target.bootstrap())? {
                None => return Ok(None),
                jvm => jvm,
            },
            false => None,
        };
        let topic = target.topic(&client, name, partitions).await?;
        let mut crew = Crew::new(&client, &topic, &topic);
        if let Some(jvm) = jvm {
            crew.hire(jvm);
        }
        Ok(Some(Stage { target, client, topic, partitions, crew, load: None }))
    }

    /// One more member.
    ///
    /// # Errors
    /// There is no JVM for it.
    pub fn join(&mut self, kind: Kind, terms: &Terms) -> Outcome<usize> {
        self.crew.join_as(kind, &Terms { metadata_max_age: METADATA_MAX_AGE, ..terms.clone() })
    }

    /// One more member, in a JVM of its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn join_apart(&mut self, terms: &Terms) -> Outcome<usize> {
        let jvm = Jvm::start(self.target.bootstrap())?.ok_or("there is no Java")?;
        let terms = Terms { metadata_max_age: METADATA_MAX_AGE, ..terms.clone() };
        Ok(self.crew.join_apart(jvm, &terms))
    }

    /// From now on records are written.
    pub fn load(&mut self) {
        // Under a paused clock a second is over when its work is done, so there is less of it.
        let pause = Duration::from_millis(if self.target.cluster().is_some() { 500 } else { 50 });
        self.load = Some(Load::paced(&self.client, &self.topic, self.partitions, 10, pause));
    }

    /// Every partition has one owner, every member its share.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn shared(&mut self) -> Outcome {
        let partitions = self.partitions;
        let what = format!("{} members share {partitions} partitions", self.crew.size());
        self.crew.until(&what, |crew| crew.is_shared_evenly(partitions)).await
    }

    /// More records of every partition are handled.
    ///
    /// # Errors
    /// A partition has come to a stop.
    pub async fn goes_on(&mut self) -> Outcome {
        let partitions = self.partitions;
        let before = self.crew.progress(partitions);
        self.crew
            .until("every partition goes on", |crew| {
                crew.progress(partitions).iter().zip(&before).all(|(now, before)| *now > before + 20)
            })
            .await
    }

    /// Nobody hears of a rebalance for so long.
    ///
    /// # Errors
    /// Somebody does.
    pub async fn calm(&mut self, time: Duration) -> Outcome {
        let told = self.crew.told_in_all();
        self.crew.watch(time).await?;
        match self.crew.told_in_all() - told {
            0 => Ok(()),
            times => {
                Err(format!("members were told {times} times what they own, and nothing had happened").into())
            }
        }
    }

    /// Every record was handled and committed, none was lost, none came again after its commit or without a cause.
    ///
    /// # Errors
    /// It is not so.
    pub async fn judge(mut self) -> Outcome {
        if let Some(load) = self.load.take() {
            let count = load.finish().await?;
            self.crew.finish(self.partitions, count as i64).await?;
        }
        self.crew.dismiss().await?;
        let ledger = self.crew.audit()?;
        match &ledger.overlaps[..] {
            [] => Ok(()),
            overlaps => Err(format!("two owners at once: {overlaps:?}").into()),
        }
    }
}

/// Short, so that what is noticed only when metadata is asked for is noticed soon.
pub const METADATA_MAX_AGE: Duration = Duration::from_secs(2);

/// Small numbers that look like chance and are the same in each run.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A row of numbers.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// From 0 to `end` - 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}
