//! Whether a consumer's options are possible and agree with each other.

use kavka_group::{GroupProtocol, SortedSet, TopicPartition};

use super::builder::ConsumerBuilder;
use super::core::{LONGEST_STRING, Start, Wanted};
use crate::{Error, ErrorKind, Result};

impl ConsumerBuilder {
    /// The subscription; empty with `assign`.
    pub(super) fn check(&self) -> Result<Wanted> {
        let subscribes = self.topics.is_some() || !self.patterns.is_empty();
        let wanted = match &self.partitions {
            None if !subscribes => return wrong("neither subscribe() nor assign() says what to consume"),
            Some(_) if subscribes => return wrong("subscribe() and assign() exclude each other"),
            None => self.check_subscription()?,
            Some(partitions) => self.check_assignment(partitions)?,
        };
        if self.group.as_ref().is_some_and(String::is_empty) {
            return wrong("group() is empty");
        }
        if self.auto_commit && self.group.is_none() {
            return wrong("auto_commit() needs group()");
        }
        self.check_protocol()?;
        self.check_durations()?;
        if self.max_batch_records == 0 {
            return wrong("max_batch_records is 0");
        }
        self.check_sizes()?;
        Ok(wanted)
    }

    /// What a protocol has no use for would be left out silently.
    fn check_protocol(&self) -> Result<()> {
        match self.protocol {
            GroupProtocol::Classic if self.server_assignor.is_some() => wrong(
                "server_assignor() is for GroupProtocol::Consumer; with the classic protocol set assignors()",
            ),
            GroupProtocol::Consumer if self.assignors.is_some() => wrong(
                "assignors() is for the classic protocol; with GroupProtocol::Consumer the coordinator assigns: see \
                 server_assignor()",
            ),
            GroupProtocol::Consumer if self.session_timeout.is_some() => wrong(
                "session_timeout() is for the classic protocol; with GroupProtocol::Consumer the broker's \
                 group.consumer.session.timeout.ms decides",
            ),
            GroupProtocol::Consumer if self.heartbeat_interval.is_some() => wrong(
                "heartbeat_interval() is for the classic protocol; with GroupProtocol::Consumer the broker's \
                 group.consumer.heartbeat.interval.ms decides",
            ),
            _ if self.server_assignor.as_deref() == Some("") => wrong("server_assignor() is empty"),
            _ => Ok(()),
        }
    }

    fn check_durations(&self) -> Result<()> {
        for (name, duration) in [
            ("session_timeout", self.session_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("rebalance_timeout", self.rebalance_timeout),
            ("max_processing_time", self.max_processing_time),
            ("commit_interval (auto_commit)", Some(self.commit_interval)),
            ("offsets_refresh", self.offsets_refresh),
            ("close_timeout", Some(self.close_timeout)),
        ] {
            let Some(duration) = duration else { continue };
            if duration.as_millis() == 0 || duration.as_millis() > i32::MAX as u128 {
                return wrong(format!("{name} is {duration:?}, which is not between 1 ms and 24 days"));
            }
        }
        let defaults = kavka_group::Config::new("");
        let session = self.session_timeout.unwrap_or(defaults.session_timeout);
        if self.heartbeat_interval.unwrap_or(defaults.heartbeat_interval) >= session {
            return wrong("heartbeat_interval must be shorter than session_timeout; a third of it is wise");
        }
        Ok(())
    }

    fn check_subscription(&self) -> Result<Wanted> {
        if self.group.is_none() {
            return wrong("subscribe() needs group(); read partitions without a group with assign()");
        }
        let mut wanted = Wanted::names(self.topics.iter().flatten().cloned());
        self.patterns.iter().try_for_each(|pattern| wanted.add_pattern(pattern)).map_err(cannot_start)?;
        wanted.check().map_err(cannot_start)?;
        if self.protocol == GroupProtocol::Consumer {
            wanted.check_told().map_err(cannot_start)?;
        }
        if self.assignors.as_ref().is_some_and(Vec::is_empty) {
            return wrong("assignors() is empty");
        }
        if self.instance_id.as_ref().is_some_and(String::is_empty) {
            return wrong("instance_id() is empty");
        }
        Ok(wanted)
    }

    fn check_assignment(&self, partitions: &[(TopicPartition, Start)]) -> Result<Wanted> {
        if partitions.is_empty() {
            return wrong("assign() names no partition");
        }
        if self.instance_id.is_some() || self.assignors.is_some() || self.server_assignor.is_some() {
            return wrong(
                "instance_id(), assignors() and server_assignor() are for subscribe(), not for assign()",
            );
        }
        let mut seen = SortedSet::new();
        for (partition, start) in partitions {
            if partition.topic.len() > LONGEST_STRING {
                return wrong("assign() has a topic with a name of more than 32,767 bytes");
            }
            if partition.topic.is_empty() || partition.partition < 0 {
                return wrong(format!("assign() has the impossible partition {partition}"));
            }
            if !seen.insert(partition) {
                return wrong(format!("assign() has {partition} twice"));
            }
            match start {
                Start::Committed if self.group.is_none() => {
                    return wrong(format!(
                        "assign() starts {partition} at the committed offset, which needs group()"
                    ));
                }
                Start::Offset(offset) if *offset < 0 => {
                    return wrong(format!("assign() starts {partition} at the negative offset {offset}"));
                }
                _ => {}
            }
        }
        Ok(Wanted::default())
    }

    fn check_sizes(&self) -> Result<()> {
        let fetch = &self.fetch;
        for (name, bytes) in
            [("fetch_max_bytes", fetch.max_bytes), ("max_partition_fetch_bytes", fetch.max_partition_bytes)]
        {
            if bytes == 0 || bytes > i32::MAX as u32 {
                return wrong(format!("{name} is {bytes}, which is not between 1 and 2 GiB"));
            }
        }
        if fetch.min_bytes > fetch.max_bytes {
            return wrong("fetch_min_bytes is above fetch_max_bytes: brokers would always wait");
        }
        if fetch.buffer_bytes < fetch.max_partition_bytes as usize {
            return wrong("buffer_bytes is below max_partition_fetch_bytes: not one answer would have room");
        }
        Ok(())
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(cannot_start(Error::new(ErrorKind::Configuration, what)))
}

fn cannot_start(error: Error) -> Error {
    error.within("the consumer cannot start")
}
