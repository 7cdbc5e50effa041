//! A strict Kafka cluster inside the process, for tests.
//!
//! ```
//! use kavka::{OffsetReset, Record, testing::{self, Cluster}};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = Cluster::builder().in_memory().topic("orders", 3).start().await?;
//!     let client = testing::connect(&cluster).await?;
//!
//!     let producer = client.producer().start().await?;
//!     producer.send(Record::to("orders").key("42").value("two jackdaws")).await?.await?;
//!
//!     let builder = client.consumer().group("g").subscribe(["orders"]);
//!     let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await?;
//!     let batch = consumer.next().await?.expect("the record that was sent");
//!     consumer.commit(&batch).await?;
//!     assert_eq!(cluster.committed("g", "orders", batch.partition()).await.map(|c| c.offset), Some(1));
//!     Ok(())
//! }
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

pub use kavka_testbroker::*;

use crate::{BoxFuture, Client, Dialer, Result, Stream};

/// Connects a client to the cluster through its pipes in memory.
///
/// Fails as [`ClientBuilder::connect`](crate::ClientBuilder::connect) does. Cancel safe.
pub async fn connect(cluster: &Cluster) -> Result<Client> {
    Client::builder().bootstrap(&cluster.bootstrap()).dialer(dialer(cluster)).connect().await
}

/// Makes connections to the cluster through its pipes in memory, for [`ClientBuilder::dialer`](crate::ClientBuilder::dialer).
pub fn dialer(cluster: &Cluster) -> Arc<dyn Dialer> {
    Arc::new(Memory(cluster.connector()))
}

struct Memory(Connector);

impl Dialer for Memory {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        _deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(self.0.dial(host, port).await?) as Box<dyn Stream>) })
    }
}
