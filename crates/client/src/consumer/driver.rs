//! The one task of a consumer: it carries between the core and the rest of the world, and decides nothing.
//!
//! ```text
//!  Consumer, handles ──requests──► Driver ──control, records──► Consumer
//!                                  │    ▲
//!                           calls  ▼    │ replies, metadata, room, time
//!                                  Net ─┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use kavka_net::{Net, clock};
use tokio::sync::mpsc;

use super::calls::{self, Calls, Done, Lanes};
use super::command::Request;
use super::core::{Core, Input, Wish};
use super::desk::{Desk, Errand};
use crate::Error;

/// See the [module](self).
pub(super) struct Driver {
    core: Core,
    net: Net,
    lanes: Lanes,
    calls: Calls,
    desk: Desk,
    requests: mpsc::UnboundedReceiver<Request>,
    tracked: Tracked,
}

impl Driver {
    pub(super) fn new(net: Net, core: Core, desk: Desk, requests: mpsc::UnboundedReceiver<Request>) -> Self {
        let mut driver = Driver {
            core,
            lanes: Lanes::new(&net),
            calls: Calls::default(),
            desk,
            requests,
            tracked: Tracked { net: net.clone(), topics: Vec::new(), all: false },
            net,
        };
        // Partitions that were assigned by hand are there from the start.
        driver.drain();
        driver
    }

    /// Runs until the consumer is closed or cannot go on. Dropped before, it leaves and commits nothing.
    pub(super) async fn run(mut self) {
        let mut changes = self.net.changes();
        let room = self.desk.room();
        let cluster = changes.borrow_and_update().clone();
        self.tell(Input::Cluster(cluster));
        while !self.drain() {
            let due = self.core.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
            // In a stated order: what was asked for is answered before more is asked, and time passes when nothing else happens.
            tokio::select! {
                biased;
                done = self.calls.next() => self.on_done(done),
                request = self.requests.recv() => match request {
                    Some(request) => self.on_requests(request),
                    None => return,
                },
                changed = changes.changed() => {
                    let input = match changed {
                        Ok(()) => Input::Cluster(changes.borrow_and_update().clone()),
                        Err(_) => Input::ClientClosed,
                    };
                    self.tell(input);
                }
                () = room.notified() => self.tell(Input::Room),
                () = tokio::time::sleep_until(due.into()) => self.tell(Input::Timeout),
            }
        }
    }

    /// Carries out all that the core says. True: it was the last.
    fn drain(&mut self) -> bool {
        while let Some(output) = self.core.poll() {
            match self.desk.pass(output) {
                Some(Errand::End) => return true,
                Some(errand) => self.carry(errand),
                None => {}
            }
        }
        false
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(clock::now(), input);
    }

    fn on_done(&mut self, done: Done) {
        self.tell(match done {
            Done::Fetch(token, result) => Input::Fetch { token, result },
            Done::Group { membership, token, result } => Input::Group { membership, token, result },
            Done::Refreshed(outcome) => Input::Refreshed(outcome),
            Done::Named(outcome) => Input::Named(outcome),
            Done::NetClosed => Input::ClientClosed,
        });
    }

    fn on_requests(&mut self, first: Request) {
        self.on_request(first);
        // All that is there, before anything is planned.
        while let Ok(request) = self.requests.try_recv() {
            self.on_request(request);
        }
    }

    fn on_request(&mut self, request: Request) {
        let input = self.desk.take(request);
        self.tell(input);
    }

    fn carry(&mut self, errand: Errand) {
        match errand {
            Errand::Fetch(call) => self.calls.push(calls::fetch(self.net.clone(), self.lanes, call)),
            Errand::Farewell(call) => {
                tokio::spawn(calls::fetch(self.net.clone(), self.lanes, call));
            }
            Errand::Group(call) => self.calls.push(calls::group(self.net.clone(), self.lanes, call)),
            Errand::Wish(wish) => self.wish(wish),
            Errand::LeaderHint(hint) => {
                let endpoints = hint.endpoint.into_iter().collect();
                self.net.leader_hint(hint.topic, hint.partition, hint.leader, hint.leader_epoch, endpoints);
            }
            // Nothing is left to carry.
            Errand::End => {}
            #[cfg(feature = "simulation")]
            Errand::Heard(_) => {}
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Track(topics) => self.tracked.add(topics),
            Wish::Untrack(topics) => self.tracked.remove(topics),
            Wish::TrackAll(all) => self.tracked.set_all(all),
            Wish::AskSoon => self.net.request_refresh(),
            Wish::Refresh => {
                let (net, timeout) = (self.net.clone(), self.net.request_timeout());
                self.calls.push(async move {
                    let outcome = net.refresh(clock::after(timeout)).await;
                    Done::Refreshed(outcome.map_err(Error::from))
                });
            }
            Wish::Names(ids) => self.calls.push(calls::names(self.net.clone(), ids)),
        }
    }
}

impl Drop for Driver {
    /// However it ended: connections that nobody else uses are not kept until they have been idle for long.
    fn drop(&mut self) {
        self.lanes.release(&self.net);
    }
}

/// The topics whose metadata this consumer asked to be kept, until it ends.
struct Tracked {
    net: Net,
    topics: Vec<Arc<str>>,
    all: bool,
}

impl Tracked {
    fn add(&mut self, topics: Vec<Arc<str>>) {
        self.net.track(topics.iter().cloned());
        self.topics.extend(topics);
    }

    fn remove(&mut self, topics: Vec<Arc<str>>) {
        for topic in &topics {
            if let Some(at) = self.topics.iter().position(|tracked| tracked == topic) {
                self.topics.swap_remove(at);
            }
        }
        self.net.untrack(topics);
    }

    fn set_all(&mut self, all: bool) {
        if std::mem::replace(&mut self.all, all) != all {
            self.net.track_all(all);
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.set_all(false);
        self.net.untrack(std::mem::take(&mut self.topics));
    }
}
