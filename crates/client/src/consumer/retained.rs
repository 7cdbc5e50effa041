//! The budget of retained bytes, as the shell gives it back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::core::fetch::Charge;

/// A share of the budget that wakes the driver when its return makes a difference.
#[derive(Debug)]
pub(super) struct Retained {
    charge: Charge,
    room: Arc<Notify>,
}

impl Retained {
    pub(super) fn new(charge: Charge, room: Arc<Notify>) -> Self {
        Retained { charge, room }
    }

    /// Counts `bytes` more for the same partition, until they are dropped.
    pub(super) fn more(&self, bytes: usize) -> Retained {
        Retained { charge: self.charge.more(bytes), room: self.room.clone() }
    }

    /// `content` as bytes that count against the budget as long as any part of them is held.
    pub(super) fn count<T: AsRef<[u8]> + Send + 'static>(&self, content: T) -> Bytes {
        let retained = self.more(content.as_ref().len());
        retained.with(content)
    }

    /// `content` as bytes whose last reference ends this share.
    pub(super) fn with<T: AsRef<[u8]> + Send + 'static>(self, content: T) -> Bytes {
        Bytes::from_owner(Counted { content, _retained: self })
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if self.charge.give_back() {
            self.room.notify_one();
        }
    }
}

struct Counted<T> {
    content: T,
    _retained: Retained,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Counted<T> {
    fn as_ref(&self) -> &[u8] {
        self.content.as_ref()
    }
}
