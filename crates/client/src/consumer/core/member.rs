//! The consumer's part in its group: one group machine for each membership.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{
    CallError, CallLane, CallTo, Config, Group, GroupError, GroupReply, GroupRequest, Input, Output, Token,
};
use kavka_wire::ErrorCode;

use super::api::{GroupMetadata, without_group};
use crate::error_net::of_group;
use crate::{Error, Result};

/// How often a refusal that comes with each heartbeat is told.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// A request of a membership.
#[derive(Debug)]
pub(crate) struct MemberCall {
    /// Which membership, for the answer.
    pub(crate) membership: u64,
    pub(crate) token: Token,
    pub(crate) to: CallTo,
    pub(crate) lane: CallLane,
    pub(crate) request: GroupRequest,
    pub(crate) max_version: i16,
    pub(crate) timeout: Duration,
}

/// What a membership has to say.
// A few a second, each moved once.
#[allow(clippy::large_enum_variant)]
pub(super) enum Said {
    Call(MemberCall),
    Event(kavka_group::Event),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Member {
    config: Option<Config>,
    group: Option<Group>,
    /// Counts the memberships: answers to an older one are nobody's.
    membership: u64,
    /// The coordinator's last refusal that was told, and when.
    refused: Option<(Option<ErrorCode>, Instant)>,
}

impl Member {
    pub(super) fn new(config: Option<Config>) -> Self {
        Member { group: config.clone().map(Group::new), config, membership: 0, refused: None }
    }

    /// Whether the consumer has a group at all.
    pub(super) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        if let Some(group) = &mut self.group {
            group.handle(now, input);
        }
    }

    pub(super) fn reply(
        &mut self,
        now: Instant,
        membership: u64,
        token: Token,
        result: Result<GroupReply, CallError>,
    ) {
        if membership == self.membership {
            self.handle(now, Input::Reply { token, result });
        }
    }

    pub(super) fn poll(&mut self) -> Option<Said> {
        let membership = self.membership;
        Some(match self.group.as_mut()?.poll()? {
            Output::Call { token, to, lane, request, max_version, timeout } => {
                Said::Call(MemberCall { membership, token, to, lane, request, max_version, timeout })
            }
            Output::Event(event) => Said::Event(event),
        })
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.group.as_ref()?.next_timeout()
    }

    /// Begins another membership. The one before was left, and shares neither tokens nor epochs with it.
    pub(super) fn renew(&mut self) {
        self.membership += 1;
        self.group = self.config.clone().map(Group::new);
    }

    /// How long the members of the group may take to give up partitions.
    pub(super) fn rebalance_timeout(&self) -> Option<Duration> {
        self.config.as_ref().map(|config| config.rebalance_timeout)
    }

    /// With each heartbeat the same refusal may come: it is told once in a while.
    pub(super) fn refusal(&mut self, now: Instant, error: GroupError) -> Option<Error> {
        let told = |(code, at)| code == error.code && now.saturating_duration_since(at) < REFUSED_AGAIN;
        if self.refused.is_some_and(told) {
            return None;
        }
        self.refused = Some((error.code, now));
        Some(self.error(error))
    }

    /// An error of the group machine, with the group's name.
    pub(super) fn error(&self, error: GroupError) -> Error {
        match &self.config {
            Some(config) => of_group(&config.group_id, error),
            None => error.into(),
        }
    }

    pub(super) fn metadata(&self) -> Result<GroupMetadata> {
        let (Some(config), Some(group)) = (&self.config, &self.group) else {
            return Err(without_group("the consumer has no group"));
        };
        let (member_id, generation) = group.member().unwrap_or_else(|| (Arc::from(""), -1));
        Ok(GroupMetadata {
            group_id: config.group_id.clone(),
            member_id,
            generation,
            instance_id: config.instance_id.clone(),
        })
    }
}
