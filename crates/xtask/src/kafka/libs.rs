//! Kafka's jars and our Java programs, kept in `target/kafka-libs/<version>/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::at;

/// Our class on the brokers' class path that says who a client is, by its listener.
pub(super) const PRINCIPALS: &str = "ListenerPrincipal";

/// The jars of one release, fetched.
pub(crate) struct Libs {
    dir: PathBuf,
}

impl Libs {
    /// Checks that Java is there and fetches the jars if they are not.
    pub(crate) fn new(target: &Path, version: &str) -> Result<Libs, String> {
        check_java()?;
        let libs = Libs { dir: target.join("kafka-libs").join(version) };
        if !libs.jars().exists() {
            libs.fetch(version)?;
        }
        libs.write_logging()?;
        Ok(libs)
    }

    /// The folder of the jars.
    pub(crate) fn jars(&self) -> PathBuf {
        self.dir.join("jars")
    }

    /// A JVM that sees Kafka's jars and what brokers have of ours, and logs to its standard output.
    pub(crate) fn java(&self, root: &Path, flags: &[&str]) -> Result<Command, String> {
        let source = root.join("crates/xtask/java").join(PRINCIPALS).with_extension("java");
        let classpath = self.compiled(&source, PRINCIPALS)?;
        let mut java = Command::new("java");
        java.args(flags)
            .args(["-cp", &classpath])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.dir.join("broker/log4j2.properties").display()
            ))
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                self.dir.join("broker/log4j.properties").display()
            ));
        Ok(java)
    }

    /// Compiles one of our programs if its source is newer, and gives the class path to run it with.
    pub(crate) fn compiled(&self, source: &Path, name: &str) -> Result<String, String> {
        let classes = self.dir.join("classes").join(name);
        let main = classes.join(format!("{name}.class"));
        let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
        let written = modified(source).map_err(at(source))?;
        if modified(&main).map_or(true, |compiled| compiled < written) {
            std::fs::create_dir_all(&classes).map_err(at(&classes))?;
            let output = Command::new("javac")
                .args(["-nowarn", "-proc:none", "-cp"])
                .arg(format!("{}/*", self.jars().display()))
                .arg("-d")
                .arg(&classes)
                .arg(source)
                .output()
                .map_err(|e| format!("javac: {e}; {JDK}"))?;
            if !output.status.success() {
                return Err(format!("javac:\n{}", String::from_utf8_lossy(&output.stderr)));
            }
        }
        let logging = self.dir.join("peer");
        Ok(format!("{}:{}:{}/*", classes.display(), logging.display(), self.jars().display()))
    }

    /// The class path of the Java peer.
    pub(crate) fn interop_classpath(&self, root: &Path) -> Result<String, String> {
        self.compiled(&root.join("crates/xtask/java/Interop.java"), "Interop")
    }

    /// The class path of the Java members; none before Kafka 4.1, whose client cannot end without leaving its group.
    pub(crate) fn members_classpath(&self, root: &Path, version: &str) -> Result<Option<String>, String> {
        let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        if (numbers.next(), numbers.next()) < (Some(4), Some(1)) {
            return Ok(None);
        }
        self.compiled(&root.join("crates/xtask/java/Members.java"), "Members").map(Some)
    }

    /// Runs the Java peer with this process's standard input and output.
    pub(crate) fn run_interop(&self, root: &Path, args: &[String]) -> Result<(), String> {
        let classpath = self.interop_classpath(root)?;
        let status = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &classpath, "Interop"])
            .args(args)
            .status()
            .map_err(|e| format!("java: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("the Java peer ended with {status}")) }
    }

    fn fetch(&self, version: &str) -> Result<(), String> {
        let (group, binding, binding_version) = match major(version) < 4 {
            true => ("org.slf4j", "slf4j-reload4j", "1.7.36"),
            false => ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.3"),
        };
        let pom = format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
             <modelVersion>4.0.0</modelVersion><groupId>kavka.test</groupId><artifactId>jars</artifactId>\
             <version>0</version>\n<dependencies>\n{}{}</dependencies>\n</project>\n",
            dependency("org.apache.kafka", "kafka_2.13", version),
            dependency(group, binding, binding_version),
        );
        std::fs::create_dir_all(&self.dir).map_err(at(&self.dir))?;
        let file = self.dir.join("pom.xml");
        std::fs::write(&file, pom).map_err(at(&file))?;
        eprintln!("fetching Kafka {version} with Maven");
        // Copied beside its place and renamed, so that a folder with this name is always complete.
        let partial = self.dir.join(format!("jars.{}", std::process::id()));
        let output = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&file)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", partial.display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| {
                format!("mvn: {e}; install Apache Maven (Debian and Ubuntu: apt-get install maven)")
            })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return Err(format!("Maven could not fetch Kafka {version}:\n{said}"));
        }
        match std::fs::rename(&partial, self.jars()) {
            // Another run was faster.
            Err(_) if self.jars().exists() => std::fs::remove_dir_all(&partial).map_err(at(&partial)),
            renamed => renamed.map_err(at(&partial)),
        }
    }

    /// Kafka logs through Log4j 2 since 4.0 and through Reload4j before; the peer's standard output is data.
    fn write_logging(&self) -> Result<(), String> {
        for (folder, level, target) in [("broker", "INFO", "out"), ("peer", "WARN", "err")] {
            let dir = self.dir.join(folder);
            std::fs::create_dir_all(&dir).map_err(at(&dir))?;
            let (constant, system) = (target.to_uppercase(), format!("System.{target}"));
            let new = format!(
                "appender.a.type=Console\nappender.a.name=a\nappender.a.target=SYSTEM_{constant}\n\
                 appender.a.layout.type=PatternLayout\nappender.a.layout.pattern=%d %-5p %m (%c{{1}})%n\n\
                 rootLogger.level={level}\nrootLogger.appenderRef.a.ref=a\n"
            );
            let old = format!(
                "log4j.rootLogger={level},a\nlog4j.appender.a=org.apache.log4j.ConsoleAppender\n\
                 log4j.appender.a.target={system}\nlog4j.appender.a.layout=org.apache.log4j.PatternLayout\n\
                 log4j.appender.a.layout.ConversionPattern=%d %-5p %m (%c{{1}})%n\n"
            );
            for (name, text) in [("log4j2.properties", new), ("log4j.properties", old)] {
                let file = dir.join(name);
                std::fs::write(&file, text).map_err(at(&file))?;
            }
        }
        Ok(())
    }
}

/// The first number of a version.
pub(super) fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|first| first.parse().ok()).unwrap_or(u32::MAX)
}

const JDK: &str = "install a JDK 17 or newer (Debian and Ubuntu: apt-get install openjdk-17-jdk-headless)";

fn check_java() -> Result<(), String> {
    let output = Command::new("java").arg("-version").output().map_err(|e| format!("java: {e}; {JDK}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // openjdk version "17.0.15" 2025-04-15
    let found = said.split('"').nth(1).map_or(0, |version| major(version.trim_end_matches("-ea")));
    match output.status.success() && found >= 17 {
        true => Ok(()),
        false => Err(format!("`java -version` says {:?}; {JDK}", said.lines().next().unwrap_or_default())),
    }
}

fn dependency(group: &str, artifact: &str, version: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version></dependency>\n"
    )
}
