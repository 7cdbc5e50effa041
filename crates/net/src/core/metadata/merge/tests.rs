use super::*;

fn broker(node_id: i32, host: &str) -> MetadataResponseBroker {
    MetadataResponseBroker { node_id, host: host.into(), port: 9092, ..Default::default() }
}

fn partition(partition_index: i32, leader_id: i32, leader_epoch: i32) -> MetadataResponsePartition {
    let replica_nodes = vec![1, 2];
    MetadataResponsePartition {
        partition_index,
        leader_id,
        leader_epoch,
        replica_nodes,
        ..Default::default()
    }
}

fn topic(id: u8, partitions: Vec<MetadataResponsePartition>) -> MetadataResponseTopic {
    let topic_id = Uuid([id; 16]);
    MetadataResponseTopic { name: Some("t".into()), topic_id, partitions, ..Default::default() }
}

fn answer(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    let brokers = vec![broker(1, "a"), broker(2, "b")];
    MetadataResponse { brokers, cluster_id: Some("c".into()), controller_id: 1, topics, ..Default::default() }
}

fn after(answers: impl IntoIterator<Item = MetadataResponse>) -> Cluster {
    let mut cluster = Cluster::default();
    for answer in answers {
        apply(&mut cluster, &answer).unwrap();
    }
    cluster
}

fn leaders(cluster: &Cluster) -> Vec<(Option<i32>, Option<i32>)> {
    cluster.topic("t").unwrap().partitions.iter().map(|p| (p.leader, p.leader_epoch)).collect()
}

/// Two answers about one partition of topic `t`, as (topic id, leader, epoch), and what is known afterwards.
#[test]
fn newer_leader_epochs_win() {
    for (first, second, expected) in [
        ((1, 1, 5), (1, 2, 6), (Some(2), Some(6))),
        ((1, 1, 5), (1, 2, 5), (Some(2), Some(5))),
        ((1, 1, 5), (1, 2, 4), (Some(1), Some(5))),
        ((1, 1, 5), (1, -1, 6), (None, Some(6))),
        ((1, 1, 5), (1, -1, -1), (None, None)),
        ((1, 1, 5), (1, 1, -1), (Some(1), Some(5))),
        ((1, 1, 5), (2, 2, 0), (Some(2), Some(0))),
        ((0, 1, 5), (2, 2, 0), (Some(1), Some(5))),
        ((1, 1, -1), (1, 2, -1), (Some(2), None)),
        ((1, 1, -7), (1, 1, 0), (Some(1), Some(0))),
    ] {
        let told = |(id, leader, epoch)| answer(vec![topic(id, vec![partition(0, leader, epoch)])]);
        let cluster = after([told(first), told(second)]);
        assert_eq!(leaders(&cluster), [expected], "{first:?} {second:?}");
    }
}

#[test]
fn a_topic_created_again_is_found_by_its_new_id_only() {
    let cluster = after([answer(vec![topic(1, vec![])]), answer(vec![topic(2, vec![])])]);
    assert!(cluster.topic_by_id(Uuid([1; 16])).is_none());
    assert_eq!(&**cluster.topic_by_id(Uuid([2; 16])).unwrap().0, "t");
}

#[test]
fn errors_never_delete_what_is_known() {
    let failed =
        MetadataResponseTopic { error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ..topic(0, vec![]) };
    let cluster = after([answer(vec![topic(1, vec![partition(0, 1, 5)])]), answer(vec![failed])]);
    assert_eq!(leaders(&cluster), [(Some(1), Some(5))]);
    let known = cluster.topic("t").unwrap();
    assert_eq!((known.error, known.id), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Uuid([1; 16])));
}

#[test]
fn an_answer_touches_only_the_topics_it_names_and_replaces_the_brokers() {
    let mut second = answer(vec![]);
    second.brokers = vec![broker(3, "x")];
    let cluster = after([answer(vec![topic(1, vec![partition(0, 1, 5)])]), second]);
    assert_eq!(leaders(&cluster), [(Some(1), Some(5))]);
    assert_eq!(cluster.brokers.keys().copied().collect::<Vec<_>>(), [3]);
    assert!(cluster.leader("t", 0).is_none(), "a leader that is not a live broker cannot be asked");
}

#[test]
fn a_broker_that_knows_fewer_partitions_is_behind() {
    let two = answer(vec![topic(1, vec![partition(0, 1, 5), partition(1, 2, 5)])]);
    let one = answer(vec![topic(1, vec![partition(0, 2, 6)])]);
    assert_eq!(leaders(&after([two.clone(), one])), [(Some(2), Some(6)), (Some(2), Some(5))]);
    let recreated = answer(vec![topic(2, vec![partition(0, 2, 0)])]);
    assert_eq!(leaders(&after([two, recreated])), [(Some(2), Some(0))]);
}

