use kavka_wire::messages::metadata::{MetadataResponseBroker, MetadataResponseTopic};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    core: Metadata<u32>,
    now: Instant,
    /// Of the last request.
    patience: Duration,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Ask(u64, Option<Vec<String>>, bool),
    Changed(u64),
    Done(u32, Result<u64, ErrorKind>),
}

impl Rig {
    fn new() -> Self {
        let retry = Range::new(SECOND / 10, SECOND);
        let settings = Settings {
            max_age: 300 * SECOND,
            rebootstrap_after: 300 * SECOND,
            retry,
            request_timeout: 30 * SECOND,
            allow_auto_topic_creation: false,
        };
        let now = crate::shell::clock::now();
        Rig { core: Metadata::new(settings, 1, now), now, patience: Duration::ZERO }
    }

    fn give(&mut self, input: Input<u32>) -> Vec<Seen> {
        self.core.handle(self.now, input);
        let Rig { core, patience: last, .. } = self;
        std::iter::from_fn(|| core.poll())
            .map(|output| match output {
                Output::Ask { token, request, bootstrap, patience } => {
                    *last = patience;
                    assert!(!request.allow_auto_topic_creation);
                    let name = |topic: &MetadataRequestTopic| topic.name.as_deref().unwrap().to_owned();
                    Seen::Ask(
                        token,
                        request.topics.as_ref().map(|topics| topics.iter().map(name).collect()),
                        bootstrap,
                    )
                }
                Output::Changed(cluster) => Seen::Changed(cluster.generation),
                Output::Done(id, outcome) => {
                    Seen::Done(id, outcome.map(|c| c.generation).map_err(|e| e.kind()))
                }
            })
            .collect()
    }

    fn refresh(&mut self, waiter: u32) -> Vec<Seen> {
        let deadline = self.now + 30 * SECOND;
        self.give(Input::Refresh { waiter, deadline })
    }

    fn pass(&mut self, time: Duration) -> Vec<Seen> {
        self.now += time;
        self.give(Input::Timeout)
    }

    /// Waits for the next deadline and says how long that took.
    fn wait(&mut self) -> (Duration, Vec<Seen>) {
        let time = self.core.next_timeout().unwrap() - self.now;
        (time, self.pass(time))
    }

    fn ready() -> Self {
        let mut rig = Rig::new();
        rig.refresh(0);
        rig.give(Input::Answer(1, Ok(answer(&[]))));
        rig.pass(SECOND);
        rig
    }
}

fn answer(topics: &[&str]) -> MetadataResponse {
    let brokers =
        vec![MetadataResponseBroker { node_id: 1, host: "a".into(), port: 9092, ..Default::default() }];
    let topic = |name: &&str| MetadataResponseTopic { name: Some((*name).into()), ..Default::default() };
    MetadataResponse { brokers, topics: topics.iter().map(topic).collect(), ..Default::default() }
}

fn ask(token: u64, topics: &[&str]) -> Seen {
    Seen::Ask(token, Some(topics.iter().map(|t| t.to_string()).collect()), false)
}

fn lost() -> Error {
    Error::new(ErrorKind::Connect, "refused")
}

#[test]
fn nothing_is_asked_before_somebody_wants_it() {
    let mut rig = Rig::new();
    assert!(rig.pass(3600 * SECOND).is_empty());
    assert_eq!(rig.give(Input::Request), [ask(1, &[])]);
}

#[test]
fn a_refresh_is_answered_only_by_a_request_that_started_after_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.refresh(1), [ask(1, &[])]);
    assert!(rig.refresh(2).is_empty());
    let seen = rig.give(Input::Answer(1, Ok(answer(&[]))));
    assert_eq!(seen, [Seen::Changed(1), Seen::Done(1, Ok(1))]);
    let (time, seen) = rig.wait();
    assert!(time <= SECOND / 5, "{time:?}");
    assert_eq!(seen, [ask(2, &[])]);
    assert_eq!(rig.give(Input::Answer(2, Ok(answer(&[])))), [Seen::Done(2, Ok(1))]);
}

