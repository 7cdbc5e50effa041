//! The pure half of the producer against a model of three brokers that lose answers, move leaders and fail in every way
//! they may, by seed: what was acknowledged is in the log once, in order; what was refused is not in it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_wire::ErrorCode;
use kavka_wire::compress::{Codec, Decompressor};
use kavka_wire::messages::produce::PartitionProduceResponse;
use kavka_wire::records::{Batches, Entry, Records};

use super::accumulator::{Accumulator, Appended, Clock, Limits, Target};
use super::delivery::Delivery;
use super::dispatch::{Dispatch, Input, Outgoing, Output, Policy};
use super::encode::{Encoder, size_bound};
use super::random::{Backoff, Random};
use super::reaction::verdict;
use super::sequence::{Identity, advance};
use super::shared::Shared;
use super::track::Tools;
use crate::{Error, ErrorKind, Record};

const PARTITIONS: usize = 3;
const BROKERS: u64 = 3;

#[derive(Clone, Copy)]
struct Faults {
    /// Of 100 requests, so many meet each of these.
    lost: u64,
    errors: u64,
    /// Bytes of the largest batch that the brokers take.
    largest: usize,
    /// The brokers forget producers.
    forget: bool,
    max_in_flight: usize,
    codec: Codec,
    delivery_timeout: Duration,
    /// A broker may read a request of a lost connection at any later time, and not only before it reads a newer one. With
    /// delivery timeouts that short, that can double a record whose outcome was reported as unknown.
    very_late: bool,
}

const CALM: Faults = Faults {
    lost: 0,
    errors: 0,
    largest: 1 << 20,
    forget: false,
    max_in_flight: 5,
    codec: Codec::None,
    delivery_timeout: Duration::from_secs(120),
    very_late: true,
};

#[derive(Default)]
struct Log {
    records: Vec<u64>,
    leader: i32,
    /// Per producer id: the epoch, and its last batches.
    producers: BTreeMap<i64, (i16, VecDeque<Known>)>,
}

/// A batch that the log remembers: its first and last sequence number, its base offset.
type Known = (i32, i32, i64);

impl Log {
    fn append(&mut self, batch: &Bytes, largest: usize) -> (ErrorCode, i64) {
        let Some(Ok(Entry::Batch(batch))) = Batches::new(batch.clone()).next() else { panic!("not a batch") };
        batch.verify_crc().expect("a good checksum");
        let header = *batch.header();
        if header.size > largest {
            return (ErrorCode::MESSAGE_TOO_LARGE, -1);
        }
        let base = self.records.len() as i64;
        let first = header.base_sequence;
        let last = advance(first, header.record_count as u32 - 1);
        if let Some((epoch, recent)) = self.producers.get(&header.producer_id) {
            if header.producer_epoch < *epoch {
                return (ErrorCode::INVALID_PRODUCER_EPOCH, -1);
            }
            let same = |(f, l, _): &&Known| *epoch == header.producer_epoch && (*f, *l) == (first, last);
            if let Some((_, _, offset)) = recent.iter().find(same) {
                return (ErrorCode::NONE, *offset);
            }
            let expected = match *epoch == header.producer_epoch {
                true => recent.back().map_or(0, |(_, last, _)| advance(*last, 1)),
                false => 0,
            };
            if first != expected {
                return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
            }
        }
        let body = batch.body(&mut Decompressor::new(), 1 << 24).expect("a body");
        for record in Records::new(&header, &body) {
            let value: [u8; 8] = record.expect("a record").value().expect("a value")[..8].try_into().unwrap();
            self.records.push(u64::from_be_bytes(value));
        }
        let entry = self.producers.entry(header.producer_id).or_default();
        if entry.0 != header.producer_epoch {
            *entry = (header.producer_epoch, VecDeque::new());
        }
        entry.1.push_back((first, last, base));
        if entry.1.len() > 5 {
            entry.1.pop_front();
        }
        (ErrorCode::NONE, base)
    }
}

