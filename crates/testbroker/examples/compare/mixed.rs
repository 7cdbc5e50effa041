//! Questions to groups with members of both protocols.

use bytes::{BufMut, Bytes, BytesMut};
use kavka_wire::ErrorCode;
use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;
use kavka_wire::messages::*;

use crate::Interview;
use crate::consumer::{await_coordinator, beat, describe, join as consumer_join, owning};

/// A subscription of version 1 to topic k1, with what is owned of it.
fn subscription(owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"\0\x01\0\0\0\x01\0\x02k1\xff\xff\xff\xff");
    put_owned(&mut out, owned);
    out.freeze()
}

fn assignment(owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"\0\x01");
    put_owned(&mut out, owned);
    out.put_slice(b"\xff\xff\xff\xff");
    out.freeze()
}

fn put_owned(out: &mut BytesMut, owned: &[i32]) {
    out.put_i32(i32::from(!owned.is_empty()));
    if !owned.is_empty() {
        out.put_slice(b"\0\x02k1");
        out.put_i32(owned.len() as i32);
        owned.iter().for_each(|partition| out.put_i32(*partition));
    }
}

fn join(group: &str, member: &str, owned: &[i32]) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol {
        name: name.into(),
        metadata: subscription(owned),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("cooperative-sticky"), protocol("range")],
        ..Default::default()
    }
}

fn sync(group: &str, member: &str, generation: i32, assigned: &[(&str, &[i32])]) -> SyncGroupRequest {
    let assign = |(member, owned): &(&str, &[i32])| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: assignment(owned),
        ..Default::default()
    };
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("cooperative-sticky".into()),
        assignments: assigned.iter().map(assign).collect(),
        ..Default::default()
    }
}

impl Interview {
    fn say(&mut self, name: &str, answer: impl std::fmt::Debug) {
        self.answers.push((format!("mixed: {name}"), format!("{answer:?}")));
    }

    async fn joins(&mut self, name: &str, request: &JoinGroupRequest) -> (String, i32) {
        let answer = self.client.call(request, 9).await;
        let leads = answer.leader == answer.member_id;
        let shown =
            (answer.error_code, answer.generation_id, &answer.protocol_name, leads, answer.members.len());
        self.answers.push((format!("mixed: {name}"), format!("{shown:?} {:?}", answer.protocol_type)));
        (answer.member_id.to_string(), answer.generation_id)
    }

    async fn syncs(&mut self, name: &str, request: &SyncGroupRequest) {
        let answer = self.client.call(request, 5).await;
        let shown = (answer.error_code, &answer.protocol_name, &answer.assignment);
        self.answers.push((format!("mixed: {name}"), format!("{shown:?}")));
    }

    async fn beats(&mut self, name: &str, group: &str, member: &str, generation_id: i32) {
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation_id,
            member_id: member.into(),
            ..Default::default()
        };
        let error: ErrorCode = self.client.call(&request, 4).await.error_code;
        self.say(name, error);
    }

    async fn commits(&mut self, name: &str, group: &str, member: &str, generation: i32) {
        let commit = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: generation,
            member_id: member.into(),
            topics: vec![offset_commit::OffsetCommitRequestTopic {
                name: "k1".into(),
                partitions: vec![offset_commit::OffsetCommitRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.client.call(&commit, 8).await.topics[0].partitions[0].error_code;
        self.say(name, answer);
    }

    async fn leaves(&mut self, name: &str, group: &str, member: &str, instance: Option<&str>) {
        let members = vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        }];
        let request = LeaveGroupRequest { group_id: group.into(), members, ..Default::default() };
        let answer = self.client.call(&request, 5).await;
        self.say(name, (answer.error_code, answer.members.first().map(|member| member.error_code)));
    }

    /// State, epoch and members of a group, whatever its protocol.
    async fn shows(&mut self, name: &str, group: &str) {
        let ids = vec![group.into()];
        let request = ConsumerGroupDescribeRequest { group_ids: ids.clone(), ..Default::default() };
        let mut answer = self.client.call(&request, 1).await.groups.remove(0);
        let mut members: Vec<_> = answer
            .members
            .drain(..)
            .map(|m| {
                let count = |a: &consumer_group_describe::Assignment| {
                    a.topic_partitions.iter().map(|t| t.partitions.len()).sum::<usize>()
                };
                let (has, target) = (count(&m.assignment), count(&m.target_assignment));
                (m.member_type, m.member_epoch, has, target)
            })
            .collect();
        members.sort_unstable();
        let shown =
            (answer.error_code, answer.group_state, answer.group_epoch, answer.assignment_epoch, members);
        self.say(name, shown);
        let request = DescribeGroupsRequest { groups: ids, ..Default::default() };
        let answer = self.client.call(&request, 6).await.groups.remove(0);
        let mut members: Vec<_> = answer.members.iter().map(|m| &m.member_assignment).collect();
        members.sort();
        let shown = (answer.error_code, &answer.group_state, &answer.protocol_data, members);
        self.answers.push((format!("mixed: {name}, as a classic group"), format!("{shown:?}")));
    }
}

