//! `kavka broker`: a Kafka cluster in this process.

use kavka_testbroker::Cluster;
use serde_json::json;

use crate::args::Broker;
use crate::output::{Failure, Printer};

/// Runs the cluster until the process is asked to end.
pub async fn run(args: Broker, printer: &Printer) -> Result<(), Failure> {
    let last = args.port.checked_add(args.brokers - 1).ok_or("there are not enough ports above --port")?;
    let mut builder = Cluster::builder().tcp().brokers(args.brokers).ports(args.port..=last);
    for (name, partitions) in &args.topics {
        builder = builder.topic(name, *partitions);
    }
    let cluster = builder.start().await.map_err(|error| {
        format!("the cluster cannot listen on 127.0.0.1:{}-{last}: {error}; choose another --port", args.port)
    })?;
    let bootstrap = cluster.bootstrap();
    printer.result(
        format_args!(
            "{} brokers in this process: {bootstrap}\nStop them with Ctrl-C; all records are gone then.",
            args.brokers
        ),
        || json!({ "bootstrap": bootstrap }),
    )?;
    super::interrupted().await;
    cluster.shutdown().await;
    Ok(())
}
