//! N members against a model coordinator, with faults chosen by a seed: first safety, then, without faults, liveness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::assignor::{Assignor, Range, RoundRobin};
use kavka_group::{
    CallError, CommitId, Config, Event, Group, GroupReply, GroupRequest, Input, OffsetAndMetadata, Output,
    ToCommit, Token, TopicPartition,
};
use kavka_wire::ErrorCode;

use crate::model::{Answers, Model, Parked, Phase, REBALANCE, SESSION};
use crate::rig::{beat, epoch_of_time, left, map, ms, topics};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A member and its shell: what it works on, and what it said.
struct Actor {
    group: Group,
    /// Partitions that the user works on, with the next offset.
    owned: BTreeMap<TopicPartition, i64>,
    /// Commits under way: the partition, the offset, and whether the partition was lost since.
    commits: BTreeMap<u64, (TopicPartition, i64)>,
    /// A revocation that is worked on, and until when.
    releasing: Option<(kavka_group::Epoch, Vec<TopicPartition>, Instant)>,
    gone: bool,
    /// Until when nothing of this member reaches the coordinator.
    cut_until: Option<Instant>,
    /// Member id and generation that the group takes itself to have.
    identity: Option<(String, i32)>,
}

enum Due {
    Request(Parked, GroupRequest),
    Answer(Parked, Result<GroupReply, CallError>),
}

struct World {
    now: Instant,
    rng: Rng,
    actors: Vec<Actor>,
    model: Model,
    /// What travels, with its time of arrival.
    wire: Vec<(Instant, u64, Due)>,
    sent: u64,
    faults: bool,
    /// Long enough without faults that every commit must succeed, those of a revocation too.
    quiet: bool,
    next_commit: u64,
    partitions: i32,
    seed: u64,
    assignors: fn() -> Vec<Arc<dyn Assignor>>,
}

impl World {
    fn new(seed: u64, members: usize, assignor: fn() -> Vec<Arc<dyn Assignor>>) -> World {
        let now = epoch_of_time();
        let model = Model {
            phase: Phase::Empty,
            generation: 0,
            members: BTreeMap::new(),
            pending: BTreeSet::new(),
            leader: String::new(),
            assignments: BTreeMap::new(),
            since: now,
            ids: 0,
            committed: BTreeMap::new(),
            owner: BTreeMap::new(),
        };
        let mut world = World {
            now,
            rng: Rng(seed),
            actors: Vec::new(),
            model,
            wire: Vec::new(),
            sent: 0,
            faults: true,
            quiet: false,
            next_commit: 0,
            partitions: 6,
            seed,
            assignors: assignor,
        };
        for index in 0..members {
            let actor = world.actor(index);
            world.actors.push(actor);
            world.begin(index);
        }
        world
    }

    fn actor(&mut self, index: usize) -> Actor {
        let mut config = Config::new("g");
        config.seed = self.seed ^ index as u64;
        config.session_timeout = SESSION;
        config.heartbeat_interval = ms(1_000);
        config.rebalance_timeout = REBALANCE;
        config.request_timeout = ms(4_000);
        config.assignors = (self.assignors)();
        Actor {
            group: Group::new(config),
            owned: BTreeMap::new(),
            commits: BTreeMap::new(),
            releasing: None,
            gone: false,
            cut_until: None,
            identity: None,
        }
    }

    fn begin(&mut self, index: usize) {
        let partitions = self.partitions;
        self.feed(index, Input::Metadata(map(&[("t", partitions), ("u", 3)])));
        self.feed(index, Input::Subscribe(topics(&["t", "u"]).into()));
    }

    fn travel(&mut self, due: Due) {
        // Requests of one kind may pass each other, as they do on several connections.
        let delay = if self.faults { 1 + self.rng.below(120) } else { 5 };
        self.sent += 1;
        self.wire.push((self.now + ms(delay), self.sent, due));
    }