pub(crate) async fn ask_all(i: &mut Interview) {
    for group in ["mu", "mj", "ms", "mc", "mr"] {
        await_coordinator(i, group).await;
    }
    let k1 = i.client.call(&MetadataRequest { topics: None, ..Default::default() }, 12).await.topics;
    let k1 =
        k1.iter().find(|topic| topic.name.as_deref() == Some("k1")).map(|t| t.topic_id).unwrap_or_default();
    upgrade_and_downgrade(i, k1).await;
    classic_joins(i, k1).await;
    statics(i).await;
    refusals(i).await;
}

async fn upgrade_and_downgrade(i: &mut Interview, k1: kavka_wire::Uuid) {
    let (a, _) = i.joins("id", &join("mu", "", &[])).await;
    let (_, generation) = i.joins("classic", &join("mu", &a, &[])).await;
    i.syncs("classic", &sync("mu", &a, generation, &[(&a, &[0, 1, 2, 3])])).await;
    i.ask("mixed: consumer heartbeat to a classic group", &beat("mu", "b", 1), 1).await;
    i.ask("mixed: consumer leaves a classic group", &beat("mu", "b", -1), 1).await;
    i.ask("mixed: upgrade", &consumer_join("mu", "b"), 1).await;
    describe(i, "zz", "none").await;
    i.shows("upgraded", "mu").await;
    i.beats("classic heartbeat", "mu", &a, generation).await;
    i.beats("consumer member by classic heartbeat", "mu", "b", 3).await;
    i.commits("classic commit", "mu", &a, generation).await;
    i.syncs("sync instead of join", &sync("mu", &a, generation, &[])).await;
    let (_, next) = i.joins("classic has all", &join("mu", &a, &[0, 1, 2, 3])).await;
    i.shows("revoking", "mu").await;
    i.syncs("sync of what is left", &sync("mu", &a, next, &[])).await;
    i.beats("heartbeat while revoking", "mu", &a, next).await;
    i.ask("mixed: consumer waits", &beat("mu", "b", 2), 1).await;
    let (_, next) = i.joins("classic has let go", &join("mu", &a, &[0, 1])).await;
    i.syncs("sync", &sync("mu", &a, next, &[])).await;
    i.syncs("sync again", &sync("mu", &a, next, &[])).await;
    i.syncs("sync in an old generation", &sync("mu", &a, next - 1, &[])).await;
    i.syncs("sync as consumer", &sync("mu", "b", next, &[])).await;
    i.beats("stable heartbeat", "mu", &a, next).await;
    i.beats("old heartbeat", "mu", &a, next - 1).await;
    i.beats("unknown heartbeat", "mu", "x", next).await;
    i.commits("commit", "mu", &a, next).await;
    i.commits("old commit", "mu", &a, next - 1).await;
    i.commits("new commit", "mu", &a, next + 1).await;
    i.ask("mixed: consumer gets", &beat("mu", "b", 2), 1).await;
    i.ask("mixed: consumer has", &owning("mu", "b", 2, &[(k1, &[2, 3])]), 1).await;
    i.shows("both", "mu").await;
    i.ask("mixed: consumer leaves", &beat("mu", "b", -1), 1).await;
    i.shows("downgraded", "mu").await;
    i.beats("heartbeat to the classic group", "mu", &a, next).await;
    i.beats("heartbeat in the group's generation", "mu", &a, next + 1).await;
    let (_, next) = i.joins("classic again", &join("mu", &a, &[0, 1])).await;
    i.syncs("classic again", &sync("mu", &a, next, &[(&a, &[0, 1, 2, 3])])).await;
    i.leaves("classic leaves", "mu", &a, None).await;
    i.shows("empty", "mu").await;
    i.ask("mixed: consumer joins an empty classic group", &consumer_join("mu", "b"), 1).await;
    i.ask("mixed: consumer leaves", &beat("mu", "b", -1), 1).await;
    i.shows("empty consumer group", "mu").await;
    let (_, _) = i.joins("unknown id to an empty consumer group", &join("mu", "x", &[])).await;
    let (_, _) = i.joins("classic joins an empty consumer group", &join("mu", "", &[])).await;
    i.shows("classic once more", "mu").await;
}

