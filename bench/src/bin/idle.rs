//! What a member of a group costs while nothing happens: requests, bytes and CPU per second, client by client.
//!
//!     idle [--seconds N] [--warm N] [--rounds N] [--protocol P] [--clients A,B] [--libs DIR] BOOTSTRAP

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kavka::{Client, NewTopic};
use kavka_bench::group::{Clients, Members, PROTOCOLS, cpu_seconds, median, options, proxy, spread};

const PARTITIONS: usize = 100;
/// No member takes this long to get its partitions.
const LIMIT: Duration = Duration::from_secs(60);

struct Settings {
    seconds: u64,
    warm: u64,
    rounds: usize,
    protocol: String,
    bootstrap: String,
}

/// Of one run, per second.
struct Idle {
    requests: BTreeMap<String, f64>,
    sent: f64,
    received: f64,
    cpu_ms: f64,
}

fn main() {
    let (settings, clients) = arguments();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let topic = format!("idle-{}", std::process::id());
    let admin = runtime.block_on(async {
        let client = Client::connect(&settings.bootstrap).await.expect("the cluster answers");
        let topic = NewTopic::new(&*topic, PARTITIONS as i32).replication(1);
        let created = client.admin().create_topics([topic]).await;
        created.into_iter().collect::<kavka::Result<Vec<()>>>().expect("the topic can be made");
        client
    });
    let mut all: Vec<(String, Vec<Idle>)> =
        clients.names.iter().map(|name| (name.clone(), Vec::new())).collect();
    for round in 0..settings.rounds {
        for (name, (client, runs)) in clients.names.iter().zip(&mut all) {
            match one(&settings, &clients, name, &topic, round) {
                Ok((version, idle)) => {
                    eprintln!("round {}: {version}: {:.2?} requests/s", round + 1, idle.requests);
                    *client = version;
                    runs.push(idle);
                }
                Err(error) => eprintln!("round {}: {error}", round + 1),
            }
        }
    }
    print(&settings, &all);
    let deleted = runtime.block_on(async { admin.admin().delete_topics([topic]).await });
    deleted.into_iter().for_each(|result| result.expect("the topic can be deleted"));
}

fn arguments() -> (Settings, Clients) {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = options(&mut args);
    let seconds = option("--seconds", "30").parse().expect("--seconds takes a number");
    let warm = option("--warm", "10").parse().expect("--warm takes a number");
    let rounds = option("--rounds", "3").parse().expect("--rounds takes a number");
    let protocol = option("--protocol", "range");
    let names = option("--clients", "kavka,java,librdkafka,franz-go").split(',').map(str::to_owned).collect();
    let libs = Some(option("--libs", "")).filter(|libs| !libs.is_empty());
    drop(option);
    assert!(PROTOCOLS.contains(&protocol.as_str()), "{protocol}: protocols are {PROTOCOLS:?}");
    let [bootstrap] = &args[..] else {
        eprintln!("usage: idle [OPTIONS] BOOTSTRAP, the options as the README has them; not {args:?}");
        std::process::exit(2);
    };
    let settings = Settings { seconds, warm, rounds, protocol, bootstrap: bootstrap.clone() };
    (settings, Clients::build(names, libs.map(Into::into)))
}

fn one(
    settings: &Settings,
    clients: &Clients,
    name: &str,
    topic: &str,
    round: usize,
) -> Result<(String, Idle), String> {
    let proxy = proxy::Proxy::new(false);
    let bootstrap = proxy.bootstrap(&settings.bootstrap);
    let group = format!("{topic}-{name}-{round}");
    let mut members = Members::spawn(clients.command(name, &bootstrap, topic, &group, &settings.protocol));
    members.start();
    let all = |assigned: Option<&usize>| assigned == Some(&PARTITIONS);
    members.wait(LIMIT, "all partitions", |log| all(log.assigned.get(&0)))?;
    std::thread::sleep(Duration::from_secs(settings.warm));
    let (counts, cpu, begin) = (proxy.counts(), cpu_seconds(members.id()), Instant::now());
    std::thread::sleep(Duration::from_secs(settings.seconds));
    let (counts, cpu) = (proxy.counts().since(&counts), cpu_seconds(members.id()) - cpu);
    let seconds = begin.elapsed().as_secs_f64();
    let log = members.log();
    if log.ended || !all(log.assigned.get(&0)) || !log.receipts.is_empty() {
        return Err(format!("{}: did not stay as it was: {log:?}", log.name));
    }
    let requests = counts.requests.iter().map(|(key, &count)| (key.to_string(), count as f64 / seconds));
    let idle = Idle {
        requests: requests.collect(),
        sent: counts.sent as f64 / seconds,
        received: counts.received as f64 / seconds,
        cpu_ms: cpu * 1e3 / seconds,
    };
    Ok((log.name.clone(), idle))
}

fn print(settings: &Settings, all: &[(String, Vec<Idle>)]) {
    let (seconds, rounds, protocol) = (settings.seconds, settings.rounds, &settings.protocol);
    println!("\n{protocol}: medians (min-max) of {rounds} rounds of {seconds} s, all figures per second\n");
    println!(
        "| client | requests | of them fetches | bytes sent | bytes received | CPU ms | CPU ratio | rounds |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let cpu = |runs: &[Idle]| median(runs.iter().map(|idle| idle.cpu_ms).collect());
    let base = all.first().map(|(_, runs)| cpu(runs)).unwrap_or_default();
    for (name, runs) in all.iter().filter(|(_, runs)| !runs.is_empty()) {
        let column = |figure: fn(&Idle) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
        println!(
            "| {name} | {:.2} | {:.2} | {} | {} | {:.2} | {:.2} | {} |",
            median(column(|idle| idle.requests.values().sum())),
            median(column(|idle| idle.requests.get("Fetch").copied().unwrap_or_default())),
            spread(&column(|idle| idle.sent)),
            spread(&column(|idle| idle.received)),
            cpu(runs),
            cpu(runs) / base,
            runs.len(),
        );
    }
}
