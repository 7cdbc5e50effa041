//! Where a core and its application meet: what one says to the other passes here, whoever carries the rest.

use std::sync::Arc;

use litemap::LiteMap;
use tokio::sync::{Notify, mpsc, watch};

use super::chunk::Chunk;
use super::command::{Commands, Control, Item, Request, Waiter};
#[cfg(feature = "simulation")]
use super::core::Heard;
use super::core::fetch::{FetchCall, IsolationLevel, LeaderHint};
use super::core::{Ask, Handed, Input, MemberCall, Output, Pulse, Snapshot, Wish};
use super::front::FrontEnds;
use super::handle::ConsumerHandle;
use super::retained::Retained;

/// See the [module](self).
pub(super) struct Desk {
    control: mpsc::UnboundedSender<Control>,
    items: mpsc::UnboundedSender<Item>,
    assignment: watch::Sender<Arc<Snapshot>>,
    /// Rung when the budget has room that the core waits for.
    room: Arc<Notify>,
    waiters: LiteMap<Ask, Waiter>,
    last_ask: u64,
}

/// What a core wants of the rest of the world.
#[allow(clippy::large_enum_variant)]
pub(super) enum Errand {
    Fetch(FetchCall),
    /// As [`Fetch`](Self::Fetch), without anybody who waits for its end.
    Farewell(FetchCall),
    Group(MemberCall),
    Wish(Wish),
    LeaderHint(LeaderHint),
    /// The core has ended. The application was told.
    End,
    #[cfg(feature = "simulation")]
    Heard(Heard),
}

/// All that a consumer consists of beside its core.
pub(super) struct Connected {
    pub(super) desk: Desk,
    /// What the application asks for.
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) front: FrontEnds,
    pub(super) handle: ConsumerHandle,
}

impl Desk {
    /// A desk with its two sides. `pulse` is shared with the core.
    pub(super) fn connect(isolation: IsolationLevel, pulse: Arc<Pulse>) -> Connected {
        let (commands, requests) = mpsc::unbounded_channel();
        let (control, control_end) = mpsc::unbounded_channel();
        let (items, items_end) = mpsc::unbounded_channel();
        let (assignment, assignment_end) = watch::channel(Arc::default());
        let desk =
            Desk { control, items, assignment, room: Arc::default(), waiters: LiteMap::new(), last_ask: 0 };
        Connected {
            desk,
            requests,
            front: FrontEnds { control: control_end, items: items_end, pulse },
            handle: ConsumerHandle::new(Commands(commands), assignment_end, isolation),
        }
    }

    pub(super) fn room(&self) -> Arc<Notify> {
        self.room.clone()
    }

    /// Takes a request of the application's: what the core is to be told.
    pub(super) fn take(&mut self, Request { command, waiter }: Request) -> Input {
        let ask = waiter.map(|waiter| {
            self.last_ask += 1;
            let ask = Ask(self.last_ask);
            self.waiters.insert(ask, waiter);
            ask
        });
        Input::Command { command, ask }
    }

    /// Passes on what is for the application, and gives back what is for others.
    pub(super) fn pass(&mut self, output: Output) -> Option<Errand> {
        // A consumer that was dropped has nobody to tell.
        match output {
            Output::Fetch(call) => return Some(Errand::Fetch(call)),
            Output::Farewell(call) => return Some(Errand::Farewell(call)),
            Output::Group(call) => return Some(Errand::Group(call)),
            Output::Wish(wish) => return Some(Errand::Wish(wish)),
            Output::LeaderHint(hint) => return Some(Errand::LeaderHint(hint)),
            #[cfg(feature = "simulation")]
            Output::Heard(heard) => return Some(Errand::Heard(heard)),
            Output::Assignment(snapshot) => drop(self.assignment.send_replace(Arc::new(snapshot))),
            Output::Answer(ask, answer) => {
                if let Some(waiter) = self.waiters.remove(&ask) {
                    waiter.answer(answer);
                }
            }
            Output::Told(told) => drop(self.control.send(Control::Told(told))),
            Output::Handed(handed) => self.hand(handed),
            Output::Ended(reason) => {
                let _ = self.control.send(Control::Ended(reason));
                return Some(Errand::End);
            }
        }
        None
    }

    fn hand(&mut self, handed: Handed) {
        let item = match handed {
            Handed::Records { placement, fetched } => {
                Item::Records(Chunk::new(fetched, placement, self.room.clone()))
            }
            // Counts the bytes back, and rings if somebody waits for them.
            Handed::Late(fetched) => return drop(Retained::new(fetched.charge, self.room.clone())),
            Handed::Position { placement, offset } => Item::Position { placement, offset },
            Handed::Failed { placements, error } => Item::Failed { placements, error },
        };
        let _ = self.items.send(item);
    }
}
