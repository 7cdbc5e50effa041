//! An Apache Kafka client in Rust, from the wire up.
//!
//! - **The consumer group is the centre.** kavka speaks the group protocol itself; a rebalance is a value that you match on,
//!   and heartbeats never depend on your code.
//! - **No C.** No librdkafka, no C compiler in a default build, static musl binaries.
//! - **Cheap.** Records borrow from the bytes that came from the broker: no allocation, no lock and no channel per record.
//!
//! # At least once
//!
//! ```no_run
//! # async fn example() -> kavka::Result<()> {
//! use kavka::{Client, OffsetReset};
//!
//! let client = Client::connect("localhost:9092").await?;
//! let mut consumer = client
//!     .consumer()
//!     .group("order-processor")
//!     .subscribe(["orders"])
//!     .auto_offset_reset(OffsetReset::Earliest)
//!     .start()
//!     .await?;
//!
//! while let Some(batch) = consumer.next().await? {
//!     for record in &batch {
//!         println!("{}: {:?}", record.offset(), record.value());
//!     }
//!     consumer.commit(&batch).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Groups
//!
//! ```no_run
//! # async fn example(client: kavka::Client) -> kavka::Result<()> {
//! use kavka::GroupProtocol;
//!
//! let consumer = client
//!     .consumer()
//!     .group("order-processor")
//!     .group_protocol(GroupProtocol::Auto) // KIP-848 where the cluster has it
//!     .subscribe_pattern("orders-.*") // also topics that are created later
//!     .start()
//!     .await?;
//! // Elsewhere, while it runs:
//! consumer.handle().subscribe(["orders", "returns"]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! How members of a classic group share partitions is up to an assignor: [`assignor`] has Kafka's own, and yours is a few lines.
//!
//! ```no_run
//! # async fn example(client: kavka::Client) -> kavka::Result<()> {
//! use std::sync::Arc;
//!
//! use kavka::assignor::{Assignment, Assignor, GroupSubscription, TopicMap};
//!
//! /// Gives everything to the first member; the others stand by.
//! #[derive(Debug)]
//! struct Standby;
//!
//! impl Assignor for Standby {
//!     fn name(&self) -> &str {
//!         "standby"
//!     }
//!
//!     fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
//!         let mut assignment = Assignment::new(group, topics);
//!         if let Some((first, member)) = group.members.first_key_value() {
//!             for topic in &*member.topics {
//!                 for partition in 0..topics.partitions(topic) {
//!                     assignment.give(first, topic, partition);
//!                 }
//!             }
//!         }
//!         assignment
//!     }
//! }
//!
//! let standby: Arc<dyn Assignor> = Arc::new(Standby);
//! let consumer = client.consumer().group("night-shift").assignors([standby]).subscribe(["orders"]).start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Producing
//!
//! ```no_run
//! # async fn example() -> kavka::Result<()> {
//! use kavka::{Client, Record};
//!
//! let client = Client::connect("localhost:9092").await?;
//! let producer = client.producer().start().await?;
//! let delivery = producer.send(Record::to("orders").key("42").value("two jackdaws")).await?;
//! let written = delivery.await?;
//! println!("partition {}, offset {:?}", written.partition, written.offset);
//! producer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Testing without a cluster
//!
//! The feature `testing` brings the module `testing`: a strict Kafka cluster inside the test process, over in-memory pipes that
//! work under tokio's paused clock.

pub use kavka_client::*;

#[cfg(feature = "testing")]
pub mod testing;