#[test]
fn a_new_topic_is_asked_for_at_once_and_counted() {
    let mut rig = Rig::ready();
    let t: Arc<str> = "t".into();
    rig.give(Input::Request);
    rig.give(Input::Answer(2, Ok(answer(&[]))));
    assert_eq!(rig.give(Input::Track(vec![t.clone()])), [ask(3, &["t"])]);
    rig.give(Input::Answer(3, Ok(answer(&["t"]))));
    assert!(rig.give(Input::Track(vec![t.clone()])).is_empty(), "it is known already");
    rig.give(Input::Untrack(vec![t.clone()]));
    rig.pass(SECOND);
    assert_eq!(rig.give(Input::Request), [ask(4, &["t"])]);
    rig.give(Input::Answer(4, Ok(answer(&["t"]))));
    assert!(rig.core.cluster().topic("t").is_some());
    rig.give(Input::Untrack(vec![t.clone(), t]));
    rig.pass(SECOND);
    assert_eq!(rig.give(Input::Request), [ask(5, &[])]);
    rig.give(Input::Answer(5, Ok(answer(&[]))));
    assert!(rig.core.cluster().topic("t").is_none(), "nobody tracks it any more");
}

#[test]
fn a_topic_tracked_while_a_request_is_under_way_gets_one_of_its_own() {
    let mut rig = Rig::new();
    rig.give(Input::Request);
    assert!(rig.give(Input::Track(vec!["t".into()])).is_empty());
    assert!(rig.refresh(1).is_empty());
    assert_eq!(rig.give(Input::Answer(1, Ok(answer(&[])))), [Seen::Changed(1), ask(2, &["t"])]);
    assert_eq!(rig.give(Input::Answer(2, Ok(answer(&["t"])))), [Seen::Changed(2), Seen::Done(1, Ok(2))]);
}

#[test]
fn all_topics_are_asked_for_without_a_list_and_those_that_are_gone_are_forgotten_unless_tracked() {
    let mut rig = Rig::ready();
    rig.give(Input::Track(vec!["kept".into()]));
    rig.give(Input::Answer(2, Ok(answer(&["kept"]))));
    assert_eq!(rig.give(Input::TrackAll(true)), [Seen::Ask(3, None, false)]);
    rig.give(Input::Answer(3, Ok(answer(&["kept", "other"]))));
    assert_eq!(rig.core.cluster().topics.len(), 2);
    rig.pass(SECOND);
    rig.give(Input::Request);
    rig.give(Input::Answer(4, Ok(answer(&[]))));
    let cluster = rig.core.cluster();
    assert_eq!(cluster.topics.len(), 1);
    assert_eq!(cluster.topic("kept").unwrap().error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    rig.give(Input::TrackAll(false));
    rig.pass(SECOND);
    assert_eq!(rig.give(Input::Request), [ask(5, &["kept"])]);
}

#[test]
fn requests_are_paced_and_slow_down_while_nothing_changes() {
    let mut rig = Rig::ready();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        if let [Seen::Ask(..)] = rig.give(Input::Request)[..] {
            pauses.push(Duration::ZERO);
        } else {
            let (time, seen) = rig.wait();
            assert!(matches!(seen[..], [Seen::Ask(..)]), "{seen:?}");
            pauses.push(time);
        }
        let token = rig.core.tokens;
        assert!(rig.give(Input::Request).is_empty(), "one at a time");
        rig.give(Input::Answer(token, Ok(answer(&[]))));
    }
    assert!(pauses[1] >= SECOND / 13 && pauses[7] >= SECOND * 8 / 10, "{pauses:?}");
}

#[test]
fn metadata_is_asked_for_again_when_it_is_old() {
    let mut rig = Rig::ready();
    let (time, seen) = rig.wait();
    assert!(time >= 230 * SECOND && time <= 360 * SECOND, "{time:?}");
    assert_eq!(seen, [ask(2, &[])]);
}

#[test]
fn failures_are_retried_with_backoff_until_the_waiters_deadline() {
    let mut rig = Rig::new();
    rig.refresh(1);
    let mut pauses = Vec::new();
    let start = rig.now;
    loop {
        let token = rig.core.tokens;
        let seen = rig.give(Input::Answer(token, Err(lost())));
        assert!(seen.is_empty(), "{seen:?}");
        let (time, seen) = rig.wait();
        pauses.push(time);
        if let Some(Seen::Done(1, Err(kind))) = seen.last() {
            assert!(matches!(kind, ErrorKind::Timeout { api: None, .. }));
            break;
        }
    }
    assert!(pauses.len() > 10 && pauses[0] < SECOND / 5 && pauses[8] > SECOND / 2, "{pauses:?}");
    assert_eq!(rig.now - start, 30 * SECOND);
}

