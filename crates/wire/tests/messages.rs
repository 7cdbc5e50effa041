//! The message codec: what survives, what is refused, and that no bytes make it panic or allocate beyond its limits.

#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::{BufMut, Bytes, BytesMut};
use kavka_wire::codec::{DecodeErrorKind, EncodeErrorKind, Limits, Message, Reader, RecodeError};
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic};
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use kavka_wire::messages::{
    ApiVersionsRequest, FetchRequest, HeartbeatResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, ProduceRequest, all_messages, default_bytes, recode,
};
use kavka_wire::{ApiKey, Uuid, decode_response, read_request_head, request_frame, response_frame};
use proptest::prelude::*;

fn every_message() -> impl Iterator<Item = (i16, bool, i16)> {
    all_messages().iter().flat_map(|&(key, response, min, max)| (min..=max).map(move |v| (key, response, v)))
}

#[test]
fn defaults_of_every_message_survive_every_version() {
    for (key, response, version) in every_message() {
        let bytes = default_bytes(key, response, version);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => panic!("{} {version} response {response}: {error}", ApiKey(key)),
        };
        let again = recode(key, response, version, bytes.clone(), &Limits::default()).unwrap();
        assert_eq!(bytes, again, "{} version {version} response {response}", ApiKey(key));
    }
}

#[test]
fn every_message_cut_short_is_an_error() {
    for (key, response, version) in every_message() {
        let bytes = default_bytes(key, response, version).unwrap();
        for end in 0..bytes.len() {
            let cut = recode(key, response, version, bytes.slice(..end), &Limits::default());
            assert!(
                matches!(cut, Err(RecodeError::Decode(_))),
                "{} version {version} cut at {end}",
                ApiKey(key)
            );
        }
    }
}

#[test]
fn versions_outside_the_schema_are_refused() {
    for &(key, response, min, max) in all_messages() {
        for version in [min - 1, max + 1, i16::MIN, i16::MAX] {
            assert!(default_bytes(key, response, version).is_err());
            assert!(recode(key, response, version, Bytes::new(), &Limits::default()).is_err());
        }
    }
}

fn commit() -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition { partition_index: 3, committed_offset: 42, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "orders".into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() }
}

#[test]
fn a_value_that_the_version_cannot_carry_is_an_error_unless_ignorable() {
    let request = OffsetCommitRequest { group_instance_id: Some("i-1".into()), ..commit() };
    let error = request.to_bytes(6).unwrap_err();
    assert_eq!((error.field, error.kind), ("group_instance_id", EncodeErrorKind::FieldNotInVersion));
    assert!(request.to_bytes(7).is_ok());

    let request = OffsetCommitRequest { retention_time_ms: 5, ..commit() };
    let later = OffsetCommitRequest::from_bytes(request.to_bytes(5).unwrap(), 5, &Limits::default()).unwrap();
    assert_eq!(later.retention_time_ms, -1);
}

#[test]
fn null_where_a_version_forbids_it_is_an_error() {
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(all_topics.to_bytes(0).unwrap_err().kind, EncodeErrorKind::Null);
    assert!(all_topics.to_bytes(1).is_ok());
}

#[test]
fn unknown_tagged_fields_survive() {
    let mut request = ApiVersionsRequest { client_software_name: "x".into(), ..Default::default() };
    request.unknown_tagged_fields.insert(70_000, Bytes::from_static(b"later"));
    request.unknown_tagged_fields.insert(9, Bytes::from_static(b""));
    let bytes = request.to_bytes(3).unwrap();
    assert_eq!(ApiVersionsRequest::from_bytes(bytes, 3, &Limits::default()).unwrap(), request);
}

