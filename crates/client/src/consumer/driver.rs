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
use litemap::LiteMap;
use tokio::sync::{Notify, mpsc, watch};

use super::calls::{self, Calls, Done, Lanes};
use super::chunk::Chunk;
use super::command::{Control, Item, Request, Waiter};
use super::core::{Ask, Core, Handed, Input, Output, Snapshot, Wish};
use super::retained::Retained;
use crate::Error;

/// The channels between a driver and its consumer.
pub(super) struct Ends {
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) items: mpsc::UnboundedSender<Item>,
    pub(super) assignment: watch::Sender<Arc<Snapshot>>,
}

/// See the [module](self).
pub(super) struct Driver {
    core: Core,
    net: Net,
    lanes: Lanes,
    calls: Calls,
    ends: Ends,
    /// Rung when the budget has room that the core waits for.
    room: Arc<Notify>,
    waiters: LiteMap<Ask, Waiter>,
    last_ask: u64,
    tracked: Tracked,
}

impl Driver {
    pub(super) fn new(net: Net, core: Core, ends: Ends) -> Self {
        let mut driver = Driver {
            core,
            lanes: Lanes::new(&net),
            calls: Calls::default(),
            ends,
            room: Arc::default(),
            waiters: LiteMap::new(),
            last_ask: 0,
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
        let room = self.room.clone();
        let cluster = changes.borrow_and_update().clone();
        self.tell(Input::Cluster(cluster));
        while !self.drain() {
            let due = self.core.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
            // In a stated order: what was asked for is answered before more is asked, and time passes when nothing else happens.
            tokio::select! {
                biased;
                done = self.calls.next() => self.on_done(done),
                request = self.ends.requests.recv() => match request {
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
            if let Output::Ended(reason) = output {
                // A consumer that was dropped has nobody to tell.
                let _ = self.ends.control.send(Control::Ended(reason));
                return true;
            }
            self.carry(output);
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
        while let Ok(request) = self.ends.requests.try_recv() {
            self.on_request(request);
        }
    }

    fn on_request(&mut self, Request { command, waiter }: Request) {
        let ask = waiter.map(|waiter| {
            self.last_ask += 1;
            let ask = Ask(self.last_ask);
            self.waiters.insert(ask, waiter);
            ask
        });
        self.tell(Input::Command { command, ask });
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Fetch(call) => self.calls.push(calls::fetch(self.net.clone(), self.lanes, call)),
            Output::Farewell(call) => {
                tokio::spawn(calls::fetch(self.net.clone(), self.lanes, call));
            }
            Output::Group(call) => self.calls.push(calls::group(self.net.clone(), self.lanes, call)),
            Output::Wish(wish) => self.wish(wish),
            Output::LeaderHint(hint) => {
                let endpoints = hint.endpoint.into_iter().collect();
                self.net.leader_hint(hint.topic, hint.partition, hint.leader, hint.leader_epoch, endpoints);
            }
            Output::Assignment(snapshot) => drop(self.ends.assignment.send_replace(Arc::new(snapshot))),
            Output::Answer(ask, answer) => {
                if let Some(waiter) = self.waiters.remove(&ask) {
                    waiter.answer(answer);
                }
            }
            // A consumer that was dropped has nobody to tell, and ends this task.
            Output::Told(told) => drop(self.ends.control.send(Control::Told(told))),
            Output::Handed(handed) => self.handed(handed),
            // It was taken out of the queue before.
            Output::Ended(_) => {}
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

    fn handed(&mut self, handed: Handed) {
        let item = match handed {
            Handed::Records { placement, fetched } => {
                Item::Records(Chunk::new(fetched, placement, self.room.clone()))
            }
            // Counts the bytes back, and rings if somebody waits for them.
            Handed::Late(fetched) => return drop(Retained::new(fetched.charge, self.room.clone())),
            Handed::Position { placement, offset } => Item::Position { placement, offset },
            Handed::Failed { placements, error } => Item::Failed { placements, error },
        };
        let _ = self.ends.items.send(item);
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
