//! Of which partitions this process has sent the ends of parked deliveries that the ledger topic might not have had.

use std::{collections::HashSet, sync::Arc};

use crate::sync::Mutex;

/// See the module.
#[derive(Default)]
pub(super) struct Sent(Mutex<HashSet<(Arc<str>, i32)>>);

impl Sent {
    pub(super) fn has(&self, topic: &Arc<str>, partition: i32) -> bool {
        self.0.lock().contains(&(Arc::clone(topic), partition))
    }

    pub(super) fn add(&self, topic: &Arc<str>, partition: i32) {
        self.0.lock().insert((Arc::clone(topic), partition));
    }
}