struct Time(Instant);

impl Clock for Time {
    fn now(&self) -> Instant {
        self.0
    }

    fn wall_millis(&self) -> i64 {
        1
    }
}

struct World {
    faults: Faults,
    random: Random,
    now: Instant,
    dispatch: Dispatch,
    shared: Shared,
    logs: Vec<Log>,
    /// Requests on the one connection to each broker, oldest first.
    wires: Vec<VecDeque<Outgoing>>,
    /// Requests whose connection ended, but which the broker may still read.
    late: Vec<Outgoing>,
    sent: Vec<(usize, u64, Delivery)>,
    ids: i64,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let limits = Limits {
            batch_size: 400,
            buffer_memory: 1 << 20,
            linger: Duration::from_millis(5),
            delivery_timeout: faults.delivery_timeout,
        };
        let shared = Shared::new(Accumulator::new(limits, seed));
        shared.lock().set_topic(&"t".into(), PARTITIONS, (0..PARTITIONS as i32).collect());
        let tools = Tools {
            encoder: Encoder::new(faults.codec, None),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            random: Random::new(seed ^ 1),
            delivery_timeout: faults.delivery_timeout,
        };
        let policy =
            Policy { max_in_flight: faults.max_in_flight, max_request_size: 1 << 20, idempotent: true };
        let mut world = World {
            faults,
            random: Random::new(seed),
            now: Instant::now(),
            dispatch: Dispatch::new(policy, tools),
            shared,
            logs: (0..PARTITIONS).map(|p| Log { leader: p as i32, ..Log::default() }).collect(),
            wires: (0..BROKERS).map(|_| VecDeque::new()).collect(),
            late: Vec::new(),
            sent: Vec::new(),
            ids: 0,
        };
        world.dispatch.handle(world.now, Input::Slots(PARTITIONS), &world.shared);
        world.learn_leaders();
        world
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn learn_leaders(&mut self) {
        for slot in 0..PARTITIONS {
            let leader = Some(self.logs[slot].leader);
            self.input(Input::Leader { slot, leader, epoch: None });
        }
    }

    fn input(&mut self, input: Input) {
        self.dispatch.handle(self.now, input, &self.shared);
        while let Some(output) = self.dispatch.poll(self.now, &self.shared) {
            match output {
                Output::Produce(outgoing) => self.wires[outgoing.broker as usize].push_back(outgoing),
                Output::Identify => {
                    self.ids += 1;
                    let identity = Identity { id: self.ids, epoch: 0 };
                    self.dispatch.handle(self.now, Input::Identified(Ok(identity)), &self.shared);
                }
                Output::Refresh => {
                    // An answer later: the leaders are learned by chance in `step`.
                }
            }
        }
    }

    fn send(&mut self) {
        let id = self.sent.len() as u64;
        let partition = self.random.below(PARTITIONS as u64) as usize;
        let mut value = id.to_be_bytes().to_vec();
        value.resize(8 + self.random.below(100) as usize, b'.');
        let record = Record::to("t").value(&value);
        let appended = {
            let mut buffer = self.shared.lock();
            buffer.append(
                &record,
                Target::Partition(partition as i32),
                size_bound(&record),
                false,
                &Time(self.now),
            )
        };
        let Appended::Done(delivery, _) = appended else { panic!("not appended") };
        self.sent.push((partition, id, delivery));
    }

    fn look(&mut self) {
        let mut slots = Vec::new();
        let _ = self.shared.lock().due(self.now, 1, &mut slots);
        self.input(Input::Due(slots));
        self.input(Input::Timeout);
    }

