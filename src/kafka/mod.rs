//! The bridge's end of Kafka: the records that come in, and the dead letters that go out.
//!
//! Owns the client configuration, the one consumer loop, the frontier of every partition, the
//! budget on what is in flight, and the dead-letter topic. Its invariant: an offset is committed
//! only when the [`Ticket`] of every record received below it was settled. A ticket is settled by
//! its holder, and only after the flush that makes its outcome durable; that is why a commit here
//! needs no hook into the ledger. The room knows neither rules nor agents, and no rdkafka type
//! leaves it.

mod anchor;
mod budget;
mod catch_up;
mod client;
mod consume;
mod dead_letters;
mod embedded;
mod error;
mod offsets;
mod partitions;
mod record;
mod report;
mod settings;

#[cfg(test)]
mod tests;

pub use budget::BudgetSettings;
pub use consume::{
    Consumer, ConsumerHandle, ConsumerStatus, OnCluster, PartitionStatus, ReadProgress, StatusView, Stuck,
};
pub use dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
pub use embedded::EmbeddedBroker;
pub use error::KafkaError;
pub use record::{Headers, Incoming, OwnedHeader, Receive, Ticket};
pub use settings::{KafkaSettings, OffsetReset};
