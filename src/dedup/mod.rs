//! The dedup ledger: what is known of each event's deliveries, on disk.
//!
//! Owns the record of an event ([`Record`]), the decision that it leads to ([`decide`]), its place on
//! disk ([`Ledger`]: durable writes in groups, expiry, refusal of a folder that is another's) and
//! the registry of events under way ([`InFlight`]). Its invariant: what a caller was told is durable
//! is found again after the process is killed, and nothing is removed that its window still covers.
//! It knows nothing of Kafka, of HTTP or of what a rule says; the store behind it is named in
//! `store.rs` and nowhere else.

mod codec;
mod commit;
mod decide;
mod error;
mod expire;
mod folder;
mod header;
mod inflight;
mod ledger;
mod record;
mod store;

#[cfg(test)]
mod tests;

pub use codec::DecodeError;
pub use decide::{Decision, Planned, decide};
pub use error::{LedgerError, OpenError};
pub use expire::{Chunk, Cursor, UNFINISHED_WINDOWS, ledger_now};
pub use inflight::InFlight;
pub use ledger::{Ledger, Opened, Options};
pub use record::{Delivery, Record, State, Status};
