//! S27: one of the topics may not be read.

use std::time::Duration;

use kavka::GroupProtocol;
use kavka_testbroker::Cluster;
use kavka_tests::{Outcome, denied};

use super::super::denied::Faults;
use super::{Scene, by_both};

by_both!(a_topic_that_may_not_be_read_is_told_and_read_once_it_may);

async fn a_topic_that_may_not_be_read_is_told_and_read_once_it_may(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::of(protocol, Cluster::builder()).await?;
    let gate = Faults(&scene.target);
    denied::subscribing_to_one_topic_too_many(&gate, &scene.client, protocol, Duration::from_secs(20)).await
}
