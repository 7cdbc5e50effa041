//! Prints a cluster: `cargo run -p kavka-net --example metadata -- localhost:9092 [TOPIC ...]`.

use std::time::Duration;

use kavka_net::{Config, Net, clock};

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "localhost:9092".into());
    let topics: Vec<_> = arguments.map(Into::into).collect();
    let net = Net::start(Config::new(bootstrap.split(',')))?;
    if topics.is_empty() {
        net.track_all(true);
    } else {
        net.track(topics);
    }
    let cluster = net.refresh(clock::after(Duration::from_secs(10))).await?;
    println!("cluster {:?}, controller {:?}", cluster.cluster_id, cluster.controller);
    for broker in cluster.brokers.values() {
        println!("broker {} {}:{} rack {:?}", broker.id, broker.host, broker.port, broker.rack);
    }
    for (name, topic) in &cluster.topics {
        println!("topic {name} {} {}", topic.id, topic.error);
        for (number, partition) in topic.partitions.iter().enumerate() {
            println!(
                "  {number}: leader {:?} epoch {:?} isr {:?}",
                partition.leader, partition.leader_epoch, partition.isr
            );
        }
    }
    println!("features (epoch {}): {:?}", cluster.features.epoch, cluster.features.finalized);
    net.close().await;
    Ok(())
}
