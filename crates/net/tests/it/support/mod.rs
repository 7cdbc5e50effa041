//! A scripted cluster behind in-memory pipes: each connection is given to a script by its number.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_net::{BoxFuture, Config, Dialer, Net, Stream};
use kavka_wire::codec::{Limits, Message, Reader};
use kavka_wire::messages::api_versions::ApiVersion;
use kavka_wire::messages::metadata::{MetadataResponseBroker, MetadataResponseTopic};
use kavka_wire::messages::{ApiVersionsResponse, HeartbeatResponse, MetadataRequest, MetadataResponse};
use kavka_wire::{ApiKey, ErrorCode, RequestHead, read_request_head, response_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The broker's end of a connection.
pub struct Peer {
    pub stream: DuplexStream,
    /// How many connections came before this one, to any address.
    pub number: usize,
    pub port: u16,
    /// Which of the host's addresses was wanted first.
    pub turn: usize,
}

pub struct Asked {
    pub head: RequestHead,
    pub body: Bytes,
}

impl Peer {
    /// The next request; `None` when the client has closed.
    pub async fn read(&mut self) -> Option<Asked> {
        let size = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let frame = Bytes::from(frame);
        let mut reader = Reader::new(frame.clone(), &Limits::default());
        let head = read_request_head(&mut reader, &frame).unwrap();
        let body = frame.slice(reader.position()..);
        Some(Asked { head, body })
    }

    pub async fn write<M: Message>(&mut self, asked: &Asked, answer: &M) {
        let RequestHead { key, version, correlation_id, .. } = asked.head;
        let frame = response_frame(key, answer, version, correlation_id).unwrap().into_bytes();
        // The client may have gone meanwhile, which is its right.
        let _ = self.stream.write_all(&frame).await;
    }

    pub async fn write_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Answers ApiVersions.
    pub async fn shake_hands(&mut self) -> bool {
        let Some(asked) = self.read().await else { return false };
        assert_eq!(asked.head.key, ApiKey::API_VERSIONS);
        self.write(&asked, &versions()).await;
        true
    }

    /// Answers everything as a broker would, until the client closes.
    pub async fn serve(&mut self, brokers: &[u16]) {
        while let Some(asked) = self.read().await {
            self.serve_one(&asked, brokers).await;
        }
    }

    pub async fn serve_one(&mut self, asked: &Asked, brokers: &[u16]) {
        match asked.head.key {
            ApiKey::API_VERSIONS => self.write(asked, &versions()).await,
            ApiKey::METADATA => self.write(asked, &metadata(asked, brokers)).await,
            ApiKey::HEARTBEAT => self.write(asked, &HeartbeatResponse::default()).await,
            other => panic!("not scripted: {other}"),
        }
    }
}

pub fn versions() -> ApiVersionsResponse {
    let api = |key: ApiKey, max_version| ApiVersion {
        api_key: key.0,
        min_version: 0,
        max_version,
        ..Default::default()
    };
    let api_keys = vec![
        api(ApiKey::API_VERSIONS, 5),
        api(ApiKey::METADATA, 13),
        api(ApiKey::HEARTBEAT, 4),
        api(ApiKey::PRODUCE, 13),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// Broker `n` listens on port `n`.
pub fn metadata(asked: &Asked, brokers: &[u16]) -> MetadataResponse {
    let request =
        MetadataRequest::from_bytes(asked.body.clone(), asked.head.version, &Limits::default()).unwrap();
    let broker = |port: &u16| MetadataResponseBroker {
        node_id: i32::from(*port),
        host: "broker".into(),
        port: i32::from(*port),
        ..Default::default()
    };
    let topics = request.topics.unwrap_or_default().into_iter();
    let topic = |name| MetadataResponseTopic { name, error_code: ErrorCode::NONE, ..Default::default() };
    MetadataResponse {
        brokers: brokers.iter().map(broker).collect(),
        cluster_id: Some("cluster".into()),
        topics: topics.map(|topic_asked| topic(topic_asked.name)).collect(),
        ..Default::default()
    }
}

type Script = dyn Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync;

/// Dials scripted peers. Ports from 900 on refuse, port 999 never answers.
pub struct Scripted {
    script: Box<Script>,
    pub dialled: Arc<AtomicUsize>,
    pub by_port: Arc<Mutex<BTreeMap<u16, usize>>>,
    pub pipe: usize,
}

impl Dialer for Scripted {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        by: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        self.dial_in_turn(host, port, 0, by)
    }

    fn dial_in_turn<'a>(
        &'a self,
        _: &'a str,
        port: u16,
        turn: usize,
        _: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            *self.by_port.lock().unwrap().entry(port).or_default() += 1;
            if port == 999 {
                std::future::pending::<()>().await;
            }
            if port >= 900 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let number = self.dialled.fetch_add(1, Ordering::SeqCst);
            let (ours, theirs) = tokio::io::duplex(self.pipe);
            tokio::spawn((self.script)(Peer { stream: theirs, number, port, turn }));
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

pub struct Rig {
    pub net: Net,
    pub dialled: Arc<AtomicUsize>,
    pub by_port: Arc<Mutex<BTreeMap<u16, usize>>>,
}

pub fn start<F>(bootstrap: &[u16], script: impl Fn(Peer) -> F + Send + Sync + 'static) -> Rig
where
    F: Future<Output = ()> + Send + 'static,
{
    start_with(bootstrap, |_| {}, script)
}

pub fn start_with<F>(
    bootstrap: &[u16],
    change: impl FnOnce(&mut Config),
    script: impl Fn(Peer) -> F + Send + Sync + 'static,
) -> Rig
where
    F: Future<Output = ()> + Send + 'static,
{
    let script: Box<Script> = Box::new(move |peer| Box::pin(script(peer)));
    let (dialled, by_port) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let dialer = Scripted { script, dialled: dialled.clone(), by_port: Arc::clone(&by_port), pipe: 64 << 10 };
    let mut config = Config::new(bootstrap.iter().map(|port| format!("bootstrap:{port}")));
    config.dialer = Arc::new(dialer);
    config.seed = 1;
    change(&mut config);
    Rig { net: Net::start(config).unwrap(), dialled, by_port }
}

pub fn within(seconds: u64) -> Instant {
    kavka_net::clock::after(Duration::from_secs(seconds))
}
