//! Where the members program of each client is, and how it is built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The members programs of some clients, built.
#[derive(Debug)]
pub struct Clients {
    /// Their names: `kavka`, `librdkafka`, `java` or `franz-go`.
    pub names: Vec<String>,
    folder: PathBuf,
    libs: Option<PathBuf>,
}

impl Clients {
    /// Builds what cargo does not build. `libs` is the folder with the jars of kafka-clients, for `java`.
    pub fn build(names: Vec<String>, libs: Option<PathBuf>) -> Clients {
        let folder = std::env::current_exe().expect("this program has a path").with_file_name("");
        let clients = Clients { names, folder, libs };
        for name in &clients.names {
            match name.as_str() {
                "java" => clients.build_java(),
                "franz-go" => clients.build_go(),
                "kavka" | "librdkafka" => {}
                other => panic!("no client is called {other}: kavka, librdkafka, java, franz-go"),
            }
        }
        clients
    }

    /// The members program of a client with its arguments.
    pub fn command(&self, name: &str, bootstrap: &str, topic: &str, group: &str, protocol: &str) -> Command {
        let mut command = match name {
            "java" => {
                let mut java = Command::new("java");
                java.args(["-Xmx512m", "-XX:+UseSerialGC", "-cp"]).arg(self.class_path()).arg("Members");
                java
            }
            "franz-go" => Command::new(self.folder.join("members_franz_go")),
            other => Command::new(self.folder.join(format!("members_{other}"))),
        };
        command.args([bootstrap, topic, group, protocol]);
        command
    }

    fn class_path(&self) -> String {
        let libs = self.libs.as_ref().expect("--libs says where the jars of kafka-clients are");
        format!("{}:{}/*", self.folder.join("java").display(), libs.display())
    }

    fn build_java(&self) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Members.java");
        let mut javac = Command::new("javac");
        run(javac.arg("-cp").arg(self.class_path()).arg("-d").arg(self.folder.join("java")).arg(source));
    }

    fn build_go(&self) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("franz-go");
        let mut go = Command::new("go");
        run(go.current_dir(source).args(["build", "-o"]).arg(self.folder.join("members_franz_go")).arg("."));
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Takes `--name value` out of arguments.
pub fn options(args: &mut Vec<String>) -> impl FnMut(&str, &str) -> String + '_ {
    |name, default| match args.iter().position(|arg| arg == name) {
        Some(at) if at + 1 < args.len() => {
            args.remove(at);
            args.remove(at)
        }
        Some(_) => panic!("{name} needs a value"),
        None => default.to_owned(),
    }
}
