//! What the coordinator's refusals mean, in words.

use kavka_wire::ErrorCode;

use crate::GroupError;

/// More than this of a peer's words is not kept.
const LONGEST_MESSAGE: usize = 1_000;

/// The error of a heartbeat, with the coordinator's own words if it sent some.
pub(super) fn refused(code: ErrorCode, message: Option<&str>) -> GroupError {
    let what = meaning(code);
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => {
            let message: String = message.chars().take(LONGEST_MESSAGE).collect();
            GroupError::code(code, format!("{what}: \"{message}\""))
        }
        None => GroupError::code(code, what),
    }
}

fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UNRELEASED_INSTANCE_ID => {
            "another member with this group.instance.id is still in the group: let it leave, or wait until its session ends"
        }
        ErrorCode::FENCED_INSTANCE_ID => "another member with this group.instance.id has taken its place",
        ErrorCode::UNSUPPORTED_ASSIGNOR => "the coordinator does not have the assignor that is asked for",
        ErrorCode::INVALID_REGULAR_EXPRESSION => "the coordinator cannot read the topic pattern",
        ErrorCode::GROUP_MAX_SIZE_REACHED => "the group is full",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => "the principal may not read with this group",
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => "the principal may not see a subscribed topic",
        ErrorCode::GROUP_ID_NOT_FOUND => "the group is gone, or is not one of consumers",
        ErrorCode::INVALID_REQUEST => "the coordinator takes the heartbeat for invalid",
        ErrorCode::FENCED_MEMBER_EPOCH => "the coordinator has fenced this member",
        ErrorCode::UNKNOWN_SERVER_ERROR => "the coordinator failed at a heartbeat, which it is sent again",
        ErrorCode::UNKNOWN_MEMBER_ID => "the coordinator does not know this member any more",
        _ => "the coordinator refused a heartbeat",
    }
}
