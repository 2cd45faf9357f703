//! Dead letters as a person finds them later: read, sent again, marked.
//!
//! Owns what the records of a dead-letter topic mean (`head`), a pass over them (`reader`), which of them are marked as done
//! (`marks`), and the records that a person sends (`sender`). Its invariant: nothing is kept of a record that was visited,
//! so a topic of any length is read in bounded memory. A record of Kafka cannot be changed or removed: that a letter is done
//! is said by another record behind it in its partition, so every reader of the topic sees the same.

mod head;
mod marks;
mod reader;
mod sender;

pub(crate) use head::{LetterHead, Mark, MarkKind, TopicRecord};
pub(crate) use marks::Marks;
pub(crate) use reader::{LetterReader, PartitionRange, StoredLetter};
pub(crate) use sender::{LetterSender, Outgoing};
