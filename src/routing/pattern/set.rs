//! Values that are looked up, in no more memory than they take.

use std::borrow::Borrow;

/// Values, each once. Most conditions have one: a hash table for it would take five times the memory, and the look-up longer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::routing) struct Set<T> {
    /// Ascending.
    values: Box<[T]>,
}

impl<T: Ord> Set<T> {
    /// Whether it has the value.
    pub(super) fn contains<V: Ord + ?Sized>(&self, value: &V) -> bool
    where
        T: Borrow<V>,
    {
        self.values.binary_search_by(|own| own.borrow().cmp(value)).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(in crate::routing) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.values.iter()
    }
}

impl<T: Ord> From<Vec<T>> for Set<T> {
    fn from(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self { values: values.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_it_was_made_of(values: Vec<u8>, other: u8) {
            let set = Set::from(values.clone());
            prop_assert!(values.iter().all(|value| set.contains(value)));
            prop_assert_eq!(set.contains(&other), values.contains(&other));
            prop_assert_eq!(set.is_empty(), values.is_empty());
            prop_assert!(set.iter().is_sorted_by(|a, b| a < b));
        }
    }
}
