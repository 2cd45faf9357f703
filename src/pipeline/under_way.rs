//! The deliveries of which an attempt is under way in this process.
//!
//! There may be two of one delivery: one of a former assignment, whose attempt is not over yet, and one of the current
//! assignment; or one of an event that was read again, and one that was read back from a parked topic. Owns that they make
//! their attempts one after the other, so that the second sees in the ledger what became of the first.

use std::collections::HashSet;

use tokio::sync::Notify;

use crate::{event::DeliveryId, sync::Mutex};

/// See the module.
#[derive(Default)]
pub(super) struct UnderWay {
    ids: Mutex<HashSet<DeliveryId>>,
    ended: Notify,
}

/// No other attempt of the delivery begins until it is dropped.
pub(super) struct Exclusive<'a> {
    under_way: &'a UnderWay,
    id: DeliveryId,
}

impl UnderWay {
    /// Waits until no attempt of this delivery is under way.
    pub(super) async fn enter(&self, id: DeliveryId) -> Exclusive<'_> {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Before the look, so that no end falls between the two.
            ended.as_mut().enable();
            if self.ids.lock().insert(id) {
                return Exclusive { under_way: self, id };
            }
            ended.await;
        }
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.under_way.ids.lock().remove(&self.id);
        self.under_way.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::event::Generation;

    #[tokio::test(start_paused = true)]
    async fn attempts_of_one_delivery_are_made_one_after_the_other() {
        let under_way = Arc::new(UnderWay::default());
        let id = |event: &str| DeliveryId::new("rule", "agent", event, Generation::FIRST);
        let first = under_way.enter(id("one")).await;
        drop(timeout(Duration::from_secs(1), under_way.enter(id("two"))).await.unwrap());
        let waits = tokio::spawn({
            let under_way = Arc::clone(&under_way);
            async move { drop(under_way.enter(DeliveryId::new("rule", "agent", "one", Generation::FIRST)).await) }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        drop(first);
        timeout(Duration::from_secs(1), waits).await.unwrap().unwrap();
    }
}
