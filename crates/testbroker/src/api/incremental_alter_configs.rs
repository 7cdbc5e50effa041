//! IncrementalAlterConfigs (44), versions 0-1: the settings of topics and of groups. Those of brokers do not change.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
};
use kavka_wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use super::describe_configs::{GROUP, TOPIC, check_config, is_list};
use crate::call::Call;
use crate::group_configs::{self, GroupConfig};
use crate::state::State;
use crate::topics::{TopicError, check_name};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Api for IncrementalAlterConfigsRequest {
    const SERVED: RangeInclusive<i16> = 0..=1;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let same = |other: &&AlterConfigsResource| {
                other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
            };
            let outcome = if request.resources.iter().filter(same).count() > 1 {
                Err((ErrorCode::INVALID_REQUEST, "each resource may appear once"))
            } else {
                state.alter_configs(resource, request.validate_only)
            };
            responses.push(answer(resource, outcome.err()));
        }
        call.answer(&IncrementalAlterConfigsResponse { responses, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> IncrementalAlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| answer(resource, Some((error, "refused"))));
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

fn answer(resource: &AlterConfigsResource, error: Option<TopicError>) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse {
        error_code: error.map_or(ErrorCode::NONE, |(code, _)| code),
        error_message: error.map(|(_, why)| ByteString::from_static(why)),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    }
}

/// The checks that need nothing but the request.
fn check_changes(configs: &[AlterableConfig]) -> Result<(), TopicError> {
    let mut seen = BTreeSet::new();
    for config in configs {
        if !seen.insert(&config.name) {
            return Err((ErrorCode::INVALID_REQUEST, "a setting appears twice"));
        }
        if !(SET..=SUBTRACT).contains(&config.config_operation) {
            // Kafka trips over it.
            return Err((ErrorCode::UNKNOWN_SERVER_ERROR, "there is no such operation"));
        }
        if config.config_operation != DELETE && config.value.is_none() {
            return Err((ErrorCode::INVALID_REQUEST, "a setting is null"));
        }
    }
    Ok(())
}

impl State {
    fn alter_configs(&mut self, resource: &AlterConfigsResource, dry: bool) -> Result<(), TopicError> {
        check_changes(&resource.configs)?;
        match resource.resource_type {
            TOPIC => self.alter_topic_configs(&resource.resource_name, &resource.configs, dry),
            GROUP => self.alter_group_configs(&resource.resource_name, &resource.configs, dry),
            _ => Err((
                ErrorCode::INVALID_REQUEST,
                "only topics and groups have settings that can be changed here",
            )),
        }
    }

    fn alter_topic_configs(
        &mut self,
        name: &str,
        changes: &[AlterableConfig],
        dry: bool,
    ) -> Result<(), TopicError> {
        if name.is_empty() {
            return Err((ErrorCode::INVALID_REQUEST, "the topic has no name"));
        }
        check_name(name)?;
        if self.denied.topics.contains(name) {
            return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, "no permission to change the topic"));
        }
        let topic =
            self.topics.get_mut(name).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "no such topic"))?;
        let mut configs = topic.configs.clone();
        for change in changes {
            let value = change.value.as_deref().unwrap_or_default();
            let value = match change.config_operation {
                SET => value.to_owned(),
                APPEND | SUBTRACT => {
                    if !is_list(&change.name) {
                        return Err((ErrorCode::INVALID_CONFIG, "the setting is not a list"));
                    }
                    let before = configs.get(&*change.name).map_or("delete", String::as_str);
                    let (mut items, own) = (list(before), list(value));
                    items.retain(|item| !own.contains(item));
                    if change.config_operation == APPEND {
                        items.extend(own);
                    }
                    items.join(",")
                }
                _ => {
                    configs.remove(&*change.name);
                    continue;
                }
            };
            configs.insert(change.name.to_string(), value);
        }
        for (name, value) in &configs {
            check_config(name, value)?;
        }
        if !dry {
            topic.configs = configs;
        }
        Ok(())
    }

    fn alter_group_configs(
        &mut self,
        group: &str,
        changes: &[AlterableConfig],
        dry: bool,
    ) -> Result<(), TopicError> {
        if group.is_empty() {
            return Err((ErrorCode::INVALID_REQUEST, "the group has no name"));
        }
        if self.denied.groups.contains(group) {
            return Err((ErrorCode::GROUP_AUTHORIZATION_FAILED, "no permission to change the group"));
        }
        let mut own = self.group_configs.get(group).cloned().unwrap_or_default();
        for change in changes {
            let known = GroupConfig::from_name(&change.name);
            match (change.config_operation, known) {
                (DELETE, None) => {}
                (DELETE, Some(config)) => drop(own.remove(&config)),
                (SET, Some(config)) => {
                    let value = change.value.as_deref().unwrap_or_default();
                    own.insert(config, config.read(value, &self.settings)?);
                }
                (SET, None) => return Err((ErrorCode::INVALID_CONFIG, "unknown group setting")),
                _ => return Err((ErrorCode::INVALID_CONFIG, "the setting is not a list")),
            }
        }
        group_configs::check(&own, &self.settings)?;
        if !dry {
            self.group_configs.insert(Arc::from(group), own);
        }
        Ok(())
    }
}

fn list(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}
