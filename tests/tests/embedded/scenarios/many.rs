//! S28: many at once.

use std::collections::BTreeSet;

use kavka::GroupProtocol;
use kavka_tests::Outcome;

use super::{GROUP, Scene, TOPIC, play};

#[test]
fn five_hundred_members_have_five_hundred_ids() {
    play(async {
        let scene = Scene::new(GroupProtocol::Consumer, 1).await?;
        let mut consumers = Vec::new();
        for _ in 0..500 {
            consumers.push(scene.member().subscribe([TOPIC]).start().await?);
        }
        let members = async || {
            let group = scene.cluster().group(GROUP).await;
            group.map_or_else(Vec::new, |group| group.members)
        };
        kavka_tests::until("all are members", async || members().await.len() == 500).await?;
        let ids: BTreeSet<String> = members().await.into_iter().map(|member| member.member_id).collect();
        assert_eq!(ids.len(), 500);
        // Each is a UUID that the client made, in the coordinator's own notation.
        assert!(ids.iter().all(|id| id.len() == 22), "{ids:?}");
        Outcome::Ok(())
    });
}
