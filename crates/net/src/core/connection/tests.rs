use bytes::BufMut;
use kavka_wire::messages::api_versions::ApiVersion;
use kavka_wire::messages::{ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse};
use kavka_wire::{ErrorCode, request_frame, response_frame};

use super::*;

#[derive(Debug, PartialEq)]
struct Mark(u32);

impl Token for Mark {
    fn withdrawn(&self) -> bool {
        self.0 >= 1000
    }
}

struct Rig {
    core: Connection<Mark>,
    now: Instant,
}

const SECOND: Duration = Duration::from_secs(1);

impl Rig {
    fn new() -> Self {
        let now = crate::shell::clock::now();
        let hello = Hello { client_id: "t".into(), cluster_id: None, node: 1, version: Hello::MAX };
        let settings = Settings { max_idle: 540 * SECOND, max_response: 2 << 20, limits: Limits::default() };
        Rig { core: Connection::new(Peer::new(1, "a", 9092), hello, settings, now, now + 10 * SECOND), now }
    }

    fn ready() -> Self {
        let mut rig = Rig::new();
        assert!(rig.write(usize::MAX) > 0);
        rig.answer_versions(ErrorCode::NONE, 5, 0);
        assert!(matches!(rig.core.poll(), Some(Output::Ready(_, 1))));
        rig
    }

    fn answer_versions(&mut self, error_code: ErrorCode, version: i16, correlation_id: i32) {
        let api_keys = vec![
            ApiVersion { api_key: 18, min_version: 0, max_version: 4, ..Default::default() },
            ApiVersion { api_key: 12, min_version: 0, max_version: 4, ..Default::default() },
        ];
        let answer = ApiVersionsResponse { error_code, api_keys, ..Default::default() };
        self.read(
            &response_frame(ApiKey::API_VERSIONS, &answer, version, correlation_id).unwrap().into_bytes(),
        );
    }

    fn ask(&mut self, id: u32, timeout: Duration) {
        self.ask_with(id, timeout, true);
    }

    fn ask_with(&mut self, id: u32, timeout: Duration, answered: bool) {
        let frame = request_frame(&HeartbeatRequest::default(), 4, id as i32, None).unwrap();
        let (asked, deadline) = (self.now, self.now + timeout);
        let api = ApiKey::HEARTBEAT;
        let request =
            Request { api, correlation_id: id as i32, frame, asked, deadline, answered, token: Mark(id) };
        self.core.handle(self.now, Input::Request(request));
    }

    /// Writes at most `max` bytes of what may be written and says how many it were.
    fn write(&mut self, max: usize) -> usize {
        let mut slices = Vec::new();
        self.core.gather(self.now, &mut slices);
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>().min(max);
        drop(slices);
        self.core.handle(self.now, Input::Wrote(bytes));
        bytes
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut target = self.core.target();
            let n = target.remaining_mut().min(bytes.len());
            target.put_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.core.handle(self.now, Input::Read);
        }
    }

    fn answer(&mut self, id: u32) {
        let frame = response_frame(ApiKey::HEARTBEAT, &HeartbeatResponse::default(), 4, id as i32).unwrap();
        self.read(&frame.into_bytes());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle(self.now, Input::Timeout);
    }

    /// All outputs: `+1` answered, `-1 kind` failed, the cause at the end.
    fn outputs(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.core.poll())
            .map(|output| match output {
                Output::Ready(..) => "ready".into(),
                Output::Answer(Mark(id), _) => format!("+{id}"),
                Output::Failed(Mark(id), error) => format!("-{id} {}", short(&error)),
                Output::Closed(cause, error) => format!("{cause:?} {}", short(&error)),
            })
            .collect()
    }
}

fn short(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Timeout { outcome_unknown, .. } => format!("timeout sent={outcome_unknown}"),
        ErrorKind::Disconnected { outcome_unknown } => format!("gone sent={outcome_unknown}"),
        kind => format!("{kind:?}"),
    }
}

#[test]
fn answers_go_to_the_requests_in_their_order() {
    let mut rig = Rig::ready();
    for id in 1..=3 {
        rig.ask(id, SECOND);
    }
    rig.write(usize::MAX);
    rig.answer(1);
    rig.answer(2);
    assert_eq!(rig.outputs(), ["+1", "+2"]);
    rig.answer(3);
    assert_eq!(rig.outputs(), ["+3"]);
}