async fn classic_joins(i: &mut Interview, k1: kavka_wire::Uuid) {
    i.ask("mixed: consumer first", &consumer_join("mj", "b"), 1).await;
    let (a, _) = i.joins("id from a consumer group", &join("mj", "", &[])).await;
    i.shows("with an id handed out", "mj").await;
    let (_, generation) = i.joins("classic joins", &join("mj", &a, &[])).await;
    let (_, _) = i.joins("classic joins again", &join("mj", &a, &[])).await;
    i.syncs("nothing yet", &sync("mj", &a, generation, &[])).await;
    i.beats("waits", "mj", &a, generation).await;
    i.ask("mixed: consumer is to let go", &beat("mj", "b", 2), 1).await;
    i.beats("still waits", "mj", &a, generation).await;
    i.ask("mixed: consumer has let go", &owning("mj", "b", 2, &[(k1, &[0, 1])]), 1).await;
    i.beats("is to join", "mj", &a, generation).await;
    let (_, generation) = i.joins("classic joins for more", &join("mj", &a, &[])).await;
    i.syncs("gets", &sync("mj", &a, generation, &[])).await;
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..join("mj", "", &[]) };
    i.joins("other protocol type", &other).await;
    let mut other = join("mj", "", &[]);
    other.protocols.iter_mut().for_each(|protocol| protocol.name = "mine".into());
    i.joins("other protocols", &other).await;
    let mut broken = join("mj", "x", &[]);
    broken.protocols.iter_mut().for_each(|protocol| protocol.metadata = Bytes::from_static(b"\0"));
    i.joins("malformed subscription", &broken).await;
    i.joins("an id of its own", &join("mj", "own", &[])).await;
    i.leaves("stranger leaves", "mj", "x", None).await;
    i.leaves("its own id leaves", "mj", "own", None).await;
    i.leaves("consumer member leaves by LeaveGroup", "mj", "b", None).await;
    i.shows("downgraded by LeaveGroup", "mj").await;
}

async fn statics(i: &mut Interview) {
    let instance = |request: JoinGroupRequest, id: &str| JoinGroupRequest {
        group_instance_id: Some(id.into()),
        ..request
    };
    let fixed = |member: &str, id: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some(id.into()),
        ..consumer_join("ms", member)
    };
    i.ask("mixed: static consumer", &fixed("a", "i"), 1).await;
    i.ask("mixed: second static consumer", &fixed("b", "j"), 1).await;
    let (c, _) = i.joins("classic replaces static consumer", &instance(join("ms", "", &[]), "i")).await;
    i.shows("replaced", "ms").await;
    i.joins("fenced id", &instance(join("ms", "a", &[]), "i")).await;
    i.leaves("fenced id leaves", "ms", "a", Some("i")).await;
    i.joins("unknown instance", &instance(join("ms", &c, &[]), "k")).await;
    i.ask("mixed: consumer replaces static classic", &fixed("d", "i"), 1).await;
    i.shows("replaced back", "ms").await;
    i.leaves("instance leaves", "ms", "", Some("i")).await;
    i.joins("the last consumer is replaced", &instance(join("ms", "", &[]), "j")).await;
    i.shows("downgraded by replacement", "ms").await;
    // By one that subscribes to something else: the group has to rebalance.
    let fixed = |member: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".into()),
        ..consumer_join("mr", member)
    };
    i.ask("mixed: static consumer alone", &fixed("a"), 1).await;
    let mut other = instance(join("mr", "", &[]), "i");
    for protocol in &mut other.protocols {
        protocol.metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x05other\xff\xff\xff\xff");
    }
    let (id, _) = i.joins("replaced by one with other topics", &other).await;
    i.shows("downgraded with other topics", "mr").await;
    i.joins("it joins again", &JoinGroupRequest { member_id: id.into(), ..other }).await;
}

/// Classic groups that cannot become groups of the consumer protocol.
async fn refusals(i: &mut Interview) {
    let mut odd = join("mc", "", &[]);
    odd.protocol_type = "connect".into();
    let (a, _) = i.joins("odd id", &odd).await;
    odd.member_id = a.as_str().into();
    i.joins("odd type", &odd).await;
    i.ask("mixed: consumer to an odd group", &consumer_join("mc", "b"), 1).await;
    i.leaves("odd leaves", "mc", &a, None).await;
    let (a, _) = i.joins("custom id", &join("mc", "", &[])).await;
    let (_, generation) = i.joins("custom", &join("mc", &a, &[])).await;
    i.ask("mixed: consumer while completing", &consumer_join("mc", "b"), 1).await;
    i.shows("upgraded while completing", "mc").await;
    i.syncs("sync after that", &sync("mc", &a, generation, &[(&a, &[0, 1, 2, 3])])).await;
}
