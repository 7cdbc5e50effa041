//! Random walks over the model cluster: whatever happens, every record of a log is delivered once and in order per
//! positioning, the budget holds, and when the faults end everything arrives.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::TopicPartition;
use kavka_net::Cluster;
use kavka_wire::codec::{Limits, Message};
use kavka_wire::messages::{FetchRequest, FetchResponse};

use super::super::*;
use super::model::{Model, Parked};
use super::rig::*;

const PARTITIONS: usize = 6;

/// What is still to happen.
enum Due {
    Arrive(FetchCall),
    Reply(Token, Result<FetchReply, CallFailure>),
    Metadata(Arc<Cluster>),
    Drained(Charge),
}

/// One assigned partition as the user sees it.
struct View {
    epoch: u32,
    /// The next offset to be delivered; `None` until the machine has said where it starts.
    next: Option<i64>,
    paused: bool,
}

struct Walk {
    random: u64,
    now: Instant,
    fetcher: Fetcher,
    model: Model,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Due>,
    parked: BTreeMap<Token, (i32, Parked)>,
    in_flight: BTreeMap<i32, Token>,
    serial: u64,
    views: BTreeMap<Slot, View>,
    epochs: BTreeMap<Slot, u32>,
    retained: Arc<Gauge>,
    budget: usize,
    version: i16,
    /// Per thousand.
    loss: u64,
    calls: u64,
    delivered: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let retained = Arc::new(Gauge::default());
        let budget = [20_000, 200_000, 32 << 20][seed as usize % 3];
        let config = FetchConfig {
            rack: seed.is_multiple_of(2).then(|| "here".into()),
            reset: OffsetReset::Earliest,
            buffer_bytes: budget,
            max_partition_bytes: 4000,
            partition_buffer_bytes: 8000,
            seed,
            ..Default::default()
        };
        Walk {
            random: seed,
            now,
            fetcher: Fetcher::new(config, now, 0, retained.clone()),
            model: Model::new(PARTITIONS),
            due: BinaryHeap::new(),
            events: BTreeMap::new(),
            parked: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            serial: 0,
            views: BTreeMap::new(),
            epochs: BTreeMap::new(),
            retained,
            budget,
            version: [12, 13, 18][(seed / 3) as usize % 3],
            loss: 100,
            calls: 0,
            delivered: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn later(&mut self, delay: Duration, due: Due) {
        self.serial += 1;
        self.due.push(Reverse((self.now + delay, self.serial)));
        self.events.insert(self.serial, due);
    }

    fn handle(&mut self, input: Input) {
        self.fetcher.handle(self.now, input);
        while let Some(output) = self.fetcher.poll() {
            self.on_output(output);
        }
        assert!(self.fetcher.next_timeout().is_none_or(|at| at > self.now));
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Call(call) => {
                self.calls += 1;
                if matches!(call.request, FetchRequests::Fetch(_)) {
                    let other = self.in_flight.insert(call.broker, call.token);
                    assert!(other.is_none(), "two fetches at broker {}", call.broker);
                }
                let delay = ms(1 + self.below(5));
                self.later(delay, Due::Arrive(call));
            }
            Output::Data(fetched) => self.on_data(fetched),
            Output::Position { slot, epoch, offset } => {
                if let Some(view) = self.views.get_mut(&slot).filter(|view| view.epoch == epoch) {
                    view.next = Some(offset);
                }
            }
            Output::Failed { error, .. } => panic!("{error}"),
            Output::NeedMetadata => {
                let delay = ms(self.below(50));
                let metadata = self.model.metadata();
                self.later(delay, Due::Metadata(metadata));
            }
            Output::LeaderHint(hint) => assert!(hint.leader_epoch > 0 && hint.leader > 0),
        }
    }

