//! What a look-up has found so far.

/// The lists that were found, each once.
#[derive(Debug, Default)]
pub(super) struct Found {
    lists: Vec<usize>,
    /// How many of them are known to differ.
    distinct: usize,
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

    /// The lists, ascending.
    pub(super) fn into_lists(mut self) -> Vec<usize> {
        self.sort_out();
        self.lists
    }
}
