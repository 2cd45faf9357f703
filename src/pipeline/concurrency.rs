//! How many attempts of an agent run at once. The limit can change while they run.
//!
//! Owns the slots. Invariant: once the attempts that ran when the limit was lowered have ended, no more than the limit run.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::sync::Mutex;

pub(super) struct Concurrency {
    slots: Semaphore,
    size: Mutex<Size>,
}

struct Size {
    limit: usize,
    /// Slots above the limit: they are not given back when their attempts end.
    excess: usize,
}

/// One attempt, until it is dropped.
pub(super) struct Slot<'a> {
    permit: Option<SemaphorePermit<'a>>,
    of: &'a Concurrency,
}

impl Concurrency {
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: Semaphore::new(limit), size: Mutex::new(Size { limit, excess: 0 }) }
    }

    /// Waits for a slot; in order. `None` only when the semaphore is closed, which never happens.
    pub(super) async fn acquire(&self) -> Option<Slot<'_>> {
        let permit = self.slots.acquire().await.ok()?;
        Some(Slot { permit: Some(permit), of: self })
    }

    pub(super) fn resize(&self, limit: usize) {
        let mut size = self.size.lock();
        if let Some(more) = limit.checked_sub(size.limit) {
            let kept = more.min(size.excess);
            size.excess -= kept;
            self.slots.add_permits(more - kept);
        } else {
            let fewer = size.limit - limit;
            size.excess += fewer - self.slots.forget_permits(fewer);
        }
        size.limit = limit;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut size = self.of.size.lock();
        if let Some(excess) = size.excess.checked_sub(1) {
            size.excess = excess;
            permit.forget();
        } else {
            drop(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn take<'a>(of: &'a Concurrency, slots: &mut Vec<Slot<'a>>) -> bool {
        let slot = of.acquire().now_or_never().flatten();
        slot.map(|slot| slots.push(slot)).is_some()
    }

    #[test]
    fn a_limit_that_changes_holds_for_what_starts_afterwards() {
        let of = Concurrency::new(3);
        let mut slots = Vec::new();
        while take(&of, &mut slots) {}
        assert_eq!(slots.len(), 3);
        of.resize(1);
        slots.truncate(1);
        assert!(!take(&of, &mut slots), "two have ended, and one may run");
        slots.clear();
        assert!(take(&of, &mut slots) && !take(&of, &mut slots));
        of.resize(2);
        assert!(take(&of, &mut slots) && !take(&of, &mut slots));
    }

    #[test]
    fn a_limit_that_is_lowered_and_raised_again_is_what_it_was() {
        let of = Concurrency::new(4);
        let mut slots = Vec::new();
        while take(&of, &mut slots) {}
        for limit in [1, 3, 2, 4] {
            of.resize(limit);
        }
        slots.clear();
        while take(&of, &mut slots) {}
        assert_eq!(slots.len(), 4);
    }
}
