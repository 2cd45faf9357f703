//! The ledger topic: the records of the ledger, kept in Kafka so that they travel with their partitions.
//!
//! Partition n of it holds the records of events that were read from partition n of any source topic. Owns the writing of
//! those records until the broker has acknowledged them ([`LedgerAppender`]), the tickets that wait for it ([`Acks`]), and
//! the reading ([`ApplyEntries`]), which comes before the first record of a source partition. Its invariants: a ticket that
//! waits for appends is completed only after the broker has acknowledged all of them, so everything below a committed
//! offset is in the topic; a source partition is consumed only after what its ledger partition held at the assignment was
//! applied. It knows keys and bytes: what a record says is not its business.

mod acks;
mod appender;
mod apply;
mod entries;
mod following;
mod reader;
mod settings;
mod start;
mod topic;

pub(crate) use acks::Acks;
pub(crate) use appender::{AppenderStatus, LedgerAppender};
pub(crate) use apply::ApplyEntries;
pub(crate) use entries::Entries;
pub(super) use following::Following;
pub(super) use reader::Reader;
pub(crate) use settings::LedgerTopicSettings;
pub(crate) use start::LedgerPosition;
pub(super) use topic::{Finding, check as check_config, wanted as wanted_config};
