//! Asks this cluster and a real Kafka the same questions and prints where the answers differ.
//!
//! `cargo run -p kavka-testbroker --example compare -- 127.0.0.1:9092`, with a fresh single-broker Kafka that does not
//! create topics by itself and has `group.consumer.assignment.interval.ms=0`, `group.consumer.min.session.timeout.ms=1000` and
//! `group.consumer.min.heartbeat.interval.ms=200`. Ids, times, and whether and how an error is put into words are masked: they may differ.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../tests/it/common/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
mod common;
mod configs;
mod consumer;
mod duo;
mod groups;
mod mixed;
mod questions;

use std::time::Duration;

use common::Client;
use kavka_testbroker::Cluster;
use kavka_wire::codec::Request;
use tokio::net::TcpStream;

/// Asks one broker and keeps what it said.
pub(crate) struct Interview {
    address: String,
    client: Client,
    answers: Vec<(String, String)>,
}

impl Interview {
    async fn new(address: &str) -> Self {
        Interview { address: address.to_owned(), client: open(address).await, answers: Vec::new() }
    }

    /// Asks, remembers the answer under a name, and gives it back. A closed connection is an answer too.
    pub(crate) async fn ask<R: Request<Response: std::fmt::Debug>>(
        &mut self,
        name: &str,
        request: &R,
        version: i16,
    ) -> Option<R::Response> {
        self.client.send(request, version).await;
        let answer = tokio::time::timeout(Duration::from_secs(10), self.client.receive::<R>(version)).await;
        let text = match &answer {
            Err(_) => "no answer".to_owned(),
            Ok(None) => "closed".to_owned(),
            Ok(Some(answer)) => mask(&format!("{answer:?}")),
        };
        self.answers.push((format!("{name} (v{version})"), text));
        match answer {
            Ok(Some(answer)) => Some(answer),
            _ => {
                self.client = open(&self.address).await;
                None
            }
        }
    }
}

async fn open(address: &str) -> Client {
    Client::new(TcpStream::connect(address).await.unwrap())
}

/// Hides what is allowed to differ.
pub(crate) fn mask(answer: &str) -> String {
    let mut text = answer.replace(", unknown_tagged_fields: TaggedFields([])", "");
    text = text.replace("message: None", "message: Some(\"\")");
    let words =
        ["message: Some(\"", "log_append_time_ms: 1", "member_id: \"raw-", "leader: \"raw-", "topic_id: "];
    for word in words {
        let mut from = 0;
        while let Some(at) = text[from..].find(word) {
            let start = from + at + word.len();
            let length = text[start..].find([',', ' ', '}']).unwrap_or(text.len() - start);
            let end = if word.ends_with('"') { text[start..].find('"').unwrap_or(0) } else { length };
            text.replace_range(start..start + end, "*");
            from = start;
        }
    }
    text
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let real = std::env::args().nth(1).expect("the address of a Kafka broker");
    let cluster = Cluster::builder()
        .brokers(1)
        .settings(|s| {
            s.group_min_session_timeout = Duration::from_secs(1);
            s.offsets_topic_partitions = 3;
            s.group_consumer_min_session_timeout = Duration::from_secs(1);
            s.group_consumer_min_heartbeat_interval = Duration::from_millis(200);
        })
        .start()
        .await
        .unwrap();
    let mut theirs = Interview::new(&real).await;
    questions::ask_all(&mut theirs).await;
    duo::ask_all(&mut theirs).await;
    consumer::ask_all(&mut theirs).await;
    mixed::ask_all(&mut theirs).await;
    configs::ask_all(&mut theirs).await;
    let mut ours = Interview::new(&cluster.bootstrap()).await;
    questions::ask_all(&mut ours).await;
    duo::ask_all(&mut ours).await;
    consumer::ask_all(&mut ours).await;
    mixed::ask_all(&mut ours).await;
    configs::ask_all(&mut ours).await;
    let mut same = 0;
    for ((name, theirs), (_, ours)) in theirs.answers.iter().zip(&ours.answers) {
        if theirs == ours {
            same += 1;
        } else {
            println!("{name}\n  kafka {theirs}\n  ours  {ours}");
        }
    }
    println!("{same} of {} answers are the same", theirs.answers.len());
}
