//! What a cluster shall be, and the properties that make a node so.

use std::fmt::Write as _;
use std::path::Path;

use super::tls::Tls;

/// How many ports a node takes, one for each listener.
pub(super) const PORTS: u16 = 5;
/// The user that every cluster knows, for PLAIN and SCRAM.
pub(super) const USER: (&str, &str) = ("alice", "alice-secret");

/// A node's listeners; the number is what has to be added to its first port.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listener {
    Plain = 0,
    Controller = 1,
    Sasl = 2,
    Tls = 3,
    Guest = 4,
}

/// A cluster to start.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where the first node listens.
    pub(super) port: u16,
    pub(super) nodes: u16,
    pub(super) version: String,
    /// The size of each node's heap, as the JVM's `-Xmx` takes it.
    pub(super) heap: String,
    /// More users and passwords for SCRAM.
    pub(super) scram: Vec<(String, String)>,
    /// Broker properties; they win over ours.
    pub(super) properties: Vec<(String, String)>,
}

impl Plan {
    pub(super) fn checked(self) -> Result<Plan, String> {
        if !(1..=9).contains(&self.nodes) {
            return Err("a cluster has 1 to 9 nodes".to_owned());
        }
        if self.port < 1024 || self.port.checked_add(PORTS * self.nodes).is_none() {
            return Err(format!("port {} leaves no room for the nodes' listeners", self.port));
        }
        Ok(self)
    }

    pub(super) fn port_of(&self, id: u16, listener: Listener) -> u16 {
        self.port + PORTS * (id - 1) + listener as u16
    }

    /// All nodes, as clients take them.
    pub(super) fn bootstrap(&self, listener: Listener) -> String {
        let servers: Vec<String> =
            (1..=self.nodes).map(|id| format!("127.0.0.1:{}", self.port_of(id, listener))).collect();
        servers.join(",")
    }

