//! A cluster on disk: started here, found again by every later command.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::at;
use super::config::{Listener, PORTS, Plan, USER};
use super::libs::Libs;
use super::node::Node;
use super::tls::Tls;

/// A cluster that was started, whether its nodes live or not.
pub(super) struct Cluster {
    dir: PathBuf,
    version: String,
    heap: String,
    nodes: u16,
    bootstrap: String,
    /// The process id of the `test` command that started it, which also has to stop it.
    owner: Option<u32>,
}

/// Where the cluster on a port keeps its state.
pub(super) fn dir(target: &Path, port: u16) -> PathBuf {
    target.join("kafka").join(port.to_string())
}

impl Cluster {
    /// Starts a new cluster; what an earlier one left in the directory is deleted.
    pub(super) fn start(
        root: &Path,
        target: &Path,
        dir: PathBuf,
        plan: Plan,
        owner: Option<u32>,
    ) -> Result<Cluster, String> {
        if let Ok(old) = Cluster::load(dir.clone())
            && old.nodes().any(|node| node.pid().is_some())
        {
            return Err(format!("a cluster is running on port {}: stop it first", plan.port));
        }
        let libs = Libs::new(target, &plan.version)?;
        let tls = Tls::new(target)?;
        for port in plan.port..plan.port + PORTS * plan.nodes {
            std::net::TcpListener::bind(("127.0.0.1", port)).map_err(|e| format!("port {port}: {e}"))?;
        }
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(at(&dir))?;
        }
        std::fs::create_dir_all(&dir).map_err(at(&dir))?;
        let cluster = Cluster {
            dir,
            version: plan.version.clone(),
            heap: plan.heap.clone(),
            nodes: plan.nodes,
            bootstrap: plan.bootstrap(Listener::Plain),
            owner,
        };
        cluster.save()?;
        let up = cluster.format(root, &libs, &plan, &tls).and_then(|()| cluster.launch_all(root, &libs));
        match up {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // What failed first is what the caller has to see.
                let _ = cluster.stop();
                Err(error)
            }
        }
    }

    fn format(&self, root: &Path, libs: &Libs, plan: &Plan, tls: &Tls) -> Result<(), String> {
        let cluster_id = cluster_id();
        let mut running = Vec::new();
        for node in self.nodes() {
            let properties = node.properties();
            std::fs::write(&properties, plan.properties_of(node.id, &self.dir, tls))
                .map_err(at(&properties))?;
            let mut java = libs.java(root, &["-Xmx128m", "-XX:TieredStopAtLevel=1"])?;
            java.args(["kafka.tools.StorageTool", "format", "-t", &cluster_id, "-c"]).arg(&properties);
            let given = plan.scram.iter().map(|(user, password)| (user.as_str(), password.as_str()));
            for (user, password) in given.chain([USER]) {
                for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                    java.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
                }
            }
            java.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            running.push((node.id, java.spawn().map_err(|e| format!("java: {e}"))?));
        }
        for (id, child) in running {
            let output = child.wait_with_output().map_err(|e| format!("java: {e}"))?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                return Err(format!("formatting node {id}:\n{}", String::from_utf8_lossy(&said)));
            }
        }
        Ok(())
    }

    fn launch_all(&self, root: &Path, libs: &Libs) -> Result<(), String> {
        self.nodes().try_for_each(|node| self.launch(root, libs, &node))?;
        self.nodes().try_for_each(|node| node.wait_ready())
    }

    fn launch(&self, root: &Path, libs: &Libs, node: &Node) -> Result<(), String> {
        let heap = format!("-Xmx{}", self.heap);
        let mut java = libs.java(root, &[&heap, "-XX:+UseSerialGC"])?;
        java.arg(format!("-Dkafka.logs.dir={}", self.dir.display()));
        node.launch(java, self.owner.is_none())
    }

    /// Starts a node that was stopped or killed.
    pub(super) fn restart(&self, root: &Path, target: &Path, id: u16) -> Result<(), String> {
        let node = self.node(id)?;
        if node.pid().is_some() {
            return Err(format!("node {id} is running: kill or stop it first"));
        }
        self.launch(root, &Libs::new(target, &self.version)?, &node)?;
        node.wait_ready()
    }

    /// Ends every node. The data is deleted by the next start, so nothing waits long for an orderly end.
    pub(super) fn stop(&self) -> Result<(), String> {
        let alive: Vec<Node> = self.nodes().filter(|node| node.pid().is_some()).collect();
        for node in &alive {
            // A frozen process does not see a TERM. The node may be gone by now, which is what is wanted.
            let _ = node.signal("CONT").and_then(|()| node.signal("TERM"));
        }
        for node in &alive {
            if node.wait_gone(Duration::from_secs(2)).is_err() {
                node.kill()?;
            }
        }
        Ok(())
    }

    pub(super) fn status(&self) -> Result<(), String> {
        println!("Kafka {}, bootstrap {}", self.version, self.bootstrap);
        for node in self.nodes() {
            match node.pid() {
                Some(pid) => println!("node {}: process {pid}, log {}", node.id, node.log().display()),
                None => println!("node {}: not running", node.id),
            }
        }
        Ok(())
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(super) fn directory(&self) -> &Path {
        &self.dir
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn owner(&self) -> Option<u32> {
        self.owner
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        (1..=self.nodes).map(|id| Node::new(id, &self.dir))
    }

    pub(super) fn node(&self, id: u16) -> Result<Node, String> {
        self.nodes()
            .find(|node| node.id == id)
            .ok_or_else(|| format!("no node {id}: there are {}", self.nodes))
    }

    fn save(&self) -> Result<(), String> {
        let mut text = format!(
            "version={}\nheap={}\nnodes={}\nbootstrap={}\n",
            self.version, self.heap, self.nodes, self.bootstrap
        );
        if let Some(owner) = self.owner {
            text.push_str(&format!("owner={owner}\n"));
        }
        let file = self.dir.join("cluster");
        std::fs::write(&file, text).map_err(at(&file))
    }

    /// The cluster that was started in a directory.
    pub(super) fn load(dir: PathBuf) -> Result<Cluster, String> {
        let file = dir.join("cluster");
        let text = std::fs::read_to_string(&file)
            .map_err(|e| format!("no cluster was started here ({}: {e})", file.display()))?;
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| {
            values.get(key).copied().ok_or_else(|| format!("{}: {key} is missing", file.display()))
        };
        Ok(Cluster {
            version: value("version")?.to_owned(),
            heap: value("heap")?.to_owned(),
            nodes: value("nodes")?.parse().map_err(|_| format!("{}: nodes", file.display()))?,
            bootstrap: value("bootstrap")?.to_owned(),
            owner: values.get("owner").and_then(|owner| owner.parse().ok()),
            dir,
        })
    }
}

/// A fresh id: 22 characters of base64, of which the last carries only two bits.
fn cluster_id() -> String {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // The standard library's only source of randomness: each state has its own seed.
    let letter = |_| char::from(LETTERS[(RandomState::new().hash_one(0u8) % 52) as usize]);
    (0..21).map(letter).chain(['A']).collect()
}
