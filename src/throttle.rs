//! How often a repeated log line is written, for every room.
//!
//! Owns the time of the last line of each key and the number of lines that were suppressed since. It writes nothing
//! itself, and the time is an argument.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use crate::sync::Mutex;

/// Admits the first line of a key at once, then one in each period.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    period: Duration,
    max_keys: usize,
    lines: Mutex<HashMap<K, Lines>>,
}

#[derive(Debug)]
struct Lines {
    last: Instant,
    suppressed: u64,
}

impl<K: Eq + Hash> Throttle<K> {
    /// One line of each key in a period. The keys must be few: they are kept.
    pub(crate) fn every(period: Duration) -> Self {
        Self { period, max_keys: usize::MAX, lines: Mutex::default() }
    }

    /// One line of each key for as long as the process runs. Keys beyond the first `max_keys` are never logged.
    pub(crate) fn once(max_keys: usize) -> Self {
        Self { period: Duration::MAX, max_keys, lines: Mutex::default() }
    }

    /// `Some(n)`: write the line; `n` of this key were suppressed since the last one. `None`: do not.
    pub(crate) fn admit<Q>(&self, key: &Q, now: Instant) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(key) {
            if now.duration_since(line.last) < self.period {
                line.suppressed += 1;
                return None;
            }
            line.last = now;
            return Some(std::mem::take(&mut line.suppressed));
        }
        if lines.len() >= self.max_keys {
            return None;
        }
        lines.insert(key.to_owned(), Lines { last: now, suppressed: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_written_once_in_a_period_with_a_count() {
        let throttle = Throttle::<String>::every(Duration::from_secs(30));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.admit("transport", at(0)), Some(0));
        for ms in 1..=99 {
            assert_eq!(throttle.admit("transport", at(ms)), None);
        }
        assert_eq!(throttle.admit("tls", at(100)), Some(0), "another key is another line");
        assert_eq!(throttle.admit("transport", at(30_000)), Some(99));
        assert_eq!(throttle.admit("transport", at(30_001)), None);
    }

    #[test]
    fn a_line_that_is_written_once_is_never_written_again_and_keys_are_bounded() {
        let throttle = Throttle::<String>::once(2);
        let start = Instant::now();
        let later = start + Duration::from_secs(1_000_000);
        assert_eq!(throttle.admit("a", start), Some(0));
        assert_eq!(throttle.admit("b", start), Some(0));
        assert_eq!(throttle.admit("c", start), None, "two keys are kept");
        assert_eq!(throttle.admit("a", later), None);
    }
}
