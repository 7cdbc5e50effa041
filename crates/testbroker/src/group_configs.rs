//! Settings of a single group: they win over the brokers'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::ErrorCode;

use crate::config::Settings;
use crate::groups::World;
use crate::topics::TopicError;

/// What can be set for a group of the consumer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupConfig {
    HeartbeatInterval,
    SessionTimeout,
    AssignmentInterval,
}

/// The settings that groups have of their own.
pub(crate) type GroupConfigs = BTreeMap<Arc<str>, BTreeMap<GroupConfig, Duration>>;

impl GroupConfig {
    pub(crate) const ALL: [GroupConfig; 3] =
        [GroupConfig::HeartbeatInterval, GroupConfig::SessionTimeout, GroupConfig::AssignmentInterval];

    pub(crate) fn name(self) -> &'static str {
        match self {
            GroupConfig::HeartbeatInterval => "consumer.heartbeat.interval.ms",
            GroupConfig::SessionTimeout => "consumer.session.timeout.ms",
            GroupConfig::AssignmentInterval => "consumer.assignment.interval.ms",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<GroupConfig> {
        GroupConfig::ALL.into_iter().find(|config| config.name() == name)
    }

    /// What holds for groups that have no setting of their own.
    pub(crate) fn default(self, settings: &Settings) -> Duration {
        match self {
            GroupConfig::HeartbeatInterval => settings.group_consumer_heartbeat_interval,
            GroupConfig::SessionTimeout => settings.group_consumer_session_timeout,
            GroupConfig::AssignmentInterval => settings.group_consumer_assignment_interval,
        }
    }

    fn bounds(self, settings: &Settings) -> (Duration, Duration) {
        match self {
            GroupConfig::HeartbeatInterval => (
                settings.group_consumer_min_heartbeat_interval,
                settings.group_consumer_max_heartbeat_interval,
            ),
            GroupConfig::SessionTimeout => {
                (settings.group_consumer_min_session_timeout, settings.group_consumer_max_session_timeout)
            }
            GroupConfig::AssignmentInterval => {
                (Duration::ZERO, settings.group_consumer_max_assignment_interval)
            }
        }
    }

    /// Reads a value, which must be a number of milliseconds within the bounds that the brokers set.
    pub(crate) fn read(self, value: &str, settings: &Settings) -> Result<Duration, TopicError> {
        let invalid = |why| Err((ErrorCode::INVALID_CONFIG, why));
        let Ok(millis) = value.trim().parse::<i32>() else {
            return invalid("a group setting is not a number");
        };
        let Ok(millis) = u64::try_from(millis) else { return invalid("a group setting is negative") };
        let (least, most) = self.bounds(settings);
        match Duration::from_millis(millis) {
            value if value < least => invalid("a group setting is less than the brokers allow"),
            value if value > most => invalid("a group setting is more than the brokers allow"),
            value => Ok(value),
        }
    }
}

/// What holds for a group that has these settings of its own.
fn effective(
    own: Option<&BTreeMap<GroupConfig, Duration>>,
    settings: &Settings,
    config: GroupConfig,
) -> Duration {
    own.and_then(|own| own.get(&config)).copied().unwrap_or_else(|| config.default(settings))
}

/// Whether a group's settings go together.
pub(crate) fn check(own: &BTreeMap<GroupConfig, Duration>, settings: &Settings) -> Result<(), TopicError> {
    let of = |config| effective(Some(own), settings, config);
    if of(GroupConfig::SessionTimeout) <= of(GroupConfig::HeartbeatInterval) {
        return Err((
            ErrorCode::INVALID_CONFIG,
            "the session timeout must be longer than the heartbeat interval",
        ));
    }
    Ok(())
}

impl World<'_> {
    /// What holds for a group.
    pub(crate) fn group_config(&self, group: &str, config: GroupConfig) -> Duration {
        effective(self.group_configs.get(group), self.settings, config)
    }
}