    /// One broker reads one request.
    fn serve(&mut self, broker: usize) {
        if self.wires[broker].is_empty() {
            return;
        }
        if self.chance(self.faults.lost) {
            return self.disconnect(broker);
        }
        let Some(request) = self.wires[broker].pop_front() else { return };
        let verdicts = self.apply(&request, broker as i32);
        if self.chance(self.faults.lost) {
            // Carried out, and the answer is lost with the connection.
            self.wires[broker].push_front(request);
            return self.disconnect(broker);
        }
        self.input(Input::Answered { token: request.token, verdicts });
    }

    fn apply(&mut self, request: &Outgoing, broker: i32) -> Vec<(usize, super::reaction::Verdict)> {
        let mut verdicts = Vec::new();
        for (slot, bytes) in &request.batches {
            let fault = self.chance(self.faults.errors).then(|| self.random.below(6));
            let log = &mut self.logs[*slot];
            if self.faults.forget && self.random.below(40) == 0 {
                log.producers.clear();
            }
            let (code, base_offset) = match fault {
                _ if log.leader != broker => (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1),
                Some(0) => (ErrorCode::NOT_ENOUGH_REPLICAS, -1),
                Some(1) => {
                    let (code, _) = log.append(bytes, self.faults.largest);
                    (if code.ok().is_ok() { ErrorCode::REQUEST_TIMED_OUT } else { code }, -1)
                }
                Some(2) => {
                    let (code, _) = log.append(bytes, self.faults.largest);
                    (if code.ok().is_ok() { ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND } else { code }, -1)
                }
                Some(3) => (ErrorCode::INVALID_RECORD, -1),
                Some(4) => (ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1),
                Some(5) => continue,
                _ => log.append(bytes, self.faults.largest),
            };
            let answer = PartitionProduceResponse { error_code: code, base_offset, ..Default::default() };
            verdicts.push((*slot, verdict(&answer)));
        }
        verdicts
    }

