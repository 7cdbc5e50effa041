use std::cell::Cell;
use std::rc::Rc;

use kavka_wire::ApiKey;
use kavka_wire::messages::ApiVersionsResponse;
use kavka_wire::messages::api_versions::ApiVersion;

use super::*;
use crate::core::metadata::Broker;

mod model;

const MS: Duration = Duration::from_millis(1);

/// Who waits: a number, and whether it has gone away.
#[derive(Debug, Clone)]
struct Mark(u32, Rc<Cell<bool>>);

impl Token for Mark {
    fn withdrawn(&self) -> bool {
        self.1.get()
    }
}

#[derive(Debug, Clone)]
struct Conn {
    attempt: Attempt,
    closed: Rc<Cell<bool>>,
    load: Rc<Cell<usize>>,
    versions: Rc<Versions>,
}

impl Conn {
    fn new(attempt: Attempt) -> Self {
        let own = ApiVersion { api_key: ApiKey::API_VERSIONS.0, max_version: 5, ..Default::default() };
        let answer = ApiVersionsResponse { api_keys: vec![own], ..Default::default() };
        let versions = Rc::new(Versions::new(&answer));
        Conn { attempt, closed: Rc::default(), load: Rc::default(), versions }
    }
}

impl Handle for Conn {
    fn is_closed(&self) -> bool {
        self.closed.get()
    }

    fn load(&self) -> usize {
        self.load.get()
    }

    fn versions(&self) -> &Versions {
        &self.versions
    }
}

struct Rig {
    pool: Pool<Mark, Conn>,
    now: Instant,
    dials: Vec<Dial>,
}

impl Rig {
    /// So many bootstrap addresses, and these brokers.
    fn new(bootstrap: u16, brokers: &[i32], seed: u64) -> Self {
        let settings = Settings {
            client_id: "t".into(),
            bootstrap: (1..=bootstrap).map(|port| ("bootstrap".into(), port)).collect(),
            setup: Range::new(10_000 * MS, 30_000 * MS),
            reconnect: Range::new(50 * MS, 1000 * MS),
        };
        let now = crate::shell::clock::now();
        let mut rig = Rig { pool: Pool::new(settings, seed), now, dials: Vec::new() };
        rig.brokers(brokers, "broker");
        rig
    }

    fn brokers(&mut self, ids: &[i32], host: &str) {
        let broker = |id: &i32| (*id, Broker { id: *id, host: host.into(), port: 9092, rack: None });
        let mut cluster = Cluster::default();
        cluster.brokers = ids.iter().map(broker).collect();
        self.handle(Input::Cluster(Arc::new(cluster)));
    }

    fn handle(&mut self, input: Input<Mark, Conn>) {
        self.pool.handle(self.now, input);
    }

    fn ask(&mut self, target: Target, lane: Lane, id: u32) -> Rc<Cell<bool>> {
        let gone: Rc<Cell<bool>> = Rc::default();
        self.handle(Input::Acquire { target, lane, waiter: Mark(id, gone.clone()) });
        gone
    }

    fn any(&mut self, id: u32) {
        self.ask(Target::Any { bootstrap: false }, Lane::General, id);
    }

    fn broker(&mut self, node: i32, id: u32) {
        self.ask(Target::Broker(node), Lane::General, id);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.handle(Input::Timeout);
    }

    /// The attempt under way that was begun last at this node.
    fn dial(&self, node: i32) -> Attempt {
        self.dials.iter().rev().find(|dial| dial.attempt.key.0 == node).unwrap().attempt
    }

    fn connect(&mut self, node: i32) -> Conn {
        let connection = Conn::new(self.dial(node));
        self.handle(Input::Connected(connection.attempt, connection.clone()));
        connection
    }

    fn fail(&mut self, attempt: Attempt) {
        let error = Error::new(ErrorKind::Connect, format!("{} failed", attempt.key.0));
        self.handle(Input::Ended { attempt, cause: Cause::Fault, error });
    }

