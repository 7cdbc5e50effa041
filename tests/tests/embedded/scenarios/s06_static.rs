//! S06: static members.

use std::time::Duration;

use kavka::{ErrorKind, GroupProtocol};
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};

use super::{Scene, TOPIC, by_both};

by_both!(a_restart_is_seen_by_nobody_else, one_that_takes_no_records_is_missed);

async fn join(scene: &Scene, name: &str) -> Outcome<Watched> {
    let builder = scene.member().subscribe([TOPIC]).instance_id(name);
    let builder = builder.max_processing_time(Duration::from_secs(9));
    // The broker's session timeout of the consumer protocol stays what it is.
    let classic = scene.protocol == GroupProtocol::Classic;
    Ok(Watched::start(if classic { builder.session_timeout(Duration::from_secs(6)) } else { builder })
        .await?)
}

async fn pair(scene: &Scene) -> Outcome<(Watched, Watched)> {
    let (one, two) = (join(scene, "one").await?, join(scene, "two").await?);
    one.until("it has a share", |member| member.owned().len() == 2).await?;
    two.until("it has a share", |member| member.owned().len() == 2).await?;
    Ok((one, two))
}

async fn a_restart_is_seen_by_nobody_else(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 4).await?;
    let (one, two) = pair(&scene).await?;
    produce_numbers(&scene.client, TOPIC, 4, 0, 50).await?;
    let has_read = |end: i64| {
        move |member: &Watched| member.owned().iter().all(|partition| member.position(partition) == Some(end))
    };
    one.until("its share is read", has_read(50)).await?;
    two.until("its share is read", has_read(50)).await?;
    let (share, steps) = (two.owned(), one.count(|step| !matches!(step, Step::Records(..))));
    two.close().await?;
    let two = join(&scene, "two").await?;
    two.owns(&share).await?;
    produce_numbers(&scene.client, TOPIC, 4, 50, 60).await?;
    one.until("its share is read", has_read(60)).await?;
    two.until("its share is read", has_read(60)).await?;
    assert_eq!(two.count(|step| matches!(step, Step::Records(_, 0, _))), 0, "{}", two.story());
    assert_eq!(one.count(|step| !matches!(step, Step::Records(..))), steps, "{}", one.story());
    one.close().await?;
    two.close().await
}

async fn one_that_takes_no_records_is_missed(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 4).await?;
    let (one, two) = pair(&scene).await?;
    two.stall(true);
    produce_numbers(&scene.client, TOPIC, 4, 0, 10).await?;
    two.until("it holds records", |member| member.count(|step| matches!(step, Step::Records(..))) > 0)
        .await?;
    produce_numbers(&scene.client, TOPIC, 4, 10, 20).await?;
    // Only its session ends: others get its share when that is over.
    one.owns(&all_of(TOPIC, 4)).await?;
    two.stall(false);
    two.until("it is told", |member| member.errors().len() == 1).await?;
    assert_eq!(two.errors()[0].kind(), ErrorKind::Fenced);
    two.until("it has a share again", |member| member.owned().len() == 2).await?;
    produce_numbers(&scene.client, TOPIC, 4, 20, 30).await?;
    let read = |member: &Watched| member.owned().iter().all(|p| member.position(p) == Some(30));
    one.until("its share is read", read).await?;
    two.until("its share is read", read).await?;
    one.close().await?;
    two.close().await
}
