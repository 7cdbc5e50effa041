//! One node's process. Signals go through `kill` and `ps`, which every Unix has.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::at;

const POLL: Duration = Duration::from_millis(100);
/// A node that has not come up by now will not.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// What Kafka writes when every listener serves and the broker is registered.
const READY: &str = "Kafka Server started";

/// A node of a cluster, running or not.
pub(super) struct Node {
    pub(super) id: u16,
    dir: PathBuf,
}

impl Node {
    pub(super) fn new(id: u16, dir: &Path) -> Node {
        Node { id, dir: dir.to_owned() }
    }

    pub(super) fn properties(&self) -> PathBuf {
        self.dir.join(format!("node-{}.properties", self.id))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(format!("node-{}.log", self.id))
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join(format!("node-{}.pid", self.id))
    }

    /// The process, if it is alive and really is this node: process ids are used again.
    pub(super) fn pid(&self) -> Option<String> {
        let pid = std::fs::read_to_string(self.pid_file()).ok()?.trim().to_owned();
        let output = Command::new("ps").args(["-ww", "-p", &pid, "-o", "args="]).output().ok()?;
        let args = String::from_utf8_lossy(&output.stdout).into_owned();
        args.contains(&*self.properties().to_string_lossy()).then_some(pid)
    }

    /// Starts the process; `detached` keeps the terminal's Ctrl-C away from it.
    pub(super) fn launch(&self, mut java: Command, detached: bool) -> Result<(), String> {
        let log = self.log();
        if log.exists() {
            std::fs::rename(&log, self.dir.join(format!("node-{}.previous.log", self.id)))
                .map_err(at(&log))?;
        }
        let out = File::create(&log).map_err(at(&log))?;
        let err = out.try_clone().map_err(at(&log))?;
        java.arg("kafka.Kafka").arg(self.properties()).stdin(Stdio::null()).stdout(out).stderr(err);
        if detached {
            std::os::unix::process::CommandExt::process_group(&mut java, 0);
        }
        let child = java.spawn().map_err(|e| format!("java: {e}"))?;
        std::fs::write(self.pid_file(), child.id().to_string()).map_err(at(&self.pid_file()))
    }

    /// Waits until the node serves.
    pub(super) fn wait_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let text = std::fs::read(self.log()).map_err(at(&self.log()))?;
            let text = String::from_utf8_lossy(&text);
            if text.contains(READY) {
                return Ok(());
            }
            let why = match self.pid() {
                None => "ended before it was ready",
                Some(_) if Instant::now() >= deadline => "is not ready in time",
                Some(_) => {
                    std::thread::sleep(POLL);
                    continue;
                }
            };
            return Err(format!(
                "node {} {why}; from {}:\n{}",
                self.id,
                self.log().display(),
                excerpt(&text)
            ));
        }
    }

    pub(super) fn signal(&self, signal: &str) -> Result<(), String> {
        let Some(pid) = self.pid() else { return Err(format!("node {} is not running", self.id)) };
        let status = Command::new("kill").arg(format!("-{signal}")).arg(&pid).status();
        match status.map_err(|e| format!("kill: {e}"))?.success() {
            true => Ok(()),
            false => Err(format!("node {}: `kill -{signal} {pid}` failed", self.id)),
        }
    }

    /// Ends the process without warning and returns when it is gone.
    pub(super) fn kill(&self) -> Result<(), String> {
        self.signal("KILL")?;
        self.wait_gone(Duration::from_secs(30))
    }

    /// Asks for a controlled shutdown, which moves leaders and coordinators first.
    pub(super) fn terminate(&self) -> Result<(), String> {
        self.signal("TERM")?;
        self.wait_gone(Duration::from_secs(90))
    }

    pub(super) fn wait_gone(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        while self.pid().is_some() {
            if Instant::now() >= deadline {
                return Err(format!("node {} is still running after {patience:?}", self.id));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The first complaints in a log, which tend to be the cause, and its last lines.
fn excerpt(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines.len().saturating_sub(25);
    let complains = |line: &&&str| [" ERROR ", " FATAL ", "Exception"].iter().any(|word| line.contains(word));
    let mut shown: Vec<&str> = lines[..tail].iter().filter(complains).take(10).copied().collect();
    shown.push("...");
    shown.extend(&lines[tail..]);
    shown.join("\n")
}