#[test]
fn a_broker_that_hangs_is_not_waited_for_as_long_as_one_that_is_needed() {
    let mut rig = Rig::new();
    rig.refresh(1);
    let hung = || {
        let kind = ErrorKind::Timeout { api: None, after: SECOND, outcome_unknown: true };
        Err(Error::new(kind, "no answer"))
    };
    let mut patience = Vec::new();
    for _ in 0..5 {
        patience.push(rig.patience.as_secs());
        rig.give(Input::Answer(rig.core.tokens, hung()));
        rig.wait();
    }
    assert_eq!(patience, [5, 10, 20, 30, 30], "slow brokers get more time, up to the request timeout");
    rig.give(Input::Answer(rig.core.tokens, Err(lost())));
    rig.wait();
    rig.give(Input::Answer(rig.core.tokens, Ok(answer(&[]))));
    rig.pass(SECOND);
    rig.refresh(2);
    assert_eq!(rig.patience.as_secs(), 5);
}

#[test]
fn what_trying_again_cannot_change_is_told_at_once() {
    for error in [
        Error::new(ErrorKind::NotKafka, "HTTP"),
        Error::new(ErrorKind::Unsupported, "old"),
        Error::new(ErrorKind::Broker(ErrorCode::CLUSTER_AUTHORIZATION_FAILED), "no"),
    ] {
        let mut rig = Rig::new();
        rig.refresh(1);
        let kind = error.kind();
        assert_eq!(rig.give(Input::Answer(1, Err(error))), [Seen::Done(1, Err(kind))]);
    }
}

#[test]
fn the_bootstrap_addresses_are_asked_when_nothing_has_answered_for_long() {
    let mut rig = Rig::ready();
    rig.give(Input::Request);
    let mut since = None;
    loop {
        let token = rig.core.tokens;
        rig.give(Input::Answer(token, Err(lost())));
        let since = *since.get_or_insert(rig.now);
        let (_, seen) = rig.wait();
        match seen[..] {
            [Seen::Ask(_, _, false)] => assert!(rig.now - since < 300 * SECOND),
            [Seen::Ask(_, _, true)] => break assert!(rig.now - since >= 300 * SECOND),
            _ => panic!("{seen:?}"),
        }
    }
    let token = rig.core.tokens;
    rig.give(Input::Answer(token, Ok(answer(&[]))));
    rig.pass(SECOND);
    assert!(matches!(rig.give(Input::Request)[..], [Seen::Ask(_, _, false)]), "back to the known brokers");
}

#[test]
fn a_broker_can_send_us_back_to_the_bootstrap_addresses() {
    let told = MetadataResponse { error_code: ErrorCode::REBOOTSTRAP_REQUIRED, ..answer(&[]) };
    let mut rig = Rig::ready();
    rig.give(Input::Request);
    rig.give(Input::Answer(2, Ok(told)));
    assert!(matches!(rig.wait().1[..], [Seen::Ask(3, _, true)]));
    let mut rig = Rig::ready();
    assert!(matches!(rig.give(Input::Rebootstrap)[..], [Seen::Ask(2, _, true)]));
}

#[test]
fn late_answers_and_malformed_ones_change_nothing() {
    let mut rig = Rig::ready();
    let before = rig.core.cluster();
    assert!(rig.give(Input::Answer(1, Ok(answer(&["t"])))).is_empty());
    rig.give(Input::Request);
    let seen = rig.give(Input::Answer(2, Ok(MetadataResponse::default())));
    assert!(seen.is_empty());
    assert_eq!(rig.core.cluster(), before);
    assert!(matches!(rig.wait().1[..], [Seen::Ask(3, ..)]), "asked again");
}

#[test]
fn the_features_of_the_highest_epoch_count() {
    let mut rig = Rig::ready();
    let features = |epoch, max| Features {
        epoch,
        finalized: [("group.version".to_owned(), crate::core::versions::Feature { min: 1, max })]
            .into_iter()
            .collect(),
    };
    rig.give(Input::Features(features(5, 1)));
    rig.give(Input::Features(features(4, 9)));
    assert_eq!(rig.core.cluster().features.level("group.version"), 1);
    rig.give(Input::Features(features(6, 2)));
    assert_eq!(rig.core.cluster().features.level("group.version"), 2);
}