    fn feed(&mut self, index: usize, input: Input) {
        self.actors[index].group.handle(self.now, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.actors[index].group.poll() {
            outputs.push(output);
        }
        let next = self.actors[index].group.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a busy loop");
        for output in outputs {
            match output {
                Output::Call { token, request, timeout, .. } => self.call(index, token, request, timeout),
                Output::Event(event) => self.event(index, event),
            }
        }
    }

    fn call(&mut self, index: usize, token: Token, request: GroupRequest, timeout: Duration) {
        if let GroupRequest::SyncGroup(sync) = &request {
            self.actors[index].identity = Some((sync.member_id.to_string(), sync.generation_id));
        }
        let unreachable = || Err(CallError::Unreachable("lost on the way".into()));
        let cut = self.actors[index].cut_until.is_some_and(|until| until > self.now);
        let fate = match self.faults {
            true if cut => 0,
            true => self.rng.below(40),
            false => 39,
        };
        match fate {
            0 => self.travel(Due::Answer((index, token), unreachable())),
            1 => {
                // The request is lost, and the shell notices at the timeout.
                self.sent += 1;
                let at = self.now + timeout.min(ms(4_000));
                self.wire.push((at, self.sent, Due::Answer((index, token), unreachable())));
            }
            _ => self.travel(Due::Request((index, token), request)),
        }
    }

    fn answers(&mut self, answers: Answers) {
        for (parked, reply) in answers {
            let lost = self.faults && self.rng.below(40) == 0;
            let wrong = self.faults && self.rng.below(60) == 0;
            let reply = match reply {
                _ if lost => Err(CallError::Unreachable("the answer was lost".into())),
                GroupReply::Heartbeat(_) if wrong => Ok(beat(ErrorCode::NOT_COORDINATOR)),
                GroupReply::LeaveGroup(_) if wrong => Ok(left(ErrorCode::NOT_COORDINATOR)),
                reply => Ok(reply),
            };
            if self.faults
                && self.rng.below(30) == 0
                && let Ok(again) = &reply
            {
                self.travel(Due::Answer(parked, Ok(again.clone())));
            }
            self.travel(Due::Answer(parked, reply));
        }
    }

    fn event(&mut self, index: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Assigned { added, all, .. } => {
                for partition in added {
                    // Read back as a consumer does: where the last owner's last commit was.
                    let from = self.model.committed.get(&partition).copied().unwrap_or(0);
                    assert!(self.actors[index].owned.insert(partition, from).is_none(), "told twice");
                }
                self.no_two_owners(index, &all);
            }
            Event::Revoke { epoch, partitions, deadline } => {
                assert!(self.actors[index].releasing.is_none(), "two revocations at a time");
                assert!(deadline > now);
                for partition in &partitions {
                    assert!(self.actors[index].owned.contains_key(partition));
                }
                let work = self.rng.below(if self.faults { 2_000 } else { 100 });
                self.actors[index].releasing = Some((epoch, partitions, now + ms(work)));
            }
            Event::Lost { partitions, .. } => {
                for partition in partitions {
                    assert!(
                        self.actors[index].owned.remove(&partition).is_some(),
                        "lost what it did not have"
                    );
                }
                self.actors[index].releasing = None;
                self.actors[index].identity = None;
            }
            Event::CommitDone { id, results } => {
                let (partition, _) = self.actors[index].commits.remove(&id.0).expect("answered once");
                assert_eq!(results.len(), 1);
                let result = &results[&partition];
                assert!(result.is_ok() || !self.quiet, "a commit failed without a fault: {result:?}");
            }
            Event::Protocol(_) => {}
            Event::WantTopicIds { .. } | Event::Refused(_) => panic!("of the consumer protocol"),
            Event::Left => {
                self.actors[index].gone = true;
                self.actors[index].owned.clear();
            }
            Event::Fatal(error) => panic!("member {index}: {error}"),
            Event::WantMetadata { .. } => {
                let partitions = self.partitions;
                self.feed(index, Input::Metadata(map(&[("t", partitions), ("u", 3)])));
            }
            Event::OffsetsFetched { .. } => unreachable!(),
        }
    }

    /// Another member may work on the same partition only if the coordinator has given it up: it does not know that yet.
    fn no_two_owners(&mut self, index: usize, all: &[TopicPartition]) {
        for (other, actor) in self.actors.iter().enumerate() {
            if other == index || actor.gone {
                continue;
            }
            if let Some(partition) = all.iter().find(|partition| actor.owned.contains_key(partition)) {
                let both = self.counts(index) && self.counts(other);
                assert!(!both, "member {index} and member {other} both have {partition}");
            }
        }
    }
}

impl World {
    /// Whether the coordinator counts on this member in the generation that it takes itself to be in.
    fn counts(&self, index: usize) -> bool {
        let identity = self.actors[index].identity.as_ref();
        identity.is_some_and(|(id, generation)| self.model.check(id, *generation).is_ok())
    }

    fn step(&mut self) {
        self.now += ms(10);
        let now = self.now;
        let mut due: Vec<(Instant, u64, Due)> = Vec::new();
        for at in (0..self.wire.len()).rev() {
            if self.wire[at].0 <= now {
                due.push(self.wire.swap_remove(at));
            }
        }
        due.sort_by_key(|(at, sent, _)| (*at, *sent));
        for (_, _, due) in due {
            match due {
                Due::Request(parked, request) => {
                    let mut answers = Vec::new();
                    self.model.request(now, parked, &request, &mut answers);
                    self.answers(answers);
                }
                Due::Answer((index, token), result) => self.feed(index, Input::Reply { token, result }),
            }
        }
        let mut answers = Vec::new();
        self.model.tick(now, &mut answers);
        self.answers(answers);
        for index in 0..self.actors.len() {
            if self.actors[index].group.next_timeout().is_some_and(|next| next <= now) {
                self.feed(index, Input::Timeout);
            }
            self.release(index);
        }
    }

