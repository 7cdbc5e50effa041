//! Any sequence of requests, outcomes and pauses, with the rules that hold whatever happens.

use std::collections::BTreeMap;

use super::*;

struct Model {
    rig: Rig,
    rng: Rng,
    /// Who waits for what; gone once told.
    waiting: BTreeMap<u32, (Target, Lane, Rc<Cell<bool>>)>,
    asked: u32,
    /// Attempts without a result: when each began and when it must have one.
    dialling: Vec<(Attempt, Instant, Instant)>,
    open: Vec<Conn>,
    /// When a node failed last, and whether it has been of use since.
    failed: BTreeMap<i32, (Instant, bool)>,
    good: i32,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let brokers: Vec<i32> = (1..=rng.below(4) as i32).collect();
        let rig = Rig::new(1 + rng.below(3) as u16, &brokers, seed);
        let good = -1;
        let (waiting, failed) = (BTreeMap::new(), BTreeMap::new());
        Model { rig, rng, waiting, asked: 0, dialling: Vec::new(), open: Vec::new(), failed, good }
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0..=2 => self.ask(),
            3 | 4 => self.pass(),
            5 => self.connect(),
            6 | 7 => self.fail(),
            8 => self.close(),
            _ => match self.rng.below(4) {
                0 => self.rig.handle(Input::Release(Lane::Fetch)),
                1 => self.move_brokers(),
                _ => self.withdraw(),
            },
        }
        self.drain();
    }

    fn ask(&mut self) {
        let node = self.rng.below(4) as i32;
        let target = || match node {
            0 => Target::Any { bootstrap: false },
            1 => Target::Any { bootstrap: true },
            2 => Target::Broker(1),
            _ => Target::Node(Endpoint { id: 7, host: "h".into(), port: 1 }),
        };
        let lane = [Lane::General, Lane::Fetch][self.rng.below(2)];
        self.asked += 1;
        let gone = self.rig.ask(target(), lane, self.asked);
        self.waiting.insert(self.asked, (target(), lane, gone));
    }

    fn move_brokers(&mut self) {
        let brokers: Vec<i32> = (1..=self.rng.below(4) as i32).collect();
        let host = ["broker", "elsewhere"][self.rng.below(2)];
        self.rig.brokers(&brokers, host);
    }

    fn withdraw(&mut self) {
        let nth = self.rng.below(self.waiting.len());
        if let Some((_, _, gone)) = self.waiting.values().nth(nth) {
            gone.set(true);
        }
    }

    /// Time goes on, but not beyond what somebody must be told.
    fn pass(&mut self) {
        let until = self.rig.now + (self.rng.below(1500) as u32) * MS;
        self.pass_to(until);
    }

    fn pass_to(&mut self, until: Instant) {
        loop {
            let due = self.rig.pool.next_timeout().filter(|due| *due <= until);
            let overdue = self.dialling.iter().map(|(.., by)| *by).min().filter(|by| *by <= until);
            let Some(next) = due.into_iter().chain(overdue).min() else { break };
            self.rig.now = self.rig.now.max(next);
            self.rig.handle(Input::Timeout);
            self.drain();
            while let Some(at) = self.dialling.iter().position(|(.., by)| *by <= self.rig.now) {
                self.end(at);
            }
            assert!(self.rig.pool.next_timeout().is_none_or(|due| due > self.rig.now), "it would spin");
        }
        self.rig.now = self.rig.now.max(until);
    }

    fn connect(&mut self) {
        if self.dialling.is_empty() {
            return;
        }
        let at = self.rng.below(self.dialling.len());
        let (attempt, ..) = self.dialling.swap_remove(at);
        let conn = Conn::new(attempt);
        conn.load.set(self.rng.below(3));
        self.open.push(conn.clone());
        self.useful(attempt);
        self.rig.handle(Input::Connected(attempt, conn));
    }

    fn fail(&mut self) {
        if !self.dialling.is_empty() {
            let at = self.rng.below(self.dialling.len());
            self.end(at);
        }
    }

    fn end(&mut self, at: usize) {
        let (attempt, begun, _) = self.dialling.swap_remove(at);
        // Attempts that were under way when the node failed are part of the same failure, and so are those nobody waits for.
        let current = self.current(attempt);
        if current && self.failed.get(&attempt.key.0).is_none_or(|(last, _)| begun > *last) {
            self.failed.insert(attempt.key.0, (self.rig.now, false));
        }
        self.rig.fail(attempt);
        self.drain();
    }

    /// Whether the pool still counts on this attempt.
    fn current(&self, attempt: Attempt) -> bool {
        self.rig.pool.slots.get(&attempt.key).is_some_and(|slot| slot.serial == attempt.serial)
    }

    fn useful(&mut self, attempt: Attempt) {
        if let Some((_, since)) = self.failed.get_mut(&attempt.key.0) {
            *since = true;
        }
    }

    /// A connection ends; sometimes the pool is told of it later.
    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.rng.below(self.open.len());
        if self.open[at].closed.replace(true) || self.rng.below(2) == 0 {
            let conn = self.open.swap_remove(at);
            if self.current(conn.attempt) {
                self.failed.insert(conn.attempt.key.0, (self.rig.now, false));
            }
            self.rig.fail(conn.attempt);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.rig.pool.poll() {
            match output {
                Output::Dial(dial) => self.on_dial(dial),
                Output::Give(Mark(id, _), told) => self.on_given(id, told),
                Output::Drain(conn) => conn.closed.set(true),
                Output::Tell(_) => {}
            }
        }
    }

    fn on_dial(&mut self, dial: Dial) {
        let (node, _) = dial.attempt.key;
        let quiet = |(at, useful): &(Instant, bool)| !useful && self.rig.now < *at + 40 * MS;
        assert!(!self.failed.get(&node).is_some_and(quiet), "node {node} is dialled in its backoff");
        assert!(dial.deadline > self.rig.now && dial.deadline <= self.rig.now + 36_000 * MS);
        self.dialling.push((dial.attempt, self.rig.now, dial.deadline));
    }

    fn on_given(&mut self, id: u32, told: Result<Conn>) {
        let (target, lane, _) = self.waiting.remove(&id).expect("told twice");
        let Ok(conn) = told else { return };
        let (node, of) = conn.attempt.key;
        assert!(!conn.is_closed(), "a connection that has ended is given away");
        assert_eq!(lane, of);
        match target {
            Target::Any { bootstrap } => assert!(!bootstrap || node < 0),
            Target::Broker(id) => assert_eq!(node, id),
            Target::Node(endpoint) => assert_eq!(node, endpoint.id),
        }
    }

    /// From now on one bootstrap address takes connections at once, and all others hang.
    fn calm_down(&mut self) {
        self.good = -1 - self.rng.below(self.rig.pool.settings.bootstrap.len()) as i32;
        self.asked += 1;
        let id = self.asked;
        let gone = self.rig.ask(Target::Any { bootstrap: false }, Lane::General, id);
        self.waiting.insert(id, (Target::Any { bootstrap: false }, Lane::General, gone));
        // At most six nodes come first, each for as long as its patience and a backoff.
        let end = self.rig.now + 6 * (PATIENCE + 1200 * MS);
        while self.rig.now < end && self.waiting.contains_key(&id) {
            self.drain();
            while let Some(at) = self.dialling.iter().position(|(attempt, ..)| attempt.key.0 == self.good) {
                let (attempt, ..) = self.dialling.swap_remove(at);
                self.useful(attempt);
                self.rig.handle(Input::Connected(attempt, Conn::new(attempt)));
                self.drain();
            }
            self.pass_to(self.rig.now + 10 * MS);
        }
        assert!(!self.waiting.contains_key(&id), "one good node is enough");
    }
}

#[test]
fn everyone_is_told_once_and_one_good_node_is_enough() {
    for seed in 0..3000 {
        let mut model = Model::new(seed);
        for _ in 0..model.rng.below(120) {
            model.step();
        }
        model.calm_down();
        // Whatever hangs ends, and then everybody who still waits has been told.
        for _ in 0..8 {
            model.pass_to(model.rig.now + 40_000 * MS);
        }
        model.waiting.retain(|_, (_, _, gone)| !gone.get());
        assert!(model.waiting.is_empty(), "seed {seed}: {:?}", model.waiting.keys());
    }
}
