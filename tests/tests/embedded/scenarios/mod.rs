//! What people have met with other clients, replayed here under a paused clock. The numbers are those of a list of such
//! scenarios; those that need no torment run everywhere: see `suite::scenarios`.

mod many;
mod membership;
mod recreated;
mod s04_patterns;
mod s05_racks;
mod s09_fenced;
mod s14_coordinator;
mod s17_shares;
mod s18_refused;
mod s20_rejoin;
mod s27_denied;
mod stalled;

use std::time::Duration;

use kavka::{Client, ConsumerBuilder, GroupProtocol, OffsetReset};
use kavka_testbroker::{Builder, Cluster};
use kavka_tests::watched::Watched;
use kavka_tests::{Outcome, Target};

const TOPIC: &str = "orders";
const GROUP: &str = "g";

/// A cluster in memory and a client that looks at its metadata every three seconds.
struct Scene {
    target: Target,
    client: Client,
    protocol: GroupProtocol,
}

impl Scene {
    async fn new(protocol: GroupProtocol, partitions: i32) -> Outcome<Scene> {
        Scene::of(protocol, Cluster::builder().topic(TOPIC, partitions)).await
    }

    async fn of(protocol: GroupProtocol, builder: Builder) -> Outcome<Scene> {
        let target = Target::embedded(builder.in_memory(), true).await?;
        let builder = target.builder().metadata_max_age(Duration::from_secs(3));
        let client = builder.request_timeout(Duration::from_secs(10)).connect().await?;
        Ok(Scene { target, client, protocol })
    }

    fn cluster(&self) -> &Cluster {
        self.target.cluster().unwrap()
    }

    /// A member without a subscription.
    fn member(&self) -> ConsumerBuilder {
        let builder = self.client.consumer().group(GROUP).group_protocol(self.protocol);
        builder.auto_offset_reset(OffsetReset::Earliest).missing_topic_timeout(None)
    }

    /// A member of the group of [`TOPIC`].
    async fn join(&self) -> Outcome<Watched> {
        Ok(Watched::start(self.member().subscribe([TOPIC])).await?)
    }
}

/// Runs a scenario.
fn play(body: impl Future<Output = Outcome>) {
    super::paused(async { body.await.unwrap() });
}

/// Makes two tests of a scenario: one with each protocol.
macro_rules! by_both {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[test]
            fn classic() {
                super::super::play(super::$name(kavka::GroupProtocol::Classic));
            }

            #[test]
            fn consumer() {
                super::super::play(super::$name(kavka::GroupProtocol::Consumer));
            }
        })*
    };
}
use by_both;
