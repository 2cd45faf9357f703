//! What a record tells about an event beyond its progress: where it was read, the run that accepted it,
//! and its last failure.
//!
//! Invariant: every text is bounded, because a run id comes from an agent's server.

use std::{fmt, sync::Arc};

/// The longest id of a LangGraph thread or run, in bytes. Ids of LangGraph have 36.
pub(super) const MAX_ID_BYTES: usize = 64;
/// The longest name of a failure's class, in bytes.
pub(super) const MAX_CLASS_BYTES: usize = 32;

/// Where the record of an event was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// The LangGraph run that accepted a delivery.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunRecord {
    pub(super) thread: Arc<str>,
    pub(super) run: Option<Arc<str>>,
}

impl RunRecord {
    /// The id of its thread.
    pub(crate) fn thread(&self) -> &str {
        &self.thread
    }

    /// Its id, if the server named it.
    pub(crate) fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// Keeps at most the first 64 bytes of each id. An empty run id is none.
    pub(crate) fn new(thread: &str, run: Option<&str>) -> Self {
        let run = run.filter(|run| !run.is_empty());
        Self { thread: prefix(thread, MAX_ID_BYTES).into(), run: run.map(|run| prefix(run, MAX_ID_BYTES).into()) }
    }
}

/// The last attempt that an agent did not accept. In the order of merging: the later one is the greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FailureRecord {
    /// When it ended, in ms since 1970.
    pub(super) at_ms: u64,
    pub(super) class: Arc<str>,
    pub(super) status: Option<u16>,
}

impl FailureRecord {
    /// When it ended, in ms since 1970.
    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Its class, a label.
    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    /// The HTTP status, if there was an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    /// `class` is a label; at most its first 32 bytes are kept. `status` is the HTTP status, if there was an answer.
    pub(crate) fn new(at_ms: u64, class: &str, status: Option<u16>) -> Self {
        Self { at_ms, class: prefix(class, MAX_CLASS_BYTES).into(), status }
    }
}

/// The longest beginning of a text that has at most so many bytes.
fn prefix(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_a_hostile_server_is_cut_at_a_character() {
        let run = RunRecord::new(&"t".repeat(65), Some(&"é".repeat(1_000_000)));
        assert_eq!((run.thread.len(), run.run.as_deref()), (64, Some(&*"é".repeat(32))));
        assert_eq!(RunRecord::new("thread", Some("")).run, None);
        assert_eq!(&*FailureRecord::new(1, &"€".repeat(20), None).class, "€".repeat(10));
    }
}
