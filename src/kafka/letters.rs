//! Dead letters as a person finds them later: read, sent again, marked.
//!
//! Owns what the records of a dead-letter topic mean (`head`), which of them are marked as done
//! (`marks`), and the records that a person sends (`sender`). A record of Kafka cannot be changed or
//! removed: that a letter is done is said by another record behind it in its partition, so every reader of the topic sees
//! the same.

mod head;
mod marks;
mod sender;

pub(crate) use head::{LetterHead, Mark, MarkKind, TopicRecord};
pub(crate) use marks::Marks;
pub(crate) use sender::{LetterSender, Outgoing};
