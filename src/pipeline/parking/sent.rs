//! Of which partitions this process has sent the ends of parked deliveries that the ledger topic might not have had.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::sync::Mutex;

/// See the module.
pub(super) struct Sent {
    partitions: Mutex<HashSet<(Arc<str>, i32)>>,
    turn: Semaphore,
}

impl Sent {
    pub(super) fn new() -> Self {
        Self { partitions: Mutex::default(), turn: Semaphore::new(1) }
    }

    pub(super) fn has(&self, topic: &Arc<str>, partition: i32) -> bool {
        self.partitions.lock().contains(&(Arc::clone(topic), partition))
    }

    pub(super) fn add(&self, topic: &Arc<str>, partition: i32) {
        self.partitions.lock().insert((Arc::clone(topic), partition));
    }

    /// One partition after the other. It is never closed.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.turn.acquire().await
    }
}
