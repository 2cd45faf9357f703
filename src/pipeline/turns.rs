//! Whose turn it is to be the probe of an agent that is held.
//!
//! Owns one token and those who wait for it. Its invariants: one holder at a time; a token that is
//! dropped, or granted to somebody who does not wait any more, goes to the next. Deliveries that had
//! no attempt yet come first, the newest and the oldest of them by turns, so that an event that the
//! agent takes is found soon wherever it stands; the others follow in order.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    /// An untried delivery waits.
    untried: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    newest_first: bool,
    untried: BTreeMap<u64, oneshot::Sender<()>>,
    tried: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The right to be the probe, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// A place in the queue: left when it is dropped.
struct Place<'a> {
    turns: &'a Turns,
    untried: bool,
    number: u64,
    granted: oneshot::Receiver<()>,
}

impl Turns {
    /// Waits for the turn. `untried`: the delivery had no attempt yet; `number`: its place in the order
    /// of arrival, no other's of its kind.
    pub(super) async fn take(&self, untried: bool, number: u64) -> Turn<'_> {
        let mut place = {
            let mut queue = self.queue();
            if !queue.taken {
                queue.taken = true;
                return Turn(self);
            }
            let (grant, granted) = oneshot::channel();
            let waiting = if untried { &mut queue.untried } else { &mut queue.tried };
            waiting.insert(number, grant);
            Place { turns: self, untried, number, granted }
        };
        if untried {
            self.untried.notify_one();
        }
        // The sender stays in the queue until it grants.
        let _ = (&mut place.granted).await;
        Turn(self)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the token to the next who still waits.
    fn pass_on(&self) {
        let mut queue = self.queue();
        while let Some(grant) = queue.pop() {
            if grant.send(()).is_ok() {
                return;
            }
        }
        queue.taken = false;
    }
}

impl Queue {
    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        self.newest_first = !self.newest_first;
        let untried = if self.newest_first { self.untried.pop_last() } else { self.untried.pop_first() };
        untried.or_else(|| self.tried.pop_first()).map(|(_, grant)| grant)
    }
}

impl Turn<'_> {
    /// Resolves when an untried delivery may be waiting for this turn.
    pub(super) async fn untried_waits(&self) {
        loop {
            if !self.0.queue().untried.is_empty() {
                return;
            }
            self.0.untried.notified().await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        let waiting = if self.untried { &mut queue.untried } else { &mut queue.tried };
        waiting.remove(&self.number);
        drop(queue);
        // Granted, and nobody took it: `take` was dropped in between.
        if self.granted.try_recv().is_ok() {
            self.turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn untried_ones_come_first_newest_and_oldest_by_turns() {
        let turns = Turns::default();
        let mut held = turns.take(true, 0).await;
        let mut waiting: Vec<_> = [("again 1", false), ("a", true), ("b", true), ("c", true), ("again 2", false)]
            .into_iter()
            .zip(1..)
            .map(|((name, untried), number)| (name, Box::pin(turns.take(untried, number))))
            .collect();
        for (_, place) in &mut waiting {
            assert!(place.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held);
            let mut next = None;
            for (index, (_, place)) in waiting.iter_mut().enumerate() {
                if let Some(turn) = place.as_mut().now_or_never() {
                    assert!(next.is_none(), "two turns at once");
                    next = Some((index, turn));
                }
            }
            let (index, turn) = next.expect("the turn is passed on");
            order.push(waiting.remove(index).0);
            held = turn;
        }
        assert_eq!(order, ["c", "a", "b", "again 1", "again 2"]);
    }

    #[tokio::test]
    async fn the_order_is_that_of_arrival_not_of_asking() {
        let turns = Turns::default();
        let held = turns.take(true, 0).await;
        let mut newest = Box::pin(turns.take(true, 3));
        assert!(newest.as_mut().now_or_never().is_none());
        let mut older = Box::pin(turns.take(true, 2));
        assert!(older.as_mut().now_or_never().is_none());
        drop(held);
        assert!(older.as_mut().now_or_never().is_none());
        assert!(newest.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_turn_that_is_granted_to_somebody_who_left_is_passed_on() {
        let turns = Turns::default();
        let held = turns.take(true, 11).await;
        let mut left = Box::pin(turns.take(true, 12));
        assert!(left.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(turns.take(false, 13));
        assert!(stays.as_mut().now_or_never().is_none());
        drop(held);
        drop(left);
        assert!(stays.now_or_never().is_some());
        assert!(turns.take(true, 14).now_or_never().is_some(), "and it is free again");
    }

    #[tokio::test]
    async fn whoever_waits_for_its_time_hears_of_an_untried_one() {
        let turns = Turns::default();
        let held = turns.take(false, 15).await;
        let mut heard = Box::pin(held.untried_waits());
        assert!(heard.as_mut().now_or_never().is_none());
        let mut tried = Box::pin(turns.take(false, 16));
        assert!(tried.as_mut().now_or_never().is_none());
        assert!(heard.as_mut().now_or_never().is_none());
        let mut untried = Box::pin(turns.take(true, 17));
        assert!(untried.as_mut().now_or_never().is_none());
        assert!(heard.as_mut().now_or_never().is_some());
    }
}
