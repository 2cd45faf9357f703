//! The ranges, among many, that a number is in.

use crate::routing::pattern::{Exact, Range};

/// Ranges that are found by every number within them: a segment tree over the places that their bounds divide the numbers
/// into, which are each bound and what is between two.
#[derive(Debug)]
pub(super) struct Ranges {
    /// The bounds, ascending.
    bounds: Vec<Exact>,
    /// The lists of each node; node `n` has the children `2 n` and `2 n + 1`, and the last half are the places.
    nodes: Vec<Vec<usize>>,
}

impl Ranges {
    /// These ranges, each with its list.
    pub(super) fn new(ranges: &[(&Range, usize)]) -> Self {
        let ends = ranges.iter().flat_map(|(range, _)| [range.lower, range.upper]).flatten();
        let mut bounds: Vec<Exact> = ends.map(|bound| bound.value).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let places = 2 * bounds.len() + 1;
        let mut tree = Self { bounds, nodes: vec![Vec::new(); 2 * places] };
        for (range, list) in ranges {
            let first = range.lower.map_or(0, |lower| tree.place(lower.value) + usize::from(!lower.inclusive));
            let end = range.upper.map_or(places, |upper| tree.place(upper.value) + usize::from(upper.inclusive));
            tree.add(first, end, *list);
        }
        tree
    }

    /// The place of a number: odd for a bound, even between two.
    fn place(&self, number: Exact) -> usize {
        match self.bounds.binary_search(&number) {
            Ok(at) => 2 * at + 1,
            Err(before) => 2 * before,
        }
    }

    /// Adds a list to the places from `first` to before `end`.
    fn add(&mut self, first: usize, end: usize, list: usize) {
        let places = self.nodes.len() / 2;
        let (mut from, mut to) = (first + places, end + places);
        while from < to {
            if from % 2 == 1 {
                self.nodes[from].push(list);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                self.nodes[to].push(list);
            }
            (from, to) = (from / 2, to / 2);
        }
    }

    /// Calls `add` with the list of each range that the number is in.
    pub(super) fn find(&self, number: Exact, mut add: impl FnMut(usize)) {
        let mut node = self.place(number) + self.nodes.len() / 2;
        while node > 0 {
            self.nodes[node].iter().for_each(|list| add(*list));
            node /= 2;
        }
    }
}
