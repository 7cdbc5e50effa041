//! `cargo xtask kafka test`: the integration tests against a cluster of their own.
//!
//! The tests get these variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `KAVKA_TEST_BOOTSTRAP` | `host:port,…` of all nodes; a test without it skips itself |
//! | `KAVKA_TEST_SASL_BOOTSTRAP` | the same for SASL without TLS: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER |
//! | `KAVKA_TEST_SASL_USER`, `KAVKA_TEST_SASL_PASSWORD` | who may log in there; any unsigned token will do |
//! | `KAVKA_TEST_TLS_BOOTSTRAP` | the same for TLS without SASL; the certificate is for 127.0.0.1 and localhost |
//! | `KAVKA_TEST_TLS_CA` | the certificate authority to trust there, a PEM file |
//! | `KAVKA_TEST_GUEST_BOOTSTRAP` | the same for clients that are `User:guest`; ACLs hold for them, the others may do everything |
//! | `KAVKA_TEST_KAFKA_VERSION` | the release, as `4.4.0` |
//! | `KAVKA_TEST_KAFKA_DIR` | the cluster's directory; commands of `KAVKA_XTASK` mean this cluster |
//! | `KAVKA_XTASK` | a program: `$KAVKA_XTASK kafka kill 2`, `restart 2`, `stop 2`, `pause 2`, `cont 2` |
//! | `KAVKA_TEST_LIBS` | the folder of Kafka's jars |
//! | `KAVKA_TEST_JAVA_CLASSPATH` | for Java peers: `java -cp $KAVKA_TEST_JAVA_CLASSPATH Interop consume …` |
//! | `KAVKA_TEST_JAVA_MEMBERS_CLASSPATH` | the same for `Members`, many members of groups in one JVM; not before Kafka 4.1 |
//!
//! `KAVKA_TEST_SECONDS` in the caller's environment says how long groups are tormented, instead of 30 s each.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::DIR_VARIABLE;
use super::cluster::{self, Cluster};
use super::config::{Listener, PORTS, Plan, USER};
use super::libs::Libs;
use super::options::Options;
use super::tls::Tls;

pub(super) fn run(root: &Path, target: &Path, mut options: Options) -> Result<(), String> {
    remove_orphans(target)?;
    let nodes = options.plan()?.nodes;
    let port = match options.port {
        Some(port) => port,
        None => free_ports(PORTS * nodes)?,
    };
    options.port = Some(port);
    let plan = options.plan()?;
    let libs = Libs::new(target, &plan.version)?;
    let mut java = vec![("KAVKA_TEST_JAVA_CLASSPATH", libs.interop_classpath(root)?)];
    java.extend(
        libs.members_classpath(root, &plan.version)?.map(|path| ("KAVKA_TEST_JAVA_MEMBERS_CLASSPATH", path)),
    );
    let owner = std::process::id();
    let more = [java, security(target, &plan)?].concat();
    let cluster = Cluster::start(root, target, cluster::dir(target, port), plan, Some(owner))?;
    println!("Kafka {} on {}", cluster.version(), cluster.bootstrap());
    let tested = run_tests(root, &cluster, &libs, more, &options);
    let stopped = cluster.stop();
    tested.and(stopped)
}

fn run_tests(
    root: &Path,
    cluster: &Cluster,
    libs: &Libs,
    more: Vec<(&'static str, String)>,
    options: &Options,
) -> Result<(), String> {
    let xtask = std::env::current_exe().map_err(|e| format!("this program's path: {e}"))?;
    let variables: Vec<(&str, OsString)> = [
        ("KAVKA_TEST_BOOTSTRAP", cluster.bootstrap().into()),
        ("KAVKA_TEST_KAFKA_VERSION", cluster.version().into()),
        (DIR_VARIABLE, cluster.directory().into()),
        ("KAVKA_TEST_LIBS", libs.jars().into()),
        ("KAVKA_XTASK", xtask.into()),
    ]
    .into_iter()
    .chain(more.into_iter().map(|(name, value)| (name, value.into())))
    .collect();
    let suite = |package: &str, test: &str, arguments: &[String]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(root)
            .args(["test", "--release", "--package", package, "--test", test, "--"])
            .args(arguments)
            .envs(variables.iter().cloned());
        let status = cargo.status().map_err(|e| format!("cargo: {e}"))?;
        match status.success() {
            true => Ok(()),
            false => {
                Err(format!("the tests failed; the nodes' logs are in {}", cluster.directory().display()))
            }
        }
    };
    let arguments = [&options.words[..], &options.rest[..]].concat();
    suite("kavka-tests", "kafka", &arguments)?;
    // Who asks for some tests by name means those of the suite.
    if arguments.is_empty() { suite("kavka-net", "it", &["kafka::".to_owned()]) } else { Ok(()) }
}

/// The variables that say how to reach the other listeners.
fn security(target: &Path, plan: &Plan) -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![
        ("KAVKA_TEST_SASL_BOOTSTRAP", plan.bootstrap(Listener::Sasl)),
        ("KAVKA_TEST_SASL_USER", USER.0.to_owned()),
        ("KAVKA_TEST_SASL_PASSWORD", USER.1.to_owned()),
        ("KAVKA_TEST_TLS_BOOTSTRAP", plan.bootstrap(Listener::Tls)),
        ("KAVKA_TEST_GUEST_BOOTSTRAP", plan.bootstrap(Listener::Guest)),
        ("KAVKA_TEST_TLS_CA", Tls::new(target)?.ca().display().to_string()),
    ])
}

/// Stops clusters of earlier test runs that were killed before they could do so, and deletes what such runs left.
fn remove_orphans(target: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(target.join("kafka")) else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        let Ok(cluster) = Cluster::load(entry.path()) else { continue };
        let Some(owner) = cluster.owner() else { continue };
        let output = Command::new("ps").args(["-p", &owner.to_string(), "-o", "args="]).output();
        let owner_lives = output
            .map_err(|e| format!("ps: {e}"))
            .map(|output| String::from_utf8_lossy(&output.stdout).contains("xtask"))?;
        if !owner_lives {
            cluster.stop()?;
            std::fs::remove_dir_all(entry.path()).map_err(super::at(&entry.path()))?;
        }
    }
    Ok(())
}

/// The first of `count` ports in a row that nobody uses now.
fn free_ports(count: u16) -> Result<u16, String> {
    // Below the range that systems hand out for outgoing connections, which could take one of them before Kafka does.
    let candidates = 20_000..32_000u16;
    let span = u32::from(candidates.end - candidates.start);
    let start = std::process::id().wrapping_mul(31) % span;
    (0..span / u32::from(count))
        .map(|step| candidates.start + ((start + step * u32::from(count)) % span) as u16)
        .filter(|first| first + count <= candidates.end)
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .ok_or_else(|| "no free ports".to_owned())
}
