//! Random walks of a group of the consumer protocol: no partition has two owners, and in the end everybody has a share.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::Client;
use crate::common::consumer::*;
use kavka_testbroker::{Cluster, GroupState};
use kavka_wire::messages::ConsumerGroupHeartbeatRequest as Beat;
use kavka_wire::{ErrorCode, Uuid};

type Owned = BTreeSet<(Uuid, i32)>;

/// A member as it sees itself.
#[derive(Default)]
struct Member {
    joined: bool,
    epoch: i32,
    /// What it consumes.
    owned: Owned,
    /// What it was last told to have; it lets go first and takes up the rest when it has said so.
    told: Owned,
    /// It must say again what it has: an answer was lost, or it let something go.
    must_say: bool,
    assignor: Option<&'static str>,
    topics: Vec<&'static str>,
}

struct Walk {
    cluster: Cluster,
    client: Client,
    members: BTreeMap<String, Member>,
    seed: u64,
}

impl Walk {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    /// One heartbeat of a member, whose answer may be lost.
    async fn heartbeat(&mut self, id: &str, lose: bool) {
        let member = self.members.get_mut(id).unwrap();
        // What was taken away is let go before it is said that it was.
        let kept: Owned = member.owned.intersection(&member.told).copied().collect();
        member.must_say |= kept != member.owned;
        member.owned = kept;
        let mut request = match member.joined {
            false => Beat { server_assignor: member.assignor.map(Into::into), ..join(id) },
            true if member.must_say => say(id, member),
            true => beat(id, member.epoch),
        };
        if !member.joined || member.must_say {
            request.subscribed_topic_names = Some(member.topics.iter().map(|name| (*name).into()).collect());
            request.rebalance_timeout_ms = 30_000;
        }
        let answer = self.client.call(&request, 1).await;
        let member = self.members.get_mut(id).unwrap();
        if lose {
            member.must_say = true;
            return;
        }
        match answer.error_code {
            ErrorCode::NONE => {
                (member.joined, member.epoch, member.must_say) = (true, answer.member_epoch, false);
                if let Some(told) = assigned(&answer) {
                    member.told = places(&told);
                    let lost = member.owned.difference(&member.told).next().is_some();
                    if !lost {
                        member.owned = member.told.clone();
                    }
                    // A member that was given or must give something says what it has.
                    member.must_say = true;
                }
            }
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => self.forget(id),
            error => panic!("{error:?}"),
        }
        self.check().await;
    }

    /// The member has lost everything and knows it.
    fn forget(&mut self, id: &str) {
        let member = self.members.get_mut(id).unwrap();
        (member.joined, member.epoch) = (false, 0);
        member.owned.clear();
        member.told.clear();
    }

    async fn leave(&mut self, id: &str) {
        self.forget(id);
        self.client.call(&beat(id, -1), 1).await;
    }

    /// Nobody consumes what another member of the group consumes.
    async fn check(&self) {
        let Some(view) = self.cluster.group("g").await else { return };
        let mut seen = Owned::new();
        for (id, member) in self.members.iter().filter(|(id, _)| view.member(id).is_some()) {
            for place in &member.owned {
                assert!(seen.insert(*place), "{id} has what another one has: {place:?}\n{view:#?}");
            }
        }
    }

    async fn step(&mut self) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let id = ids[self.random(ids.len() as u64) as usize].clone();
        match self.random(40) {
            0 => self.leave(&id).await,
            1 => {
                self.cluster.expire_member("g", &id).await;
            }
            2 => {
                let topics = [&["t"][..], &["t", "u"], &["u"], &["absent"]][self.random(4) as usize];
                let member = self.members.get_mut(&id).unwrap();
                (member.topics, member.must_say) = (topics.to_vec(), true);
            }
            3 => {
                let broker = self.random(3) as i32 + 1;
                self.cluster.move_coordinator("g", broker).await;
                self.client = dial(&self.cluster).await;
            }
            _ => {
                let lose = self.random(10) == 0;
                self.heartbeat(&id, lose).await;
            }
        }
    }
}

fn say(id: &str, member: &Member) -> Beat {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &member.owned {
        by_topic.entry(*topic).or_default().push(*partition);
    }
    let owned: Vec<(Uuid, &[i32])> = by_topic.iter().map(|(topic, all)| (*topic, &**all)).collect();
    owning(id, member.epoch, &owned)
}

fn places(told: &[(Uuid, Vec<i32>)]) -> Owned {
    told.iter().flat_map(|(topic, all)| all.iter().map(|partition| (*topic, *partition))).collect()
}

#[tokio::test(start_paused = true)]
async fn no_partition_has_two_owners_and_in_the_end_everybody_has_a_share() {
    for seed in 1..=20u64 {
        let cluster = cluster_with(|_| {}).await;
        let client = dial(&cluster).await;
        let member = |n: u64| {
            let assignor = [None, Some("range"), Some("uniform")][(seed + n) as usize % 3];
            (format!("m{n}"), Member { assignor, topics: vec!["t", "u"], ..Member::default() })
        };
        let members = (0..1 + seed % 5).map(member).collect();
        let mut walk = Walk { cluster, client, members, seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        for _ in 0..150 {
            walk.step().await;
        }
        // No more trouble: everybody heartbeats and answers come through.
        let ids: Vec<String> = walk.members.keys().cloned().collect();
        for _ in 0..8 {
            for id in &ids {
                walk.heartbeat(id, false).await;
            }
        }
        let view = walk.cluster.group("g").await.unwrap();
        assert_eq!(
            (view.state, view.members.len()),
            (GroupState::Stable, ids.len()),
            "seed {seed}: {view:#?}"
        );
        let wanted = |name: &str| walk.members.values().any(|member| member.topics.contains(&name));
        let count = usize::from(wanted("t")) * 4 + usize::from(wanted("u")) * 2;
        let owned: usize = walk.members.values().map(|member| member.owned.len()).sum();
        assert_eq!(owned, count, "seed {seed}: {view:#?}");
        for (id, member) in &walk.members {
            let seen: usize = view.member(id).unwrap().assigned.values().map(Vec::len).sum();
            assert_eq!(seen, member.owned.len(), "seed {seed}: {id}");
        }
    }
}
