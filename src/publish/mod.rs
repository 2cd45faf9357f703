//! The publish client: an event into Kafka, from a process that it must neither delay nor break.
//!
//! Owns the promise to the caller: when a call returns, the broker has acknowledged the event, or it is in the spool, or
//! the error says that it is lost; and the call returns by its deadline. It needs no async runtime, and it survives a
//! fork: a child makes a connection of its own and leaves the inherited one alone. It knows nothing of the bridge, and
//! gives an event no new id or time.
//!
//! ```no_run
//! use std::time::Duration;
//! use workflow_bridge::{event::{self, Event}, publish::Publisher};
//!
//! fn publish(event: &Event) -> Result<(), Box<dyn std::error::Error>> {
//!     let publisher = Publisher::builder().bootstrap_servers("localhost:9092").build()?;
//!     let ack = publisher.publish(event, Duration::from_secs(5))?;
//!     println!("partition {}, offset {}", ack.partition, ack.offset);
//!     Ok(())
//! }
//! ```
//!
//! # The life of a record
//!
//! `lifecycle.rs` implements this table, and everybody else does what it says. "In flight" says whether a flush and a
//! close wait for the record.
//!
//! | state | meaning | in flight | event -> next state, and what has to be done |
//! |---|---|---|---|
//! | pending | handed to librdkafka | yes | acknowledged -> acknowledged, wake the caller; failed -> failed, wake the caller or (enqueued) spool it; deadline -> abandoned, spool it |
//! | acknowledged | Kafka has it | no | deadline: return the acknowledgement; spooled meanwhile: withdraw the file |
//! | failed | Kafka does not have it | if enqueued | deadline: spool it; too large: send it alone -> pending, and if that fails quarantine it; then -> spooled, quarantined or lost |
//! | abandoned | the deadline passed, no report yet | yes | acknowledged -> acknowledged; failed -> failed; then -> spooled or lost |
//! | spooled | in a file of the spool | no, though a report may come | acknowledged -> acknowledged, withdraw the file |
//! | quarantined | kept until a person acts | no | |
//! | lost | only the caller has it | no, though a report may come | acknowledged -> acknowledged |
//!
//! A drain claims the file of a spooled record and sends it as a new, pending one. Acknowledged, the file is removed: the
//! record is drained. Too large even alone, the file goes to the quarantine. Anything else puts the file back: spooled
//! again, and a late acknowledgement withdraws it. With `acks=0` no broker acknowledges, so nothing leaves the spool.
//!
//! # Files
//!
//! Each uses those below it: `publisher` is the facade, `drain` empties a spool, `batch` holds the records of one call,
//! `producer` is librdkafka in one process, `keep` writes what Kafka did not take, `spool` is the folder, and `lifecycle`,
//! `record`, `error`, `failure`, `wait` and `fork` are values and tools.

mod batch;
mod builder;
mod drain;
mod error;
mod failure;
mod fork;
mod keep;
mod lifecycle;
mod producer;
mod publisher;
mod record;
pub mod spool;
mod wait;

#[cfg(test)]
mod tests;

pub use batch::{PublishBatch, Sent};
pub use builder::{Builder, Millis, Number, Properties, SETTINGS, Setting, SettingKind, SettingValue};
pub use drain::{Budget, Drained, SendFn, drain};
pub use error::{Ack, Kept, PublishError};
#[cfg(feature = "consume")]
pub(crate) use fork::{PerProcess, generation as process_generation};
pub use publisher::Publisher;
pub use record::{InvalidRecord, Record};
pub use wait::Interrupt;

// Here and not in publisher.rs: the builder makes a publisher, so that file must not know the builder.
impl Publisher {
    /// The settings, with their defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }
}
