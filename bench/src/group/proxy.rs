//! A counting proxy in front of a cluster: every broker gets a port of its own here, and answers that name brokers name these ports.
//!
//! Thereby every client is counted in the same way, from outside, whole requests at a time. Answers to Metadata, FindCoordinator and
//! DescribeCluster are written again with the other port, which has the same length; all else passes unchanged. The addresses that
//! a broker adds to an answer when it is no longer the leader (KIP-951) are not rewritten: not for clusters that change meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use kavka_wire::codec::{Limits, Request};
use kavka_wire::messages::{DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest};
use kavka_wire::{ApiKey, ByteString, decode_response, response_frame};

/// No frame of these benchmarks is nearly as long.
const LONGEST_FRAME: usize = 100 << 20;

/// What passed so far.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests by API.
    pub requests: BTreeMap<ApiKey, u64>,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes from clients, as the brokers get them: TCP's payload.
    pub sent: u64,
    /// Bytes from brokers.
    pub received: u64,
}

impl Counts {
    /// What passed since an earlier look.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let before = |key| earlier.requests.get(key).copied().unwrap_or_default();
        let requests = self.requests.iter().map(|(key, count)| (*key, count - before(key)));
        Counts {
            requests: requests.filter(|&(_, count)| count > 0).collect(),
            connections: self.connections - earlier.connections,
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
        }
    }
}

/// The proxy. Runs until the program ends.
#[derive(Debug, Clone)]
pub struct Proxy {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    fronts: Mutex<HashMap<(String, u16), u16>>,
    counts: Mutex<Counts>,
    /// Print every request and answer but Fetch, with the milliseconds since this.
    trace: Option<Instant>,
}

/// Requests of a connection whose answers are to come: by correlation id.
type Pending = Arc<Mutex<HashMap<i32, (ApiKey, i16)>>>;

impl Proxy {
    /// Nothing listens yet. With `trace`, what passes is printed to the standard error, except fetches.
    pub fn new(trace: bool) -> Proxy {
        let trace = trace.then(Instant::now);
        Proxy { state: Arc::new(State { fronts: Mutex::default(), counts: Mutex::default(), trace }) }
    }

