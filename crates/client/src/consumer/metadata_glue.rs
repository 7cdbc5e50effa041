//! Between the metadata and the rest: what is subscribed to, the names of what is assigned, and topics that are others now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{GroupProtocol, Input, SortedSet};
use kavka_net::{Cluster, clock};
use kavka_wire::Uuid;
use tokio::sync::oneshot;

use super::calls::{self, Done};
use super::driver::Driver;
use super::fetch::Input as FetchInput;
use super::handle::GroupMetadata;
use super::options::Source;
use super::pattern::Wanted;
use crate::{Error, ErrorKind, Result};

/// The pause before metadata that could not be had are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many ids one request asks for the names of.
const IDS: usize = 1000;

/// A refresh that the group, or a pattern, waits for.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    under_way: bool,
    /// Somebody asked while it was under way, and wants a later one.
    again: bool,
    /// Whether it tells of all topics.
    all: bool,
    /// When to try again.
    at: Option<Instant>,
}

/// Topics that are assigned by their ids and have no names yet.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// In order.
    ids: Vec<Uuid>,
    under_way: bool,
}

impl Naming {
    pub(super) fn is_under_way(&self) -> bool {
        !self.ids.is_empty()
    }
}

impl Driver {
    pub(super) fn on_cluster(&mut self, cluster: Arc<Cluster>) {
        if cluster.generation == 0 {
            return;
        }
        self.topics.look(&cluster, clock::now());
        // Before the group hears of it: offsets of the old topic are not to be committed in a rebalance for the new one.
        self.restart_recreated(&cluster);
        // Before the topics: then a leader need not ask for them.
        if self.topics.find(&cluster) {
            self.tell_subscription();
        }
        let named = self.name_known(&cluster);
        if self.group.is_some()
            && let Some(map) = self.topics.map(&cluster, named)
        {
            self.tell_group(Input::Metadata(map));
        }
        self.fetch(FetchInput::Cluster(cluster));
    }

    pub(super) fn metadata_timeout(&self) -> Option<Instant> {
        self.refresh.at
    }

    pub(super) fn metadata_in_time(&mut self, now: Instant) {
        if self.refresh.at.is_some_and(|at| at <= now) {
            self.refresh.at = None;
            self.refresh();
        }
    }

    // Refreshes that are waited for.

    pub(super) fn refresh(&mut self) {
        if self.refresh.under_way {
            self.refresh.again = true;
            return;
        }
        self.refresh = Refresh { under_way: true, all: self.topics.asks_all(), ..Refresh::default() };
        let (net, timeout) = (self.net.clone(), self.net.request_timeout());
        self.calls.push(async move {
            let outcome = net.refresh(clock::after(timeout)).await;
            Done::Refreshed(outcome.map_err(Error::from))
        });
    }

    /// Tells the group what is known now, also when that is not news: it asked.
    pub(super) fn on_refreshed(&mut self, outcome: Result<Arc<Cluster>>) {
        self.refresh.under_way = false;
        match outcome {
            Ok(cluster) => {
                if self.refresh.all && self.topics.waits() {
                    self.topics.all_told();
                    self.topics.find(&cluster);
                    self.tell_subscription();
                }
                if let Some(map) = self.topics.map(&cluster, true) {
                    self.tell_group(Input::Metadata(map));
                }
            }
            Err(error) => tracing::warn!(%error, "no metadata for the group"),
        }
        if std::mem::take(&mut self.refresh.again) {
            self.refresh();
        } else if self.topics.waits() {
            self.refresh.at = Some(clock::after(ASK_AGAIN));
        }
    }

    // The subscription.

    /// Tells the group what is to be consumed, as soon as that is known.
    pub(super) fn tell_subscription(&mut self) {
        if !self.options.source.is_member() || self.closing.is_some() || self.resting.is_some() {
            return;
        }
        match self.topics.subscription() {
            // Told to a member it would leave for good: see `rest`.
            Some(subscription) if subscription.is_empty() => {}
            Some(subscription) => self.tell_group(Input::Subscribe(subscription)),
            None => self.refresh(),
        }
    }

    pub(super) fn subscribe(&mut self, wanted: Wanted, reply: oneshot::Sender<Result<()>>) {
        if let Err(error) = self.check_member().and_then(|()| self.topics.check(&wanted)) {
            return self.acks.push((reply, Err(error)));
        }
        self.topics.set_wanted(wanted.clone());
        let nothing = wanted.is_empty();
        self.options.source = Source::Subscribe(wanted);
        if nothing {
            self.rest();
        } else {
            self.tell_subscription();
        }
        let cluster = self.net.cluster();
        self.topics.look(&cluster, clock::now());
        if let Some(map) = self.topics.map(&cluster, false) {
            self.tell_group(Input::Metadata(map));
        }
        self.acks.push((reply, Ok(())));
    }

