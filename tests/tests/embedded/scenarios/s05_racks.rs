//! S05: replicas get other racks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kavka::GroupProtocol;
use kavka_testbroker::{Cluster, RequestView};
use kavka_tests::Outcome;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_wire::ApiKey;
use kavka_wire::messages::ConsumerGroupHeartbeatRequest;

use super::{Scene, TOPIC, play};

/// How often members joined within ten seconds after a broker got another rack.
async fn joins_after_a_change_of_racks(member_rack: Option<&str>) -> Outcome<u64> {
    let builder = Cluster::builder().topic(TOPIC, 6).racks(["a", "b", "c"]).replication(1);
    let scene = Scene::of(GroupProtocol::Classic, builder).await?;
    let join = async || {
        let builder = scene.member().subscribe([TOPIC]);
        let builder = if let Some(rack) = member_rack { builder.rack(rack) } else { builder };
        Watched::start(builder).await
    };
    let (first, second) = (join().await?, join().await?);
    first.until("it has a share", |member| member.owned().len() == 3).await?;
    second.until("it has a share", |member| member.owned().len() == 3).await?;
    let before = scene.cluster().requests(ApiKey::JOIN_GROUP).await;
    assert!(scene.cluster().set_rack(2, Some("d")).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let joins = scene.cluster().requests(ApiKey::JOIN_GROUP).await - before;
    assert_eq!(&first.owned() | &second.owned(), all_of(TOPIC, 6));
    first.close().await?;
    second.close().await?;
    Ok(joins)
}

#[test]
fn members_with_racks_share_anew_and_members_without_do_not() {
    play(async {
        assert_eq!(joins_after_a_change_of_racks(Some("a")).await?, 2);
        assert_eq!(joins_after_a_change_of_racks(None).await?, 0);
        Ok(())
    });
}

/// The coordinator assigns: what a member does is to say where it is, once, and to stay where it is when a broker moves.
#[test]
fn a_member_of_the_consumer_protocol_tells_its_rack_once_and_a_change_of_racks_takes_nothing_from_it() {
    play(async {
        let builder = Cluster::builder().topic(TOPIC, 6).racks(["a", "b", "c"]).replication(1);
        let scene = Scene::of(GroupProtocol::Consumer, builder).await?;
        let told = Arc::<Mutex<Vec<(i32, Option<String>)>>>::default();
        let notes = told.clone();
        let note = move |request: &RequestView<'_>| {
            let beat = request.decode::<ConsumerGroupHeartbeatRequest>().unwrap_or_default();
            let rack = beat.rack_id.map(|rack| rack.to_string());
            notes.lock().unwrap().push((beat.member_epoch, rack));
            false
        };
        scene.cluster().on(ApiKey::CONSUMER_GROUP_HEARTBEAT).when(note).drop_request();
        let member = Watched::start(scene.member().subscribe([TOPIC]).rack("b")).await?;
        member.owns(&all_of(TOPIC, 6)).await?;
        assert!(scene.cluster().set_rack(2, Some("d")).await);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(member.count(|step| matches!(step, Step::Assigned(_))), 1, "{}", member.story());
        assert_eq!(member.owned(), all_of(TOPIC, 6));
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        let told = told.lock().unwrap().clone();
        let (joins, others): (Vec<_>, Vec<_>) = told.into_iter().partition(|(epoch, _)| *epoch == 0);
        assert_eq!(joins, [(0, Some("b".to_string()))]);
        assert!(others.len() > 10 && others.iter().all(|(_, rack)| rack.is_none()), "{others:?}");
        member.close().await
    });
}
