//! Body of the connection fuzz target: `fuzz/` calls it with what libFuzzer makes up, `cargo test` with the checked-in
//! corpus.

use std::time::{Duration, Instant};

use bytes::BufMut;
use kavka_wire::codec::Limits;
use kavka_wire::messages::{ApiVersionsResponse, HeartbeatRequest};
use kavka_wire::{ApiKey, request_frame, response_frame};

use crate::core::connection::{Connection, Input, Output, Request, Settings, Token};
use crate::core::handshake::Hello;
use crate::error::Peer;

struct Mark(usize, bool);

impl Token for Mark {
    fn withdrawn(&self) -> bool {
        self.1
    }
}

struct Model {
    core: Connection<Mark>,
    now: Instant,
    /// For each request: how often it was told its fate, and whether it may be dropped without.
    told: Vec<(u32, bool)>,
    closed: bool,
    ready: bool,
}

/// Drives one connection by the bytes: each operation is one byte and its argument another. However the stream is cut and
/// whatever it holds, nothing panics, every request learns its fate once, and a timer that fires moves on.
#[inline]
pub fn connection(data: &[u8]) {
    // Times are compared only with each other, so any starting point does.
    let start = crate::shell::clock::now();
    let hello = Hello { client_id: "fuzz".into(), cluster_id: None, node: 1, version: Hello::MAX };
    let settings = Settings {
        max_idle: Duration::from_secs(9),
        max_response: 1 << 16,
        limits: Limits { elements: 1000, memory: 1 << 20 },
    };
    let core =
        Connection::new(Peer::new(1, "fuzz", 1), hello, settings, start, start + Duration::from_secs(5));
    let mut model = Model { core, now: start, told: Vec::new(), closed: false, ready: false };
    let mut rest = data;
    while let [op, arg, tail @ ..] = rest {
        rest = model.step(*op, *arg, tail);
        model.drain();
    }
    model.core.handle(model.now, Input::Stop);
    model.drain();
    assert!(model.closed);
    for (told, may_vanish) in model.told {
        assert!(told == 1 || (may_vanish && told == 0), "a request was told its fate {told} times");
    }
}

impl Model {
    fn step<'a>(&mut self, op: u8, arg: u8, tail: &'a [u8]) -> &'a [u8] {
        match op % 10 {
            0 | 1 => self.request(arg),
            2 => self.write(usize::from(arg)),
            3 => self.write(usize::MAX),
            4 => {
                let (bytes, tail) = tail.split_at(usize::from(arg).min(tail.len()));
                self.read(bytes);
                return tail;
            }
            5 => self.answer(),
            6 => self.pass(Duration::from_millis(50 * u64::from(arg))),
            7 => self.core.handle(self.now, Input::Throttle(Duration::from_millis(20 * u64::from(arg)))),
            8 => self.core.handle(self.now, Input::Ended(None)),
            _ => self.core.handle(self.now, if arg.is_multiple_of(2) { Input::Drain } else { Input::Stop }),
        }
        tail
    }

    fn request(&mut self, arg: u8) {
        let correlation_id = self.told.len() as i32 + 1;
        let Ok(frame) = request_frame(&HeartbeatRequest::default(), 4, correlation_id, None) else { return };
        let (answered, withdrawn) = (arg & 0x80 == 0, arg & 0x40 != 0);
        let token = Mark(self.told.len(), withdrawn);
        self.told.push((0, withdrawn));
        let deadline = self.now + Duration::from_millis(100 * u64::from(arg & 0x3f));
        let (api, asked) = (ApiKey::HEARTBEAT, self.now);
        let request = Request { api, correlation_id, frame, asked, deadline, answered, token };
        self.core.handle(self.now, Input::Request(request));
    }

    fn write(&mut self, max: usize) {
        let mut slices = Vec::new();
        self.core.gather(self.now, &mut slices);
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>().min(max);
        drop(slices);
        if bytes > 0 {
            self.core.handle(self.now, Input::Wrote(bytes));
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.core.is_closed() {
            let mut target = self.core.target();
            let n = target.remaining_mut().min(bytes.len());
            assert!(n > 0, "no room to read to");
            target.put_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.core.handle(self.now, Input::Read);
        }
    }

    /// Gives the answer that the oldest request waits for.
    fn answer(&mut self) {
        let Some((api, correlation_id)) = self.core.expected() else { return };
        if api == ApiKey::API_VERSIONS {
            let answer = ApiVersionsResponse::default();
            if let Ok(frame) = response_frame(api, &answer, Hello::MAX, correlation_id) {
                self.read(&frame.into_bytes());
            }
        } else {
            let mut frame = 6i32.to_be_bytes().to_vec();
            frame.extend_from_slice(&correlation_id.to_be_bytes());
            frame.extend_from_slice(&[0; 2]);
            self.read(&frame);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle(self.now, Input::Timeout);
        if let Some(next) = self.core.next_timeout() {
            assert!(next > self.now, "the timer would fire again at once");
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Ready(..) => {
                    assert!(!self.ready && !self.closed, "ready twice or after the end");
                    self.ready = true;
                }
                Output::Answer(Mark(id, _), _) => {
                    assert!(self.ready && !self.closed, "an answer outside the connection's life");
                    self.told[id].0 += 1;
                }
                Output::Failed(Mark(id, _), _) => self.told[id].0 += 1,
                Output::Closed(..) => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
            }
        }
        assert_eq!(self.closed, self.core.is_closed());
        assert_eq!(
            self.closed,
            self.core.next_timeout().is_none(),
            "an open connection always has a deadline"
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_connections_is_run_without_a_panic() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/connection");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            super::connection(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0);
    }

    #[test]
    fn made_up_connections_are_run_without_a_panic() {
        let mut rng = crate::core::rng::Rng::new(1);
        for _ in 0..20_000 {
            let mut data = Vec::new();
            // Half of them get through the handshake first.
            if rng.below(2) == 0 {
                data.extend_from_slice(&[3, 0, 5, 0]);
            }
            for _ in 0..rng.below(60) {
                data.extend_from_slice(&[rng.next() as u8, rng.next() as u8]);
            }
            super::connection(&data);
        }
    }
}