/// A heartbeat's answer with these tags, all of them empty and none of them known.
fn with_tags(tags: &[u32]) -> Bytes {
    let mut bytes = BytesMut::from(&[0; 6][..]);
    let uvarint = |bytes: &mut BytesMut, mut value: u32| {
        while value > 0x7f {
            bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.put_u8(value as u8);
    };
    uvarint(&mut bytes, tags.len() as u32);
    for tag in tags {
        uvarint(&mut bytes, *tag);
        uvarint(&mut bytes, 0);
    }
    bytes.freeze()
}

#[test]
fn tags_that_do_not_ascend_are_refused_where_they_stop_ascending() {
    let read = |tags: &[u32]| {
        let answer = HeartbeatResponse::from_bytes(with_tags(tags), 4, &Limits::default());
        answer.map(|answer| answer.unknown_tagged_fields.len())
    };
    let many: Vec<u32> = (0..200_000).collect();
    assert_eq!(read(&many).unwrap(), many.len());
    let descending: Vec<u32> = many.iter().rev().copied().collect();
    let error = read(&descending).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TagOrder { tag: 199_998 });
    // The number of tags takes three bytes, the first tag three and one for its length, the second three.
    assert_eq!(error.at, 6 + 3 + 4 + 3, "nothing behind it was looked at");
    assert_eq!(read(&[5, 5]).unwrap_err().kind, DecodeErrorKind::TagOrder { tag: 5 });
}

#[test]
fn a_known_tag_is_read_only_in_its_place() {
    let mut request = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    request.unknown_tagged_fields.insert(5, Bytes::new());
    let bytes = request.to_bytes(15).unwrap();
    // Two tags at the end: 0, two bytes long ("c" behind its length), and 5, empty.
    let at = bytes.len() - 7;
    assert_eq!(&bytes[at..], [2, 0, 2, 2, b'c', 5, 0]);
    for (tags, wrong) in [(&[2, 5, 0, 0, 2, 2, b'c'], 0), (&[2, 0, 2, 2, b'c', 0, 0], 0)] {
        let mut changed = BytesMut::from(&bytes[..at]);
        changed.extend_from_slice(tags);
        let error = FetchRequest::from_bytes(changed.freeze(), 15, &Limits::default()).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::TagOrder { tag: wrong });
    }
}

#[test]
fn known_and_unknown_tags_are_written_in_order() {
    let mut request = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    request.replica_state.replica_id = 1;
    request.unknown_tagged_fields.insert(5, Bytes::from_static(b"five"));
    let bytes = request.to_bytes(15).unwrap();
    assert_eq!(FetchRequest::from_bytes(bytes, 15, &Limits::default()).unwrap(), request);

    request.unknown_tagged_fields.insert(0, Bytes::from_static(b"stolen"));
    assert_eq!(request.to_bytes(15).unwrap_err().kind, EncodeErrorKind::DuplicateTag { tag: 0 });
}

#[test]
fn large_records_are_attached_and_not_copied() {
    let records = Bytes::from(vec![7u8; 100_000]);
    let partition = PartitionProduceData { index: 0, records: Some(records.clone()), ..Default::default() };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    for version in [8, 9, 12] {
        let frame = request_frame(&request, version, 1, None).unwrap();
        assert!(frame.chunks().iter().any(|chunk| chunk.as_ptr() == records.as_ptr()));
        let (len, whole) = (frame.len(), frame.into_bytes());
        assert_eq!(len, whole.len());
        assert_eq!(i32::from_be_bytes(whole[..4].try_into().unwrap()) as usize, len - 4);
        let body = whole.slice(4..);
        let mut reader = Reader::new(body.clone(), &Limits::default());
        let head = read_request_head(&mut reader, &body).unwrap();
        assert_eq!((head.key, head.version), (ApiKey::PRODUCE, version));
        assert_eq!(ProduceRequest::decode(&mut reader, version).unwrap(), request);
    }
}

