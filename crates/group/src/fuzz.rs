//! Body of the fuzz target for a group: bytes choose inputs and answers. No sequence may panic, and between two inputs there is an end
//! to what is polled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_wire::codec::{Limits, Message};
use kavka_wire::messages::consumer_group_heartbeat::{Assignment, ResponseTopicPartitions};
use kavka_wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorResponse,
    HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, OffsetCommitResponse, OffsetFetchResponse,
    SyncGroupResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use crate::{
    CallError, CommitId, Config, Epoch, Event, FetchId, Group, GroupProtocol, GroupReply, GroupRequest,
    Input, OffsetAndMetadata, Output, SortedSet, Subscription, ToCommit, Token, TopicInfo, TopicMap,
    TopicPartition,
};

const CODES: [i16; 20] = [0, 0, 0, 0, 14, 15, 16, 22, 25, 27, 30, 35, 79, 82, -1, 3, 88, 100, 110, 113];

struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn code(&mut self) -> ErrorCode {
        ErrorCode(CODES[usize::from(self.byte()) % CODES.len()])
    }

    /// An answer in the fuzzer's own bytes, or one that is mostly what a coordinator would say.
    fn message<M: Message>(&mut self, likely: impl FnOnce(&mut Self) -> M) -> M {
        if !self.byte().is_multiple_of(4) {
            return likely(self);
        }
        let take = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(take);
        self.0 = rest;
        let limits = Limits { elements: 1_000, memory: 1 << 20 };
        M::from_bytes(Bytes::copy_from_slice(bytes), *M::VERSIONS.end(), &limits).unwrap_or_default()
    }
}

fn answer(source: &mut Source<'_>, request: &GroupRequest) -> Result<GroupReply, CallError> {
    if source.byte().is_multiple_of(8) {
        return Err(CallError::Unreachable("the fuzzer says so".into()));
    }
    let code = source.code();
    Ok(match request {
        GroupRequest::FindCoordinator(_) => GroupReply::FindCoordinator(source.message(|_| {
            FindCoordinatorResponse { error_code: code, host: "b".into(), port: 9, ..Default::default() }
        })),
        GroupRequest::JoinGroup(join) => GroupReply::JoinGroup(source.message(|source| {
            let leads = source.byte().is_multiple_of(2);
            JoinGroupResponse {
                error_code: code,
                generation_id: i32::from(source.byte()),
                protocol_name: Some("range".into()),
                leader: if leads { "m".into() } else { "other".into() },
                member_id: "m".into(),
                members: vec![kavka_wire::messages::join_group::JoinGroupResponseMember {
                    member_id: "m".into(),
                    metadata: join.protocols.first().map(|p| p.metadata.clone()).unwrap_or_default(),
                    ..Default::default()
                }],
                ..Default::default()
            }
        })),
        GroupRequest::SyncGroup(sync) => GroupReply::SyncGroup(source.message(|_| SyncGroupResponse {
            error_code: code,
            assignment: sync.assignments.first().map(|a| a.assignment.clone()).unwrap_or_default(),
            ..Default::default()
        })),
        GroupRequest::Heartbeat(_) => GroupReply::Heartbeat(
            source.message(|_| HeartbeatResponse { error_code: code, ..Default::default() }),
        ),
        GroupRequest::LeaveGroup(_) => {
            GroupReply::LeaveGroup(source.message(|_| LeaveGroupResponse::default()))
        }
        GroupRequest::OffsetCommit(_) => {
            GroupReply::OffsetCommit(source.message(|_| OffsetCommitResponse::default()))
        }
        GroupRequest::OffsetFetch(_) => {
            GroupReply::OffsetFetch(source.message(|_| OffsetFetchResponse::default()))
        }
        GroupRequest::ConsumerGroupHeartbeat(beat) => {
            GroupReply::ConsumerGroupHeartbeat(source.message(|source| heartbeat(source, code, beat)))
        }
    })
}

/// A heartbeat's answer with an assignment of up to two topics, one of which the member may know by name.
fn heartbeat(
    source: &mut Source<'_>,
    code: ErrorCode,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let assigned = source.byte();
    let topic = |at: u8| ResponseTopicPartitions {
        topic_id: Uuid([at + 1; 16]),
        partitions: (0..5).filter(|partition| assigned >> (at * 4) & 1 << partition != 0).collect(),
        ..Default::default()
    };
    let assignment = Assignment { topic_partitions: vec![topic(0), topic(1)], ..Default::default() };
    ConsumerGroupHeartbeatResponse {
        error_code: code,
        member_epoch: request.member_epoch.saturating_add(i32::from(source.byte() % 3)),
        heartbeat_interval_ms: i32::from(source.byte()) * 40,
        assignment: source.byte().is_multiple_of(2).then_some(assignment),
        ..Default::default()
    }
}

/// Runs one member of the classic protocol on what the bytes say, from `start` on.
#[inline]
pub fn member(data: &[u8], start: Instant) {
    run(data, start, GroupProtocol::Classic);
}

