//! What a member can ask about itself, and of its group.

use kavka::{ErrorKind, GroupProtocol, Start};
use kavka_tests::Outcome;
use kavka_tests::watched::{Step, all_of};

use super::{GROUP, Scene, TOPIC, by_both, play};

by_both!(a_member_knows_who_it_is);

async fn a_member_knows_who_it_is(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 2).await?;
    let member = scene.join().await?;
    member.owns(&all_of(TOPIC, 2)).await?;
    let known = async || {
        let group = scene.cluster().group(GROUP).await.ok_or("no group")?;
        let ids = group.members.iter().map(|member| (member.member_id.clone(), member.epoch));
        Outcome::Ok(ids.collect::<Vec<_>>())
    };
    let metadata = member.handle.group_metadata().await?;
    assert_eq!(known().await?, [(metadata.member_id.to_string(), metadata.generation)]);
    assert_eq!((&*metadata.group_id, metadata.instance_id), (GROUP, None));
    member.handle.unsubscribe().await?;
    kavka_tests::until("it has left", async || known().await.is_ok_and(|ids| ids.is_empty())).await?;
    let metadata = member.handle.group_metadata().await?;
    assert_eq!((&*metadata.member_id, metadata.generation), ("", -1));
    // Again and again, also before the one before is done with.
    for _ in 0..5 {
        member.handle.subscribe([TOPIC]).await?;
        member.handle.unsubscribe().await?;
        member.handle.subscribe([TOPIC]).await?;
    }
    member.owns(&all_of(TOPIC, 2)).await?;
    kavka_tests::until("it is the only one", async || known().await.is_ok_and(|ids| ids.len() == 1)).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

/// Java's `enforceRebalance`.
#[test]
fn a_rebalance_comes_when_it_is_asked_for() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 2).await?;
        let member = scene.join().await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        let before = member.handle.group_metadata().await?.generation;
        member.handle.enforce_rebalance("weights have changed").await?;
        let again = |step: &Step| matches!(step, Step::Assigned(_));
        member.until("it is assigned again", |member| member.count(again) == 2).await?;
        assert_eq!(member.handle.group_metadata().await?.generation, before + 1);
        member.close().await
    });
}

#[test]
fn a_consumer_with_partitions_by_hand_is_no_member() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 1).await?;
        let alone = scene.client.consumer().assign([(TOPIC, 0, Start::End)]).start().await?;
        assert_eq!(alone.handle().group_metadata().await.unwrap_err().kind(), ErrorKind::Configuration);
        let clerk = scene.client.consumer().group(GROUP).assign([(TOPIC, 0, Start::End)]).start().await?;
        assert_eq!(clerk.handle().group_metadata().await?.generation, -1);
        for error in [
            clerk.subscribe([TOPIC]).await,
            clerk.handle().subscribe_pattern(["o.*"]).await,
            clerk.handle().unsubscribe().await,
            clerk.handle().enforce_rebalance("why not").await,
        ] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);
        }
        clerk.close().await?;
        alone.close().await?;
        Ok(())
    });
}
