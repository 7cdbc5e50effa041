//! How long a third member of a group waits for its first record, client by client, protocol by protocol.
//!
//!     rebalance [--runs N] [--seed N] [--rate N] [--protocols A,B] [--clients A,B] [--libs DIR] [--trace 1] BOOTSTRAP

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kavka::{Client, NewTopic};
use kavka_bench::group::{
    Clients, Figures, Members, PROTOCOLS, figures, median, options, proxy, settled, spread,
};

const PARTITIONS: usize = 12;
/// Evenly shared for this long: the group is stable. Longer than a classic member's heartbeat interval, so a rebalance would show.
const STABLE: Duration = Duration::from_secs(4);
/// No group takes this long.
const LIMIT: Duration = Duration::from_secs(60);

struct Settings {
    runs: usize,
    seed: u64,
    protocols: Vec<String>,
    bootstrap: String,
    trace: bool,
}

/// What a run waits for by itself, in parts of a heartbeat interval: before the second member, and before the third.
#[derive(Clone, Copy)]
struct Phases(f64, f64);

fn main() {
    let (settings, clients, rate) = arguments();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let topic = format!("rebalance-{}", std::process::id());
    let admin = runtime.block_on(async {
        let client = Client::connect(&settings.bootstrap).await.expect("the cluster answers");
        let topic = NewTopic::new(&*topic, PARTITIONS as i32).replication(1);
        let created = client.admin().create_topics([topic]).await;
        created.into_iter().collect::<kavka::Result<Vec<()>>>().expect("the topic can be made");
        client
    });
    let load = load(&settings.bootstrap, &topic, rate);
    for protocol in &settings.protocols {
        let mut all: Vec<(String, Vec<Figures>)> =
            clients.names.iter().map(|name| (name.clone(), Vec::new())).collect();
        for (run, phases) in phases(settings.runs, settings.seed).into_iter().enumerate() {
            for (name, (client, figures)) in clients.names.iter().zip(&mut all) {
                let group = format!("{topic}-{protocol}-{name}-{run}");
                let command = |bootstrap: &str| clients.command(name, bootstrap, &topic, &group, protocol);
                match one(&settings, protocol, phases, command) {
                    Ok((version, one)) => {
                        eprintln!("{protocol} run {}: {version}: {one:?}", run + 1);
                        *client = version;
                        figures.push(one);
                    }
                    Err(error) => eprintln!("{protocol} run {}: {error}", run + 1),
                }
            }
        }
        print(protocol, settings.runs, &all);
    }
    end(load);
    let deleted = runtime.block_on(async { admin.admin().delete_topics([topic]).await });
    deleted.into_iter().for_each(|result| result.expect("the topic can be deleted"));
}

fn arguments() -> (Settings, Clients, u64) {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = options(&mut args);
    let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let runs = option("--runs", "10").parse().expect("--runs takes a number");
    let seed = option("--seed", "1").parse().expect("--seed takes a number");
    let rate = option("--rate", "2000").parse().expect("--rate takes a number");
    let protocols = list(option("--protocols", &PROTOCOLS.join(",")));
    let names = list(option("--clients", "kavka,java,librdkafka,franz-go"));
    let libs = Some(option("--libs", "")).filter(|libs| !libs.is_empty());
    let trace = option("--trace", "0") == "1";
    drop(option);
    let unknown = protocols.iter().find(|protocol| !PROTOCOLS.contains(&protocol.as_str()));
    assert!(unknown.is_none(), "{unknown:?}: protocols are {PROTOCOLS:?}");
    let [bootstrap] = &args[..] else {
        eprintln!("usage: rebalance [OPTIONS] BOOTSTRAP, the options as the README has them; not {args:?}");
        std::process::exit(2);
    };
    let settings = Settings { runs, seed, protocols, bootstrap: bootstrap.clone(), trace };
    (settings, Clients::build(names, libs.map(Into::into)), rate)
}

