//! What a look-up has found so far.

use std::collections::BTreeSet;

/// The lists that were found, each once.
#[derive(Debug, Default)]
pub(super) struct Found {
    lists: Vec<usize>,
    /// How many of them are known to differ.
    distinct: usize,
    /// Lists of fields that have to be absent, and are there.
    there: Vec<usize>,
    /// The first lists of groups that were added as a whole.
    whole: BTreeSet<usize>,
}

/// So many may repeat each other before they are sorted out.
const SLACK: usize = 1_024;

impl Found {
    /// Adds a list. An array may have the same value a million times, so the memory is bounded by the lists, not by the finds.
    pub(super) fn add(&mut self, list: usize) {
        if self.lists.last() == Some(&list) {
            return;
        }
        self.lists.push(list);
        if self.lists.len() > 2 * self.distinct + SLACK {
            self.sort_out();
        }
    }

    fn sort_out(&mut self) {
        self.lists.sort_unstable();
        self.lists.dedup();
        self.distinct = self.lists.len();
    }

    /// How many finds it has room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lists.capacity()
    }

    /// Whether the group of lists with this first one is to be added as a whole now: it has not been.
    pub(super) fn adds_all_of(&mut self, first: usize) -> bool {
        self.whole.insert(first)
    }

    /// Notes that a field is there, by the list of the rules for which it has to be absent.
    pub(super) fn is_there(&mut self, list: usize) {
        self.there.push(list);
    }

    /// The lists, and those of `absent` whose field is not there, ascending.
    pub(super) fn into_lists(mut self, absent: &[usize]) -> Vec<usize> {
        if !absent.is_empty() {
            self.there.sort_unstable();
            self.lists.extend(absent.iter().filter(|list| self.there.binary_search(list).is_err()));
        }
        self.sort_out();
        self.lists
    }
}
