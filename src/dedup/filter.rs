//! Which ids the ledger has no record of, without asking the store: Bloom filters, each for eight times as many ids as the one before.
//!
//! Invariant: an id that has a record was added before the record was written, and stays. So "absent" is certain. Records that expire
//! leave their ids here until the next start, which adds those of the records that there are: the fuller the last filter is, the more often
//! the store is asked.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many filters there are at most, and the bytes of the first.
const FILTERS: usize = 5;
const FIRST_BYTES: u64 = 64 << 10;
const GROWTH: u64 = 8;

/// Each filter calls one in a hundred ids that were not added present when it has so many bits for each that was.
const BITS_FOR_ID: u64 = 10;

/// A block is a line of the processor's cache. An id has one bit in each of its words.
const BLOCK_WORDS: usize = 8;
const BLOCK_BYTES: u64 = 64;

/// Odd multipliers that choose the bit in each word from one half of the hash.
const SALTS: [u64; BLOCK_WORDS] =
    [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F, 0x1656_67B1, 0x2C1B_3C6D, 0x297A_2D39, 0xB529_7A4D];

pub(super) struct IdFilter {
    filters: [OnceLock<Blocks>; FILTERS],
    /// Of one filter.
    most_bytes: u64,
    hasher: RandomState,
}

/// One filter of a fixed size.
struct Blocks {
    blocks: Box<[[AtomicU64; BLOCK_WORDS]]>,
    /// Ids that were added.
    ids: AtomicU64,
}

impl IdFilter {
    /// An empty one. No filter is larger than this, but for the first.
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { filters: Default::default(), most_bytes, hasher: RandomState::new() }
    }

    pub(super) fn add(&self, id: &[u8]) {
        let hash = self.hasher.hash_one(id);
        if self.has(hash) {
            return;
        }
        let last = self.filters.iter().take_while(|filter| filter.get().is_some()).count().saturating_sub(1);
        let filter = self.filters[last].get_or_init(|| Blocks::new(FIRST_BYTES));
        filter.add(hash);
        let bytes = filter.bytes() * GROWTH;
        if filter.is_full() && bytes <= self.most_bytes && last + 1 < FILTERS {
            self.filters[last + 1].get_or_init(|| Blocks::new(bytes));
        }
    }

    /// Whether the id was certainly not added.
    pub(super) fn is_absent(&self, id: &[u8]) -> bool {
        !self.has(self.hasher.hash_one(id))
    }

    fn has(&self, hash: u64) -> bool {
        self.filters.iter().map_while(OnceLock::get).any(|filter| filter.has(hash))
    }
}

impl Blocks {
    fn new(bytes: u64) -> Self {
        let block = |_| [const { AtomicU64::new(0) }; BLOCK_WORDS];
        Self { blocks: (0..bytes / BLOCK_BYTES).map(block).collect(), ids: AtomicU64::new(0) }
    }

    fn bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES
    }

    fn is_full(&self) -> bool {
        self.ids.load(Ordering::Relaxed) * BITS_FOR_ID > self.bytes() * 8
    }

    fn add(&self, hash: u64) {
        let (block, bits) = self.place(hash);
        for (word, bit) in block.iter().zip(bits) {
            word.fetch_or(bit, Ordering::Release);
        }
        self.ids.fetch_add(1, Ordering::Relaxed);
    }

    fn has(&self, hash: u64) -> bool {
        let (block, bits) = self.place(hash);
        block.iter().zip(bits).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// The upper half of the hash chooses the block, the lower one the bits.
    fn place(&self, hash: u64) -> (&[AtomicU64; BLOCK_WORDS], [u64; BLOCK_WORDS]) {
        let (upper, lower) = (hash >> 32, hash & u64::from(u32::MAX));
        let block = (upper * self.blocks.len() as u64) >> 32;
        (&self.blocks[block as usize], SALTS.map(|salt| 1 << (lower.wrapping_mul(salt) >> 26 & 63)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u32, count: u32) -> impl Iterator<Item = Vec<u8>> {
        (from..from + count).map(|n| format!("{n:08x}-0000-5000-8000-000000000000").into_bytes())
    }

    #[test]
    fn what_was_added_is_never_absent_and_little_else_is_present() {
        let filter = IdFilter::new(512 << 10);
        for (count, filters) in [(50_000, 1), (400_000, 2), (800_000, 2)] {
            ids(0, count).for_each(|id| filter.add(&id));
            assert!(ids(0, count).all(|id| !filter.is_absent(&id)));
            assert_eq!(filter.filters.iter().filter(|filter| filter.get().is_some()).count(), filters);
            let looked_up = ids(1_000_000, 100_000).filter(|id| !filter.is_absent(id)).count();
            println!("{looked_up} of 100,000 others with {count}");
            assert!(count > 400_000 || looked_up < 4_000, "{looked_up} of 100,000 with {count}");
        }
    }

    #[test]
    fn an_id_that_one_thread_has_added_is_there_for_the_others() {
        let filter = IdFilter::new(u64::MAX);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let filter = &filter;
                scope.spawn(move || {
                    for id in ids(thread * 50_000, 50_000) {
                        filter.add(&id);
                        assert!(!filter.is_absent(&id));
                    }
                });
            }
        });
        assert!(ids(0, 200_000).all(|id| !filter.is_absent(&id)));
    }
}
