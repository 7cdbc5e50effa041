//! The coordinator's assignors: who is to have what in the end.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kavka_wire::Uuid;

use super::Partitions;

/// The assignors that members may ask for.
pub(super) const ASSIGNORS: &[&str] = &[DEFAULT_ASSIGNOR, "range"];
/// The assignor when nobody asks for one.
pub(crate) const DEFAULT_ASSIGNOR: &str = "uniform";

/// A member as assignors see it.
pub(super) struct Spec<'a> {
    pub(super) id: &'a Arc<str>,
    pub(super) instance_id: Option<&'a str>,
    /// What it subscribes to, of the topics that there are.
    pub(super) topics: BTreeSet<Uuid>,
    /// Its last target.
    pub(super) before: Option<&'a Partitions>,
}

/// How many partitions each topic has.
type Sizes = BTreeMap<Uuid, i32>;
type Targets = BTreeMap<Arc<str>, Partitions>;

/// `same` says that all members want the same.
pub(super) fn assign(assignor: &str, members: &[Spec<'_>], sizes: &Sizes, same: bool) -> Targets {
    match assignor {
        "range" => range::assign(members, sizes),
        _ => uniform::assign(members, sizes, same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: u8) -> Uuid {
        Uuid([n; 16])
    }

    fn ids(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| Arc::from(format!("m{n:02}"))).collect()
    }

    fn run(assignor: &str, ids: &[Arc<str>], topics: &[&[u8]], sizes: &Sizes, before: &Targets) -> Targets {
        let spec = |(id, topics): (&'_ Arc<str>, &&[u8])| {
            (id.clone(), topics.iter().map(|n| topic(*n)).collect::<BTreeSet<_>>())
        };
        let wanted: Vec<_> = ids.iter().zip(topics).map(spec).collect();
        let specs: Vec<Spec<'_>> = wanted
            .iter()
            .map(|(id, topics)| Spec {
                id,
                instance_id: None,
                topics: topics.clone(),
                before: before.get(id),
            })
            .collect();
        let same = topics.windows(2).all(|pair| pair[0] == pair[1]);
        assign(assignor, &specs, sizes, same)
    }

    /// Everything that somebody wants has exactly one owner, who wants it.
    fn check(targets: &Targets, ids: &[Arc<str>], topics: &[&[u8]], sizes: &Sizes) {
        let mut all = BTreeSet::new();
        for (id, wanted) in ids.iter().zip(topics) {
            for (place, index) in targets.get(id).into_iter().flatten() {
                assert!(wanted.iter().any(|n| topic(*n) == *place), "{id} does not want {place}");
                assert!(all.insert((*place, *index)), "{place}-{index} has two owners");
            }
        }
        let wanted: BTreeSet<Uuid> = topics.iter().flat_map(|t| t.iter().map(|n| topic(*n))).collect();
        let count: i32 = wanted.iter().filter_map(|id| sizes.get(id)).sum();
        assert_eq!(all.len() as i32, count, "{targets:?}");
    }

    fn counts(targets: &Targets) -> Vec<usize> {
        targets.values().map(BTreeSet::len).collect()
    }

    #[test]
    fn uniform_spreads_evenly_and_moves_as_little_as_it_can() {
        let sizes = Sizes::from([(topic(1), 7), (topic(2), 4)]);
        let all: &[u8] = &[1, 2];
        let mut before = Targets::new();
        for size in [1, 2, 3, 5, 11, 4, 12, 2, 1] {
            let (ids, topics) = (ids(size), vec![all; size]);
            let after = run("uniform", &ids, &topics, &sizes, &before);
            check(&after, &ids, &topics, &sizes);
            let counts = counts(&after);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            // Nobody who stays and has no more than its share loses anything.
            for id in &ids {
                let (had, has) = (before.get(id).cloned().unwrap_or_default(), &after[id]);
                if had.len() <= 11 / size {
                    assert!(had.is_subset(has), "{size} members: {had:?} became {has:?}");
                }
            }
            assert_eq!(
                run("uniform", &ids, &topics, &sizes, &after),
                after,
                "nothing changed, nothing moves"
            );
            before = after;
        }
    }

    #[test]
    fn uniform_leaves_the_larger_share_to_who_has_it() {
        let sizes = Sizes::from([(topic(1), 5)]);
        let ids = ids(2);
        let had = |all: &[i32]| all.iter().map(|index| (topic(1), *index)).collect::<Partitions>();
        let before = Targets::from([(ids[0].clone(), had(&[0, 1])), (ids[1].clone(), had(&[2, 3, 4]))]);
        assert_eq!(run("uniform", &ids, &[&[1], &[1]], &sizes, &before), before);
    }

    #[test]
    fn uniform_balances_members_that_want_different_topics() {
        let sizes = Sizes::from([(topic(1), 6), (topic(2), 3), (topic(3), 1)]);
        let ids = ids(3);
        let topics: &[&[u8]] = &[&[1, 2], &[2], &[2, 3]];
        let first = run("uniform", &ids, topics, &sizes, &Targets::new());
        check(&first, &ids, topics, &sizes);
        assert_eq!(first[&ids[0]].len(), 6, "the only one who wants topic 1");
        assert!(first[&ids[1]].len() + first[&ids[2]].len() == 4 && first[&ids[1]].len() == 2, "{first:?}");
        assert_eq!(run("uniform", &ids, topics, &sizes, &first), first);
        // The third now wants topic 1 as well, and takes its share of it.
        let topics: &[&[u8]] = &[&[1, 2], &[2], &[1, 2, 3]];
        let second = run("uniform", &ids, topics, &sizes, &first);
        check(&second, &ids, topics, &sizes);
        assert!(second[&ids[0]].is_subset(&first[&ids[0]]), "{second:?}");
        let counts = counts(&second);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 2, "{counts:?}");
    }

    #[test]
    fn range_gives_the_same_numbers_of_every_topic() {
        let sizes = Sizes::from([(topic(1), 3), (topic(2), 3)]);
        let ids = ids(2);
        let topics: &[&[u8]] = &[&[1, 2], &[1, 2]];
        let targets = run("range", &ids, topics, &sizes, &Targets::new());
        check(&targets, &ids, topics, &sizes);
        let numbers = |id: &Arc<str>| targets[id].iter().map(|(_, index)| *index).collect::<Vec<_>>();
        assert_eq!((numbers(&ids[0]), numbers(&ids[1])), (vec![0, 1, 0, 1], vec![2, 2]));
    }

    #[test]
    fn range_leaves_out_who_does_not_subscribe() {
        let sizes = Sizes::from([(topic(1), 4), (topic(2), 1)]);
        let ids = ids(3);
        let topics: &[&[u8]] = &[&[1], &[2], &[1, 2]];
        let targets = run("range", &ids, topics, &sizes, &Targets::new());
        check(&targets, &ids, topics, &sizes);
        assert_eq!(counts(&targets), [2, 1, 2]);
    }

    #[test]
    fn range_puts_static_members_first() {
        let sizes = Sizes::from([(topic(1), 1)]);
        let (early, late): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("z"));
        let spec = |id, instance_id| Spec { id, instance_id, topics: [topic(1)].into(), before: None };
        let targets = assign("range", &[spec(&early, None), spec(&late, Some("i"))], &sizes, true);
        assert_eq!((targets[&early].len(), targets[&late].len()), (0, 1));
    }
}
