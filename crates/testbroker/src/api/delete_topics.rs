//! DeleteTopics (20), versions 1-6.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use kavka_wire::messages::delete_topics::{DeletableTopicResult, DeleteTopicState};
use kavka_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for DeleteTopicsRequest {
    const SERVED: RangeInclusive<i16> = 1..=6;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut seen = BTreeSet::new();
        let mut responses = Vec::new();
        for (name, id) in asked(&request) {
            let first = seen.insert((name.as_deref().map(str::to_owned), id));
            responses.push(if first {
                state.delete(name, id)
            } else {
                result(name, id, ErrorCode::INVALID_REQUEST)
            });
        }
        call.answer(&DeleteTopicsResponse { responses, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> DeleteTopicsResponse {
        let responses = asked(request).into_iter().map(|(name, id)| result(name, id, error)).collect();
        DeleteTopicsResponse { responses, ..Default::default() }
    }
}

fn asked(request: &DeleteTopicsRequest) -> Vec<(Option<ByteString>, Uuid)> {
    let named = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let stated = request.topics.iter().map(|t: &DeleteTopicState| (t.name.clone(), t.topic_id));
    named.chain(stated).collect()
}

fn result(name: Option<ByteString>, topic_id: Uuid, error: ErrorCode) -> DeletableTopicResult {
    DeletableTopicResult {
        name,
        topic_id,
        error_code: error,
        error_message: (error != ErrorCode::NONE)
            .then(|| ByteString::from_static(error.name().unwrap_or("refused"))),
        ..Default::default()
    }
}

impl State {
    fn delete(&mut self, name: Option<ByteString>, id: Uuid) -> DeletableTopicResult {
        let found = match (&name, id.is_zero()) {
            // Exactly one of name and id says which topic is meant.
            (Some(_), false) | (None, true) => return result(name, id, ErrorCode::INVALID_REQUEST),
            (Some(name), true) => name.to_string(),
            (None, false) => match self.topic_name(id) {
                Some(found) => found.to_string(),
                None => return result(None, id, ErrorCode::UNKNOWN_TOPIC_ID),
            },
        };
        if self.denied.topics.contains(&found) {
            return result(name, id, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        let Some(topic) = self.topic(&found) else {
            return result(name, id, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let id = topic.id;
        self.delete_topic(&found);
        result(Some(found.into()), id, ErrorCode::NONE)
    }
}
