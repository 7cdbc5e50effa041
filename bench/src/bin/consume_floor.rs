//! The least a consumer can do: raw sockets, Fetch, one CRC per batch, a walk over the records' lengths. No group, no thread.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use kavka_bench::{Window, arguments};
use kavka_wire::codec::{Limits, Request};
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic};
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::{FetchRequest, MetadataRequest};
use kavka_wire::{decode_response, request_frame};

fn call<R: Request>(socket: &mut TcpStream, request: &R, version: i16) -> R::Response {
    let frame = request_frame(request, version, 1, None).expect("the request fits its version");
    for chunk in frame.chunks() {
        socket.write_all(chunk).expect("the broker takes the request");
    }
    let mut size = [0; 4];
    socket.read_exact(&mut size).expect("the broker answers");
    let size = u32::from_be_bytes(size) as usize;
    let mut frame = Vec::with_capacity(size);
    socket.take(size as u64).read_to_end(&mut frame).expect("the broker answers");
    decode_response::<R>(Bytes::from(frame), version, &Limits::default()).expect("the answer is Kafka's").1
}

/// Checks and walks every whole batch; returns the records seen and the next offset.
fn walk(mut data: &[u8], mut next: i64) -> (u64, i64) {
    let mut records = 0;
    while data.len() >= 61 {
        let field = |at: usize| i32::from_be_bytes(data[at..at + 4].try_into().expect("four bytes"));
        let size = 12 + field(8) as usize;
        let Some(batch) = data.get(..size) else { break };
        assert_eq!(crc32c::crc32c(&batch[21..]), field(17) as u32, "a batch is damaged");
        let base = i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"));
        let mut at = 61;
        for _ in 0..field(57) {
            let (mut length, mut shift) = (0u64, 0);
            loop {
                let byte = batch[at];
                at += 1;
                length |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
                shift += 7;
            }
            let length = ((length >> 1) as i64 ^ -((length & 1) as i64)) as usize;
            std::hint::black_box(&batch[at..at + length]);
            at += length;
            records += 1;
        }
        next = base + i64::from(field(23)) + 1;
        data = &data[size..];
    }
    (records, next)
}

fn main() {
    let (bootstrap, topic, count) = arguments();
    let first = bootstrap.split(',').next().expect("an address");
    let window = Window::open();
    let mut socket = TcpStream::connect(first).expect("the broker listens");
    let name = MetadataRequestTopic { name: Some(topic.as_str().into()), ..Default::default() };
    let metadata = call(&mut socket, &MetadataRequest { topics: Some(vec![name]), ..Default::default() }, 12);
    let mut leaders: BTreeMap<i32, (TcpStream, Vec<(i32, i64)>)> = BTreeMap::new();
    for partition in &metadata.topics[0].partitions {
        let broker = metadata.brokers.iter().find(|b| b.node_id == partition.leader_id).expect("a leader");
        let connect = || TcpStream::connect((&*broker.host, broker.port as u16)).expect("the leader listens");
        let leader = leaders.entry(partition.leader_id).or_insert_with(|| (connect(), Vec::new()));
        leader.1.push((partition.partition_index, 0));
    }
    let mut records = 0;
    while records < count {
        for (socket, positions) in leaders.values_mut() {
            let partitions = positions.iter().map(|&(partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            });
            let request = FetchRequest {
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 50 << 20,
                topics: vec![FetchTopic {
                    topic_id: metadata.topics[0].topic_id,
                    partitions: partitions.collect(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            for answer in call(socket, &request, 13).responses.iter().flat_map(|topic| &topic.partitions) {
                let position =
                    positions.iter_mut().find(|p| p.0 == answer.partition_index).expect("asked for");
                let (seen, next) = walk(answer.records.as_deref().unwrap_or_default(), position.1);
                records += seen;
                position.1 = next;
            }
        }
    }
    window.close("floor", records).print();
}
