//! Counts the records between a process and Kafka, and wakes whoever waits for the counts.
//!
//! Its invariants: a record is in flight from before it is handed to librdkafka until its report was dealt with; an
//! enqueued one that failed, until it is spooled. One whose caller has its outcome already is `settled`, and no flush
//! waits for it. The poll thread is requested by whoever hands records over, and polls until nothing is in flight. Once
//! closing has begun, nothing more gets in flight.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    publish::lifecycle::{CountChange, Counted},
    sync::{Condvar, Mutex},
};

/// How long a caller spins for its report before it sleeps: waking up takes nearly as long as a round trip to a near
/// broker. A caller of a distant broker sleeps at once.
const SPIN: Duration = Duration::from_micros(500);

/// The records in flight of one producer.
#[derive(Default)]
pub(super) struct PendingRecords {
    counts: Mutex<Counts>,
    /// The poll thread has work, or has to end.
    work: Condvar,
    /// Fewer are in flight, or more of them are settled.
    fewer: Condvar,
    /// A caller spins.
    is_spinning: AtomicBool,
    /// The last report that was waited for came soon.
    is_near: AtomicBool,
}

#[derive(Default)]
struct Counts {
    in_flight: usize,
    settled: usize,
    /// Callers that need polling whatever is in flight.
    poll_guards: usize,
    /// The thread polls until nothing is in flight.
    is_polling: bool,
    is_closing: bool,
    is_stopped: bool,
}

impl Counts {
    fn request_poll(&mut self, work: &Condvar) {
        if !self.is_polling && self.in_flight > 0 {
            self.is_polling = true;
            work.notify_all();
        }
    }

    /// What a flush waits for.
    fn unsettled(&self) -> usize {
        self.in_flight.saturating_sub(self.settled)
    }
}

impl PendingRecords {
    /// Counts one more in flight, unless closing has begun. Nobody polls for it before [`request_poll`](Self::request_poll).
    pub(super) fn begin(&self) -> bool {
        let mut counts = self.counts.lock();
        counts.in_flight += usize::from(!counts.is_closing);
        !counts.is_closing
    }

    /// Counts what a record's transition says.
    pub(super) fn apply(&self, change: CountChange) {
        use Counted::{No, Pending, Settled};

        let mut counts = self.counts.lock();
        match (change.from, change.to) {
            (Pending, Settled) => counts.settled += 1,
            (Pending, No) => counts.in_flight = counts.in_flight.saturating_sub(1),
            (Settled, No) => {
                counts.settled = counts.settled.saturating_sub(1);
                counts.in_flight = counts.in_flight.saturating_sub(1);
            }
            // A record is counted in by `begin`, and an outcome is never taken back.
            (No | Settled, _) | (Pending, Pending) => return,
        }
        if counts.in_flight <= counts.settled {
            self.fewer.notify_all();
        }
    }

    /// Counts one out that librdkafka refused.
    pub(super) fn refused(&self) {
        self.apply(CountChange { from: Counted::Pending, to: Counted::No });
    }

    /// From now on nothing more gets in flight.
    pub(super) fn close(&self) {
        self.counts.lock().is_closing = true;
    }

    /// Whether closing has begun: then its purge may have missed what is being sent.
    pub(super) fn is_closing(&self) -> bool {
        self.counts.lock().is_closing
    }

    /// Has the thread poll for the reports on everything in flight.
    pub(super) fn request_poll(&self) {
        self.counts.lock().request_poll(&self.work);
    }

    /// Waits by `sleep`, and spins for a short while before that if the last wait was short. Spinning yields the
    /// processor to whoever wants it; spinning callers would be in each other's way, so only one does.
    pub(super) fn spin_then(&self, until: Instant, is_done: impl Fn() -> bool, sleep: impl FnOnce()) {
        let began = Instant::now();
        if self.is_near.load(Ordering::Relaxed) && !self.is_spinning.swap(true, Ordering::Relaxed) {
            let until = until.min(began + SPIN);
            while !is_done() && Instant::now() < until {
                thread::yield_now();
            }
            self.is_spinning.store(false, Ordering::Relaxed);
        }
        sleep();
        self.is_near.store(began.elapsed() < 2 * SPIN, Ordering::Relaxed);
    }

    /// Has the thread poll until the guard is dropped, whatever is in flight.
    pub(super) fn keep_polling(&self) -> PollGuard<'_> {
        self.counts.lock().poll_guards += 1;
        self.work.notify_all();
        PollGuard(self)
    }

    /// Waits until everything in flight is settled, at most until then, and returns how much is not.
    pub(super) fn flush(&self, until: Option<Instant>) -> usize {
        let mut counts = self.counts.lock();
        counts.request_poll(&self.work);
        while counts.in_flight > counts.settled && !counts.is_stopped {
            counts = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.fewer.wait(counts),
                Some(Duration::ZERO) => break,
                Some(left) => self.fewer.wait_timeout(counts, left),
            };
        }
        counts.unsettled()
    }

    /// Waits as long as fewer and fewer are in flight, then ends the poll thread, and returns how many are not settled.
    /// Without progress it waits `settled` if everything in flight is settled, and `unsettled` if not.
    pub(super) fn wind_up(&self, settled: Duration, unsettled: Duration) -> usize {
        let mut counts = self.counts.lock();
        counts.request_poll(&self.work);
        let (mut least, mut since) = (counts.in_flight, Instant::now());
        while counts.in_flight > 0 {
            let patience = if counts.unsettled() > 0 { unsettled } else { settled };
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            // `fewer` is not notified of each report: check often enough to see progress.
            let slice = left.min(Duration::from_millis(20));
            counts = self.fewer.wait_timeout(counts, slice);
            if counts.in_flight < least {
                (least, since) = (counts.in_flight, Instant::now());
            }
        }
        counts.is_stopped = true;
        self.work.notify_all();
        self.fewer.notify_all();
        counts.unsettled()
    }

    /// Ends the poll thread, whatever is in flight.
    pub(super) fn stop(&self) {
        self.counts.lock().is_stopped = true;
        self.work.notify_all();
        self.fewer.notify_all();
    }

    /// Waits until the poll thread has work. False: it has to end.
    pub(super) fn wait_for_work(&self) -> bool {
        let mut counts = self.counts.lock();
        loop {
            counts.is_polling &= counts.in_flight > 0;
            if counts.is_stopped || counts.is_polling || counts.poll_guards > 0 {
                return !counts.is_stopped;
            }
            counts = self.work.wait(counts);
        }
    }
}

