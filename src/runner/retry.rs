//! Whether a failed job is started again, and after how long. Pure.

use std::time::Duration;

use regex_lite::{Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes: the patterns of a job are matched against 64 KiB, in time proportional to
/// both.
const MAX_COMPILED: usize = 256 << 10;

/// When a job is started again after a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryConfig {
    /// How many attempts may follow the first.
    pub max_retries: u32,
    /// Seconds before the first retry.
    pub initial_delay_seconds: f64,
    /// What the delay grows by from retry to retry.
    pub backoff_multiplier: f64,
    /// The longest delay, in seconds.
    pub max_delay_seconds: f64,
    /// The exit codes that are worth another attempt.
    pub retryable_exit_codes: Vec<u8>,
    /// Regular expressions, in any case: a match in what the job wrote last is worth another attempt, whatever the exit code.
    pub retryable_error_patterns: Vec<String>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_delay_seconds: 5.0,
            backoff_multiplier: 2.0,
            max_delay_seconds: 300.0,
            retryable_exit_codes: vec![1, 2],
            retryable_error_patterns: Vec::new(),
        }
    }
}

/// Decides on retries.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    config: RetryConfig,
    patterns: Vec<Regex>,
}

/// A pattern that is no regular expression: its number from 0, and why.
pub(super) type BadPattern = (usize, String);

impl RetryPolicy {
    /// The policy of this configuration.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub fn new(config: RetryConfig) -> Result<Self, String> {
        Self::compile(config).map_err(|bad| {
            let texts: Vec<String> =
                bad.into_iter().map(|(at, why)| format!("retryable_error_patterns[{at}]: {why}")).collect();
            texts.join("; ")
        })
    }

    pub(super) fn compile(config: RetryConfig) -> Result<Self, Vec<BadPattern>> {
        let mut patterns = Vec::new();
        let mut bad = Vec::new();
        for (at, pattern) in config.retryable_error_patterns.iter().enumerate() {
            match RegexBuilder::new(pattern).case_insensitive(true).size_limit(MAX_COMPILED).build() {
                Ok(regex) => patterns.push(regex),
                Err(error) => bad.push((at, format!("expected a regular expression: {error}"))),
            }
        }
        if bad.is_empty() { Ok(Self { config, patterns }) } else { Err(bad) }
    }

    /// Whether another attempt follows one that ended with this code, was the retry number `attempt` (0: the first
    /// attempt), and wrote this text last.
    pub fn should_retry(&self, exit_code: i32, error_message: &str, attempt: u32) -> bool {
        if exit_code == 0 || attempt >= self.config.max_retries {
            return false;
        }
        let is_listed = self.config.retryable_exit_codes.iter().any(|code| i32::from(*code) == exit_code);
        is_listed || self.patterns.iter().any(|pattern| pattern.is_match(error_message))
    }

    /// How long to wait before retry `attempt`, from 0: `min(initial × multiplier^attempt, max)`.
    pub fn delay(&self, attempt: u32) -> Duration {
        let config = &self.config;
        let factor = config.backoff_multiplier.powi(attempt.try_into().unwrap_or(i32::MAX));
        // 0 × ∞ is no number: without an initial delay there is none later.
        let grown = if config.initial_delay_seconds > 0.0 { config.initial_delay_seconds * factor } else { 0.0 };
        let seconds = grown.min(config.max_delay_seconds);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
