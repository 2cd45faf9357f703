//! What is under way between a process and Kafka, counted.
//!
//! Owns the counts, and who is woken when they change. Its invariants: a record is counted from before
//! it is handed to librdkafka until its report was dealt with, spooling counted in; one that its caller
//! has put into the spool meanwhile, or has been told of as lost, is `settled`, and nobody waits for it.
//! The listener is called up by whoever hands records over, and then is on duty until nothing is under
//! way. After the closing nothing more gets under way.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a caller looks for its answer before it sleeps: to be woken takes nearly as long as a broker
/// that is near. A caller of one that is not sleeps at once.
const LOOK: Duration = Duration::from_micros(500);

/// The counts of one engine.
#[derive(Default)]
pub(super) struct Traffic {
    counts: Mutex<Counts>,
    /// The listener has a duty, or shall end.
    wake: Condvar,
    /// Somebody may have waited for this.
    less: Condvar,
    /// A caller looks for its answer.
    is_watched: AtomicBool,
    /// The last answer that was waited for came soon.
    is_near: AtomicBool,
}

#[derive(Default)]
struct Counts {
    under_way: usize,
    settled: usize,
    /// Callers that want the listener on duty, whatever is under way.
    listeners: usize,
    /// The listener hears the reports, until nothing is under way.
    on_duty: bool,
    is_closing: bool,
    stop: bool,
}

impl Counts {
    fn call_up(&mut self, wake: &Condvar) {
        if !self.on_duty && self.under_way > 0 {
            self.on_duty = true;
            wake.notify_all();
        }
    }
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is under way, unless the closing has begun. Nobody hears of it before the listener is called up.
    pub(super) fn begin(&self) -> bool {
        let mut counts = self.lock();
        counts.under_way += usize::from(!counts.is_closing);
        !counts.is_closing
    }

