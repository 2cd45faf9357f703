//! What the tests share that try many cases (properties, models, hostile input): how many, and the histories of models.

use std::{env, ops::Div};

/// `full`, or a tenth of it where `WORKFLOW_BRIDGE_QUICK_TESTS` is set, as `make check` does.
pub(crate) fn cases<N: From<u8> + Div<Output = N> + Ord>(full: N) -> N {
    if is_quick() { (full / N::from(10)).max(N::from(1)) } else { full }
}

pub(crate) fn is_quick() -> bool {
    env::var_os("WORKFLOW_BRIDGE_QUICK_TESTS").is_some()
}

/// splitmix64: the history of a model is its seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
