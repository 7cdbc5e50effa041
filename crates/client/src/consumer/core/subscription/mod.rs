//! What is subscribed to, the names of what is assigned, and the metadata that both need.

mod missing;
mod naming;
mod pattern;
mod refresh;
mod topics;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{GroupProtocol, SortedSet, TopicMap};
use kavka_net::Cluster;
use kavka_wire::Uuid;

use missing::Missing;
use naming::Naming;
use refresh::Refresh;
use topics::Topics;

use crate::{Error, Result};

pub(crate) use pattern::{LONGEST_STRING, Wanted};

/// Something about the metadata that is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Keep these topics in the metadata.
    Track(Vec<Arc<str>>),
    /// They are not needed any more, as often as they were tracked.
    Untrack(Vec<Arc<str>>),
    /// Whether all topics of the cluster are asked for.
    TrackAll(bool),
    /// Have the metadata refreshed soon; nobody waits for it.
    AskSoon,
    /// Have the metadata refreshed, and say when they are.
    Refresh,
    /// Ask a broker for the names of topics.
    Names(Vec<Uuid>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Subscription {
    topics: Topics,
    missing: Missing,
    refresh: Refresh,
    naming: Naming,
    wishes: VecDeque<Wish>,
}

impl Subscription {
    /// `protocol`: of a member.
    pub(super) fn new(wanted: Wanted, protocol: Option<GroupProtocol>, patience: Option<Duration>) -> Self {
        let mut wishes = VecDeque::new();
        Subscription {
            topics: Topics::new(wanted, protocol, &mut wishes),
            missing: Missing::new(patience),
            refresh: Refresh::default(),
            naming: Naming::default(),
            wishes,
        }
    }

    pub(super) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// When metadata that could not be had are to be asked for again.
    pub(super) fn refresh_at(&self) -> Option<Instant> {
        self.refresh.at()
    }

    pub(super) fn refresh_in_time(&mut self) {
        self.refresh.ring();
        self.refresh();
    }

    /// When something is to be said about topics that are missing.
    pub(super) fn missing_at(&self) -> Option<Instant> {
        self.missing.next_timeout()
    }

    /// What has to be told by now: once for each topic until it is found.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Error> {
        if self.missing.ask_again(now) {
            self.wishes.push_back(Wish::AskSoon);
        }
        self.missing.overdue(now)
    }

    // What is subscribed to.

    /// Whether something else can be consumed in the protocol that is used, or that may come to be used.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<()> {
        self.topics.check(wanted)
    }

    /// Something else is to be consumed. `assigned`: of which topics the consumer has partitions.
    pub(super) fn set_wanted(&mut self, wanted: Wanted, assigned: &SortedSet<Arc<str>>, cluster: &Cluster) {
        self.missing.keep(&wanted.names);
        self.topics.set_wanted(wanted, assigned, cluster, &mut self.wishes);
    }

    /// The protocol is known.
    pub(super) fn settle(&mut self, protocol: GroupProtocol) {
        self.topics.settle(protocol, &mut self.wishes);
    }

    /// What the group is to be told to consume; `None` while that is not known, and then it is asked for.
    pub(super) fn tell(&mut self) -> Option<kavka_group::Subscription> {
        let subscription = self.topics.subscription();
        if subscription.is_none() {
            self.refresh();
        }
        subscription
    }

    /// Notes which of the consumer's topics do not exist, may not be read, or are others than before.
    pub(super) fn look(&mut self, cluster: &Cluster, now: Instant) {
        if cluster.generation > 0 {
            self.topics.look_for_recreated(cluster);
            self.missing.look(self.topics.names(), cluster, now);
        }
    }

    /// Matches patterns against the topics that there are now. True when other topics match than before.
    pub(super) fn find(&mut self, cluster: &Cluster) -> bool {
        self.topics.find(cluster)
    }

    /// What the group is to be told of topics, if it is news, or in any case when it asked.
    pub(super) fn map(&mut self, cluster: &Cluster, asked: bool) -> Option<Arc<TopicMap>> {
        self.topics.map(cluster, asked)
    }

    /// Whether the topic was deleted and created again under the consumer's eyes: then nobody has read anything of it that is not
    /// committed.
    pub(super) fn is_recreated(&self, topic: &str) -> bool {
        self.topics.is_recreated(topic)
    }

    // Refreshes that are waited for.

    /// The group's leader wants to know of these topics, too.
    pub(super) fn want(&mut self, topics: SortedSet<Arc<str>>) {
        self.topics.want(topics, &mut self.wishes);
        self.refresh();
    }

    fn refresh(&mut self) {
        if self.refresh.begin(self.topics.asks_all()) {
            self.wishes.push_back(Wish::Refresh);
        }
    }

    /// A refresh has succeeded. True: the group is to be told what to consume.
    pub(super) fn refreshed(&mut self, cluster: &Cluster) -> bool {
        let first = self.refresh.was_for_all() && self.topics.waits();
        if first {
            self.topics.all_told();
            self.topics.find(cluster);
        }
        first
    }

    /// A refresh has ended, as it may.
    pub(super) fn refresh_ended(&mut self, now: Instant) {
        if self.refresh.end() {
            self.refresh();
        } else if self.topics.waits() {
            self.refresh.pause(now);
        }
    }

    // Names of topics that were assigned by their ids.

    /// The group wants these and no others named. It asks again, with growing pauses, until they are. True: some are known, which is
    /// news for the group.
    pub(super) fn want_names(&mut self, ids: Vec<Uuid>, cluster: &Cluster) -> bool {
        self.naming.want(ids);
        let news = self.name_known(cluster);
        self.wishes.extend(self.naming.ask().map(Wish::Names));
        news
    }

    /// Names what the metadata know by now. True when that is news for the group.
    pub(super) fn name_known(&mut self, cluster: &Cluster) -> bool {
        let Subscription { naming, topics, wishes, .. } = self;
        naming.retain(|id| match cluster.topic_by_id(*id) {
            Some((name, topic)) if !topic.partitions.is_empty() => {
                topics.name(name, wishes);
                false
            }
            _ => true,
        })
    }

    /// A broker told names, or not: then the broker may be behind.
    pub(super) fn named(&mut self, outcome: Result<Vec<(Uuid, Arc<str>)>>) {
        match outcome {
            Ok(names) => {
                let wanted = self.naming.answered(names);
                for name in &wanted {
                    self.topics.name(name, &mut self.wishes);
                }
                if !wanted.is_empty() {
                    // One that was known before under another id does not become new by being tracked.
                    self.wishes.push_back(Wish::AskSoon);
                }
            }
            Err(error) => {
                self.naming.answered(Vec::new());
                tracing::warn!(%error, "no names of the topics that were assigned");
            }
        }
    }

    /// Partitions of these topics are assigned, and of no others.
    pub(super) fn assigned(&mut self, topics: &SortedSet<Arc<str>>) {
        self.topics.assigned(topics, &mut self.wishes);
    }
}
