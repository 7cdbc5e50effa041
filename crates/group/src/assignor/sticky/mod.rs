//! `sticky` and `cooperative-sticky`: shares that are as even as can be, and as much as they can be what members had before.

mod data;
mod general;
mod input;
mod moves;
mod racks;
mod uniform;

use bytes::Bytes;

use super::{Assignment, Assignor, GroupSubscription, MemberSubscription, RebalanceProtocol};
use crate::{SortedSet, TopicMap, TopicPartition};
use data::{Claim, NO_GENERATION};
use input::{Holders, Input, NOBODY};
use racks::Racks;

/// Shares evenly and leaves with members what they had (`sticky`, KIP-54). Members give up everything before they rejoin; they tell
/// in their user data what they had.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sticky;

/// Shares as [`Sticky`] does, but members keep what they have while they rejoin (`cooperative-sticky`, KIP-429). What goes from one
/// member to another is given to nobody at first, and to its new owner in the rebalance that follows when the old one gave it up.
#[derive(Debug, Clone, Copy, Default)]
pub struct CooperativeSticky;

impl Assignor for Sticky {
    fn name(&self) -> &str {
        "sticky"
    }

    fn user_data(&self, owned: &SortedSet<TopicPartition>, generation: Option<i32>) -> Option<Bytes> {
        Some(data::for_sticky(owned, generation?))
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let shares = Shared::new(group, topics, data::of_sticky);
        shares.input.assignment(shares.owners)
    }
}

impl Assignor for CooperativeSticky {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    fn user_data(&self, _: &SortedSet<TopicPartition>, generation: Option<i32>) -> Option<Bytes> {
        Some(data::for_cooperative(generation.unwrap_or(NO_GENERATION)))
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let mut shares = Shared::new(group, topics, data::of_cooperative);
        match shares.input.uniform {
            true => shares.withhold_moved(),
            false => shares.withhold_owned(),
        }
        shares.input.assignment(shares.owners)
    }
}

/// A group with the owner of each partition.
struct Shared<'a> {
    input: Input<'a>,
    holders: Holders,
    owners: Vec<u32>,
}

impl<'a> Shared<'a> {
    fn new(
        group: &'a GroupSubscription,
        topics: &TopicMap,
        claim: fn(&MemberSubscription) -> Claim<'_>,
    ) -> Self {
        let input = Input::new(group, topics, claim);
        let holders = input.holders();
        let racks = Racks::new(&input, topics);
        let owners = match input.uniform {
            true => uniform::share(&input, racks.as_ref(), &holders),
            false => general::share(&input, racks.as_ref(), &holders),
        };
        Shared { input, holders, owners }
    }

    /// Gives to nobody what one member has and another is to get, and what two say they have.
    fn withhold_moved(&mut self) {
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            let moves = self.holders.holder(partition).is_some_and(|holder| holder != *owner);
            if moves || self.holders.disputed(partition) {
                *owner = NOBODY;
            }
        }
    }

    /// Gives to nobody what somebody else says to own than the one who is to get it. A claim that a later one made void is none: Kafka
    /// lets it pass here, and the partition has two owners until the later one hears of it.
    fn withhold_owned(&mut self) {
        let mut claimed = vec![false; self.owners.len()];
        let mut kept = vec![false; self.owners.len()];
        let mut owned = Vec::new();
        for (member, subscription) in self.input.members.iter().enumerate() {
            owned.clear();
            self.input.resolve(&subscription.owned, &mut owned);
            for &partition in &owned {
                claimed[partition] = true;
                kept[partition] |= self.owners[partition] == member as u32;
            }
        }
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            let void = self.holders.holder(partition).is_some_and(|holder| holder != *owner);
            if claimed[partition] && (!kept[partition] || void) {
                *owner = NOBODY;
            }
        }
    }
}
