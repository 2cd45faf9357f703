//! The memory of what was read back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The memory that a delivery takes that was read back.
pub(in crate::pipeline) struct FedBytes {
    all: Arc<AtomicU64>,
    bytes: AtomicU64,
}

impl FedBytes {
    pub(in crate::pipeline) fn new(all: &Arc<AtomicU64>) -> Self {
        Self { all: Arc::clone(all), bytes: AtomicU64::new(0) }
    }

    pub(in crate::pipeline) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.all.fetch_add(bytes, Ordering::AcqRel);
    }
}

impl Drop for FedBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.bytes.get_mut(), Ordering::AcqRel);
    }
}
