//! S05: replicas get other racks.

use std::time::Duration;

use kavka::GroupProtocol;
use kavka_testbroker::Cluster;
use kavka_tests::Outcome;
use kavka_tests::watched::{Watched, all_of};
use kavka_wire::ApiKey;

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
