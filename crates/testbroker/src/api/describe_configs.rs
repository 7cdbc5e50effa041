//! DescribeConfigs (32), versions 1-4: the settings that the cluster acts on, of topics, brokers and groups.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kavka_wire::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kavka_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::config::Settings;
use crate::group_configs::GroupConfig;
use crate::state::State;
use crate::topics::{TopicError, check_name};

pub(super) const TOPIC: i8 = 2;
const BROKER: i8 = 4;
pub(super) const GROUP: i8 = 32;
/// Where a value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;
const FROM_GROUP: i8 = 8;

/// The kind of a setting's value, with the number that the answer gives for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// The topic settings that are acted on, and those that are taken because they change nothing that a client sees here.
const TOPIC_CONFIGS: &[(&str, Kind, &str)] = &[
    ("cleanup.policy", Kind::List, "delete"),
    ("compression.type", Kind::Text, "producer"),
    ("max.message.bytes", Kind::Int, ""),
    ("message.timestamp.type", Kind::Text, "CreateTime"),
    ("min.insync.replicas", Kind::Int, ""),
    ("retention.bytes", Kind::Long, "-1"),
    ("retention.ms", Kind::Long, "604800000"),
    ("segment.bytes", Kind::Int, "1073741824"),
    ("segment.ms", Kind::Long, "604800000"),
];

impl Api for DescribeConfigsRequest {
    const SERVED: RangeInclusive<i16> = 1..=4;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let results = request.resources.iter().map(|resource| state.describe_resource(resource)).collect();
        call.answer(&DescribeConfigsResponse { results, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| failed(resource, (error, "refused"))).collect();
        DescribeConfigsResponse { results, ..Default::default() }
    }
}

/// Whether a topic takes a setting.
pub(super) fn check_config(name: &str, value: &str) -> Result<(), TopicError> {
    let known = TOPIC_CONFIGS.iter().find(|(known, ..)| *known == name);
    let (_, kind, _) = known.ok_or((ErrorCode::INVALID_CONFIG, "unknown topic setting"))?;
    let sound = match (name, kind) {
        ("cleanup.policy", _) => value.split(',').all(|policy| matches!(policy.trim(), "compact" | "delete")),
        ("message.timestamp.type", _) => matches!(value, "CreateTime" | "LogAppendTime"),
        ("compression.type", _) => {
            matches!(value, "producer" | "uncompressed" | "gzip" | "snappy" | "lz4" | "zstd")
        }
        ("min.insync.replicas", _) => value.parse::<i32>().is_ok_and(|number| number >= 1),
        ("max.message.bytes", _) => value.parse::<i32>().is_ok_and(|number| number >= 0),
        (_, Kind::Int) => value.parse::<i32>().is_ok(),
        (_, Kind::Long) => value.parse::<i64>().is_ok(),
        (_, Kind::Text | Kind::List | Kind::Boolean) => true,
    };
    if sound {
        Ok(())
    } else {
        Err((ErrorCode::INVALID_CONFIG, "a topic setting has a value that is not possible"))
    }
}

/// Whether a topic setting is a list, to which something can be added.
pub(super) fn is_list(name: &str) -> bool {
    TOPIC_CONFIGS.iter().any(|(known, kind, _)| *known == name && *kind == Kind::List)
}

/// Every topic setting with its value and where that comes from.
pub(super) fn topic_configs(
    settings: &Settings,
    own: &BTreeMap<String, String>,
) -> Vec<(&'static str, String, i8)> {
    let of = |(name, _, default): &(&'static str, Kind, &'static str)| match (own.get(*name), *name) {
        (Some(value), _) => (*name, value.clone(), FROM_TOPIC),
        (None, "max.message.bytes") => (*name, settings.message_max_bytes.to_string(), FROM_DEFAULT),
        (None, "min.insync.replicas") => (*name, settings.min_insync_replicas.to_string(), FROM_DEFAULT),
        (None, _) => (*name, (*default).to_owned(), FROM_DEFAULT),
    };
    TOPIC_CONFIGS.iter().map(of).collect()
}

