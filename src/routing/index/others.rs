//! The conditions, among many, that do not exclude a value.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use super::found::Found;
use crate::routing::pattern::But;

/// Conditions that anything satisfies but a few values of one type. A look-up costs as much as it finds: for a value that most
/// of the conditions exclude, the others are kept.
#[derive(Debug)]
pub(super) struct Others<V> {
    /// The list of each condition, ascending.
    all: Vec<usize>,
    by_value: HashMap<V, Named>,
}

/// What is known of a value that some condition excludes: ascending lists.
#[derive(Debug)]
enum Named {
    /// Those of the conditions that exclude it: at most half of all.
    Excluded(Vec<usize>),
    /// Those of the others.
    Left(Vec<usize>),
}

impl<V: Hash + Ord + Clone> Others<V> {
    /// These conditions, each with its list. `None` for none.
    pub(super) fn new(mut conditions: Vec<(usize, But<'_, V>)>) -> Option<Self> {
        conditions.sort_unstable_by_key(|(list, _)| *list);
        let all: Vec<usize> = conditions.iter().map(|(list, _)| *list).collect();
        let mut excluded: HashMap<&V, Vec<usize>> = HashMap::new();
        for (list, But(values)) in conditions {
            values.iter().for_each(|value| excluded.entry(value).or_default().push(list));
        }
        let named = |excluded: Vec<usize>| {
            if excluded.len() > all.len() / 2 {
                Named::Left(without(&all, &excluded).collect())
            } else {
                Named::Excluded(excluded)
            }
        };
        let by_value = excluded.into_iter().map(|(value, lists)| (value.clone(), named(lists))).collect();
        (!all.is_empty()).then_some(Self { all, by_value })
    }

    /// How many values some condition excludes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_value.len()
    }

    /// Adds the list of each condition that does not exclude the value; `None` is one of another type. After the first of several
    /// in an array all are added, once: hardly any is left out then, and a million values would be looked up in vain.
    pub(super) fn find<Q: Hash + Eq + ?Sized>(&self, value: Option<&Q>, is_first: bool, found: &mut Found)
    where
        V: Borrow<Q>,
    {
        if !is_first {
            if self.all.first().is_some_and(|first| found.adds_all_of(*first)) {
                self.all.iter().for_each(|list| found.add(*list));
            }
            return;
        }
        match value.and_then(|value| self.by_value.get(value)) {
            None => self.all.iter().for_each(|list| found.add(*list)),
            Some(Named::Excluded(excluded)) => without(&self.all, excluded).for_each(|list| found.add(list)),
            Some(Named::Left(left)) => left.iter().for_each(|list| found.add(*list)),
        }
    }
}

/// What is in `all` but not in `excluded`, which is part of it. Both ascend.
fn without(all: &[usize], excluded: &[usize]) -> impl Iterator<Item = usize> {
    let mut excluded = excluded.iter().peekable();
    all.iter().filter(move |list| excluded.next_if_eq(list).is_none()).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing::pattern::Set;

    proptest! {
        #[test]
        fn it_finds_the_conditions_that_do_not_exclude_a_value(
            conditions: Vec<Vec<u8>>,
            value in proptest::option::of(0_u8..8),
        ) {
            let sets: Vec<Set<u8>> =
                conditions.iter().map(|values| values.iter().map(|value| value % 8).collect::<Vec<_>>().into()).collect();
            let others = Others::new(sets.iter().map(But).enumerate().collect());
            let find = |is_first: &[bool]| {
                let mut found = Found::default();
                if let Some(others) = &others {
                    for is_first in is_first {
                        others.find(value.as_ref(), *is_first, &mut found);
                    }
                }
                found.into_lists(&[])
            };
            let excludes = |set: &Set<u8>| value.is_some_and(|value| set.iter().any(|own| *own == value));
            let expected: Vec<usize> = (0..sets.len()).filter(|list| !excludes(&sets[*list])).collect();
            prop_assert_eq!(find(&[true]), expected);
            prop_assert_eq!(find(&[true, false, false]), (0..sets.len()).collect::<Vec<_>>());
        }
    }
}
