//! What metadata mean for the group, the subscription and the fetches.

use std::sync::Arc;

use kavka_group::{GroupProtocol, Input};
use kavka_net::Cluster;
use kavka_wire::Uuid;

use super::Core;
use super::fetch::Input as FetchInput;
use crate::Result;

impl Core {
    pub(super) fn on_cluster(&mut self, cluster: Arc<Cluster>) {
        if cluster.generation == 0 || cluster.generation < self.cluster.generation {
            // What is known by now is newer.
            return;
        }
        self.cluster = cluster.clone();
        self.subscription.look(&cluster, self.now);
        // Before the group hears of it: offsets of the old topic are not to be committed in a rebalance for the new one.
        self.restart_recreated();
        // Before the topics: then a leader need not ask for them.
        if self.subscription.find(&cluster) {
            self.tell_subscription();
        }
        let named = self.subscription.name_known(&cluster);
        self.tell_topics(named);
        self.fetch(FetchInput::Cluster(cluster));
    }

    /// Tells the group what is known now, also when that is not news: it asked.
    pub(super) fn on_refreshed(&mut self, outcome: Result<Arc<Cluster>>) {
        match outcome {
            Ok(cluster) => {
                if cluster.generation > self.cluster.generation {
                    self.on_cluster(cluster);
                }
                let cluster = self.cluster.clone();
                if self.subscription.refreshed(&cluster) {
                    self.tell_subscription();
                }
                self.tell_topics(true);
            }
            Err(error) => tracing::warn!(%error, "no metadata for the group"),
        }
        self.subscription.refresh_ended(self.now);
    }

    /// Tells the group of the topics that it has to know, if they are news, or in any case.
    pub(super) fn tell_topics(&mut self, anyway: bool) {
        if self.member.has_group()
            && let Some(map) = self.subscription.map(&self.cluster, anyway)
        {
            self.tell_group(Input::Metadata(map));
        }
    }

    /// Tells the group what is to be consumed, as soon as that is known.
    pub(super) fn tell_subscription(&mut self) {
        if !self.options.source.is_member() || self.ending.is_under_way() {
            return;
        }
        // Told of nothing a member would leave for good: see `rest`.
        if let Some(subscription) = self.subscription.tell().filter(|subscription| !subscription.is_empty()) {
            self.tell_group(Input::Subscribe(subscription));
        }
    }

    pub(super) fn on_protocol(&mut self, protocol: GroupProtocol) {
        tracing::info!(?protocol, "the group's protocol");
        self.subscription.settle(protocol);
        // What is no news to the group changes nothing there.
        self.tell_subscription();
    }

    /// The group wants the names of topics that were assigned by their ids.
    pub(super) fn want_names(&mut self, ids: Vec<Uuid>) {
        let cluster = self.cluster.clone();
        if self.subscription.want_names(ids, &cluster) {
            self.tell_topics(true);
        }
    }
}