    /// The properties of one node: ours, where none are given, and the given ones.
    pub(super) fn properties_of(&self, id: u16, dir: &Path, tls: &Tls) -> String {
        let mut own = self.listeners(id, tls);
        own.extend(permissions());
        own.extend(self.behaviour(id, dir));
        let mut text = String::new();
        for (key, value) in own {
            if !self.properties.iter().any(|(given, _)| given == key) {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        for (key, value) in &self.properties {
            let mut value =
                value.replace("{id}", &id.to_string()).replace("{dir}", &dir.display().to_string());
            for (name, listener) in [
                ("{port}", Listener::Plain),
                ("{controller}", Listener::Controller),
                ("{sasl}", Listener::Sasl),
                ("{tls}", Listener::Tls),
                ("{guest}", Listener::Guest),
            ] {
                value = value.replace(name, &self.port_of(id, listener).to_string());
            }
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }

    fn listeners(&self, id: u16, tls: &Tls) -> Vec<(&'static str, String)> {
        let at = |name: &str, listener| format!("{name}://127.0.0.1:{}", self.port_of(id, listener));
        let clients = format!(
            "{},{},{},{}",
            at("PLAINTEXT", Listener::Plain),
            at("SASL", Listener::Sasl),
            at("TLS", Listener::Tls),
            at("GUEST", Listener::Guest)
        );
        let voters: Vec<String> = (1..=self.nodes)
            .map(|id| format!("{id}@127.0.0.1:{}", self.port_of(id, Listener::Controller)))
            .collect();
        let module = "org.apache.kafka.common.security";
        let scram = format!("{module}.scram.ScramLoginModule required;");
        let (user, password) = USER;
        vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            ("broker.rack", format!("r{id}")),
            ("controller.quorum.voters", voters.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            (
                "listener.security.protocol.map",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,GUEST:PLAINTEXT"
                    .to_owned(),
            ),
            ("listeners", format!("{clients},{}", at("CONTROLLER", Listener::Controller))),
            ("advertised.listeners", clients),
            (
                "listener.name.sasl.sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
            ),
            (
                "listener.name.sasl.plain.sasl.jaas.config",
                format!("{module}.plain.PlainLoginModule required user_{user}=\"{password}\";"),
            ),
            ("listener.name.sasl.scram-sha-256.sasl.jaas.config", scram.clone()),
            ("listener.name.sasl.scram-sha-512.sasl.jaas.config", scram),
            (
                // Accepts tokens without a signature, which a test can make by itself.
                "listener.name.sasl.oauthbearer.sasl.jaas.config",
                format!(
                    "{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
                ),
            ),
            ("listener.name.tls.ssl.keystore.type", "PKCS12".to_owned()),
            ("listener.name.tls.ssl.keystore.location", tls.key_store().display().to_string()),
            ("listener.name.tls.ssl.keystore.password", super::tls::PASSWORD.to_owned()),
            ("listener.name.tls.ssl.key.password", super::tls::PASSWORD.to_owned()),
        ]
    }

    fn behaviour(&self, id: u16, dir: &Path) -> Vec<(&'static str, String)> {
        let (replicas, in_sync) = if self.nodes < 3 { (1, 1) } else { (3, 2) };
        let mut own = vec![
            ("log.dirs", dir.join(format!("data-{id}")).display().to_string()),
            // Topics come into being when a test asks for them, so that a wrong name is an error.
            ("auto.create.topics.enable", "false".to_owned()),
            ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector".to_owned()),
            ("offsets.topic.num.partitions", "3".to_owned()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.num.partitions", "3".to_owned()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            // A node that was killed may come back when its old session has expired.
            ("broker.session.timeout.ms", "6000".to_owned()),
            ("broker.heartbeat.interval.ms", "1000".to_owned()),
            // Short enough for tests that wait for an expiry.
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("group.min.session.timeout.ms", "1000".to_owned()),
            ("group.consumer.min.session.timeout.ms", "1000".to_owned()),
            ("group.consumer.min.heartbeat.interval.ms", "200".to_owned()),
            ("group.consumer.session.timeout.ms", "6000".to_owned()),
            ("group.consumer.heartbeat.interval.ms", "500".to_owned()),
            ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000".to_owned()),
        ];
        if self.is_before_4() {
            // Kafka 3.7 to 3.9 keep the consumer protocol (KIP-848) behind this switch.
            own.push(("group.coordinator.rebalance.protocols", "classic,consumer".to_owned()));
        } else {
            own.push(("share.coordinator.state.topic.replication.factor", replicas.to_string()));
            own.push(("share.coordinator.state.topic.min.isr", in_sync.to_string()));
        }
        own
    }

    /// Before 4.0 other log libraries and switches apply.
    fn is_before_4(&self) -> bool {
        super::libs::major(&self.version) < 4
    }
}

/// ACLs are looked at, and as long as there are none everybody may do everything.
fn permissions() -> [(&'static str, String); 4] {
    [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned()),
        ("principal.builder.class", super::libs::PRINCIPALS.to_owned()),
        // The brokers themselves are anonymous as well.
        ("super.users", format!("User:ANONYMOUS;User:{}", USER.0)),
        ("allow.everyone.if.no.acl.found", "true".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_properties_win_and_know_their_node() {
        let plan = Plan {
            port: 20000,
            nodes: 3,
            version: "4.4.0".to_owned(),
            heap: "512m".to_owned(),
            scram: Vec::new(),
            properties: vec![
                ("log.dirs".to_owned(), "{dir}/elsewhere-{id}".to_owned()),
                ("x".to_owned(), "{port}/{controller}".to_owned()),
            ],
        };
        let text = plan.properties_of(2, Path::new("/d"), &Tls::at(Path::new("/tls")));
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("log.dirs=")).collect();
        assert_eq!(lines, ["log.dirs=/d/elsewhere-2"]);
        assert!(text.contains("\nx=20005/20006\n"));
        assert!(text.contains("voters=1@127.0.0.1:20001,2@127.0.0.1:20006,3@127.0.0.1:20011\n"));
        assert!(text.contains("GUEST://127.0.0.1:20009,CONTROLLER"));
        assert_eq!(plan.bootstrap(Listener::Sasl), "127.0.0.1:20002,127.0.0.1:20007,127.0.0.1:20012");
    }
}