#[test]
fn another_cluster_takes_nothing_over_from_the_old_one() {
    let mut other = answer(vec![]);
    other.cluster_id = Some("d".into());
    let cluster = after([answer(vec![topic(1, vec![partition(0, 1, 5)])]), other]);
    assert!(cluster.topics.is_empty() && cluster.topic_by_id(Uuid([1; 16])).is_none());
    assert_eq!(cluster.cluster_id.as_deref(), Some("d"));
}

#[test]
fn malformed_answers_change_nothing() {
    let mut cluster = after([answer(vec![topic(1, vec![partition(0, 1, 5)])])]);
    let before = cluster.clone();
    let with_brokers = |brokers| MetadataResponse { brokers, ..answer(vec![]) };
    for wrong in [
        with_brokers(vec![]),
        with_brokers(vec![broker(-1, "a")]),
        with_brokers(vec![broker(1, "")]),
        with_brokers(vec![MetadataResponseBroker { port: 70_000, ..broker(1, "a") }]),
        answer(vec![topic(1, vec![partition(i32::MAX, 1, 9)])]),
        answer(vec![topic(1, vec![partition(-1, 1, 9)])]),
    ] {
        assert!(apply(&mut cluster, &wrong).is_err(), "{wrong:?}");
        assert_eq!(cluster, before);
    }
}

#[test]
fn partitions_may_come_in_any_order_twice_and_with_a_gap() {
    let odd = answer(vec![topic(1, vec![partition(2, 1, 5), partition(0, 1, 5), partition(0, 2, 5)])]);
    let cluster = after([odd]);
    assert_eq!(leaders(&cluster), [(Some(2), Some(5)), (None, None), (Some(1), Some(5))]);
}

#[test]
fn a_hint_adds_or_replaces_and_only_if_it_is_newer() {
    let mut cluster = after([answer(vec![topic(1, vec![partition(0, 1, 5)])])]);
    let at = |id, host: &str| [Endpoint { id, host: host.into(), port: 9093 }];
    for (leader, epoch) in [(2, 5), (2, 4), (-1, 6), (2, -1)] {
        assert!(!hint(&mut cluster, "t", 0, leader, epoch, &[]), "{leader} {epoch}");
    }
    assert!(!hint(&mut cluster, "t", 0, 9, 6, &[]), "nobody knows where broker 9 is");
    assert!(!hint(&mut cluster, "t", 1, 2, 6, &[]) && !hint(&mut cluster, "u", 0, 2, 6, &[]));
    assert!(!hint(&mut cluster, "t", -1, 2, 6, &[]));
    assert_eq!(leaders(&cluster), [(Some(1), Some(5))]);
    assert!(hint(&mut cluster, "t", 0, 9, 6, &at(9, "x")));
    assert_eq!(cluster.leader("t", 0).map(|(b, e)| (&*b.host, b.port, e)), Some(("x", 9093, Some(6))));
    assert_eq!(cluster.brokers.len(), 3, "the other brokers are still there");
    assert_eq!(cluster.partition("t", 0).unwrap().replicas, [1, 2]);
}

/// Counts what a sorted vector would hide: how long a hundred thousand entries in the worst order take.
#[test]
fn many_brokers_and_topics_in_descending_order_cost_little() {
    let many = 100_000;
    let mut told = answer(vec![]);
    told.brokers = (0..many).rev().map(|id| broker(id, "b")).collect();
    told.brokers.push(broker(7, "last"));
    told.topics = (0..many as u32)
        .rev()
        .map(|n| {
            let mut id = [1; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let name = Some(format!("{n:06}").as_str().into());
            MetadataResponseTopic { name, topic_id: Uuid(id), ..Default::default() }
        })
        .collect();
    let started = crate::shell::clock::now();
    let cluster = after([told.clone(), told]);
    let took = crate::shell::clock::now() - started;
    // One by one it takes more than ten times as long.
    assert!(took < std::time::Duration::from_secs(4), "{took:?}");
    assert_eq!((cluster.brokers.len(), cluster.topics.len()), (many as usize, many as usize));
    assert_eq!(&*cluster.brokers[&7].host, "last", "of two brokers with one id the last one counts");
    let (id, topic) = cluster.topics.iter().nth(5).unwrap();
    assert_eq!(cluster.topic_by_id(topic.id).unwrap().0, id);
}
