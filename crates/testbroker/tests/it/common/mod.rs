//! A client of nothing but frames.

pub mod classic;
pub mod consumer;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kavka_testbroker::{Cluster, Connector};
use kavka_wire::codec::{Limits, Request};
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use kavka_wire::messages::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use kavka_wire::messages::{FetchRequest, FetchResponse, ProduceRequest};
use kavka_wire::{ByteString, Uuid, decode_response, request_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub struct Client {
    stream: Box<dyn Stream>,
    correlation: i32,
    pub client_id: ByteString,
}

pub async fn connect(cluster: &Cluster, broker: i32) -> Client {
    Client::new(dial(cluster, broker).await.unwrap())
}

pub fn address(cluster: &Cluster, broker: i32) -> (String, u16) {
    let bootstrap = cluster.bootstrap();
    let (host, port) = bootstrap.split(',').nth(broker as usize - 1).unwrap().rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

pub async fn dial(cluster: &Cluster, broker: i32) -> std::io::Result<DuplexStream> {
    let (host, port) = address(cluster, broker);
    let connector: Connector = cluster.connector();
    connector.dial(&host, port).await
}

pub async fn connect_tcp(cluster: &Cluster, broker: i32) -> std::io::Result<Client> {
    Ok(Client::new(TcpStream::connect(address(cluster, broker)).await?))
}

impl Client {
    pub fn new(stream: impl Stream + 'static) -> Self {
        Client { stream: Box::new(stream), correlation: 0, client_id: "raw".into() }
    }

    pub async fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation += 1;
        let frame = request_frame(request, version, self.correlation, Some(&self.client_id)).unwrap();
        self.raw(&frame.into_bytes()).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer's frame, or `None` when the connection was closed.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    pub async fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let frame = self.frame().await?;
        Some(decode_response::<R>(frame, version, &Limits::default()).unwrap().1)
    }

    pub async fn try_call<R: Request>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        self.send(request, version).await;
        self.receive::<R>(version).await
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.try_call(request, version).await.expect("the broker closed the connection")
    }

    /// Whether an answer is there within `wait`.
    pub async fn answers_within<R: Request>(&mut self, version: i16, wait: Duration) -> Option<R::Response> {
        tokio::time::timeout(wait, self.receive::<R>(version)).await.ok().flatten()
    }

    pub async fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> PartitionProduceResponse {
        let response = self.call(&produce(topic, partition, batch), 12).await;
        response.responses[0].partition_responses[0].clone()
    }

    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let response: FetchResponse = self.call(&fetch(topic, partition, offset), 12).await;
        response.responses[0].partitions[0].clone()
    }
}

pub fn produce(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn produce_by_id(id: Uuid, partition: i32, batch: Bytes) -> ProduceRequest {
    let mut request = produce("", partition, batch);
    request.topic_data[0].topic_id = id;
    request
}

/// A sessionless Fetch that does not wait.
pub fn fetch(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition,
                current_leader_epoch: -1,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A record batch under construction, written by hand.
#[derive(Clone)]
pub struct Batch {
    pub records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    pub base_offset: i64,
    pub magic: u8,
    pub attributes: i16,
    pub timestamp: i64,
    pub producer: (i64, i16, i32),
    pub count_off: i32,
    pub offset_step: i64,
    pub raw_body: Option<Vec<u8>>,
}

pub fn batch(values: &[&str]) -> Batch {
    Batch {
        records: values.iter().map(|v| (Some(b"k".to_vec()), v.as_bytes().to_vec())).collect(),
        base_offset: 0,
        magic: 2,
        attributes: 0,
        timestamp: 1_000,
        producer: (-1, -1, -1),
        count_off: 0,
        offset_step: 1,
        raw_body: None,
    }
}

impl Batch {
    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.producer = (id, epoch, sequence);
        self
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, (key, value)) in self.records.iter().enumerate() {
            let mut record = vec![0];
            // Each record is one millisecond younger than the one before.
            varint(&mut record, index as i64);
            varint(&mut record, index as i64 * self.offset_step);
            match key {
                Some(key) => {
                    varint(&mut record, key.len() as i64);
                    record.extend(key);
                }
                None => varint(&mut record, -1),
            }
            varint(&mut record, value.len() as i64);
            record.extend(value);
            varint(&mut record, 0);
            varint(&mut body, record.len() as i64);
            body.extend(record);
        }
        body
    }

    pub fn bytes(&self) -> Bytes {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body());
        let count = self.records.len() as i32;
        let mut sealed = BytesMut::new();
        sealed.put_i16(self.attributes);
        sealed.put_i32(count - 1);
        sealed.put_i64(self.timestamp);
        sealed.put_i64(self.timestamp + i64::from(count) - 1);
        sealed.put_i64(self.producer.0);
        sealed.put_i16(self.producer.1);
        sealed.put_i32(self.producer.2);
        sealed.put_i32(count + self.count_off);
        sealed.put_slice(&body);
        let mut batch = BytesMut::new();
        batch.put_i64(self.base_offset);
        batch.put_i32(9 + sealed.len() as i32);
        batch.put_i32(-1);
        batch.put_u8(self.magic);
        batch.put_u32(crc32c(&sealed));
        batch.put_slice(&sealed);
        batch.freeze()
    }
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut value = (value << 1 ^ value >> 63) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One bit at a time, to be sure.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
