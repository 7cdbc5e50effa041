//! CreateTopics (19), versions 2-7.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use kavka_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfigs, CreatableTopicResult};
use kavka_wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::Api;
use crate::api::describe_configs::{check_config, topic_configs};
use crate::call::Call;
use crate::state::State;
use crate::topics::TopicError;

impl Api for CreateTopicsRequest {
    const SERVED: RangeInclusive<i16> = 2..=7;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<&str> =
            request.topics.iter().map(|topic| &*topic.name).filter(|name| !seen.insert(*name)).collect();
        let mut done = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            if twice.contains(&*topic.name) {
                if done.insert(&*topic.name) {
                    topics.push(failed(
                        &topic.name,
                        (ErrorCode::INVALID_REQUEST, "the request names the topic twice"),
                    ));
                }
                continue;
            }
            topics.push(match state.create(topic, request.validate_only) {
                Ok(created) => created,
                Err(error) => failed(&topic.name, error),
            });
        }
        call.answer(&CreateTopicsResponse { topics, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> CreateTopicsResponse {
        let refused = |topic: &CreatableTopic| failed(&topic.name, (error, "refused"));
        CreateTopicsResponse { topics: request.topics.iter().map(refused).collect(), ..Default::default() }
    }
}

fn failed(name: &ByteString, (error, message): TopicError) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: error,
        error_message: Some(ByteString::from_static(message)),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

impl State {
    fn create(
        &mut self,
        topic: &CreatableTopic,
        validate_only: bool,
    ) -> Result<CreatableTopicResult, TopicError> {
        if self.denied.topics.contains(&*topic.name) {
            return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, "no permission to create the topic"));
        }
        self.check_new_topic(&topic.name)?;
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            let value = config.value.as_deref().ok_or((ErrorCode::INVALID_CONFIG, "a setting is null"))?;
            check_config(&config.name, value)?;
            configs.insert(config.name.to_string(), value.to_owned());
        }
        let replicas = self.replicas_of(topic)?;
        let (partitions, factor) = (replicas.len() as i32, replicas.first().map_or(0, Vec::len) as i16);
        let listed = topic_configs(&self.settings, &configs);
        let topic_id = match validate_only {
            true => Uuid::ZERO,
            false => self.create_topic(&topic.name, replicas, configs),
        };
        let config = |(name, value, source): (&'static str, String, i8)| CreatableTopicConfigs {
            name: ByteString::from_static(name),
            value: Some(value.into()),
            config_source: source,
            ..Default::default()
        };
        Ok(CreatableTopicResult {
            name: topic.name.clone(),
            error_message: None,
            topic_id,
            num_partitions: partitions,
            replication_factor: factor,
            configs: Some(listed.into_iter().map(config).collect()),
            ..Default::default()
        })
    }

    fn replicas_of(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, TopicError> {
        if topic.assignments.is_empty() {
            let partitions =
                if topic.num_partitions == -1 { self.settings.num_partitions } else { topic.num_partitions };
            let factor = if topic.replication_factor == -1 {
                self.default_replication()
            } else {
                topic.replication_factor
            };
            return self.place_replicas(partitions, factor);
        }
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            return Err((ErrorCode::INVALID_REQUEST, "both replicas and their number are given"));
        }
        let mut by_index = BTreeMap::new();
        for assignment in &topic.assignments {
            self.check_replicas(&assignment.broker_ids)?;
            by_index.insert(assignment.partition_index, assignment.broker_ids.clone());
        }
        let consecutive = by_index.keys().copied().eq(0..topic.assignments.len() as i32);
        let mut lengths = by_index.values().map(Vec::len);
        let first = lengths.next();
        if !consecutive || lengths.any(|length| Some(length) != first) {
            let why = "the partitions must be numbered from 0, with as many replicas each";
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        Ok(by_index.into_values().collect())
    }

    pub(super) fn check_replicas(&self, ids: &[i32]) -> Result<(), TopicError> {
        let distinct: BTreeSet<&i32> = ids.iter().collect();
        let known = ids.iter().all(|id| self.brokers.contains_key(id));
        if ids.is_empty() || distinct.len() != ids.len() || !known {
            return Err((
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                "the replicas must be different, known brokers",
            ));
        }
        Ok(())
    }
}
