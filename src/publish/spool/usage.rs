//! Whether the spool has room for one more event.
//!
//! The folder is not measured for each event: a folder of 100,000 takes a tenth of a second. In between, what this
//! process puts is added up.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{SpoolError, clock::millis, listing};

/// How long a measurement of the folder is valid, at least.
const VALID: Duration = Duration::from_secs(1);
/// And at least that many times what it took.
const VALID_FACTOR: u32 = 20;
/// A measurement that found the folder full is valid no longer than this.
const VALID_FULL: Duration = Duration::from_millis(250);
/// What a measurement may take of a call's time.
pub(super) const MEASURE_TIME: Duration = Duration::from_millis(200);

pub(super) struct Usage {
    began: Instant,
    /// The bytes in the folder when it was last measured, and what was put since.
    used: AtomicU64,
    /// Until when that is valid, in milliseconds since `began`.
    valid_until: AtomicU64,
    /// Until when a measurement that found the folder full is valid.
    full_until: AtomicU64,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            used: AtomicU64::new(0),
            valid_until: AtomicU64::new(0),
            full_until: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn subtract(&self, bytes: u64) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// Checks that `needed` more bytes are within `max`.
    pub(super) fn check(&self, folder: &Path, needed: u64, max: u64) -> Result<(), SpoolError> {
        let now = millis(self.began.elapsed());
        let fits = |used: u64| used.saturating_add(needed) <= max;
        let valid_until = if fits(self.used.load(Relaxed)) { &self.valid_until } else { &self.full_until };
        if now >= valid_until.load(Relaxed) {
            let began = Instant::now();
            self.used.store(listing::measure(folder, Some(MEASURE_TIME))?.1, Relaxed);
            let until = |valid: Duration| now.saturating_add(millis(valid));
            self.valid_until.store(until(VALID.max(began.elapsed() * VALID_FACTOR)), Relaxed);
            if !fits(self.used.load(Relaxed)) {
                self.full_until.store(until(VALID_FULL), Relaxed);
            }
        }
        let used = self.used.load(Relaxed);
        if fits(used) { Ok(()) } else { Err(SpoolError::Full { folder: folder.to_owned(), needed, used, max }) }
    }
}
