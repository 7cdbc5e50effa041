//! What the client may not do, decided by the cluster in the process.

use kavka::GroupProtocol;
use kavka_tests::denied::{self, Denied, Gate};
use kavka_tests::{Outcome, Target};
use kavka_wire::ApiKey;

/// The cluster refuses all its clients alike; what the bodies do as the owner in the meantime is none of it.
pub(crate) struct Faults<'a>(pub(crate) &'a Target);

impl Gate for Faults<'_> {
    fn guest(&self) -> &Target {
        self.0
    }

    fn owner(&self) -> &Target {
        self.0
    }

    async fn deny(&self, denied: Denied<'_>) -> Outcome {
        let cluster = self.0.cluster().unwrap();
        match denied {
            Denied::Create(_) => cluster.deny(ApiKey::CREATE_TOPICS),
            Denied::Write(topic) | Denied::Read(topic) | Denied::Topic(topic) => cluster.deny_topic(topic),
            Denied::Group(group) => cluster.deny_group(group),
        }
        Ok(())
    }

    async fn allow_all(&self) -> Outcome {
        self.0.cluster().unwrap().allow_all();
        Ok(())
    }
}

fn play(body: impl AsyncFnOnce(&Faults<'_>) -> Outcome) {
    super::paused(async { body(&Faults(&Target::memory().await.unwrap())).await.unwrap() });
}

#[test]
fn no_permission_to_create_topics() {
    play(async |gate| denied::creating_a_topic(gate).await);
}

#[test]
fn no_permission_to_write_one_topic_does_not_stop_another() {
    play(async |gate| denied::writing_one_of_two_topics(gate).await);
}

#[test]
fn no_permission_to_read_one_topic_does_not_stop_another() {
    play(async |gate| denied::reading_one_of_two_topics(gate).await);
}

#[test]
fn no_permission_to_use_a_group_classic() {
    play(async |gate| denied::using_a_group(gate, GroupProtocol::Classic).await);
}

#[test]
fn no_permission_to_use_a_group_consumer() {
    play(async |gate| denied::using_a_group(gate, GroupProtocol::Consumer).await);
}
