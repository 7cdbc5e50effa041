//! Kafka's own Java client as a peer: JSON lines in, JSON lines out.

use std::process::Stdio;

use kavka_tests::{Outcome, Rec, Target, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const CLASSPATH: &str = "KAVKA_TEST_JAVA_CLASSPATH";

/// Whether there is a Java peer; says so if not.
pub(crate) fn is_here() -> bool {
    let here = std::env::var_os(CLASSPATH).is_some();
    if !here {
        eprintln!("skipped: it needs {CLASSPATH}; see `cargo xtask kafka test`");
    }
    here
}

/// A running peer. Dropped, it is killed.
pub(crate) struct Java {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Java {
    /// Starts `Interop <arguments>`; what it has to say beside its data goes to our standard error.
    pub(crate) fn start(target: &Target, arguments: &[&str]) -> Outcome<Java> {
        let classpath = std::env::var(CLASSPATH)?;
        let mut child = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &classpath, "Interop"])
            .args(arguments)
            .args(["--bootstrap", target.bootstrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Java { child, stdin, lines })
    }

    /// Says lines to it.
    pub(crate) async fn tell(&mut self, lines: &[Value]) -> Outcome {
        let stdin = self.stdin.as_mut().ok_or("its input is closed")?;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        stdin.write_all(text.as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Ends its input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// The next line; none at its end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Value>> {
        Ok(self.lines.next_line().await?.map(|line| serde_json::from_str(&line)).transpose()?)
    }

    /// The next `count` lines.
    pub(crate) async fn take(&mut self, count: usize) -> Outcome<Vec<Value>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let line = soon("a line of the Java peer", self.next()).await??;
            taken.push(line.ok_or_else(|| format!("the Java peer ended after {} lines", taken.len()))?);
        }
        Ok(taken)
    }

    /// All lines to its end, which has to be a good one.
    pub(crate) async fn finish(mut self) -> Outcome<Vec<Value>> {
        self.close();
        let mut taken = Vec::new();
        while let Some(line) = soon("a line of the Java peer", self.next()).await?? {
            taken.push(line);
        }
        let status = soon("the Java peer ends", self.child.wait()).await??;
        if status.success() { Ok(taken) } else { Err(format!("the Java peer ended with {status}").into()) }
    }
}

/// A record as the peer takes it.
pub(crate) fn record(topic: &str, partition: i32, record: &Rec) -> Value {
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, value)| json!([name, base64(value.as_deref())])).collect();
    json!({
        "topic": topic, "partition": partition, "timestamp": record.timestamp,
        "key": base64(record.key.as_deref()), "value": base64(record.value.as_deref()), "headers": headers,
    })
}

/// A record as the peer gives it: partition, offset, the rest.
pub(crate) fn read(line: &Value) -> Outcome<((i32, i64), Rec)> {
    let number = |name: &str| line[name].as_i64().ok_or_else(|| format!("no {name} in {line}"));
    let mut headers = Vec::new();
    for header in line["headers"].as_array().ok_or("no headers")? {
        headers.push((header[0].as_str().ok_or("no name")?.to_owned(), bytes(&header[1])?));
    }
    let record = Rec {
        key: bytes(&line["key"])?,
        value: bytes(&line["value"])?,
        headers,
        timestamp: number("timestamp")?,
    };
    Ok(((number("partition")? as i32, number("offset")?), record))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text.into()
}

fn bytes(value: &Value) -> Outcome<Option<Vec<u8>>> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().ok_or("neither text nor null")?.trim_end_matches('=');
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for digit in text.bytes() {
        let place = ALPHABET.iter().position(|known| *known == digit).ok_or("not base64")?;
        (word, bits) = (word << 6 | place as u32, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Ok(Some(bytes))
}

#[test]
fn base64_is_what_others_write() {
    for (plain, text) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{ff}?", "w78/")]
    {
        assert_eq!(base64(Some(plain.as_bytes())), json!(text));
        assert_eq!(bytes(&json!(text)).unwrap().unwrap(), plain.as_bytes());
    }
}