fn load(bootstrap: &str, topic: &str, rate: u64) -> Child {
    let program = std::env::current_exe().expect("this program has a path").with_file_name("load");
    let mut load = Command::new(program);
    load.args([bootstrap, topic, &rate.to_string()]).stdin(Stdio::piped());
    load.spawn().expect("the load starts")
}

fn end(mut load: Child) {
    drop(load.stdin.take());
    let status = load.wait().expect("the load ends");
    assert!(status.success(), "the load failed, so the figures are worth nothing: {status}");
}

/// The same for each client: the third member's phases are spread evenly over the interval, in random order.
fn phases(runs: usize, seed: u64) -> Vec<Phases> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut phases: Vec<Phases> =
        (0..runs).map(|run| Phases(random(), (run as f64 + random()) / runs as f64)).collect();
    for last in (1..runs).rev() {
        phases.swap(last, (random() * (last + 1) as f64) as usize);
    }
    phases
}

/// One run of one client.
fn one(
    settings: &Settings,
    protocol: &str,
    phases: Phases,
    command: impl Fn(&str) -> Command,
) -> Result<(String, Figures), String> {
    // The coordinator sets it for the consumer protocol: `group.consumer.heartbeat.interval.ms`, 5 s by default.
    let interval = if protocol == "consumer" { 5.0 } else { 3.0 };
    let tracer = settings.trace.then(|| proxy::Proxy::new(true));
    let bootstrap = match &tracer {
        Some(tracer) => tracer.bootstrap(&settings.bootstrap),
        None => settings.bootstrap.clone(),
    };
    let mut members = Members::spawn(command(&bootstrap));
    members.start();
    members.wait(LIMIT, "record at the first member", |log| !log.receipts.is_empty())?;
    std::thread::sleep(Duration::from_secs_f64(phases.0 * interval));
    members.start();
    let stable = STABLE.as_nanos() as u64;
    members.wait(LIMIT, "stable group of two", |log| settled(log, 2, PARTITIONS, stable))?;
    std::thread::sleep(Duration::from_secs_f64(phases.1 * interval));
    if !settled(&members.log(), 2, PARTITIONS, stable) {
        return Err(format!("{}: the group of two did not stay as it was", members.log().name));
    }
    if settings.trace {
        eprintln!("--- the third member starts");
    }
    members.start();
    members.wait(LIMIT, "stable group of three", |log| settled(log, 3, PARTITIONS, stable))?;
    let log = members.log();
    let figures = figures(&log).ok_or("the third member got nothing")?;
    Ok((log.name.clone(), figures))
}

fn print(protocol: &str, runs: usize, all: &[(String, Vec<Figures>)]) {
    let base = all.first().map(|(_, figures)| column(figures, |f| f.first_record)).unwrap_or_default();
    println!("\n{protocol}: medians (min-max) of {runs} runs, milliseconds\n");
    println!(
        "| client | to the first record | ratio | to all settled | longest gap at an old member | the same before | longest gap of a moved partition | doubled | lost | runs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, figures) in all.iter().filter(|(_, figures)| !figures.is_empty()) {
        let of = |figure: fn(&Figures) -> f64| spread(&column(figures, figure));
        let ratio = median(column(figures, |f| f.first_record)) / median(base.clone());
        let sum = |figure: fn(&Figures) -> i64| figures.iter().map(figure).sum::<i64>();
        println!(
            "| {name} | {} | {ratio:.2} | {} | {} | {} | {} | {} | {} | {} |",
            of(|f| f.first_record),
            of(|f| f.settled),
            of(|f| f.kept_gap),
            of(|f| f.quiet_gap),
            of(|f| f.moved_gap),
            sum(|f| f.doubled),
            sum(|f| f.lost),
            figures.len(),
        );
    }
}

fn column(figures: &[Figures], figure: impl Fn(&Figures) -> f64) -> Vec<f64> {
    figures.iter().map(figure).collect()
}