#[test]
fn several_requests_leave_in_one_write_and_partial_writes_go_on_where_they_stopped() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.ask(2, SECOND);
    let mut slices = Vec::new();
    rig.core.gather(rig.now, &mut slices);
    let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    assert!(slices.len() >= 2);
    drop(slices);
    let mut seen = Vec::new();
    loop {
        let mut slices = Vec::new();
        rig.core.gather(rig.now, &mut slices);
        let Some(byte) = slices.first().map(|slice| slice[0]) else { break };
        seen.push(byte);
        rig.write(1);
    }
    assert_eq!(seen, whole);
    assert_eq!(rig.core.in_flight.len(), 2);
}

#[test]
fn the_oldest_request_overdue_closes_the_connection_and_the_others_learn_what_was_sent() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.ask(2, 5 * SECOND);
    rig.write(usize::MAX);
    rig.ask(3, 5 * SECOND);
    rig.pass(SECOND / 2);
    assert!(rig.outputs().is_empty());
    rig.pass(SECOND / 2);
    assert_eq!(
        rig.outputs(),
        ["-1 timeout sent=true", "-2 gone sent=true", "-3 gone sent=false", "Fault timeout sent=true"]
    );
    rig.ask(4, SECOND);
    assert_eq!(rig.outputs(), ["-4 gone sent=false"]);
    assert_eq!(rig.core.next_timeout(), None);
}

#[test]
fn a_younger_request_overdue_fails_alone_and_its_answer_is_thrown_away() {
    let mut rig = Rig::ready();
    rig.ask(1, 60 * SECOND);
    rig.ask(2, SECOND);
    rig.write(usize::MAX);
    rig.pass(SECOND);
    assert_eq!(rig.outputs(), ["-2 timeout sent=true"]);
    rig.answer(1);
    rig.answer(2);
    rig.ask(3, SECOND);
    rig.write(usize::MAX);
    rig.answer(3);
    assert_eq!(rig.outputs(), ["+1", "+3"]);
}

#[test]
fn a_half_written_request_is_known_not_to_have_been_carried_out() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.write(5);
    rig.core.handle(rig.now, Input::Ended(None));
    assert_eq!(rig.outputs(), ["-1 gone sent=false", "Peer gone sent=false"]);
}

#[test]
fn a_peer_that_stops_reading_is_left() {
    let mut rig = Rig::ready();
    rig.ask(1, 60 * SECOND);
    rig.write(usize::MAX);
    rig.ask(2, SECOND);
    rig.write(5);
    rig.ask(3, SECOND);
    rig.pass(SECOND);
    assert_eq!(
        rig.outputs(),
        ["-1 gone sent=true", "-2 timeout sent=false", "-3 gone sent=false", "Fault timeout sent=false"]
    );
}

#[test]
fn a_withdrawn_request_is_not_sent_but_one_half_sent_is_finished() {
    let mut rig = Rig::ready();
    rig.ask(1000, SECOND);
    assert_eq!(rig.write(usize::MAX), 0);
    rig.ask(1, SECOND);
    let whole = rig.write(usize::MAX);
    rig.ask(2, SECOND);
    rig.write(3);
    rig.core.unsent[0].owner = Owner::Caller(Mark(1001));
    assert_eq!(rig.write(usize::MAX), whole - 3);
}

#[test]
fn a_request_without_an_answer_is_done_when_it_is_written() {
    let mut rig = Rig::ready();
    rig.ask_with(1, SECOND, false);
    rig.ask(2, SECOND);
    rig.write(usize::MAX);
    assert_eq!(rig.outputs(), ["+1"]);
    rig.answer(2);
    assert_eq!(rig.outputs(), ["+2"]);
}

#[test]
fn throttled_it_finishes_what_it_began_and_sends_nothing_new() {
    let mut rig = Rig::ready();
    rig.ask(1, 10 * SECOND);
    rig.write(4);
    rig.core.handle(rig.now, Input::Throttle(3 * SECOND));
    rig.ask(2, 10 * SECOND);
    rig.ask(3, SECOND);
    assert!(rig.write(usize::MAX) > 0);
    assert_eq!(rig.write(usize::MAX), 0);
    assert_eq!(rig.core.in_flight.len(), 1);
    rig.pass(SECOND);
    assert_eq!(rig.outputs(), ["-3 timeout sent=false"]);
    assert_eq!(rig.core.next_timeout(), Some(rig.now + 2 * SECOND));
    rig.pass(2 * SECOND);
    assert!(rig.write(usize::MAX) > 0);
    assert!(rig.core.next_timeout().unwrap() > rig.now);
}