    /// The port here that leads to a broker; of this host, so the broker's own host must be local, too.
    pub fn front(&self, host: &str, port: u16) -> u16 {
        let mut fronts = lock(&self.state.fronts);
        *fronts.entry((host.to_owned(), port)).or_insert_with(|| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            let front = listener.local_addr().expect("it is bound").port();
            let (proxy, host) = (self.clone(), host.to_owned());
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    proxy.connect(client, &host, port);
                }
            });
            front
        })
    }

    /// The bootstrap addresses, as they are here.
    pub fn bootstrap(&self, brokers: &str) -> String {
        let fronts = brokers.split(',').map(|broker| {
            let (host, port) = broker.rsplit_once(':').expect("host:port");
            format!("127.0.0.1:{}", self.front(host, port.parse().expect("a port")))
        });
        fronts.collect::<Vec<_>>().join(",")
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state.counts).clone()
    }

    fn connect(&self, client: TcpStream, host: &str, port: u16) {
        lock(&self.state.counts).connections += 1;
        let broker = match TcpStream::connect((host, port)) {
            Ok(broker) => broker,
            Err(error) => return eprintln!("proxy: {host}:{port}: {error}"),
        };
        let sockets = client.set_nodelay(true).and_then(|()| broker.set_nodelay(true));
        let copies = sockets.and_then(|()| Ok((client.try_clone()?, broker.try_clone()?)));
        let (client_copy, broker_copy) = copies.expect("sockets can be shared");
        let pending = Pending::default();
        let (up, awaited) = (self.clone(), pending.clone());
        std::thread::spawn(move || pump(client, broker, |frame| up.request(frame, &awaited, port)));
        let down = self.clone();
        std::thread::spawn(move || {
            pump(broker_copy, client_copy, |frame| down.response(frame, &pending, port))
        });
    }

    fn request(&self, frame: Vec<u8>, pending: &Pending, port: u16) -> Result<Vec<u8>, String> {
        let Some(head) = frame.get(4..12) else { return Err("a request without a header".to_owned()) };
        let key = ApiKey(i16::from_be_bytes([head[0], head[1]]));
        let version = i16::from_be_bytes([head[2], head[3]]);
        let correlation = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        self.trace(format_args!("{port} -> {key} v{version} #{correlation}"), key);
        lock(pending).insert(correlation, (key, version));
        let mut counts = lock(&self.state.counts);
        *counts.requests.entry(key).or_default() += 1;
        counts.sent += frame.len() as u64;
        Ok(frame)
    }

    fn response(&self, frame: Vec<u8>, pending: &Pending, port: u16) -> Result<Vec<u8>, String> {
        lock(&self.state.counts).received += frame.len() as u64;
        let Some(&id) = frame[4..].first_chunk::<4>() else {
            return Err("an answer without a header".to_owned());
        };
        let correlation = i32::from_be_bytes(id);
        let asked = lock(pending).remove(&correlation);
        let Some((key, version)) = asked else { return Err("an answer that nobody asked for".to_owned()) };
        self.trace(format_args!("{port} <- {key} #{correlation}"), key);
        match key {
            ApiKey::METADATA => self.rewrite::<MetadataRequest>(frame, version, |answer, at| {
                answer.brokers.iter_mut().for_each(|broker| at(&broker.host, &mut broker.port));
            }),
            ApiKey::DESCRIBE_CLUSTER => {
                self.rewrite::<DescribeClusterRequest>(frame, version, |answer, at| {
                    answer.brokers.iter_mut().for_each(|broker| at(&broker.host, &mut broker.port));
                })
            }
            ApiKey::FIND_COORDINATOR => {
                self.rewrite::<FindCoordinatorRequest>(frame, version, |answer, at| {
                    at(&answer.host, &mut answer.port);
                    answer.coordinators.iter_mut().for_each(|found| at(&found.host, &mut found.port));
                })
            }
            _ => Ok(frame),
        }
    }

    fn rewrite<R: Request>(
        &self,
        frame: Vec<u8>,
        version: i16,
        change: impl FnOnce(&mut R::Response, &dyn Fn(&ByteString, &mut i32)),
    ) -> Result<Vec<u8>, String> {
        let body = Bytes::from(frame).slice(4..);
        let decoded = decode_response::<R>(body, version, &Limits::default());
        let (correlation, mut answer) = decoded.map_err(|error| error.to_string())?;
        change(&mut answer, &|host, port| {
            // A coordinator that was not found has no port.
            if let Some(known) = u16::try_from(*port).ok().filter(|&port| port != 0) {
                *port = i32::from(self.front(host, known));
            }
        });
        let frame =
            response_frame(R::KEY, &answer, version, correlation).map_err(|error| error.to_string())?;
        Ok(frame.chunks().iter().flat_map(|chunk| chunk.iter().copied()).collect())
    }

    fn trace(&self, what: std::fmt::Arguments<'_>, key: ApiKey) {
        if let Some(begin) = self.state.trace.filter(|_| key != ApiKey::FETCH) {
            eprintln!("{:10.3} {what}", begin.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// Passes frames on until an end closes or a frame makes no sense; then closes both.
fn pump(mut from: TcpStream, mut to: TcpStream, mut change: impl FnMut(Vec<u8>) -> Result<Vec<u8>, String>) {
    let mut size = [0; 4];
    while from.read_exact(&mut size).is_ok() {
        let length = u32::from_be_bytes(size) as usize;
        if length > LONGEST_FRAME {
            eprintln!("proxy: a frame of {length} bytes");
            break;
        }
        let mut frame = size.to_vec();
        match (&mut from).take(length as u64).read_to_end(&mut frame) {
            Ok(got) if got == length => {}
            _ => break,
        }
        match change(frame) {
            Ok(frame) if to.write_all(&frame).is_ok() => {}
            Ok(_) => break,
            Err(error) => {
                eprintln!("proxy: {error}");
                break;
            }
        }
    }
    // One of the ends is closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kavka_wire::messages::MetadataResponse;
    use kavka_wire::messages::metadata::MetadataResponseBroker;
    use kavka_wire::request_frame;

    use super::*;

    /// Answers one request as a cluster of one broker at `address`, and returns what came.
    fn broker(listener: TcpListener, port: u16) -> Vec<u8> {
        let (mut socket, _) = listener.accept().unwrap();
        let mut size = [0; 4];
        socket.read_exact(&mut size).unwrap();
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        socket.read_exact(&mut request).unwrap();
        let brokers = vec![MetadataResponseBroker {
            host: "127.0.0.1".into(),
            port: port.into(),
            ..Default::default()
        }];
        let answer = MetadataResponse { brokers, ..Default::default() };
        let frame = response_frame(ApiKey::METADATA, &answer, 12, 7).unwrap();
        frame.chunks().iter().for_each(|chunk| socket.write_all(chunk).unwrap());
        request
    }

    #[test]
    fn brokers_are_found_behind_the_proxy_and_what_passes_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = std::thread::spawn(move || broker(listener, port));
        let proxy = Proxy::new(false);
        let mut client = TcpStream::connect(proxy.bootstrap(&format!("127.0.0.1:{port}"))).unwrap();
        let request = request_frame(&MetadataRequest::default(), 12, 7, None).unwrap();
        let sent: Vec<u8> = request.chunks().iter().flat_map(|chunk| chunk.to_vec()).collect();
        client.write_all(&sent).unwrap();
        let mut size = [0; 4];
        client.read_exact(&mut size).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        client.read_exact(&mut answer).unwrap();
        let length = answer.len() as u64 + 4;
        let (correlation, answer) =
            decode_response::<MetadataRequest>(answer.into(), 12, &Limits::default()).unwrap();
        assert_eq!(correlation, 7);
        assert_eq!(answer.brokers[0].port, i32::from(proxy.front("127.0.0.1", port)));
        assert_ne!(answer.brokers[0].port, i32::from(port));
        assert_eq!(broker.join().unwrap(), sent[4..], "requests pass unchanged");
        let counts = proxy.counts().since(&Counts::default());
        assert_eq!(counts.requests, [(ApiKey::METADATA, 1)].into());
        assert_eq!((counts.connections, counts.sent, counts.received), (1, sent.len() as u64, length));
    }
}
