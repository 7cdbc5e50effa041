//! When a member of the consumer protocol gives up and takes: how long it has, and in which order.

use std::sync::Arc;

use kavka_group::{Event, Input, TopicInfo, TopicMap};
use kavka_wire::Uuid;
use kavka_wire::messages::consumer_group_heartbeat::{Assignment, ResponseTopicPartitions};

use crate::consumer::{id, member, ok, target};
use crate::rig::*;

#[test]
fn the_time_for_a_revocation_counts_from_the_heartbeat_that_brought_it() {
    let mut rig = member(&[0], |config| config.rebalance_timeout = ms(20_000));
    rig.pass(ms(5_000));
    let call = rig.expect("ConsumerGroupHeartbeat");
    let sent = rig.now;
    rig.pass(ms(3_000));
    rig.reply(&call, ok(2, target(&[])));
    let Some(Event::Revoke { deadline, .. }) = rig.events().pop() else { panic!() };
    assert_eq!(deadline, sent + ms(20_000), "the coordinator's clock may have run since then");
}

#[test]
fn nothing_of_a_topic_that_was_created_anew_is_taken_before_the_old_one_is_given_up() {
    let mut rig = member(&[0], |_| {});
    let anew = Uuid([9; 16]);
    let of = |topic_id, partitions: &[i32]| ResponseTopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let mut map = TopicMap::new();
    map.insert("t", TopicInfo { id: Some(anew), partitions: 10, racks: Vec::new() });
    rig.feed(Input::Metadata(Arc::new(map)));
    let both = Assignment { topic_partitions: vec![of(id("t"), &[0]), of(anew, &[1])], ..Default::default() };
    rig.beat(ok(2, Some(both)));
    assert_eq!(rig.assigned().unwrap().1, parts("t", &[0]));
    let new = Assignment { topic_partitions: vec![of(anew, &[0, 1])], ..Default::default() };
    rig.beat(ok(3, None));
    rig.beat(ok(3, Some(new)));
    let (epoch, partitions) = rig.revocation();
    assert_eq!(partitions, parts("t", &[0]));
    rig.feed(Input::Released { epoch });
    rig.beat(ok(3, None));
    assert_eq!(rig.assigned().unwrap().0, parts("t", &[0, 1]));
}