#[test]
fn idle_for_long_it_closes() {
    let mut rig = Rig::ready();
    assert_eq!(rig.core.next_timeout(), Some(rig.now + 540 * SECOND));
    rig.pass(540 * SECOND);
    assert_eq!(rig.outputs(), ["Idle gone sent=false"]);
}

#[test]
fn draining_it_finishes_what_was_asked_before() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.core.handle(rig.now, Input::Drain);
    rig.ask(2, SECOND);
    rig.write(usize::MAX);
    rig.answer(1);
    assert_eq!(rig.outputs(), ["-2 gone sent=false", "+1", "Told gone sent=false"]);
}

#[test]
fn stopping_ends_everything_as_closed() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.write(usize::MAX);
    rig.ask(2, SECOND);
    rig.core.handle(rig.now, Input::Stop);
    assert_eq!(rig.outputs(), ["-1 Closed", "-2 Closed", "Told Closed"]);
}

#[test]
fn an_answer_with_a_wrong_correlation_id_or_to_nothing_ends_it() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.ask(2, SECOND);
    rig.write(usize::MAX);
    rig.answer(2);
    assert_eq!(rig.outputs(), ["-1 Protocol", "-2 gone sent=true", "Fault Protocol"]);
    let mut rig = Rig::ready();
    rig.answer(1);
    assert_eq!(rig.outputs(), ["Fault Protocol"]);
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.write(usize::MAX);
    rig.read(&[0, 0, 0, 2, 0, 0]);
    assert_eq!(rig.outputs(), ["-1 Protocol", "Fault Protocol"]);
}

#[test]
fn an_answer_over_the_limit_names_the_limit() {
    let mut rig = Rig::ready();
    rig.ask(1, SECOND);
    rig.write(usize::MAX);
    rig.read(&(3i32 << 20).to_be_bytes());
    let Some(Output::Failed(Mark(1), error)) = rig.core.poll() else { panic!() };
    assert_eq!(error.kind(), ErrorKind::FrameTooLarge);
    let text = error.to_string();
    assert!(
        text.contains("Heartbeat") && text.contains("2097152") && text.contains("max_response_bytes"),
        "{text}"
    );
    assert!(error.outcome_unknown());
}

#[test]
fn a_peer_that_is_not_kafka_is_recognised() {
    for (bytes, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (&[0x15, 3, 3, 0, 2, 2, 70], "TLS"),
        (&[0, 0, 0, 4, 9, 9, 9, 9], "not a Kafka"),
        (&[0, 0, 0, 6, 0, 0, 0, 0, 0, 0], "not a Kafka"),
        (&[0, 0x20, 0, 0], "not a Kafka"),
    ] {
        let mut rig = Rig::new();
        rig.write(usize::MAX);
        rig.read(bytes);
        let Some(Output::Closed(Cause::Fault, error)) = rig.core.poll() else { panic!("{word}") };
        assert_eq!(error.kind(), ErrorKind::NotKafka);
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut rig = Rig::new();
    rig.write(usize::MAX);
    rig.read(b"\x15\x03");
    rig.core.handle(rig.now, Input::Ended(None));
    assert_eq!(rig.outputs(), ["Peer NotKafka"]);
}

#[test]
fn no_request_is_taken_before_the_handshake_is_over() {
    let mut rig = Rig::new();
    rig.ask(7, SECOND);
    assert_eq!(rig.outputs(), ["-7 gone sent=false"]);
    rig.write(usize::MAX);
    rig.answer_versions(ErrorCode::UNSUPPORTED_VERSION, 0, 0);
    assert!(rig.outputs().is_empty());
    assert!(rig.write(usize::MAX) > 0);
    rig.answer_versions(ErrorCode::NONE, 4, 1);
    assert_eq!(rig.outputs(), ["ready"]);
}

#[test]
fn a_handshake_that_takes_too_long_or_meets_a_closed_door_ends_it() {
    let mut rig = Rig::new();
    rig.write(usize::MAX);
    rig.pass(10 * SECOND);
    assert_eq!(rig.outputs(), ["Fault Connect"]);
    let mut rig = Rig::new();
    rig.write(usize::MAX);
    rig.core.handle(rig.now, Input::Ended(None));
    assert_eq!(rig.outputs(), ["Peer Connect"]);
    let mut rig = Rig::new();
    rig.core.handle(rig.now, Input::Drain);
    assert_eq!(rig.outputs(), ["Told Closed"]);
}
