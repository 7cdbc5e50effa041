//! The coordinator dies or freezes, again and again.

use std::time::Duration;

use kavka_tests::acts::{Stage, coordinator, length};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target};

use super::alone;
use super::nodes::{self, Hurt};

const KINDS: [Kind; 3] = [Kind::Kavka; 3];

fn faults(name: &str, protocol: Protocol) {
    alone(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "coordinator", 12, &KINDS).await? else { return Ok(()) };
        if !nodes::can_be_hurt(&stage.client).await {
            return Ok(());
        }
        nodes::in_sync(&stage.client).await?;
        let client = stage.client.clone();
        let fault = async |group: &str, round: usize| {
            let node = nodes::coordinator(target, group).await?;
            if round.is_multiple_of(2) {
                return Hurt::kill(node).await?.mend(&client).await;
            }
            let frozen = Hurt::freeze(node).await?;
            tokio::time::sleep(Duration::from_secs(10)).await;
            frozen.mend(&client).await
        };
        let stable = coordinator::coordinator_is_lost(&mut stage, &KINDS, protocol, length(), fault).await?;
        eprintln!("{name}: stable {stable:?} after the last fault");
        stage.judge().await
    });
}

#[test]
fn the_coordinator_is_lost_again_and_again() {
    faults("the_coordinator_is_lost_again_and_again", Protocol::Classic(&[Strategy::Range]));
}

#[test]
fn the_coordinator_of_the_consumer_protocol_is_lost_again_and_again() {
    faults("the_coordinator_of_the_consumer_protocol_is_lost_again_and_again", Protocol::Consumer);
}