/// Keeps the poll thread polling.
pub(super) struct PollGuard<'a>(&'a PendingRecords);

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.poll_guards = counts.poll_guards.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const REPORTED: CountChange = CountChange { from: Counted::Pending, to: Counted::No };
    const SETTLED: CountChange = CountChange { from: Counted::Pending, to: Counted::Settled };

    #[test]
    fn a_flush_does_not_wait_for_settled_records() {
        let pending = PendingRecords::default();
        pending.begin();
        pending.begin();
        assert_eq!(pending.flush(Some(Instant::now())), 2);
        pending.apply(SETTLED);
        assert_eq!(pending.flush(Some(Instant::now())), 1);
        pending.apply(REPORTED);
        assert_eq!(pending.flush(None), 0, "the other one is settled");
        pending.apply(CountChange { from: Counted::Settled, to: Counted::No });
        assert_eq!(pending.flush(None), 0);
    }

    /// Winds up while twelve records are reported one by one: what it left, and the longest time without a report.
    fn wind_up_with_slow_reports(pending: &Arc<PendingRecords>, patience: Duration) -> (usize, Duration) {
        (0..12).for_each(|_| assert!(pending.begin()));
        let (slow, began) = (Arc::clone(pending), Instant::now());
        let worker = thread::spawn(move || {
            let (mut since, mut longest) = (began, Duration::ZERO);
            for _ in 0..12 {
                thread::park_timeout(Duration::from_millis(250));
                let before = Instant::now();
                slow.apply(REPORTED);
                longest = longest.max(since.elapsed());
                since = before;
            }
            longest
        });
        let left = pending.wind_up(Duration::ZERO, patience);
        (left, worker.join().unwrap())
    }

    #[test]
    fn a_wind_up_waits_as_long_as_there_is_progress() {
        // Much longer than one report takes, and shorter than all.
        let patience = Duration::from_secs(2);
        let ended = (0..10).find_map(|_| {
            let pending = Arc::new(PendingRecords::default());
            match wind_up_with_slow_reports(&pending, patience) {
                (0, _) => Some(pending),
                // The machine stood still, and there was no progress for so long.
                (_, longest) if longest >= patience => None,
                (left, longest) => panic!("{left} were left, and it took {longest:?} at most for one"),
            }
        });
        let pending = ended.expect("one time in ten the machine goes on");
        assert_eq!(pending.flush(Some(Instant::now())), 0);
        assert!(!pending.wait_for_work(), "the poll thread ends");

        let stuck = PendingRecords::default();
        stuck.begin();
        assert_eq!(stuck.wind_up(Duration::ZERO, Duration::from_millis(50)), 1);
        assert!(!stuck.wait_for_work(), "and it ends when there is none");
        assert_eq!(stuck.flush(None), 1, "nobody would end this wait");

        let settled = PendingRecords::default();
        settled.begin();
        settled.apply(SETTLED);
        assert_eq!(settled.wind_up(Duration::from_millis(50), Duration::from_secs(3600)), 0);
        assert!(!settled.wait_for_work(), "sooner, when nothing can be lost");
    }

    #[test]
    fn nothing_gets_in_flight_once_closing_has_begun() {
        let pending = PendingRecords::default();
        assert!(pending.begin() && !pending.is_closing());
        pending.close();
        assert!(!pending.begin() && pending.is_closing());
        pending.apply(REPORTED);
        assert_eq!(pending.flush(None), 0);
    }

    #[test]
    fn the_thread_polls_from_a_request_until_nothing_is_in_flight() {
        let pending = Arc::new(PendingRecords::default());
        pending.request_poll();
        pending.begin();
        let poller = Arc::clone(&pending);
        let worker = thread::spawn(move || {
            let first = poller.wait_for_work();
            poller.apply(REPORTED);
            (first, poller.wait_for_work())
        });
        thread::park_timeout(Duration::from_millis(20));
        assert!(!worker.is_finished(), "nobody has requested it");
        pending.request_poll();
        assert_eq!(pending.flush(None), 0);
        // Not before the thread waits again: one that has yet to look would see the next record as one to poll for.
        let began = Instant::now();
        while pending.counts.lock().is_polling {
            assert!(began.elapsed() < Duration::from_secs(60), "it polls although nothing is in flight");
            thread::yield_now();
        }
        pending.begin();
        pending.stop();
        assert_eq!(worker.join().unwrap(), (true, false));
    }
}