fn failed(resource: &DescribeConfigsResource, (error, message): TopicError) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_code: error,
        error_message: Some(ByteString::from_static(message)),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    }
}

impl State {
    fn describe_resource(&self, resource: &DescribeConfigsResource) -> DescribeConfigsResult {
        let values = match resource.resource_type {
            TOPIC => self.topic_values(&resource.resource_name),
            BROKER => self.broker_values(&resource.resource_name),
            GROUP => self.group_values(&resource.resource_name),
            _ => Err((ErrorCode::INVALID_REQUEST, "only topics, brokers and groups have settings here")),
        };
        let values = match values {
            Ok(values) => values,
            Err(error) => return failed(resource, error),
        };
        let wanted = |name: &str| match &resource.configuration_keys {
            Some(keys) => keys.iter().any(|key| **key == *name),
            None => true,
        };
        let config =
            |(name, value, source, kind): (&'static str, String, i8, Kind)| DescribeConfigsResourceResult {
                name: ByteString::from_static(name),
                value: Some(value.into()),
                read_only: resource.resource_type == BROKER,
                config_source: source,
                config_type: kind as i8,
                documentation: None,
                ..Default::default()
            };
        DescribeConfigsResult {
            error_message: Some(ByteString::new()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: values.into_iter().filter(|(name, ..)| wanted(name)).map(config).collect(),
            ..Default::default()
        }
    }

    fn topic_values(&self, name: &str) -> Result<Vec<(&'static str, String, i8, Kind)>, TopicError> {
        check_name(name)?;
        if self.denied.topics.contains(name) {
            return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, "no permission to describe the topic"));
        }
        let topic = self.topic(name).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "no such topic"))?;
        let values = topic_configs(&self.settings, &topic.configs).into_iter().zip(TOPIC_CONFIGS);
        Ok(values.map(|((name, value, source), (_, kind, _))| (name, value, source, *kind)).collect())
    }

    /// Of any group: it need not be there.
    fn group_values(&self, name: &str) -> Result<Vec<(&'static str, String, i8, Kind)>, TopicError> {
        if name.is_empty() {
            return Err((ErrorCode::INVALID_REQUEST, "the group has no name"));
        }
        if self.denied.groups.contains(name) {
            return Err((ErrorCode::GROUP_AUTHORIZATION_FAILED, "no permission to describe the group"));
        }
        let own = self.group_configs.get(name);
        let value = |config: GroupConfig| {
            let (value, source) = match own.and_then(|own| own.get(&config)) {
                Some(value) => (*value, FROM_GROUP),
                None => (config.default(&self.settings), FROM_DEFAULT),
            };
            (config.name(), value.as_millis().to_string(), source, Kind::Int)
        };
        Ok(GroupConfig::ALL.into_iter().map(value).collect())
    }

    fn broker_values(&self, name: &str) -> Result<Vec<(&'static str, String, i8, Kind)>, TopicError> {
        let id = name.parse::<i32>().ok().filter(|id| self.brokers.contains_key(id));
        let id = id.ok_or((ErrorCode::INVALID_REQUEST, "no broker has this id"))?;
        let s = &self.settings;
        let value = |name, value: String, kind| (name, value, FROM_BROKER_FILE, kind);
        Ok(vec![
            value("auto.create.topics.enable", s.auto_create_topics.to_string(), Kind::Boolean),
            value("broker.id", id.to_string(), Kind::Int),
            value("default.replication.factor", self.default_replication().to_string(), Kind::Int),
            value("message.max.bytes", s.message_max_bytes.to_string(), Kind::Int),
            value("min.insync.replicas", s.min_insync_replicas.to_string(), Kind::Int),
            value("num.partitions", s.num_partitions.to_string(), Kind::Int),
            value("offsets.topic.num.partitions", s.offsets_topic_partitions.to_string(), Kind::Int),
        ])
    }
}
