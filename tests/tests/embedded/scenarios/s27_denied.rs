//! S27: one of the topics may not be read.

use std::time::Duration;

use kavka::{ErrorCode, ErrorKind, GroupProtocol};
use kavka_testbroker::Cluster;
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Watched, all_of};

use super::{Scene, by_both};

by_both!(a_topic_that_may_not_be_read_is_told_and_read_once_it_may);

async fn a_topic_that_may_not_be_read_is_told_and_read_once_it_may(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::of(protocol, Cluster::builder().topic("open", 1).topic("closed", 1)).await?;
    scene.cluster().deny_topic("closed");
    let member = Watched::start(scene.member().subscribe(["open", "closed"])).await?;
    let told = |member: &Watched| {
        let denied = |error: &kavka::Error| {
            error.kind() == ErrorKind::Authorization
                && error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)
        };
        member.errors().iter().any(denied)
    };
    member.until("it is told", told).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let errors = member.errors().len();
    assert!(errors < 20, "{errors} errors");
    scene.cluster().allow_all();
    member.owns(&(&all_of("open", 1) | &all_of("closed", 1))).await?;
    produce_numbers(&scene.client, "closed", 1, 0, 10).await?;
    let read = |member: &Watched| all_of("closed", 1).iter().all(|p| member.position(p) == Some(10));
    member.until("it is read", read).await?;
    member.close().await
}