#[test]
fn a_response_frame_is_read_by_the_client_side() {
    let response = MetadataResponse { cluster_id: Some("c".into()), ..Default::default() };
    for version in [8, 9, 13] {
        let frame = response_frame(ApiKey::METADATA, &response, version, 77).unwrap().into_bytes();
        let (id, read) =
            decode_response::<MetadataRequest>(frame.slice(4..), version, &Limits::default()).unwrap();
        assert_eq!((id, read), (77, response.clone()));
    }
}

#[test]
fn an_array_may_not_be_longer_than_what_is_left_or_than_the_limit() {
    let mut lie = BytesMut::new();
    lie.put_i32(i32::MAX);
    let error = MetadataRequest::from_bytes(lie.freeze(), 0, &Limits::default()).unwrap_err();
    assert!(matches!(error.kind, DecodeErrorKind::TooManyElements { .. }), "{error}");

    let mut long = BytesMut::new();
    long.put_i32(3_000);
    long.extend_from_slice(&[0; 6_000]);
    let limits = Limits { memory: 100, ..Limits::default() };
    let error = MetadataRequest::from_bytes(long.freeze(), 0, &limits).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TooMuchMemory { limit: 100 });
}

#[test]
fn errors_say_message_version_and_position() {
    let error =
        MetadataRequest::from_bytes(Bytes::from_static(&[0, 0, 0, 1, 0]), 1, &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "MetadataRequest version 1: byte 4: the message ends 1 bytes too early");
}

fn fetch() -> impl Strategy<Value = FetchRequest> {
    let partition = (any::<i32>(), any::<i64>(), any::<i32>()).prop_map(|(partition, fetch_offset, max)| {
        FetchPartition { partition, fetch_offset, partition_max_bytes: max, ..Default::default() }
    });
    let topic = (any::<[u8; 16]>(), prop::collection::vec(partition, 0..5))
        .prop_map(|(id, partitions)| FetchTopic { topic_id: Uuid(id), partitions, ..Default::default() });
    (any::<i32>(), prop::option::of(".{0,20}"), prop::collection::vec(topic, 0..5)).prop_map(
        |(session_id, cluster, topics)| FetchRequest {
            session_id,
            cluster_id: cluster.map(Into::into),
            topics,
            ..Default::default()
        },
    )
}

proptest! {
    #[test]
    fn a_message_read_from_its_own_bytes_is_the_same(request in fetch(), version in 13i16..=18) {
        let bytes = request.to_bytes(version).unwrap();
        prop_assert_eq!(FetchRequest::from_bytes(bytes, version, &Limits::default()).unwrap(), request);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(index in 0usize..148, pick in any::<u16>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let messages = all_messages();
        let (key, response, min, max) = messages[index % messages.len()];
        let version = min + (pick % (max - min + 1) as u16) as i16;
        let limits = Limits { elements: 1_000, memory: 1 << 20 };
        let _ = recode(key, response, version, bytes.into(), &limits);
    }
}

#[test]
fn strings_over_32767_bytes_are_neither_written_nor_read_in_any_version() {
    for version in [6, 9] {
        let named = |length: usize| OffsetCommitRequest { group_id: "g".repeat(length).into(), ..commit() };
        let longest = named(32_767);
        let bytes = longest.to_bytes(version).unwrap();
        assert_eq!(OffsetCommitRequest::from_bytes(bytes, version, &Limits::default()).unwrap(), longest);
        let error = named(32_768).to_bytes(version).unwrap_err();
        assert_eq!(error.message, "OffsetCommitRequest");
        assert_eq!(error.kind, EncodeErrorKind::TooLong { length: 32_768 });
    }
    // What can be null has the same bound.
    let request = OffsetCommitRequest { group_instance_id: Some("i".repeat(32_768).into()), ..commit() };
    assert!(request.to_bytes(9).is_err());

    // A compact string, written by hand: 32,768 bytes, with their count plus one in front.
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[0x81, 0x80, 0x02]);
    bytes.put_bytes(b'g', 32_768);
    let error = OffsetCommitRequest::from_bytes(bytes.freeze(), 9, &Limits::default()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Length(32_768));
}
