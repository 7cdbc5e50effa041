//! The sticky assignors beside Kafka's own, in one run: a first assignment, and another after one member left.
//!
//! `assign [--libs DIR] [--rounds N] [--members N] [--topics N] [--partitions N] [--apart 0|1]`, where DIR is what
//! `cargo xtask assignors` fetched and compiled, and the partitions are those of each topic. With `--apart 1` members share no
//! strings and sets, as if their subscriptions had been put together by hand. Times are CPU time of the thread that assigns, the best
//! of the rounds; the JVM is warm by then, and what its other threads collect does not count.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;

use kavka_bench::counting;
use kavka_group::assignor::{Assignor, CooperativeSticky, GroupSubscription, MemberSubscription, Sticky};
use kavka_group::{SortedSet, TopicInfo, TopicMap, TopicPartition};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

struct Shape {
    rounds: usize,
    members: usize,
    topics: usize,
    partitions: usize,
    /// Each member has a set of topics of its own.
    apart: bool,
}

fn main() {
    let mut shape = Shape { rounds: 5, members: 2_000, topics: 500, partitions: 2_000, apart: false };
    let mut libs = "../target/kafka-libs/4.4.0".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().expect("each flag has a value");
        let number = || value.parse().expect("a number");
        match flag.as_str() {
            "--libs" => libs = value,
            "--rounds" => shape.rounds = number(),
            "--members" => shape.members = number(),
            "--topics" => shape.topics = number(),
            "--partitions" => shape.partitions = number(),
            "--apart" => shape.apart = number() > 0,
            _ => panic!("no flag {flag}"),
        }
    }
    println!("{} members, {} topics of {} partitions", shape.members, shape.topics, shape.partitions);
    let mut ours = BTreeMap::new();
    for assignor in [&Sticky as &dyn Assignor, &CooperativeSticky] {
        measure(assignor, &shape, &mut ours);
    }
    let ours_peak = peak_mib(libc::RUSAGE_SELF);
    let java = java(&libs, &shape);
    println!(
        "{:<26}{:>10}{:>12}{:>10}{:>9}{:>14}{:>16}{:>16}",
        "", "kavka ms", "with lists", "Java ms", "ratio", "with lists", "kavka MiB made", "Java MiB made"
    );
    for (what, (seconds, bytes)) in ours.iter().filter(|(what, _)| !what.ends_with(LISTED)) {
        let listed = ours.get(&format!("{what}{LISTED}")).map_or(f64::NAN, |(seconds, _)| *seconds);
        let (java_seconds, java_bytes) = java.get(what).expect("the Java program measures the same");
        println!(
            "{what:<26}{:>10.1}{:>12.1}{:>10.1}{:>9.3}{:>14.3}{:>16.1}{:>16.1}",
            seconds * 1e3,
            listed * 1e3,
            java_seconds * 1e3,
            seconds / java_seconds,
            listed / java_seconds,
            bytes / MIB,
            java_bytes / MIB,
        );
    }
    println!(
        "peak of the whole process: kavka {ours_peak:.0} MiB, Java {:.0} MiB",
        peak_mib(libc::RUSAGE_CHILDREN)
    );
}

const MIB: f64 = 1024.0 * 1024.0;

/// Behind what was measured: until each member's partitions are listed by name, as Java's assignors do it at once.
const LISTED: &str = " listed";

/// What was measured, with seconds and bytes allocated.
type Results = BTreeMap<String, (f64, f64)>;

fn measure(assignor: &dyn Assignor, shape: &Shape, results: &mut Results) {
    let names: Vec<String> = (0..shape.topics).map(|topic| format!("topic-{topic:04}")).collect();
    let mut topics = TopicMap::new();
    for name in &names {
        topics.insert(&**name, TopicInfo { partitions: shape.partitions as i32, ..Default::default() });
    }
    for _ in 0..shape.rounds {
        let mut group = GroupSubscription::default();
        let wanted =
            || Arc::new(names.iter().map(|name| Arc::from(&**name)).collect::<SortedSet<Arc<str>>>());
        let shared = wanted();
        for member in 0..shape.members {
            // As a leader reads subscriptions: what they have in common is kept once.
            let topics = if shape.apart { wanted() } else { shared.clone() };
            let subscription = MemberSubscription { topics, ..Default::default() };
            group.members.insert(format!("consumer-{member:05}").into(), subscription);
        }
        let shares = timed(assignor, &group, &topics, "first", results);
        for (id, member) in &mut group.members {
            let owned: SortedSet<TopicPartition> = shares[id].iter().cloned().collect();
            member.user_data = assignor.user_data(&owned, Some(1));
            member.owned = owned.into_iter().collect();
            member.generation = Some(1);
            for partition in &mut member.owned {
                if let Some(name) = member.topics.get(&partition.topic) {
                    partition.topic = name.clone();
                }
            }
        }
        group.members.remove(&*format!("consumer-{:05}", shape.members / 2));
        timed(assignor, &group, &topics, "again", results);
    }
}

fn timed(
    assignor: &dyn Assignor,
    group: &GroupSubscription,
    topics: &TopicMap,
    phase: &str,
    results: &mut Results,
) -> BTreeMap<Arc<str>, Vec<TopicPartition>> {
    let (bytes, start) = (counting::bytes(), thread_seconds());
    let assignment = assignor.assign(group, topics);
    let (assigned, made) = (thread_seconds() - start, counting::bytes() - bytes);
    let lists = assignment.by_member();
    let (listed, all) = (thread_seconds() - start, counting::bytes() - bytes);
    for (seconds, bytes, how) in [(assigned, made, ""), (listed, all, LISTED)] {
        let best = results.entry(format!("{} {phase}{how}", assignor.name())).or_insert((f64::MAX, 0.0));
        *best = (best.0.min(seconds), bytes as f64);
    }
    lists
}

fn java(libs: &str, shape: &Shape) -> Results {
    let output = Command::new("java")
        .args(["-Xmx4g", "-cp", &format!("{libs}/classes/Assignors:{libs}/jars/*"), "Assignors", "bench"])
        .args([shape.rounds, shape.members, shape.topics, shape.partitions].map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .expect("java runs");
    assert!(output.status.success(), "the Java program ended with {}", output.status);
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().expect("a number");
        (format!("{} {}", words[0], words[1]), (number(2), number(3)))
    };
    text.lines().map(line).collect()
}

/// CPU time of this thread: other programs on the machine do not count.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime fills the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The largest resident set, of this process or of those that it waited for.
fn peak_mib(who: libc::c_int) -> f64 {
    // SAFETY: getrusage fills the struct it is given, which all-zero bytes are a valid value of.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(who, &mut usage);
        usage
    };
    usage.ru_maxrss as f64 / 1024.0
}
