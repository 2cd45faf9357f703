//! A sample of bounded size from a stream of unknown length, the same number of each kind as far as there are as many.
//!
//! A plain random sample of a topic would be of the commonest events alone, most of which no rule matches; what a test is
//! for are the rare ones. So each kind has a reservoir of its own (Algorithm R), and all have the same capacity, the level. The level
//! only sinks, so a reservoir is a uniform sample of its kind at any time. Pure, but for the randomness that is handed in.

use std::collections::BTreeMap;

/// See the module.
pub(super) struct Reservoir<K, T> {
    kinds: BTreeMap<K, Kind<T>>,
    /// How many items each kind may keep.
    level: usize,
    most_items: usize,
    most_bytes: usize,
    items: usize,
    bytes: usize,
    /// How many items were of kinds for which there was no room.
    left_out: u64,
}

struct Kind<T> {
    seen: u64,
    items: Vec<(usize, T)>,
}

impl<K: Ord + Clone, T> Reservoir<K, T> {
    pub(super) fn new(most_items: usize, most_bytes: usize) -> Self {
        Self { kinds: BTreeMap::new(), level: most_items, most_items, most_bytes, items: 0, bytes: 0, left_out: 0 }
    }

    /// Offers an item of so many bytes, which is made only if it is kept. `below` gives a random number below another one.
    pub(super) fn offer(
        &mut self,
        kind: K,
        bytes: usize,
        below: &mut dyn FnMut(u64) -> u64,
        make: impl FnOnce() -> Option<T>,
    ) {
        let is_full = self.items >= self.most_items || self.bytes.saturating_add(bytes) > self.most_bytes;
        if self.level <= 1 && is_full && !self.kinds.contains_key(&kind) {
            self.left_out += 1;
            return;
        }
        let level = self.level;
        let name = kind.clone();
        let kind = self.kinds.entry(kind).or_insert_with(|| Kind { seen: 0, items: Vec::new() });
        kind.seen += 1;
        let place = if (kind.items.len() as u64) < kind.seen - 1 || kind.items.len() >= level {
            // It takes the place of another one, or none.
            let drawn = below(kind.seen);
            let Some(place) = usize::try_from(drawn).ok().filter(|place| *place < kind.items.len()) else { return };
            Some(place)
        } else {
            None
        };
        let Some(item) = make() else { return };
        if let Some(place) = place {
            let (before, _) = std::mem::replace(&mut kind.items[place], (bytes, item));
            self.bytes = self.bytes - before + bytes;
        } else {
            kind.items.push((bytes, item));
            self.items += 1;
            self.bytes += bytes;
        }
        while self.is_over() && self.level > 1 {
            self.sink(below);
        }
        // One of each kind is too much already.
        if self.is_over()
            && let Some((bytes, _)) = self.kinds.get_mut(&name).and_then(|kind| kind.items.pop())
        {
            self.items -= 1;
            self.bytes -= bytes;
            self.left_out += 1;
        }
    }

    fn is_over(&self) -> bool {
        self.items > self.most_items || self.bytes > self.most_bytes
    }

    /// Lowers the level by one: each kind above it loses a random item.
    fn sink(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        self.level -= 1;
        for kind in self.kinds.values_mut() {
            while kind.items.len() > self.level {
                let place = usize::try_from(below(kind.items.len() as u64)).unwrap_or_default();
                let (bytes, _) = kind.items.swap_remove(place.min(kind.items.len() - 1));
                self.items -= 1;
                self.bytes -= bytes;
            }
        }
    }

    /// How many items were of kinds for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The kinds with how many were seen and the items that are kept.
    pub(super) fn into_kinds(self) -> impl Iterator<Item = (K, u64, Vec<T>)> {
        self.kinds
            .into_iter()
            .map(|(name, kind)| (name, kind.seen, kind.items.into_iter().map(|(_, item)| item).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift: the same for each run.
    fn random(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |bound| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        }
    }

    fn sample(
        most: usize,
        stream: impl Iterator<Item = (&'static str, u64)>,
        seed: u64,
    ) -> Vec<(&'static str, Vec<u64>)> {
        let mut reservoir = Reservoir::new(most, usize::MAX);
        let mut random = random(seed);
        for (kind, item) in stream {
            reservoir.offer(kind, 1, &mut random, || Some(item));
            assert!(reservoir.items <= most);
        }
        reservoir.into_kinds().map(|(kind, _, items)| (kind, items)).collect()
    }

    #[test]
    fn rare_kinds_are_kept_and_the_common_ones_share_the_rest() {
        let stream = (0..100_000).map(|n| match n {
            500 | 70_000 => ("rare", n),
            n if n % 3 == 0 => ("a", n),
            n => ("b", n),
        });
        let kinds = sample(100, stream, 7);
        let sizes: Vec<_> = kinds.iter().map(|(kind, items)| (*kind, items.len())).collect();
        assert_eq!(sizes, [("a", 49), ("b", 49), ("rare", 2)]);
    }

    #[test]
    fn every_item_of_a_kind_is_as_likely() {
        let mut counts = [0_u32; 40];
        for seed in 1..=4_000 {
            // The second kind begins late and lowers the level.
            let stream = (0..40).flat_map(|n| [Some(("a", n)), (n >= 20).then_some(("b", n))]).flatten();
            for (_, items) in sample(20, stream, seed * 7_919).into_iter().filter(|(kind, _)| *kind == "a") {
                for item in items {
                    counts[usize::try_from(item).unwrap()] += 1;
                }
            }
        }
        // 10 of 40, 4000 times: 1000 each, with a deviation of 27.
        assert!(counts.iter().all(|count| (860..=1_140).contains(count)), "{counts:?}");
    }

    #[test]
    fn bytes_are_bounded_and_more_kinds_than_items_are_counted() {
        let mut random = random(3);
        let mut reservoir = Reservoir::new(100, 1_000);
        for n in 0..1_000_u64 {
            reservoir.offer(n % 2, 100, &mut random, || Some(n));
            assert!(reservoir.bytes <= 1_000 && reservoir.items <= 10);
        }
        assert!(reservoir.items >= 8, "{}", reservoir.items);
        let mut reservoir = Reservoir::new(10, usize::MAX);
        for n in 0..1_000_u64 {
            reservoir.offer(n, 1, &mut random, || Some(n));
        }
        assert_eq!((reservoir.items, reservoir.left_out()), (10, 990));
    }
}