    fn on_data(&mut self, fetched: Fetched) {
        let Fetched { slot, epoch, records: bytes, fetch_offset, next_offset, charge, .. } = fetched;
        let slack = if self.below(3) == 0 { 3000 } else { 20 };
        let delay = ms(self.below(slack));
        self.later(delay, Due::Drained(charge));
        let Some(view) = self.views.get_mut(&slot).filter(|view| view.epoch == epoch) else { return };
        assert_eq!(view.next, Some(fetch_offset), "slot {slot}: a gap or a repetition");
        let got = records(&bytes, fetch_offset);
        let log = &self.model.logs[slot as usize % PARTITIONS];
        let expected: Vec<(i64, u64)> = log
            .batches
            .iter()
            .flat_map(|stored| stored.records.iter().copied())
            .filter(|(offset, _)| (fetch_offset..next_offset).contains(offset))
            .collect();
        // What retention has deleted since cannot be compared.
        let comparable: Vec<(i64, u64)> =
            got.iter().copied().filter(|(offset, _)| *offset >= log.start).collect();
        assert_eq!(comparable, expected, "slot {slot}");
        assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));
        self.delivered += got.len();
        view.next = Some(next_offset);
    }

    fn arrive(&mut self, call: FetchCall) {
        let lost_before = self.below(1000) < self.loss / 2;
        let lost_after = self.below(1000) < self.loss / 2;
        let broker = call.broker;
        if lost_before {
            let delay = ms(1 + self.below(3000));
            return self.later(delay, Due::Reply(call.token, Err(CallFailure::Transport)));
        }
        let reply = match call.request {
            FetchRequests::Fetch(request) => {
                let version = self.version.min(call.max_version);
                let bytes = request.to_bytes(version).unwrap();
                let request = FetchRequest::from_bytes(bytes, version, &Limits::default()).unwrap();
                match self.model.fetch(broker, version, self.now, &request) {
                    // The broker has taken it all the same: its session went on.
                    Ok(_) if lost_after => Err(CallFailure::Transport),
                    Ok(parked) => {
                        self.parked.insert(call.token, (broker, parked));
                        return;
                    }
                    Err(refusal) => Ok(FetchReply::Fetch(refusal)),
                }
            }
            FetchRequests::ListOffsets(request) => {
                let bytes = request.to_bytes(call.max_version).unwrap();
                assert!(!bytes.is_empty());
                if lost_after {
                    Err(CallFailure::Transport)
                } else {
                    Ok(FetchReply::ListOffsets(self.model.list(broker, &request)))
                }
            }
            FetchRequests::OffsetForLeaderEpoch(request) => {
                let bytes = request.to_bytes(call.max_version).unwrap();
                assert!(!bytes.is_empty());
                Ok(FetchReply::OffsetForLeaderEpoch(self.model.epochs(broker, &request)))
            }
        };
        let delay = ms(1 + self.below(40));
        self.later(delay, Due::Reply(call.token, reply));
    }

    /// Answers the long polls that have news, or whose time is up.
    fn serve(&mut self) {
        let parked: Vec<Token> = self.parked.keys().copied().collect();
        for token in parked {
            let (broker, parked) = &self.parked[&token];
            let (response, news) = self.model.answer(*broker, parked);
            if !news && parked.until > self.now {
                continue;
            }
            let version = parked.version;
            self.parked.remove(&token);
            let bytes = response.to_bytes(version).unwrap();
            let response = FetchResponse::from_bytes(bytes, version, &Limits::default()).unwrap();
            let delay = ms(1 + self.below(10));
            self.later(delay, Due::Reply(token, Ok(FetchReply::Fetch(response))));
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Arrive(call) => self.arrive(call),
            Due::Reply(token, result) => {
                self.in_flight.retain(|_, in_flight| *in_flight != token);
                self.handle(Input::Reply { token, result });
            }
            Due::Metadata(cluster) => self.handle(Input::Cluster(cluster)),
            Due::Drained(mut charge) => {
                if charge.give_back() {
                    self.handle(Input::Room);
                }
            }
        }
        // One answer of one batch per broker may go over, as a batch comes whole.
        assert!(self.retained.used() <= self.budget + 3 * 4000, "{}", self.retained.used());
    }

    /// Lets time pass up to `until`.
    fn run(&mut self, until: Instant) {
        loop {
            self.serve();
            let polls = self.parked.values().map(|(_, parked)| parked.until).min();
            let events = self.due.peek().map(|Reverse((at, _))| *at);
            let next = [polls, events, self.fetcher.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            if events == Some(next) {
                if let Some(Reverse((_, serial))) = self.due.pop()
                    && let Some(due) = self.events.remove(&serial)
                {
                    self.happen(due);
                }
            } else if self.fetcher.next_timeout() == Some(next) {
                self.handle(Input::Timeout);
            }
        }
        self.now = self.now.max(until);
    }

    fn assign(&mut self, slot: Slot, start: Start) {
        let epoch = self.next_epoch(slot);
        self.views.insert(slot, View { epoch, next: None, paused: false });
        let partition = TopicPartition { topic: TOPIC.into(), partition: slot as i32 % PARTITIONS as i32 };
        let gauges = Default::default();
        self.handle(Input::Assign(vec![Assign { slot, epoch, partition, start, paused: false, gauges }]));
    }

    fn next_epoch(&mut self, slot: Slot) -> u32 {
        let epoch = self.epochs.entry(slot).or_default();
        *epoch += 1;
        *epoch
    }

    /// Somewhere in the log.
    fn some_start(&mut self, partition: usize) -> Start {
        let log = &self.model.logs[partition];
        let (start, end) = (log.start, log.end());
        let offset = start + self.below((end - start + 1) as u64) as i64;
        let log = &self.model.logs[partition];
        let epoch = log.batches.iter().rfind(|stored| stored.base < offset).map_or(-1, |stored| stored.epoch);
        match self.below(5) {
            0 => Start::NoCommit,
            1 => Start::Beginning,
            2 => Start::At(offset),
            _ => Start::Committed { offset, leader_epoch: epoch },
        }
    }

    /// Something happens to the cluster, or the user does something.
    fn disturb(&mut self) {
        let partition = self.below(PARTITIONS as u64) as usize;
        let slot = partition as Slot;
        match self.below(14) {
            0..=4 => {
                let (count, holes) = (1 + self.below(60) as i64, 1 + self.below(4) as i64);
                self.model.append(partition, count, |i| i % holes == 0);
            }
            5 => {
                let leader = 1 + self.below(3) as i32;
                self.model.move_leader(partition, leader);
            }
            6 => self.model.evict_sessions(),
            7 => self.model.sessions_allowed = self.below(3) > 0,
            8 => {
                let index = self.below(3) as usize;
                self.model.retain_from(partition, index);
            }
            9 => {
                let closer = 1 + self.below(3) as i32;
                let log = &mut self.model.logs[partition];
                log.closer = (closer != log.leader && log.closer.is_none()).then_some(closer);
            }
            10 => {
                let start = self.some_start(partition);
                let epoch = self.next_epoch(slot);
                if let Some(view) = self.views.get_mut(&slot) {
                    (view.epoch, view.next) = (epoch, None);
                    self.handle(Input::Seek(vec![Seek { slot, epoch, start }]));
                }
            }
            11 | 12 => {
                if let Some(view) = self.views.get_mut(&slot) {
                    view.paused = !view.paused;
                    let slots = vec![slot];
                    let input = if view.paused { Input::Pause(slots) } else { Input::Resume(slots) };
                    self.handle(input);
                }
            }
            _ => {
                if self.views.remove(&slot).is_some() {
                    self.handle(Input::Unassign(vec![slot]));
                } else {
                    let start = self.some_start(partition);
                    self.assign(slot, start);
                }
            }
        }
    }

    fn walk(&mut self) {
        let metadata = self.model.metadata();
        self.handle(Input::Cluster(metadata));
        for slot in 0..PARTITIONS as Slot {
            self.model.append(slot as usize, 20, |_| true);
            self.assign(slot, Start::NoCommit);
        }
        for _ in 0..400 {
            self.disturb();
            let step = [1, 10, 100, 700][self.below(4) as usize];
            let until = self.now + ms(self.below(step));
            self.run(until);
        }
        // The faults end: everything must arrive.
        self.loss = 0;
        for slot in 0..PARTITIONS as Slot {
            self.model.append(slot as usize, 5, |_| true);
            match self.views.get_mut(&slot) {
                Some(view) => {
                    view.paused = false;
                    self.handle(Input::Resume(vec![slot]));
                }
                None => self.assign(slot, Start::Beginning),
            }
        }
        let until = self.now + ms(60_000);
        self.run(until);
        for (&slot, view) in &self.views {
            let log = &self.model.logs[slot as usize];
            assert_eq!(
                view.next,
                Some(log.end()),
                "slot {slot} of {:?} stands still: {:?}",
                log.leader,
                self.fetcher
            );
        }
        self.rest_is_quiet();
    }

    /// With nothing to do, only the long polls go round.
    fn rest_is_quiet(&mut self) {
        self.model.sessions_allowed = true;
        let before = self.calls;
        let until = self.now + ms(10_000);
        self.run(until);
        let calls = self.calls - before;
        assert!(calls <= 3 * 25, "{calls} calls in ten quiet seconds");
        assert!(calls > 0);
    }
}

#[test]
fn every_record_is_delivered_once_and_in_order_whatever_happens() {
    let seeds = std::env::var("KAVKA_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let mut walk = Walk::new(seed);
        // Names the seed of a failure.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.walk()));
        if let Err(panic) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        assert!(walk.delivered > 500, "seed {seed} delivered {}", walk.delivered);
    }
}

#[test]
fn the_same_seed_takes_the_same_walk() {
    let run = || {
        let mut walk = Walk::new(5);
        walk.walk();
        (walk.calls, walk.delivered)
    };
    assert_eq!(run(), run());
}
