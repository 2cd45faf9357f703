//! What is under way between a process and Kafka, counted.
//!
//! Owns the counts, and who is woken when they change. Its invariant: a record is counted from before
//! it is handed to librdkafka until its report was dealt with, spooling counted in; one that its caller
//! has put into the spool meanwhile is `safe`, and nobody waits for it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The counts of one engine.
#[derive(Default)]
pub(super) struct Traffic {
    counts: Mutex<Counts>,
    /// There is something to listen for, or the listener shall end.
    wake: Condvar,
    /// Somebody may have waited for this.
    less: Condvar,
}

#[derive(Default)]
struct Counts {
    under_way: usize,
    safe: usize,
    /// Callers that wait for something else than a report.
    listeners: usize,
    stop: bool,
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is under way.
    pub(super) fn begin(&self) {
        let mut counts = self.lock();
        counts.under_way += 1;
        if counts.under_way == 1 {
            self.wake.notify_all();
        }
    }

    /// One has ended.
    pub(super) fn end(&self) {
        let mut counts = self.lock();
        counts.under_way = counts.under_way.saturating_sub(1);
        if counts.under_way <= counts.safe {
            self.less.notify_all();
        }
    }

    /// One that is under way is in the spool as well.
    pub(super) fn safe(&self) {
        let mut counts = self.lock();
        counts.safe += 1;
        if counts.under_way <= counts.safe {
            self.less.notify_all();
        }
    }

    /// The report on such a one has come.
    pub(super) fn safe_no_more(&self) {
        let mut counts = self.lock();
        counts.safe = counts.safe.saturating_sub(1);
    }

    /// Somebody listens for something else than a report, until this is dropped.
    pub(super) fn listen(&self) -> Listening<'_> {
        self.lock().listeners += 1;
        self.wake.notify_all();
        Listening(self)
    }

    /// Waits until nothing is under way that is not safe, at most until then: how much still is.
    pub(super) fn flush(&self, until: Option<Instant>) -> usize {
        let mut counts = self.lock();
        while counts.under_way > counts.safe {
            counts = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.less.wait(counts).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.less.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        counts.under_way.saturating_sub(counts.safe)
    }

    /// Waits as long as what is under way grows less, and for so long when it does not; then the listener ends.
    pub(super) fn wind_up(&self, patience: Duration) {
        let mut counts = self.lock();
        let (mut least, mut until) = (counts.under_way, Instant::now() + patience);
        while counts.under_way > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Woken or not, it is looked at often enough to see progress.
            let slice = left.min(Duration::from_millis(20));
            counts = self.less.wait_timeout(counts, slice).unwrap_or_else(PoisonError::into_inner).0;
            if counts.under_way < least {
                (least, until) = (counts.under_way, Instant::now() + patience);
            }
        }
        counts.stop = true;
        self.wake.notify_all();
    }

    /// The listener shall end, whatever is under way.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }

    /// Waits until there is something to listen for. False: the listener shall end.
    pub(super) fn wait(&self) -> bool {
        let mut counts = self.lock();
        while counts.under_way == 0 && counts.listeners == 0 && !counts.stop {
            counts = self.wake.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        !counts.stop
    }
}

/// Somebody listens.
pub(super) struct Listening<'a>(&'a Traffic);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        counts.listeners = counts.listeners.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn nobody_waits_for_what_is_safe() {
        let traffic = Traffic::default();
        traffic.begin();
        traffic.begin();
        assert_eq!(traffic.flush(Some(Instant::now())), 2);
        traffic.safe();
        assert_eq!(traffic.flush(Some(Instant::now())), 1);
        traffic.end();
        assert_eq!(traffic.flush(None), 0, "the other one is safe");
        traffic.safe_no_more();
        traffic.end();
        assert_eq!(traffic.flush(None), 0);
    }

    #[test]
    fn a_wind_up_waits_as_long_as_there_is_progress() {
        let traffic = Arc::new(Traffic::default());
        (0..20).for_each(|_| traffic.begin());
        let slow = Arc::clone(&traffic);
        let worker = thread::spawn(move || {
            for _ in 0..20 {
                thread::park_timeout(Duration::from_millis(20));
                slow.end();
            }
        });
        // Longer than one, much shorter than all.
        traffic.wind_up(Duration::from_millis(150));
        assert_eq!(traffic.flush(Some(Instant::now())), 0);
        assert!(!traffic.wait(), "the listener ends");
        worker.join().unwrap();

        let stuck = Traffic::default();
        stuck.begin();
        stuck.wind_up(Duration::from_millis(50));
        assert!(!stuck.wait(), "and it ends when there is none");
    }
}