    fn disconnect(&mut self, broker: usize) {
        let mut reads_on = !self.faults.very_late;
        for request in std::mem::take(&mut self.wires[broker]) {
            reads_on &= self.chance(50);
            if reads_on {
                let _ = self.apply(&request, broker as i32);
            }
            let error = Error::new(ErrorKind::UnknownOutcome, "the connection ended");
            self.input(Input::Failed { token: request.token, unsure: true, fatal: false, error });
            if self.faults.very_late {
                self.late.push(request);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=3 => self.send(),
            4..=7 => {
                let broker = self.random.below(BROKERS) as usize;
                self.serve(broker);
            }
            8 | 9 => {
                self.now += Duration::from_millis(self.random.below(60));
                self.look();
            }
            10 if self.faults.very_late => {
                // What was lost for the client reaches the broker after all.
                if let Some(request) = self.late.pop() {
                    let broker = request.broker;
                    let _ = self.apply(&request, broker);
                }
                self.late.truncate(3);
            }
            _ => {
                if self.faults.errors > 0 && self.chance(20) {
                    let slot = self.random.below(PARTITIONS as u64) as usize;
                    self.logs[slot].leader = self.random.below(BROKERS) as i32;
                }
                if self.chance(30) {
                    self.learn_leaders();
                }
            }
        }
    }

    fn settle(&mut self) {
        self.faults = Faults { largest: self.faults.largest, codec: self.faults.codec, ..CALM };
        for _ in 0..100_000 {
            self.learn_leaders();
            (0..BROKERS as usize).for_each(|broker| self.serve(broker));
            self.now += Duration::from_millis(20);
            self.look();
            if self.sent.iter().all(|(_, _, delivery)| delivery.try_result().is_some()) {
                return;
            }
        }
        panic!("something is never settled");
    }

    fn run(mut self, steps: usize) -> Self {
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self
    }

    fn check(&self, exact: bool) -> [usize; 3] {
        let mut counts = [0; 3];
        let mut last = [-1i64; PARTITIONS];
        for (partition, id, delivery) in &self.sent {
            let log = &self.logs[*partition].records;
            let places: Vec<_> =
                log.iter().enumerate().filter(|(_, known)| **known == *id).map(|(at, _)| at).collect();
            match delivery.try_result().expect("settled") {
                Ok(delivered) => {
                    counts[0] += 1;
                    if exact {
                        assert_eq!(places.len(), 1, "record {id} of partition {partition}: {places:?}");
                        let at = places[0] as i64;
                        assert!(at > last[*partition], "record {id} was overtaken");
                        last[*partition] = at;
                    }
                    assert!(!places.is_empty(), "record {id} was acknowledged and is lost");
                    if let Some(offset) = delivered.offset {
                        assert!(
                            places.contains(&(offset as usize)),
                            "record {id} is at {places:?}, not at {offset}"
                        );
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnknownOutcome => {
                    counts[1] += 1;
                    assert!(places.len() <= 1 || !exact, "record {id} is there twice");
                }
                Err(error) => {
                    counts[2] += 1;
                    assert!(places.is_empty(), "record {id} is at {places:?} in spite of {error}");
                }
            }
        }
        assert!(self.shared.lock().take_failures().is_some() || counts[1] + counts[2] == 0);
        self.shared.lock().close_for_good();
        assert!(self.shared.lock().is_finished(), "bytes are still charged");
        counts
    }
}

fn walk(seeds: std::ops::Range<u64>, faults: Faults, exact: bool) -> [usize; 3] {
    let mut total = [0; 3];
    for seed in seeds {
        let counts = std::panic::catch_unwind(|| World::new(seed, faults).run(1500).check(exact));
        match counts {
            Ok(counts) => counts.iter().zip(&mut total).for_each(|(count, total)| *total += count),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    total
}

/// Seeds to walk: more with `KAVKA_SEEDS`.
fn seeds() -> u64 {
    std::env::var("KAVKA_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

#[test]
fn in_calm_weather_everything_is_written() {
    let [written, unknown, failed] = walk(0..seeds() / 4, CALM, true);
    assert!(written > 1000 && unknown == 0 && failed == 0, "{written} {unknown} {failed}");
}

#[test]
fn lost_answers_neither_lose_nor_double_nor_reorder() {
    let [written, unknown, failed] = walk(0..seeds(), Faults { lost: 15, ..CALM }, true);
    assert!(written > 1000 && unknown == 0 && failed == 0, "{written} {unknown} {failed}");
}

#[test]
fn every_error_ends_as_what_it_is() {
    let [written, unknown, failed] = walk(0..seeds(), Faults { errors: 25, ..CALM }, true);
    assert!(written > 1000 && unknown > 0 && failed > 0, "{written} {unknown} {failed}");
}

#[test]
fn everything_at_once() {
    let faults = Faults {
        lost: 10,
        errors: 15,
        delivery_timeout: Duration::from_millis(1500),
        very_late: false,
        ..CALM
    };
    for codec in [Codec::None, Codec::Lz4] {
        let [written, unknown, failed] = walk(0..seeds(), Faults { codec, ..faults }, true);
        assert!(written > 1000 && unknown > 0 && failed > 0, "{written} {unknown} {failed}");
    }
}

#[test]
fn batches_that_are_too_large_are_split() {
    for (largest, lost) in [(150, 0), (250, 10)] {
        let [written, unknown, failed] = walk(0..seeds(), Faults { largest, lost, ..CALM }, true);
        assert!(written > 1000 && unknown == 0, "{written} {unknown} {failed}");
        assert!(largest > 180 || failed > 0, "records larger than {largest} cannot have been written");
    }
}

#[test]
fn one_batch_in_flight_works_too() {
    let faults = Faults { lost: 10, errors: 10, max_in_flight: 1, ..CALM };
    assert!(walk(0..seeds(), faults, true)[0] > 1000);
}

#[test]
fn a_log_that_forgets_producers_loses_nothing() {
    let [written, ..] = walk(0..seeds(), Faults { forget: true, errors: 5, ..CALM }, false);
    assert!(written > 1000);
}
