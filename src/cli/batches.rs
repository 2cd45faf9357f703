//! What every command that publishes records one after another does alike: batches, a limit, a rate, and what it says at the end.
//!
//! It knows neither what is published nor how: a command takes the batch, publishes it, and counts what became of it.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{
    interrupt::Interrupt,
    output::{self, fail},
    progress::Progress,
};
use crate::bridge::Exit;

/// The most records of a batch, and the most bytes of them, but for one that is larger.
const MAX_RECORDS: usize = 100;
const MAX_BYTES: usize = 8 << 20;

/// See the module.
pub(super) struct Batches<T> {
    interrupt: Interrupt,
    /// What is said of one that is done.
    action: String,
    /// The most in all.
    limit: Option<u64>,
    /// The most a second.
    rate: Option<u32>,
    waiting: Vec<T>,
    bytes: usize,
    /// Those that were done or are waiting.
    taken: u64,
    done: u64,
    refused: u64,
    progress: Progress,
}

impl<T> Batches<T> {
    pub(super) fn new(interrupt: &Interrupt, action: String, limit: Option<u64>, rate: Option<u32>) -> Self {
        Self {
            interrupt: interrupt.clone(),
            action,
            limit,
            rate,
            waiting: Vec::new(),
            bytes: 0,
            taken: 0,
            done: 0,
            refused: 0,
            progress: Progress::in_lines(),
        }
    }

    pub(super) fn action(&self) -> &str {
        &self.action
    }

    /// Whether another one may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.taken < limit)
    }

    /// Takes one of this size, and says whether the batch is full.
    pub(super) fn add(&mut self, one: T, bytes: usize) -> bool {
        self.bytes += bytes;
        self.taken += 1;
        self.waiting.push(one);
        // A quarter of a second at a time.
        let most = self.rate.map_or(MAX_RECORDS, |rate| (rate as usize / 4).clamp(1, MAX_RECORDS));
        self.waiting.len() >= most || self.bytes >= MAX_BYTES
    }

    /// The batch, to be published. The next one begins.
    pub(super) fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn count_done(&mut self) {
        self.done += 1;
    }

    pub(super) fn count_refused(&mut self) {
        self.refused += 1;
    }

    /// After a batch: says how far it is, ends the command at a problem, and keeps the rate.
    ///
    /// # Errors
    /// The exit code of the problem.
    pub(super) fn ended(&mut self, records: usize, began: Instant, problem: Option<String>) -> Result<(), ExitCode> {
        let (action, done, refused) = (&self.action, self.done, self.refused);
        self.progress.tick(|| format!("{action} so far: {done}, {refused} refused"));
        if let Some(problem) = problem {
            let text = format!("{problem} ({done} {action}; the same command goes on where this one ended)");
            return Err(fail(Exit::Unavailable, &text));
        }
        if let Some(rate) = self.rate {
            // Of each batch on its own: time that was spent on other things, such as asking the agents, is not made up for.
            let due = began + Duration::from_secs_f64(records as f64 / f64::from(rate));
            self.interrupt.sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// After the last batch: says how many there were.
    ///
    /// # Errors
    /// The exit code of a signal that came.
    pub(super) fn finish(self) -> Result<ExitCode, ExitCode> {
        output::note(format_args!("{} {}, {} refused", self.done, self.action, self.refused));
        if let Some(code) = self.interrupt.exit() {
            output::note(format_args!("interrupted: the same command goes on where this one ended"));
            return Err(code);
        }
        Ok(if self.refused == 0 { ExitCode::SUCCESS } else { Exit::Data.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(limit: Option<u64>, rate: Option<u32>) -> Batches<usize> {
        Batches::new(&Interrupt::default(), "done".to_owned(), limit, rate)
    }

    #[test]
    fn a_batch_is_bounded_by_records_by_bytes_and_by_the_rate() {
        let sizes = |rate: Option<u32>, bytes: usize| {
            let mut batches = batches(None, rate);
            let size = (1..=2 * MAX_RECORDS).find(|n| batches.add(*n, bytes)).unwrap_or_default();
            assert_eq!((batches.take().len(), batches.take().len()), (size, 0));
            size
        };
        assert_eq!((sizes(None, 1), sizes(None, MAX_BYTES / 2), sizes(None, 2 * MAX_BYTES)), (MAX_RECORDS, 2, 1));
        assert_eq!((sizes(Some(1), 1), sizes(Some(40), 1), sizes(Some(100_000), 1)), (1, 10, MAX_RECORDS));
    }

    #[test]
    fn the_limit_counts_what_was_taken_over_all_batches() {
        let mut batches = batches(Some(2), None);
        for expected in [true, true, false] {
            assert_eq!(batches.has_room(), expected);
            batches.add(0, 1);
            batches.take();
        }
    }
}
