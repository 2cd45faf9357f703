//! Scheduled jobs: runner.yaml, the files of its jobs, when a failed job is started again, and one attempt as a process.
//!
//! Owns the schema of both files, and reports every mistake of a file at once with its position; the retry policy, which is
//! pure; and the life of one process group. Its invariants: what is read is bounded, and a process that was started is
//! gone, with all that it started in its group, when its [`JobProcess`] is. It knows neither an orchestrator nor Python,
//! which asks for the next attempt, nor events.

mod config;
mod cron;
mod fields;
mod guard;
mod job;
mod output;
mod problem;
mod process;
mod retry;
mod yaml_file;

#[cfg(test)]
mod tests;

pub use config::{Orchestrator, OrchestratorType, RunnerConfig, RunnerMode, Schedule, Timing};
pub use job::JobConfig;
pub use output::{Line, Stream};
pub use problem::{ConfigError, Problem};
pub use process::{Exit, JobCommand, JobProcess, Progress, StartError};
pub use retry::{RetryConfig, RetryPolicy};
