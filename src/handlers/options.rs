//! The settings of one handler.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::agents::{AgentSpec, Endpoint, RetrySpec};

/// The most calls at the same time, as of agents.
const MAX_CONCURRENCY: usize = 10_000;

/// The settings of a handler, each with a default.
///
/// ```
/// use std::time::Duration;
/// use workflow_bridge::bridge::HandlerOptions;
///
/// let options = HandlerOptions::default().max_retries(5).timeout(Duration::from_secs(30)).concurrency(2);
/// ```
#[derive(Debug, Clone)]
pub struct HandlerOptions {
    pub(super) timeout: Option<Duration>,
    max_retries: u32,
    concurrency: usize,
    backoff: (Duration, Duration),
    give_up_after: Duration,
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self {
            timeout: None,
            max_retries: 3,
            concurrency: 8,
            backoff: (Duration::from_millis(500), Duration::from_secs(60)),
            give_up_after: Duration::from_secs(86_400),
        }
    }
}

impl HandlerOptions {
    /// How often an event comes again after its first failed call before it is a dead letter: 3 by default, 0 for never. Failures
    /// while the breaker of the handler is open do not count.
    #[must_use]
    pub fn max_retries(self, max_retries: u32) -> Self {
        Self { max_retries, ..self }
    }

    /// How long a call may take; by default as long as it likes, so that one that hangs holds its event and those of its key until
    /// the program ends: set it where that can happen. A call that takes longer is dropped, and has failed.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The most calls at the same time, 8 by default, at most 10,000. Calls for one key are made one after the other in any case.
    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// The wait after a first failure, 500 ms by default, and the longest wait, 60 s by default. Waits double in between, with
    /// up to half of it added or taken off at random. The probes of an open breaker keep the same waits.
    #[must_use]
    pub fn backoff(self, initial: Duration, max: Duration) -> Self {
        Self { backoff: (initial, max), ..self }
    }

    /// An event is a dead letter (`gave_up`) when its first failed call is this long ago, 24 h by default, whether failures count
    /// or not.
    #[must_use]
    pub fn give_up_after(self, give_up_after: Duration) -> Self {
        Self { give_up_after, ..self }
    }

    /// What is wrong with them.
    pub(super) fn problems(&self, name: &str) -> Vec<String> {
        let (initial, max) = self.backoff;
        let year = Duration::from_secs(365 * 86_400);
        let millisecond = Duration::from_millis(1);
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: String| {
            if !holds {
                problems.push(format!("handler `{name}`: {problem}"));
            }
        };
        check(
            (1..=MAX_CONCURRENCY).contains(&self.concurrency),
            format!("concurrency: expected 1 to {MAX_CONCURRENCY}, found {}", self.concurrency),
        );
        check(self.timeout != Some(Duration::ZERO), "timeout: expected more than 0, or none".to_owned());
        check(
            initial >= millisecond && initial <= max && max <= year,
            format!("backoff: expected 1ms <= initial <= max <= 1 year, found {initial:?} and {max:?}"),
        );
        check(
            (millisecond..=year).contains(&self.give_up_after),
            format!("give_up_after: expected 1ms to 1 year, found {:?}", self.give_up_after),
        );
        problems
    }

    /// The agent that the handler is.
    pub(super) fn agent(&self, name: Arc<str>, endpoint: Endpoint) -> AgentSpec {
        AgentSpec {
            name,
            endpoint,
            concurrency: self.concurrency,
            rate: None,
            // Of the endpoint: it may be none.
            timeout: self.timeout.unwrap_or(Duration::MAX),
            retry: RetrySpec {
                initial: self.backoff.0,
                max: self.backoff.1,
                give_up_after: self.give_up_after,
                max_attempts: Some(self.max_retries.saturating_add(1)),
            },
            classify: BTreeMap::new(),
        }
    }
}
