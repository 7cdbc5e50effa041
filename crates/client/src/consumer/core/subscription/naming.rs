//! Topics that are assigned by their ids and have no names yet.

use std::sync::Arc;

use kavka_wire::Uuid;

/// How many ids one request asks for the names of.
const IDS: usize = 1000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// In order.
    ids: Vec<Uuid>,
    under_way: bool,
}

impl Naming {
    pub(super) fn want(&mut self, ids: Vec<Uuid>) {
        self.ids = ids;
    }

    /// Keeps what has no name. True when something got one.
    pub(super) fn retain(&mut self, nameless: impl FnMut(&Uuid) -> bool) -> bool {
        let before = self.ids.len();
        self.ids.retain(nameless);
        self.ids.len() < before
    }

    /// What to ask a broker for, if anything.
    pub(super) fn ask(&mut self) -> Option<Vec<Uuid>> {
        if self.ids.is_empty() || self.under_way {
            return None;
        }
        self.under_way = true;
        Some(self.ids.iter().take(IDS).copied().collect())
    }

    /// A broker answered: the names that are wanted.
    pub(super) fn answered(&mut self, names: Vec<(Uuid, Arc<str>)>) -> Vec<Arc<str>> {
        self.under_way = false;
        let wanted = names.into_iter().filter(|(id, _)| self.ids.binary_search(id).is_ok());
        wanted.map(|(_, name)| name).collect()
    }
}