    /// From now on nothing more gets under way.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
    }

    /// Whether the closing has begun: then its purge may have missed what is being sent.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    /// The listener hears the reports on all that is under way.
    pub(super) fn call_up(&self) {
        self.lock().call_up(&self.wake);
    }

    /// Waits for something by `sleep`, and before that looks for it for a short while, if it is likely to come
    /// at once. Looking leaves the processor to whoever wants it; many callers that looked would be in each
    /// other's way, so one does.
    pub(super) fn look(&self, until: Instant, is_there: impl Fn() -> bool, sleep: impl FnOnce()) {
        let began = Instant::now();
        if self.is_near.load(Ordering::Relaxed) && !self.is_watched.swap(true, Ordering::Relaxed) {
            let until = until.min(began + LOOK);
            while !is_there() && Instant::now() < until {
                thread::yield_now();
            }
            self.is_watched.store(false, Ordering::Relaxed);
        }
        sleep();
        self.is_near.store(began.elapsed() < 2 * LOOK, Ordering::Relaxed);
    }

    /// One has ended.
    pub(super) fn end(&self) {
        let mut counts = self.lock();
        counts.under_way = counts.under_way.saturating_sub(1);
        if counts.under_way <= counts.settled {
            self.less.notify_all();
        }
    }

    /// Nobody waits any more for one that is under way.
    pub(super) fn settle(&self) {
        let mut counts = self.lock();
        counts.settled += 1;
        if counts.under_way <= counts.settled {
            self.less.notify_all();
        }
    }

    /// The report on such a one has come.
    pub(super) fn unsettle(&self) {
        let mut counts = self.lock();
        counts.settled = counts.settled.saturating_sub(1);
    }

    /// The listener is on duty until this is dropped, whatever is under way.
    pub(super) fn listen(&self) -> Listening<'_> {
        self.lock().listeners += 1;
        self.wake.notify_all();
        Listening(self)
    }

    /// Waits until nothing is under way that is not settled, at most until then: how much still is.
    pub(super) fn flush(&self, until: Option<Instant>) -> usize {
        let mut counts = self.lock();
        counts.call_up(&self.wake);
        while counts.under_way > counts.settled && !counts.stop {
            counts = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.less.wait(counts).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.less.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        counts.under_way.saturating_sub(counts.settled)
    }

    /// Waits as long as what is under way grows less, and for so long when it does not: a shorter time when
    /// all of it is settled, a longer one when it is not. Then the listener ends. How much is not settled.
    pub(super) fn wind_up(&self, settled: Duration, otherwise: Duration) -> usize {
        let mut counts = self.lock();
        counts.call_up(&self.wake);
        let (mut least, mut since) = (counts.under_way, Instant::now());
        while counts.under_way > 0 {
            let patience = if counts.under_way > counts.settled { otherwise } else { settled };
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            // Woken or not, it is looked at often enough to see progress.
            let slice = left.min(Duration::from_millis(20));
            counts = self.less.wait_timeout(counts, slice).unwrap_or_else(PoisonError::into_inner).0;
            if counts.under_way < least {
                (least, since) = (counts.under_way, Instant::now());
            }
        }
        counts.stop = true;
        self.wake.notify_all();
        self.less.notify_all();
        counts.under_way.saturating_sub(counts.settled)
    }

    /// The listener shall end, whatever is under way.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
        self.less.notify_all();
    }

    /// Waits until the listener has a duty. False: it shall end.
    pub(super) fn wait(&self) -> bool {
        let mut counts = self.lock();
        loop {
            counts.on_duty &= counts.under_way > 0;
            if counts.stop || counts.on_duty || counts.listeners > 0 {
                return !counts.stop;
            }
            counts = self.wake.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The listener is on duty.
pub(super) struct Listening<'a>(&'a Traffic);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        counts.listeners = counts.listeners.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_waits_for_what_is_settled() {
        let traffic = Traffic::default();
        traffic.begin();
        traffic.begin();
        assert_eq!(traffic.flush(Some(Instant::now())), 2);
        traffic.settle();
        assert_eq!(traffic.flush(Some(Instant::now())), 1);
        traffic.end();
        assert_eq!(traffic.flush(None), 0, "the other one is settled");
        traffic.unsettle();
        traffic.end();
        assert_eq!(traffic.flush(None), 0);
    }

    #[test]
    fn a_wind_up_waits_as_long_as_there_is_progress() {
        let traffic = Arc::new(Traffic::default());
        (0..12).for_each(|_| assert!(traffic.begin()));
        let slow = Arc::clone(&traffic);
        let worker = thread::spawn(move || {
            for _ in 0..12 {
                thread::park_timeout(Duration::from_millis(250));
                slow.end();
            }
        });
        // Much longer than one, also on a machine that stops for a second, and shorter than all.
        assert_eq!(traffic.wind_up(Duration::ZERO, Duration::from_secs(2)), 0);
        assert_eq!(traffic.flush(Some(Instant::now())), 0);
        assert!(!traffic.wait(), "the listener ends");
        worker.join().unwrap();

        let stuck = Traffic::default();
        stuck.begin();
        assert_eq!(stuck.wind_up(Duration::ZERO, Duration::from_millis(50)), 1);
        assert!(!stuck.wait(), "and it ends when there is none");
        assert_eq!(stuck.flush(None), 1, "nobody would end this wait");

        let settled = Traffic::default();
        settled.begin();
        settled.settle();
        assert_eq!(settled.wind_up(Duration::from_millis(50), Duration::from_secs(3600)), 0);
        assert!(!settled.wait(), "sooner, when nothing can be lost");
    }

    #[test]
    fn nothing_gets_under_way_once_the_closing_has_begun() {
        let traffic = Traffic::default();
        assert!(traffic.begin() && !traffic.is_closing());
        traffic.close();
        assert!(!traffic.begin() && traffic.is_closing());
        traffic.end();
        assert_eq!(traffic.flush(None), 0);
    }

    #[test]
    fn the_listener_is_on_duty_from_its_call_until_nothing_is_under_way() {
        let traffic = Arc::new(Traffic::default());
        traffic.call_up();
        traffic.begin();
        let listener = Arc::clone(&traffic);
        let worker = thread::spawn(move || {
            let first = listener.wait();
            listener.end();
            (first, listener.wait())
        });
        thread::park_timeout(Duration::from_millis(20));
        assert!(!worker.is_finished(), "nobody has called");
        traffic.call_up();
        assert_eq!(traffic.flush(None), 0);
        traffic.begin();
        traffic.stop();
        assert_eq!(worker.join().unwrap(), (true, false));
    }
}