    /// `dial 1`, `1 gets 2` or `1 fails: why`, `drain 1`.
    fn outputs(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(output) = self.pool.poll() {
            match output {
                Output::Dial(dial) => {
                    told.push(format!("dial {}", dial.attempt.key.0));
                    self.dials.push(dial);
                }
                Output::Give(Mark(id, _), Ok(conn)) => told.push(format!("{id} gets {}", conn.attempt.key.0)),
                Output::Give(Mark(id, _), Err(error)) => told.push(format!("{id} fails: {error}")),
                Output::Drain(conn) => told.push(format!("drain {}", conn.attempt.key.0)),
                Output::Tell(_) => {}
            }
        }
        told
    }
}

#[test]
fn any_gets_the_ready_connection_with_the_least_load() {
    for seed in 0..20 {
        let mut rig = Rig::new(1, &[1, 2, 3, 4], seed);
        for node in 1..=3 {
            rig.broker(node, 0);
            rig.outputs();
            rig.connect(node).load.set(if node == 2 { 1 } else { 5 });
        }
        rig.outputs();
        rig.any(7);
        assert_eq!(rig.outputs(), ["7 gets 2"]);
    }
}

#[test]
fn those_who_take_any_join_a_young_attempt_and_leave_one_that_is_in_doubt() {
    for seed in 0..20 {
        let mut rig = Rig::new(0, &[1, 2], seed);
        rig.broker(1, 0);
        assert_eq!(rig.outputs(), ["dial 1"]);
        rig.any(1);
        assert_eq!(rig.outputs(), Vec::<String>::new(), "one that was just begun is as good");
        assert_eq!(rig.pool.next_timeout(), Some(rig.now + PATIENCE));
        rig.pass(PATIENCE - MS);
        assert_eq!(rig.outputs(), Vec::<String>::new());
        rig.pass(MS);
        assert_eq!(rig.outputs(), ["dial 2"]);
        rig.any(2);
        assert_eq!(rig.outputs(), Vec::<String>::new());
        rig.connect(2);
        assert_eq!(rig.outputs(), ["1 gets 2", "2 gets 2"], "who wants broker 1 goes on waiting for it");
        rig.connect(1);
        assert_eq!(rig.outputs(), ["0 gets 1"]);
    }
}

#[test]
fn the_first_connection_that_is_ready_is_taken_wherever_one_waits() {
    for (bootstrap, takes) in [(false, true), (true, false)] {
        let mut rig = Rig::new(1, &[1], 1);
        rig.ask(Target::Any { bootstrap }, Lane::General, 1);
        let waits_at = if bootstrap { -1 } else { 1 };
        assert_eq!(rig.outputs(), [format!("dial {waits_at}")]);
        rig.brokers(&[1, 2], "broker");
        rig.broker(2, 2);
        rig.ask(Target::Broker(2), Lane::Fetch, 3);
        rig.outputs();
        let mut expected = vec!["2 gets 2".to_string()];
        expected.extend(takes.then(|| "1 gets 2".to_string()));
        let general = rig.dials.iter().find(|dial| dial.attempt.key == (2, Lane::General)).unwrap().attempt;
        rig.handle(Input::Connected(general, Conn::new(general)));
        assert_eq!(rig.outputs(), expected, "of its own lane only");
    }
}

#[test]
fn what_is_in_doubt_is_waited_for_when_everything_else_has_failed() {
    let mut rig = Rig::new(1, &[1], 3);
    rig.broker(1, 0);
    rig.outputs();
    rig.pass(PATIENCE);
    rig.any(1);
    assert_eq!(rig.outputs(), ["dial -1"]);
    rig.fail(rig.dial(-1));
    rig.pass(5 * PATIENCE);
    assert_eq!(rig.outputs(), Vec::<String>::new());
    assert_eq!(rig.pool.next_timeout(), None, "there is nothing to do but wait");
    rig.fail(rig.dial(1));
    assert_eq!(rig.outputs(), ["0 fails: 1 failed", "1 fails: -1 failed"]);
}

