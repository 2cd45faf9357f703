//! What waits for the broker's answer, and what becomes of an answer that comes too late.
//!
//! Owns one slot for each record that somebody waits for. Its invariant: each slot ends once, as an
//! answer or as abandoned; an acknowledgement that reaches an abandoned slot takes back what was
//! put into the spool for it. An abandoned slot is settled when its caller knows what became of it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{Ack, engine::Failure, spool::Spool, traffic::Traffic};

/// The records of one call.
pub(super) struct Batch {
    slots: Mutex<Vec<Slot>>,
    /// How many slots are waited for; it changes under the lock only.
    waiting: AtomicUsize,
    answered: Condvar,
}

struct Slot {
    state: State,
    /// Where its record is counted.
    traffic: Option<Arc<Traffic>>,
}

enum State {
    /// Nothing is known.
    Waiting,
    /// librdkafka has said what became of it.
    Answered(Result<Ack, Failure>),
    /// The caller waits no longer.
    Abandoned,
    /// And knows what became of it: it is in the spool, or was told of as lost.
    Settled(Option<(PathBuf, Spool)>),
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { slots: Mutex::default(), waiting: AtomicUsize::new(0), answered: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more record: its place.
    pub(super) fn add(&self) -> usize {
        let mut slots = self.lock();
        slots.push(Slot { state: State::Waiting, traffic: None });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        slots.len() - 1
    }

    /// Says where a record is counted.
    pub(super) fn carried_by(&self, index: usize, traffic: &Arc<Traffic>) {
        if let Some(slot) = self.lock().get_mut(index) {
            slot.traffic = Some(Arc::clone(traffic));
        }
    }

    /// librdkafka's word on one record.
    pub(super) fn answer(&self, index: usize, answer: Result<Ack, Failure>) {
        let mut slots = self.lock();
        let Some(Slot { state, traffic }) = slots.get_mut(index) else { return };
        match state {
            State::Waiting => {
                *state = State::Answered(answer);
                if self.waiting.fetch_sub(1, Ordering::Release) == 1 {
                    self.answered.notify_all();
                }
            }
            State::Abandoned => *state = State::Answered(answer),
            State::Settled(spooled) => {
                if let Some(traffic) = traffic {
                    traffic.unsettle();
                }
                if let (Some((path, spool)), Ok(ack)) = (spooled, &answer)
                    && ack.is_heard()
                {
                    spool.withdraw(path);
                }
                *state = State::Answered(answer);
            }
            State::Answered(_) => {}
        }
    }

    /// Whether anything is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits until nothing is waited for, at most until then.
    pub(super) fn settle(&self, until: Instant) {
        drop(self.wait_all(until));
    }

    fn wait_all(&self, until: Instant) -> MutexGuard<'_, Vec<Slot>> {
        let mut slots = self.lock();
        while self.is_waiting() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            slots = self.answered.wait_timeout(slots, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        slots
    }

    /// Waits for all answers, at most until then. A record without one is abandoned: `None`.
    pub(super) fn wait(&self, until: Instant) -> Vec<Option<Result<Ack, Failure>>> {
        let mut slots = self.wait_all(until);
        self.waiting.store(0, Ordering::Relaxed);
        let answers = slots.iter_mut().map(|slot| {
            if let State::Answered(answer) = &slot.state {
                return Some(answer.clone());
            }
            slot.state = State::Abandoned;
            None
        });
        answers.collect()
    }

    /// A record is tried again: its answer is forgotten.
    pub(super) fn again(&self, index: usize) {
        let mut slots = self.lock();
        if let Some(Slot { state: state @ State::Answered(_), .. }) = slots.get_mut(index) {
            *state = State::Waiting;
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An abandoned record is in the spool now: the acknowledgement, if it has come meanwhile.
    pub(super) fn spooled(&self, index: usize, path: PathBuf, spool: &Spool) -> Option<Ack> {
        self.settle_one(index, Some((path, spool.clone())))
    }

    /// The caller has been told that an abandoned record is nowhere: the acknowledgement, if it has come
    /// meanwhile.
    pub(super) fn lost(&self, index: usize) -> Option<Ack> {
        self.settle_one(index, None)
    }

    fn settle_one(&self, index: usize, spooled: Option<(PathBuf, Spool)>) -> Option<Ack> {
        let mut slots = self.lock();
        let Slot { state, traffic } = slots.get_mut(index)?;
        match state {
            State::Answered(Ok(ack)) if ack.is_heard() || spooled.is_none() => Some(*ack),
            State::Abandoned => {
                *state = State::Settled(spooled);
                if let Some(traffic) = traffic {
                    traffic.settle();
                }
                None
            }
            _ => None,
        }
    }
}
