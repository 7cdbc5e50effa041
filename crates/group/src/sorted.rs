use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// Values in ascending order, each once, in one list: to be read as a slice.
///
/// For sets that are made at once and then looked at. To add or to remove one value moves all that follow it, so that many are better
/// collected, or kept by [`retain`](SortedSet::retain).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortedSet<T>(Vec<T>);

impl<T> SortedSet<T> {
    /// Without values.
    pub const fn new() -> Self {
        SortedSet(Vec::new())
    }

    /// Keeps the values for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// Takes all values out.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T: Ord> SortedSet<T> {
    fn find<Q: Ord + ?Sized>(&self, value: &Q) -> Result<usize, usize>
    where
        T: Borrow<Q>,
    {
        self.0.binary_search_by(|other| other.borrow().cmp(value))
    }

    /// Whether a value is in it. Takes a number of steps that grows with the logarithm of its length.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.find(value).is_ok()
    }

    /// The value that is equal to this one.
    pub fn get<Q: Ord + ?Sized>(&self, value: &Q) -> Option<&T>
    where
        T: Borrow<Q>,
    {
        self.find(value).ok().map(|place| &self.0[place])
    }

    /// Adds a value. False when it was there.
    pub fn insert(&mut self, value: T) -> bool {
        let place = self.find(&value);
        if let Err(place) = place {
            self.0.insert(place, value);
        }
        place.is_err()
    }

    /// Takes a value out. False when it was not there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        let place = self.find(value);
        if let Ok(place) = place {
            self.0.remove(place);
        }
        place.is_ok()
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        SortedSet::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for SortedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

impl<T> Deref for SortedSet<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> From<Vec<T>> for SortedSet<T> {
    fn from(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        values.dedup();
        SortedSet(values)
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for SortedSet<T> {
    fn from(values: [T; N]) -> Self {
        Vec::from(values).into()
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<T: Ord> Extend<T> for SortedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.0.extend(values);
        *self = std::mem::take(&mut self.0).into();
    }
}

impl<T> IntoIterator for SortedSet<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_a_tree_would(
            first in prop::collection::vec(0..20u8, 0..30),
            then in prop::collection::vec(0..20u8, 0..30),
            steps in prop::collection::vec((any::<bool>(), 0..20u8), 0..30),
        ) {
            let mut tree: BTreeSet<u8> = first.iter().copied().collect();
            let mut set: SortedSet<u8> = first.into_iter().collect();
            tree.extend(then.iter().copied());
            set.extend(then);
            prop_assert!(set.iter().eq(&tree));
            for (add, value) in steps {
                let (in_tree, in_set) = match add {
                    true => (tree.insert(value), set.insert(value)),
                    false => (tree.remove(&value), set.remove(&value)),
                };
                prop_assert_eq!(in_tree, in_set);
                prop_assert_eq!(tree.contains(&value), set.contains(&value));
                prop_assert!(set.iter().eq(&tree));
            }
            tree.retain(|value| value % 2 == 0);
            set.retain(|value| value % 2 == 0);
            prop_assert!(set.into_iter().eq(tree));
        }
    }

    #[test]
    fn is_asked_by_what_its_values_can_be_compared_as() {
        let mut set: SortedSet<Arc<str>> = SortedSet::from(["b".into(), "a".into(), "b".into()]);
        assert!(set.contains("a") && !set.contains("c"));
        assert_eq!((set.remove("b"), set.remove("b"), set.len()), (true, false, 1));
    }
}