#[test]
fn each_node_is_tried_once_and_a_passing_failure_is_told_rather_than_a_final_one() {
    let mut rig = Rig::new(2, &[5], 1);
    rig.any(1);
    for (node, kind) in [(5, ErrorKind::Connect), (0, ErrorKind::NotKafka), (0, ErrorKind::NotKafka)] {
        assert_eq!(rig.outputs().len(), 1);
        let attempt = rig.dials.last().unwrap().attempt;
        assert!(node == 0 || attempt.key.0 == node, "known brokers come first");
        let error = Error::new(kind, "no");
        rig.handle(Input::Ended { attempt, cause: Cause::Fault, error });
    }
    let Some(Output::Give(_, Err(error))) = rig.pool.poll() else { panic!("nobody is left") };
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[test]
fn a_node_in_backoff_is_not_dialled_before_it_is_over_and_not_at_all_when_nobody_waits_any_more() {
    let mut rig = Rig::new(0, &[1], 1);
    rig.broker(1, 0);
    rig.outputs();
    rig.fail(rig.dial(1));
    rig.outputs();
    rig.broker(1, 1);
    let gone = rig.ask(Target::Broker(1), Lane::Fetch, 2);
    gone.set(true);
    let until = rig.pool.next_timeout().unwrap();
    assert!(until >= rig.now + 40 * MS && until <= rig.now + 60 * MS);
    rig.pass(until - rig.now - MS);
    assert_eq!(rig.outputs(), Vec::<String>::new());
    rig.pass(MS);
    assert_eq!(rig.outputs(), ["dial 1"]);
}

#[test]
fn an_attempt_that_fails_is_followed_by_one_at_the_next_address() {
    let mut rig = Rig::new(0, &[1], 1);
    let turns = |rig: &Rig| rig.dials.iter().map(|dial| dial.turn).collect::<Vec<_>>();
    for lane in [Lane::General, Lane::Fetch, Lane::Produce] {
        rig.ask(Target::Broker(1), lane, 0);
    }
    rig.outputs();
    rig.pass(MS);
    for n in 0..3 {
        rig.fail(rig.dials[n].attempt);
    }
    rig.broker(1, 0);
    rig.pass(100 * MS);
    rig.outputs();
    assert_eq!(turns(&rig), [0, 0, 0, 1], "three lanes that fail together are one failure");
    rig.connect(1);
    rig.pass(MS);
    rig.fail(rig.dial(1));
    rig.broker(1, 0);
    rig.pass(100 * MS);
    rig.outputs();
    assert_eq!(turns(&rig)[4..], [1], "an address that has worked is kept");
}

#[test]
fn a_released_lane_is_drained_and_others_stay() {
    let mut rig = Rig::new(0, &[1], 1);
    for lane in [Lane::Group(1), Lane::Group(2)] {
        rig.ask(Target::Broker(1), lane, 0);
        rig.outputs();
        rig.connect(1);
    }
    rig.outputs();
    rig.handle(Input::Release(Lane::Group(1)));
    assert_eq!(rig.outputs(), ["drain 1"]);
    rig.ask(Target::Broker(1), Lane::Group(2), 1);
    rig.ask(Target::Broker(1), Lane::Group(1), 2);
    assert_eq!(rig.outputs(), ["1 gets 1", "dial 1"]);
}

#[test]
fn who_waits_for_a_node_that_moves_goes_with_it_and_the_old_attempt_changes_nothing() {
    let mut rig = Rig::new(0, &[1], 1);
    rig.broker(1, 1);
    rig.outputs();
    let old = rig.dial(1);
    rig.brokers(&[1], "elsewhere");
    rig.broker(1, 2);
    assert_eq!(rig.outputs(), ["dial 1"]);
    assert_eq!(&*rig.dials[1].address.0, "elsewhere");
    rig.handle(Input::Connected(old, Conn::new(old)));
    assert_eq!(rig.outputs(), ["drain 1"]);
    rig.fail(old);
    assert_eq!(rig.outputs(), Vec::<String>::new());
    rig.connect(1);
    assert_eq!(rig.outputs(), ["2 gets 1", "1 gets 1"]);
}

#[test]
fn a_broker_that_is_not_known_is_told_at_once_and_asked_for() {
    let mut rig = Rig::new(1, &[1], 1);
    rig.broker(9, 1);
    assert!(matches!(rig.pool.poll(), Some(Output::Tell(News::Outdated))));
    let Some(Output::Give(_, Err(error))) = rig.pool.poll() else { panic!("nothing told") };
    assert_eq!(error.kind(), ErrorKind::UnknownBroker);
    let elsewhere = Endpoint { id: 9, host: "h".into(), port: 1 };
    rig.ask(Target::Node(elsewhere), Lane::General, 2);
    assert_eq!(rig.outputs(), ["dial 9"]);
}
