//! `range`: of each topic, every subscriber gets a row of neighbours; the first subscribers get one more.

use std::collections::BTreeSet;

use kavka_wire::Uuid;

use super::{Sizes, Spec, Targets};

pub(super) fn assign(members: &[Spec<'_>], sizes: &Sizes) -> Targets {
    let mut order: Vec<&Spec<'_>> = members.iter().collect();
    // Static members come first, in the order of their instance ids: those stay when member ids change.
    order.sort_by_key(|member| (member.instance_id.is_none(), member.instance_id, member.id));
    let mut targets: Targets = members.iter().map(|m| (m.id.clone(), BTreeSet::new())).collect();
    let topics: BTreeSet<Uuid> = members.iter().flat_map(|member| member.topics.iter().copied()).collect();
    for topic in topics {
        let size = sizes.get(&topic).copied().unwrap_or(0);
        let subscribers: Vec<_> = order.iter().filter(|member| member.topics.contains(&topic)).collect();
        let count = subscribers.len() as i32;
        let mut next = 0;
        for (index, member) in (0..count).zip(subscribers) {
            let share = size / count + i32::from(index < size % count);
            if let Some(target) = targets.get_mut(member.id) {
                target.extend((next..next + share).map(|partition| (topic, partition)));
            }
            next += share;
        }
    }
    targets
}
