//! What a [`Net`](crate::Net) is told at its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::codec::Limits;

use crate::core::rng::LONGEST;
use crate::error::{Error, ErrorKind, Result};
use crate::shell::dial::{Dialer, TcpDialer};

/// Options of a [`Net`](crate::Net). Names and defaults are those of Kafka's own clients.
#[derive(Clone)]
pub struct Config {
    /// Addresses to find the cluster by, as `host:port`; an IPv6 address stands in brackets. At least one.
    pub bootstrap: Vec<String>,
    /// `client.id`: the name that brokers log and apply quotas to. Default `kavka`.
    pub client_id: String,
    /// `request.timeout.ms`: how long an answer may take by default. Default 30 s.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: for the first attempt to connect and negotiate; doubles with each failed
    /// attempt. Default 10 s.
    pub connection_setup_timeout: Duration,
    /// `socket.connection.setup.timeout.max.ms`. Default 30 s.
    pub connection_setup_timeout_max: Duration,
    /// `reconnect.backoff.ms`: pause after the first failed attempt; doubles with each one. Default 50 ms.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`. Default 1 s.
    pub reconnect_backoff_max: Duration,
    /// `retry.backoff.ms`: between metadata requests. Default 100 ms.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`. Default 1 s.
    pub retry_backoff_max: Duration,
    /// `metadata.max.age.ms`: the metadata is asked for again when it is older. Default 5 min.
    pub metadata_max_age: Duration,
    /// `metadata.recovery.rebootstrap.trigger.ms` (KIP-1102): after so long without any metadata, the known brokers are
    /// given up and the bootstrap addresses are asked again. Default 5 min.
    pub rebootstrap_after: Duration,
    /// `connections.max.idle.ms`. Default 9 min.
    pub connections_max_idle: Duration,
    /// Largest answer that is accepted, in bytes. A larger one fails its request and closes the connection.
    /// Default 100 MiB.
    pub max_response_bytes: usize,
    /// Bounds on what one decoded answer may allocate.
    pub limits: Limits,
    /// `allow.auto.create.topics`: whether asking for a topic's metadata may create it. Default false.
    pub allow_auto_topic_creation: bool,
    /// Seed of every random choice (jitter, which broker is asked first). [`Config::new`] draws one.
    pub seed: u64,
    /// How connections are made.
    pub dialer: Arc<dyn Dialer>,
    /// How connections are secured.
    pub security: Security,
}

/// How connections are secured and who the client says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// `PLAINTEXT`: neither encrypted nor authenticated.
    #[default]
    Plaintext,
}

impl Config {
    /// The defaults, for these bootstrap addresses.
    pub fn new<S: Into<String>>(bootstrap: impl IntoIterator<Item = S>) -> Self {
        Config {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "kavka".into(),
            request_timeout: Duration::from_secs(30),
            connection_setup_timeout: Duration::from_secs(10),
            connection_setup_timeout_max: Duration::from_secs(30),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            rebootstrap_after: Duration::from_secs(300),
            connections_max_idle: Duration::from_secs(540),
            max_response_bytes: 100 << 20,
            limits: Limits::default(),
            allow_auto_topic_creation: false,
            seed: crate::shell::seed(),
            dialer: Arc::new(TcpDialer::default()),
            security: Security::Plaintext,
        }
    }

    /// The same without durations that a clock cannot be moved by.
    pub(crate) fn clamped(mut self) -> Self {
        for duration in [
            &mut self.request_timeout,
            &mut self.connection_setup_timeout,
            &mut self.connection_setup_timeout_max,
            &mut self.reconnect_backoff,
            &mut self.reconnect_backoff_max,
            &mut self.retry_backoff,
            &mut self.retry_backoff_max,
            &mut self.metadata_max_age,
            &mut self.rebootstrap_after,
            &mut self.connections_max_idle,
        ] {
            *duration = (*duration).min(LONGEST);
        }
        self
    }

