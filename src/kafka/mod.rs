//! The bridge's end of Kafka: the records that come in, and the dead letters that go out.
//!
//! Owns the client configuration, the one consumer loop, the frontier of every partition, the budget on what is in
//! flight, and the dead-letter topic. Its invariant: an offset is committed only when the [`Ticket`] of every record
//! received below it was completed. The holder completes a ticket only after the flush that makes the outcome durable,
//! so a commit here needs no hook into the ledger. The room knows neither rules nor agents, and no rdkafka type leaves
//! it.

mod acknowledged;
mod admin;
mod alone;
mod anchor;
mod assignment;
mod boot_clock;
mod budget;
mod catch_up;
mod client;
mod consume;
mod dead_letters;
#[cfg(feature = "service")]
pub(crate) mod embedded;
mod error;
mod lease;
mod ledger_topic;
mod letters;
mod offsets;
mod ownership;
mod parked_topic;
mod partition;
mod partitioner;
mod questions;
mod reach;
mod record;
mod renewal;
mod report;
mod scan;
mod sender;
mod serve;
mod settings;
mod ticket;
mod validate;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use alone::PartitionAlone;
pub(crate) use budget::BudgetSettings;
pub(crate) use consume::{Consumer, ConsumerHandle, ConsumerStatus, ConsumerView, OwnedPartition, ReadProgress};
pub(crate) use dead_letters::{DeadLetter, DeadLetters};
#[cfg(feature = "service")]
pub(crate) use embedded::EmbeddedBroker;
pub(crate) use error::KafkaError;
pub(crate) use ledger_topic::{
    Acks, AppenderStatus, ApplyEntries, Entries, LedgerAppender, LedgerPosition, LedgerTopicSettings,
};
pub(crate) use letters::{LetterHead, LetterSender, Mark, MarkKind, Marks, Outgoing, TopicRecord};
pub(crate) use ownership::{AttemptGuard, Ownership};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use parked_topic::fuzz;
pub(crate) use parked_topic::{
    ParkError, ParkedDelivery, ParkedHead, ParkedHeaders, ParkedTopics, ReadEnd, ReadError, ReadFrom, Visit, Visited,
};
pub(crate) use partition::{LedgerProgress, PartitionStatus};
pub(crate) use partitioner::partition_of;
pub(crate) use reach::{Wanted, reach};
#[cfg(test)]
pub(crate) use record::Headers;
pub(crate) use record::{Incoming, OwnedHeader, Receive};
pub(crate) use scan::{PartitionRange, ScanError, ScanProgress, Scanned, TopicReader, TopicScan, Visitor};
pub(crate) use settings::KafkaSettings;
pub(crate) use ticket::Ticket;
#[cfg(test)]
pub(crate) use validate::OWNED as OWNED_PROPERTIES;
pub(crate) use validate::OWNED_PROPERTY;
