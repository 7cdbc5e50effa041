//! `cargo xtask kafka`: a real Apache Kafka from the jars on Maven Central, for tests and for trying things out.
//!
//! A cluster lives in `target/kafka/<port>/`: one properties file, log and pid file per node, and `cluster`, which says
//! how it was started. Node `i` is broker and controller at once, has the rack `r<i>` and five ports from
//! `port + 5 * (i - 1)` on: plaintext, controller, SASL (user `alice`, password `alice-secret`), TLS, and plaintext for
//! `User:guest`: whoever comes there may do what no ACL denies him, while `User:ANONYMOUS` and `User:alice` may do
//! everything.

mod cluster;
mod config;
pub(crate) mod libs;
mod node;
mod options;
mod test;
mod tls;

use std::path::{Path, PathBuf};

use cluster::Cluster;
use options::Options;

/// Names the directory of the cluster that a test runs against; commands without `--port` use it.
pub(crate) const DIR_VARIABLE: &str = "KAVKA_TEST_KAFKA_DIR";

const USAGE: &str = "usage: cargo xtask kafka COMMAND [--port 19092]
  start [--nodes 3] [--version 4.4.0] [--heap 512m] [--scram USER=PASSWORD] [KEY=VALUE ...]
                   starts a new cluster; KEY=VALUE adds a broker property, where {id}, {dir} and the ports {port},
                   {controller}, {sasl}, {tls} and {guest} stand for the node's own; --scram adds a user for SCRAM
  stop [N]         stops the cluster, or one node with a controlled shutdown
  kill N           ends a node without warning
  restart N        starts a node that was stopped or killed, and waits until it serves
  pause N, cont N  freezes a node and lets it go on
  status           which nodes are alive
  interop ARG ...  runs the Java peer: produce, consume or group (its own usage says how)
  test [--nodes 3] [--version 4.4.0] [KEY=VALUE ...] [-- TEST-ARG ...]
                   starts a cluster on free ports, runs the tests of `kavka-tests --test kafka`, stops the cluster";

/// Runs one command.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let Some((command, rest)) = args.split_first() else { return Err(USAGE.to_owned()) };
    let target = target_dir(root);
    if command == "interop" {
        return libs::Libs::new(&target, &options::version_from_environment())?.run_interop(root, rest);
    }
    let options = Options::parse(rest)?;
    let dir = options.dir(&target);
    match command.as_str() {
        "start" => {
            options.expect_words(0, USAGE)?;
            let cluster = Cluster::start(root, &target, dir, options.plan()?, None)?;
            println!("{}", cluster.bootstrap());
            Ok(())
        }
        "stop" if options.words.is_empty() => Cluster::load(dir)?.stop(),
        "stop" => Cluster::load(dir)?.node(options.node(USAGE)?)?.terminate(),
        "kill" => Cluster::load(dir)?.node(options.node(USAGE)?)?.kill(),
        "restart" => Cluster::load(dir)?.restart(root, &target, options.node(USAGE)?),
        "pause" => Cluster::load(dir)?.node(options.node(USAGE)?)?.signal("STOP"),
        "cont" => Cluster::load(dir)?.node(options.node(USAGE)?)?.signal("CONT"),
        "status" => Cluster::load(dir)?.status(),
        "test" => test::run(root, &target, options),
        _ => Err(USAGE.to_owned()),
    }
}

/// Cargo's target directory, which also holds the jars and the clusters.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => root.canonicalize().unwrap_or_else(|_| root.to_owned()).join("target"),
    }
}

/// An I/O error with the path that it is about.
fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}