    /// The bootstrap addresses taken apart, or what is wrong with an option.
    pub(crate) fn validate(&self) -> Result<Vec<(Arc<str>, u16)>> {
        if self.bootstrap.is_empty() {
            return Err(configuration("the list of bootstrap addresses is empty".into())
                .remedy("give at least one broker as host:port"));
        }
        if self.max_response_bytes < 1024 || self.max_response_bytes > i32::MAX as usize {
            return Err(configuration(format!(
                "max_response_bytes is {}, which is not between 1 KiB and 2 GiB",
                self.max_response_bytes
            )));
        }
        for (name, value) in [
            ("request_timeout", self.request_timeout),
            ("connection_setup_timeout", self.connection_setup_timeout),
            ("reconnect_backoff", self.reconnect_backoff),
            ("retry_backoff", self.retry_backoff),
            ("metadata_max_age", self.metadata_max_age),
            ("connections_max_idle", self.connections_max_idle),
        ] {
            if value.is_zero() {
                return Err(configuration(format!("{name} is zero")));
            }
        }
        if self.client_id.len() > i16::MAX as usize {
            return Err(configuration(format!("client_id is {} bytes long", self.client_id.len()))
                .remedy("Kafka takes at most 32767"));
        }
        let mut addresses = Vec::new();
        for text in &self.bootstrap {
            let address = parse_address(text)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

fn configuration(what: String) -> Error {
    Error::new(ErrorKind::Configuration, what)
}

/// Takes `host:port` or `[v6]:port` apart.
fn parse_address(text: &str) -> Result<(Arc<str>, u16)> {
    let wrong =
        |why: &str, remedy| Err(configuration(format!("bootstrap address {text:?}: {why}")).remedy(remedy));
    if text.contains("://") {
        return wrong("it starts with a scheme", "give host:port; security is an option of its own");
    }
    if text.contains([',', ' ', '/', '@']) {
        return wrong("it is not one host and one port", "give each address as its own entry host:port");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("it has no port", "Kafka usually listens on 9092: host:9092");
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port != 0 => port,
        _ => return wrong("the port is not a number from 1 to 65535", "give host:port"),
    };
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(v6)) if v6.contains(':') => v6,
        Some(_) => return wrong("the brackets are not around an IPv6 address", "give [::1]:9092"),
        None if host.contains(':') => {
            return wrong("an IPv6 address needs brackets around it", "give [::1]:9092");
        }
        None if host.is_empty() => return wrong("it has no host", "give host:port"),
        None => host,
    };
    Ok((host.into(), port))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(Arc<str>, u16)>> {
        Config::new([text]).validate()
    }

    #[test]
    fn takes_names_and_both_kinds_of_addresses() {
        for (text, host) in
            [("kafka.example:9092", "kafka.example"), ("127.0.0.1:9092", "127.0.0.1"), ("[::1]:9092", "::1")]
        {
            assert_eq!(parsed(text).unwrap(), [(host.into(), 9092)]);
        }
        assert_eq!(Config::new(["a:1", "a:1", "b:1"]).validate().unwrap().len(), 2);
    }

    #[test]
    fn names_the_wrong_address_and_the_remedy() {
        for text in [
            "kafka",
            "kafka:",
            ":9092",
            "kafka:0",
            "kafka:70000",
            "::1:9092",
            "[::1:9092",
            "[a]:1",
            "a:1,b:2",
            "SSL://a:1",
            "",
        ] {
            let error = parsed(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            assert!(error.to_string().contains("; "), "{error}");
        }
        assert_eq!(
            Config::new(Vec::<String>::new()).validate().unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }

    #[test]
    fn refuses_options_that_cannot_work() {
        let mut config = Config::new(["a:1"]);
        config.retry_backoff = Duration::ZERO;
        assert!(config.validate().unwrap_err().to_string().contains("retry_backoff"));
        let mut config = Config::new(["a:1"]);
        config.max_response_bytes = 3 << 30;
        assert!(config.validate().unwrap_err().to_string().contains("max_response_bytes"));
    }
}