    fn release(&mut self, index: usize) {
        let now = self.now;
        let Some((epoch, partitions, _)) =
            self.actors[index].releasing.take_if(|(_, _, until)| *until <= now)
        else {
            return;
        };
        for partition in &partitions {
            self.commit(index, partition.clone());
        }
        for partition in &partitions {
            self.actors[index].owned.remove(partition);
        }
        self.feed(index, Input::Released { epoch });
    }

    fn commit(&mut self, index: usize, partition: TopicPartition) {
        let Some(offset) = self.actors[index].owned.get_mut(&partition) else { return };
        *offset += 1;
        let offset = *offset;
        self.next_commit += 1;
        let id = self.next_commit;
        self.actors[index].commits.insert(id, (partition.clone(), offset));
        let offsets = vec![ToCommit::now(partition, OffsetAndMetadata::new(offset))];
        self.feed(index, Input::Commit { id: CommitId(id), offsets });
    }

    fn commit_something(&mut self, index: usize) {
        let releasing = self.actors[index]
            .releasing
            .as_ref()
            .map(|(_, partitions, _)| partitions.clone())
            .unwrap_or_default();
        let free: Vec<TopicPartition> =
            self.actors[index].owned.keys().filter(|p| !releasing.contains(p)).cloned().collect();
        if !free.is_empty() {
            let at = self.rng.below(free.len() as u64) as usize;
            self.commit(index, free[at].clone());
        }
    }

    fn fault(&mut self) {
        let index = self.rng.below(self.actors.len() as u64) as usize;
        match self.rng.below(40) {
            0 => self.feed(index, Input::Rejoin { reason: "the walk".into() }),
            1 => self.feed(index, Input::Leave { reason: "the walk".into() }),
            // A crash: nothing is said to anybody. Or a new process after a leave.
            2 => {
                self.wire.retain(|(_, _, due)| !matches!(due, Due::Request((i, _), _) | Due::Answer((i, _), _) if *i == index));
                for member in self.model.members.values_mut() {
                    member.parked.take_if(|(i, _)| *i == index);
                }
                self.actors[index] = self.actor(index);
                self.begin(index);
            }
            3 => {
                self.partitions = 3 + self.rng.below(6) as i32;
                for index in 0..self.actors.len() {
                    let metadata = map(&[("t", self.partitions), ("u", 3)]);
                    self.feed(index, Input::Metadata(metadata));
                }
            }
            4 => {
                let cut = self.rng.below(15_000);
                self.actors[index].cut_until = Some(self.now + ms(cut));
                self.commit_something(index);
            }
            _ => self.commit_something(index),
        }
    }

    fn run(mut self) {
        for step in 0..6_000 {
            self.step();
            if step % 10 == 0 {
                self.fault();
            }
        }
        self.faults = false;
        for index in 0..self.actors.len() {
            if self.actors[index].gone {
                self.actors[index] = self.actor(index);
                self.begin(index);
            }
        }
        for step in 0..6_000 {
            self.quiet = step > 3_000;
            self.step();
            if self.quiet && step % 500 == 0 && step < 5_000 {
                // Also a rebalance that nothing disturbs, with work in every partition.
                for index in 0..self.actors.len() {
                    self.commit_something(index);
                }
                self.feed(0, Input::Rejoin { reason: "the walk".into() });
            }
        }
        let mut owners: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (index, actor) in self.actors.iter().enumerate().filter(|(_, actor)| !actor.gone) {
            assert!(actor.commits.is_empty(), "member {index}: {:?} were not answered", actor.commits);
            for partition in actor.owned.keys() {
                assert_eq!(owners.insert(partition.clone(), index), None, "{partition}");
            }
        }
        let stuck = format!("{:?} generation {} {owners:?}", self.model.phase, self.model.generation);
        assert_eq!((owners.len() as i32, self.model.phase), (self.partitions + 3, Phase::Stable), "{stuck}");
        let generation = self.model.generation;
        for partition in owners.keys() {
            let index = owners[partition];
            self.commit(index, partition.clone());
        }
        for _ in 0..200 {
            self.step();
        }
        for (partition, index) in &owners {
            assert_eq!(self.model.committed.get(partition), self.actors[*index].owned.get(partition));
        }
        assert_eq!(self.model.generation, generation, "a quiet group stays as it is");
    }
}

fn walk(seeds: std::ops::Range<u64>, assignors: fn() -> Vec<Arc<dyn Assignor>>) {
    for seed in seeds {
        let result = std::panic::catch_unwind(|| World::new(seed, 2 + (seed % 4) as usize, assignors).run());
        if let Err(cause) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

/// More seeds by `KAVKA_WALK_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("KAVKA_WALK_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(24)
}

#[test]
fn eager_members_never_share_a_partition_and_converge() {
    walk(seeds(), || vec![Arc::new(Range), Arc::new(RoundRobin)]);
}
