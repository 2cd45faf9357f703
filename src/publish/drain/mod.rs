//! From the spool to Kafka: the oldest first, within a budget.
//!
//! Owns what happens to each file: acknowledged, it is removed; refused for its size, it goes to the quarantine; anything
//! else, it is put back. A topic that takes nothing does not delay the others. [`drain`] sends through a function of its
//! caller, so it knows no Kafka.

mod budget;
mod own;
mod run;
mod schedule;

#[cfg(test)]
mod tests;

pub use budget::{Budget, Drained};
pub(super) use own::{drain_if_due, drain_own};
pub use run::{SendFn, drain};
pub(super) use schedule::DrainSchedule;