    pub(super) fn rejoin(&mut self, reason: Arc<str>, reply: oneshot::Sender<Result<()>>) {
        let outcome = self.check_member();
        if outcome.is_ok() {
            self.tell_group(Input::Rejoin { reason });
        }
        self.acks.push((reply, outcome));
    }

    pub(super) fn group_metadata(&self) -> Result<GroupMetadata> {
        let (Some(config), Some(group)) = (&self.options.group, &self.group) else {
            let error = Error::new(ErrorKind::Configuration, "the consumer has no group");
            return Err(error.remedy("name one with group()"));
        };
        let (member_id, generation) = group.member().unwrap_or_else(|| ("".into(), -1));
        Ok(GroupMetadata {
            group_id: config.group_id.clone(),
            member_id,
            generation,
            instance_id: config.instance_id.clone(),
        })
    }

    fn check_member(&self) -> Result<()> {
        if self.closing.is_some() {
            return Err(super::command::closed());
        }
        if !self.options.source.is_member() {
            let what = "a consumer that was given its partitions with assign() is no member of a group";
            return Err(Error::new(ErrorKind::Configuration, what).remedy("start it with subscribe()"));
        }
        Ok(())
    }

    pub(super) fn on_protocol(&mut self, protocol: GroupProtocol) {
        tracing::info!(?protocol, "the group's protocol");
        self.topics.settle(protocol);
        // What is no news to the group changes nothing there.
        self.tell_subscription();
    }

    // Names of topics that were assigned by their ids.

    /// The group wants these and no others named. It asks again, with growing pauses, until they are.
    pub(super) fn want_names(&mut self, ids: Vec<Uuid>) {
        self.naming.ids = ids;
        let cluster = self.net.cluster();
        if self.name_known(&cluster)
            && let Some(map) = self.topics.map(&cluster, true)
        {
            self.tell_group(Input::Metadata(map));
        }
        self.ask_names();
    }

    /// Names what the metadata know by now. True when that is news for the group.
    fn name_known(&mut self, cluster: &Cluster) -> bool {
        let before = self.naming.ids.len();
        let topics = &mut self.topics;
        self.naming.ids.retain(|id| match cluster.topic_by_id(*id) {
            Some((name, topic)) if !topic.partitions.is_empty() => {
                topics.name(name);
                false
            }
            _ => true,
        });
        self.naming.ids.len() < before
    }

    fn ask_names(&mut self) {
        if self.naming.ids.is_empty() || self.naming.under_way {
            return;
        }
        self.naming.under_way = true;
        let ids = self.naming.ids.iter().take(IDS).copied().collect();
        self.calls.push(calls::names(self.net.clone(), ids));
    }

    /// A broker told names, or not: then the broker may be behind.
    pub(super) fn on_names(&mut self, outcome: Result<Vec<(Uuid, Arc<str>)>>) {
        self.naming.under_way = false;
        match outcome {
            Ok(names) => {
                let wanted = names.into_iter().filter(|(id, _)| self.naming.ids.binary_search(id).is_ok());
                let wanted: Vec<Arc<str>> = wanted.map(|(_, name)| name).collect();
                for name in &wanted {
                    self.topics.name(name);
                }
                if !wanted.is_empty() {
                    // One that was known before under another id does not become new by being tracked.
                    self.net.request_refresh();
                }
            }
            Err(error) => tracing::warn!(%error, "no names of the topics that were assigned"),
        }
    }

    // Topics that were deleted and created again.

    /// Begins anew in topics that only have the name of what was read before.
    pub(super) fn restart_recreated(&mut self, cluster: &Cluster) {
        let placements = self.slots.look_at_topics(cluster);
        if placements.is_empty() {
            return;
        }
        let topics: SortedSet<Arc<str>> = placements.iter().map(|p| p.partition.topic.clone()).collect();
        tracing::warn!(?topics, "topics were deleted and created again: they are read anew");
        // What is being given up belonged to the old ones, too.
        for placement in self.given.values().flat_map(|given| &given.placements) {
            if topics.contains(&*placement.partition.topic) {
                placement.forsake();
            }
        }
        placements.iter().for_each(|placement| self.stop(placement));
        self.ask_committed(placements);
    }
}