/// Runs one member of the consumer protocol, or one that tries it, on what the bytes say, from `start` on.
#[inline]
pub fn consumer(data: &[u8], start: Instant) {
    match data.split_first() {
        Some((first, rest)) if first.is_multiple_of(2) => run(rest, start, GroupProtocol::Consumer),
        Some((_, rest)) => run(rest, start, GroupProtocol::Auto),
        None => {}
    }
}

fn run(data: &[u8], start: Instant, protocol: GroupProtocol) {
    let mut source = Source(data);
    let mut config = Config::new("g");
    config.protocol = protocol;
    config.seed = u64::from(source.byte());
    if config.seed.is_multiple_of(3) {
        config.instance_id = Some("i".into());
    }
    let mut group = Group::new(config);
    let mut now = start;
    let mut calls: VecDeque<(Token, GroupRequest)> = VecDeque::new();
    let mut revoked = Epoch(0);
    let partition = TopicPartition::new("t", 0);
    let topics: SortedSet<Arc<str>> = SortedSet::from(["t".into()]);
    while !source.0.is_empty() {
        let input = match source.byte() % 14 {
            0 => Input::Subscribe(Subscription {
                topics: topics.clone(),
                regex: source.byte().is_multiple_of(4).then(|| "t.*".into()),
            }),
            1 => {
                let mut map = TopicMap::new();
                let what = source.byte();
                let id = (what >= 64).then(|| Uuid([what % 3 + 1; 16]));
                map.insert("t", TopicInfo { id, partitions: i32::from(what % 5), ..TopicInfo::default() });
                Input::Metadata(Arc::new(map))
            }
            2 => Input::Released { epoch: revoked },
            3 => {
                let id = CommitId(u64::from(source.byte()));
                let value = OffsetAndMetadata::new(i64::from(source.byte() as i8));
                Input::Commit { id, offsets: vec![ToCommit::now(partition.clone(), value)] }
            }
            4 => Input::FetchOffsets {
                id: FetchId(u64::from(source.byte())),
                partitions: vec![partition.clone()],
            },
            5 => Input::Rejoin { reason: "fuzz".into() },
            6 if source.byte() == 0 => Input::Leave { reason: "fuzz".into() },
            7 => {
                now += Duration::from_millis(u64::from(source.byte()) * 100);
                Input::Timeout
            }
            9 => Input::Suspend { reason: "fuzz".into() },
            10 => Input::Resume,
            8 => {
                // As a shell does: sleep until the machine asks for it.
                now = group.next_timeout().map_or(now, |at| at.max(now));
                Input::Timeout
            }
            _ => match calls.pop_front() {
                Some((token, request)) => Input::Reply { token, result: answer(&mut source, &request) },
                None => Input::Timeout,
            },
        };
        group.handle(now, input);
        let mut polled = 0;
        while let Some(output) = group.poll() {
            polled += 1;
            assert!(polled < 1_000, "one input leads to no end of outputs");
            match output {
                Output::Call { token, request, max_version, .. } => {
                    write(&request, max_version);
                    calls.push_back((token, request));
                }
                Output::Event(Event::Revoke { epoch, .. }) => revoked = epoch,
                Output::Event(_) => {}
            }
        }
        if group.next_timeout().is_some_and(|at| at <= now) {
            wake_again(&mut group, now, &mut calls);
        }
    }
}

/// Woken again at once it has nothing more to do, or the shell would be in a busy loop.
fn wake_again(group: &mut Group, now: Instant, calls: &mut VecDeque<(Token, GroupRequest)>) {
    group.handle(now, Input::Timeout);
    while let Some(output) = group.poll() {
        if let Output::Call { token, request, .. } = output {
            calls.push_back((token, request));
        }
    }
    assert!(group.next_timeout().is_none_or(|at| at > now), "a busy loop");
}

/// Whatever is to be sent can be written, in the newest version that it allows and in an older one.
fn write(request: &GroupRequest, max_version: i16) {
    match request {
        GroupRequest::OffsetCommit(request) => {
            for version in [max_version, 8] {
                assert!(request.at(version).to_bytes(version).is_ok());
            }
        }
        GroupRequest::OffsetFetch(request) => {
            for version in [max_version, 8, 7] {
                assert!(request.at(version).to_bytes(version).is_ok());
            }
        }
        GroupRequest::ConsumerGroupHeartbeat(request) => {
            assert!(request.to_bytes(1).is_ok());
            let owns = request.topic_partitions.as_ref().is_some_and(|topics| !topics.is_empty());
            assert!(request.member_epoch > 0 || !owns, "who joins or leaves has nothing");
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    fn replay(target: &str, body: fn(&[u8], Instant)) {
        let corpus = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            body(&std::fs::read(entry.unwrap().path()).unwrap(), Instant::now());
            inputs += 1;
        }
        assert!(inputs > 0);
    }

    #[test]
    fn the_corpus_of_groups_runs_without_a_panic() {
        replay("member", super::member);
        replay("consumer", super::consumer);
    }

    proptest::proptest! {
        #[test]
        fn no_sequence_of_inputs_panics(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            super::member(&data, Instant::now());
            super::consumer(&data, Instant::now());
        }
    }
}
