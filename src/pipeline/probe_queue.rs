//! Which delivery is the probe of an agent whose breaker is open.
//!
//! Owns one token and its waiters. Invariants: the token has one owner at a time; one that is
//! dropped, or granted to a waiter that is gone, goes to the next waiter. Deliveries without an attempt come
//! first, the newest and the oldest of them alternately, so that an event that the agent accepts is found soon
//! wherever it is in the backlog; the others follow in order.

use std::collections::BTreeMap;

use tokio::sync::{Notify, oneshot};

use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(super) struct ProbeQueue {
    waiters: Mutex<Waiters>,
    /// An untried delivery waits.
    untried: Notify,
}

#[derive(Debug, Default)]
struct Waiters {
    taken: bool,
    newest_first: bool,
    untried: BTreeMap<u64, oneshot::Sender<()>>,
    tried: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The right to be the probe, until it is dropped.
#[derive(Debug)]
pub(super) struct ProbeToken<'a>(&'a ProbeQueue);

/// An entry in the queue, removed when it is dropped.
struct Entry<'a> {
    queue: &'a ProbeQueue,
    untried: bool,
    number: u64,
    granted: oneshot::Receiver<()>,
}

impl ProbeQueue {
    /// Waits for the token. `untried`: the delivery had no attempt yet; `number`: its number in the order
    /// of arrival, unique among those of its kind.
    pub(super) async fn acquire(&self, untried: bool, number: u64) -> ProbeToken<'_> {
        let mut entry = {
            let mut waiters = self.waiters();
            if !waiters.taken {
                waiters.taken = true;
                return ProbeToken(self);
            }
            let (grant, granted) = oneshot::channel();
            let waiting = if untried { &mut waiters.untried } else { &mut waiters.tried };
            waiting.insert(number, grant);
            Entry { queue: self, untried, number, granted }
        };
        if untried {
            self.untried.notify_one();
        }
        // The sender stays in the queue until it grants.
        let _ = (&mut entry.granted).await;
        ProbeToken(self)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock()
    }

    /// Gives the token to the next waiter that still waits.
    fn release(&self) {
        let mut waiters = self.waiters();
        while let Some(grant) = waiters.pop() {
            if grant.send(()).is_ok() {
                return;
            }
        }
        waiters.taken = false;
    }
}

impl Waiters {
    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        self.newest_first = !self.newest_first;
        let untried = if self.newest_first { self.untried.pop_last() } else { self.untried.pop_first() };
        untried.or_else(|| self.tried.pop_first()).map(|(_, grant)| grant)
    }
}

impl ProbeToken<'_> {
    /// Resolves when an untried delivery may be waiting for this token.
    pub(super) async fn untried_waits(&self) {
        loop {
            if !self.0.waiters().untried.is_empty() {
                return;
            }
            self.0.untried.notified().await;
        }
    }
}

impl Drop for ProbeToken<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        let waiting = if self.untried { &mut waiters.untried } else { &mut waiters.tried };
        waiting.remove(&self.number);
        drop(waiters);
        // Granted, but `acquire` was dropped before it could return the token.
        if self.granted.try_recv().is_ok() {
            self.queue.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn untried_deliveries_come_first_newest_and_oldest_alternately() {
        let queue = ProbeQueue::default();
        let mut token = queue.acquire(true, 0).await;
        let mut waiting: Vec<_> = [("again 1", false), ("a", true), ("b", true), ("c", true), ("again 2", false)]
            .into_iter()
            .zip(1..)
            .map(|((name, untried), number)| (name, Box::pin(queue.acquire(untried, number))))
            .collect();
        for (_, entry) in &mut waiting {
            assert!(entry.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(token);
            let mut next = None;
            for (index, (_, entry)) in waiting.iter_mut().enumerate() {
                if let Some(granted) = entry.as_mut().now_or_never() {
                    assert!(next.is_none(), "two tokens at once");
                    next = Some((index, granted));
                }
            }
            let (index, next_token) = next.expect("the token is passed on");
            order.push(waiting.remove(index).0);
            token = next_token;
        }
        assert_eq!(order, ["c", "a", "b", "again 1", "again 2"]);
    }

    #[tokio::test]
    async fn the_order_is_that_of_arrival_not_of_the_calls() {
        let queue = ProbeQueue::default();
        let token = queue.acquire(true, 0).await;
        let mut newest = Box::pin(queue.acquire(true, 3));
        assert!(newest.as_mut().now_or_never().is_none());
        let mut older = Box::pin(queue.acquire(true, 2));
        assert!(older.as_mut().now_or_never().is_none());
        drop(token);
        assert!(older.as_mut().now_or_never().is_none());
        assert!(newest.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_token_that_is_granted_to_a_waiter_that_is_gone_is_passed_on() {
        let queue = ProbeQueue::default();
        let token = queue.acquire(true, 11).await;
        let mut left = Box::pin(queue.acquire(true, 12));
        assert!(left.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(queue.acquire(false, 13));
        assert!(stays.as_mut().now_or_never().is_none());
        drop(token);
        drop(left);
        assert!(stays.now_or_never().is_some());
        assert!(queue.acquire(true, 14).now_or_never().is_some(), "and it is free again");
    }

    #[tokio::test]
    async fn the_owner_of_the_token_is_notified_of_an_untried_delivery() {
        let queue = ProbeQueue::default();
        let token = queue.acquire(false, 15).await;
        let mut notified = Box::pin(token.untried_waits());
        assert!(notified.as_mut().now_or_never().is_none());
        let mut tried = Box::pin(queue.acquire(false, 16));
        assert!(tried.as_mut().now_or_never().is_none());
        assert!(notified.as_mut().now_or_never().is_none());
        let mut untried = Box::pin(queue.acquire(true, 17));
        assert!(untried.as_mut().now_or_never().is_none());
        assert!(notified.as_mut().now_or_never().is_some());
    }
}
