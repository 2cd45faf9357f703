//! The dedup ledger: the durable record of each event's deliveries.
//!
//! Owns the record of an event ([`Record`]) and how two of them merge, the decision that follows from it ([`decide()`]), its
//! storage ([`Ledger`]: durable writes in groups, expiry, refusal of a foreign folder) and the
//! registry of events in flight ([`InFlightRegistry`]). Invariant: what was reported as durable is
//! found again after the process is killed, and no record is removed within its window. It knows
//! nothing of Kafka, of HTTP or of rules; only `store.rs` uses the store behind it.

mod batch;
mod bytes;
mod codec;
mod commit;
mod decide;
mod detail;
mod entry;
mod error;
mod expire;
mod fail_stop;
mod filter;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod header;
mod inflight;
mod keys;
mod ledger;
mod losses;
mod merge;
mod open;
mod record;
mod redrive;
mod refill;
mod store;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use batch::LedgerPosition;
pub(crate) use decide::{Decision, decide};
pub(crate) use detail::{FailureRecord, RunRecord, Source};
pub(crate) use entry::{decode_entry, encode_entry, entry_writer, later_format, ledger_owner};
pub(crate) use error::{LedgerError, OpenError};
pub(crate) use expire::{ExpiryClock, ExpiryCursor, ExpiryRules, ExpiryStep, ledger_now};
pub(crate) use inflight::InFlightRegistry;
pub(crate) use ledger::{Ledger, LedgerOptions};
pub(crate) use record::{DeliveryRecord, DeliveryStatus, MAX_DELIVERIES, PlannedDelivery, Record, RecordState};
pub(crate) use redrive::{Redrive, RedriveRefusal, is_remembered, redrive, remembered_ms};
