//! On what terms a member joins: the same for both clients.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use kavka::assignor::{self, Assignor};
use kavka::{ConsumerBuilder, GroupProtocol, OffsetReset};

/// Whose client a member is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Kavka,
    /// Kafka's own.
    Java,
}

/// Who assigns partitions, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A member, by one of these strategies; the first that all members know.
    Classic(&'static [Strategy]),
    /// The coordinator (KIP-848).
    Consumer,
}

/// How a member assigns partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Ranges of each topic.
    Range,
    /// Sticky, in two steps, without a stop for those that keep theirs.
    CooperativeSticky,
}

/// What a member is told before it joins.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who assigns partitions.
    pub protocol: Protocol,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
    /// Topics by a regular expression, instead of by their names.
    pub pattern: Option<String>,
    /// `session.timeout.ms`, where members choose it: under the classic protocol.
    pub session: Duration,
    /// How old the Java client lets its metadata become; of ours it is a property of the client.
    pub metadata_max_age: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            protocol: Protocol::Classic(&[Strategy::Range]),
            instance: None,
            pattern: None,
            session: Duration::from_secs(6),
            metadata_max_age: Duration::from_secs(300),
        }
    }
}

impl Terms {
    /// A dynamic member under a protocol.
    pub fn under(protocol: Protocol) -> Terms {
        Terms { protocol, ..Terms::default() }
    }

    /// A member of ours.
    pub(super) fn kavka(
        &self,
        builder: ConsumerBuilder,
        group: &str,
        topics: &BTreeSet<String>,
    ) -> ConsumerBuilder {
        let mut builder = builder.group(group).auto_offset_reset(OffsetReset::Earliest);
        builder = match &self.pattern {
            Some(pattern) => builder.subscribe_pattern(pattern),
            None => builder.subscribe(topics.iter().map(String::as_str)),
        };
        builder = match self.protocol {
            Protocol::Classic(strategies) => builder
                .group_protocol(GroupProtocol::Classic)
                .assignors(strategies.iter().map(Strategy::assignor))
                .session_timeout(self.session)
                .heartbeat_interval(Duration::from_millis(500)),
            Protocol::Consumer => builder.group_protocol(GroupProtocol::Consumer),
        };
        match &self.instance {
            Some(instance) => builder.instance_id(instance),
            None => builder,
        }
    }

    /// A member of the Java client, as it is told to [`Jvm`](super::Jvm).
    pub(super) fn java(&self, group: &str, topics: &BTreeSet<String>) -> String {
        let mut options =
            format!("group.id={group} metadata.max.age.ms={}", self.metadata_max_age.as_millis());
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut option = |name: &str, value: &str| write!(options, " {name}={value}").ok();
        match &self.pattern {
            Some(pattern) => option("pattern", pattern),
            None => option("topics", &topics.join(",")),
        };
        if let Some(instance) = &self.instance {
            option("group.instance.id", instance);
        }
        match self.protocol {
            Protocol::Classic(strategies) => {
                let classes: Vec<&str> = strategies.iter().map(Strategy::class).collect();
                option("group.protocol", "classic");
                option("partition.assignment.strategy", &classes.join(","));
                option("session.timeout.ms", &self.session.as_millis().to_string());
                option("heartbeat.interval.ms", "500");
            }
            Protocol::Consumer => {
                option("group.protocol", "consumer");
            }
        }
        options
    }
}

impl Strategy {
    fn assignor(&self) -> Arc<dyn Assignor> {
        match self {
            Strategy::Range => Arc::new(assignor::Range),
            Strategy::CooperativeSticky => Arc::new(assignor::CooperativeSticky),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Strategy::Range => "org.apache.kafka.clients.consumer.RangeAssignor",
            Strategy::CooperativeSticky => "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        }
    }
}
