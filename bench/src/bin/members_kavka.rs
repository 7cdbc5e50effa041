//! Members of a group with kavka.

use std::sync::Arc;
use std::time::Duration;

use kavka::assignor::{Assignor, CooperativeSticky, Range};
use kavka::{Client, ConsumerBuilder, Event, GroupProtocol};
use kavka_bench::group::{Arguments, CLIENT_ID, Journal, starts};

/// The protocol that the members share partitions by; else the settings that all clients get here.
fn protocol(builder: ConsumerBuilder, protocol: &str) -> ConsumerBuilder {
    let assignor: Arc<dyn Assignor> = match protocol {
        "consumer" => return builder.group_protocol(GroupProtocol::Consumer),
        "cooperative-sticky" => Arc::new(CooperativeSticky),
        _ => Arc::new(Range),
    };
    builder
        .assignors([assignor])
        .session_timeout(Duration::from_secs(45))
        .heartbeat_interval(Duration::from_secs(3))
}

async fn member(args: Arguments, member: usize, journal: Arc<Journal>) -> kavka::Result<()> {
    journal.started(member);
    let client = Client::builder().bootstrap(&args.bootstrap).client_id(CLIENT_ID).connect().await?;
    let builder = client
        .consumer()
        .group(args.group)
        .subscribe([args.topic])
        .fetch_max_wait(Duration::from_millis(500))
        .auto_commit(Duration::from_secs(5));
    let mut consumer = protocol(builder, &args.protocol).start().await?;
    loop {
        match consumer.event().await {
            Ok(Event::Records(batch)) => {
                journal.records(member, batch.partition(), batch.first_offset(), batch.next_offset());
            }
            Ok(Event::Revoked(revocation)) => {
                // Beside reading on, as `Consumer::next` does it.
                let told = journal.clone();
                tokio::spawn(async move {
                    if let Err(error) = revocation.commit_stored_and_release().await {
                        told.failed(member, &error);
                    }
                });
                journal.assigned(member, consumer.assignment().len());
            }
            Ok(Event::Assigned(_) | Event::Lost(_)) => journal.assigned(member, consumer.assignment().len()),
            Ok(_) => return Ok(()),
            Err(error) => journal.failed(member, &error),
        }
    }
}

fn main() {
    let args = Arguments::read();
    let journal = Journal::open("kavka");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for number in starts() {
        let (args, journal) = (args.clone(), journal.clone());
        runtime.spawn(async move {
            if let Err(error) = member(args, number, journal.clone()).await {
                journal.failed(number, &error);
            }
        });
    }
    journal.flush();
    std::process::exit(0);
}
