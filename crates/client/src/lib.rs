//! An Apache Kafka client: consumers, producers, topics. Use it through the crate `kavka`.

mod admin;
mod client;
mod consumer;
mod error;
mod error_net;
mod partitioner;
mod producer;
mod record;

pub use admin::{
    Admin, GroupCoordinator, GroupDescription, GroupFilter, GroupListing, GroupListings, GroupOffsets,
    GroupState, GroupType, ListedOffset, MemberDescription, NewTopic, OffsetSpec, PartitionDescription,
    TopicDescription,
};
pub use client::{Client, ClientBuilder};
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use consumer::simulation;
pub use consumer::{
    Batch, BatchRecords, Claim, Closer, Consumer, ConsumerBuilder, ConsumerHandle, Event, GroupMetadata,
    IsolationLevel, OffsetReset, Revocation, SharedRecord, Start,
};
pub use error::{Error, ErrorKind, Result};
pub use kavka_group::{GroupProtocol, OffsetAndMetadata, TopicPartition, assignor};
pub use kavka_net::{BoxFuture, Dialer, Stream};
pub use kavka_wire::ErrorCode;
pub use kavka_wire::compress::Codec as Compression;
pub use kavka_wire::records::{
    Header as RecordHeader, Headers as RecordHeaders, OwnedRecord, Record as ConsumerRecord,
};
pub use partitioner::{Choice, Partitioner, PartitionerTopic, Partitioning, murmur2_partition};
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerBuilder};
pub use record::{Header, Payload, Record};
