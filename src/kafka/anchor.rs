//! Which log a partition is: a record that was read from it, kept in the metadata of each commit.
//!
//! Kafka numbers the records of a topic that is deleted and created again from 0, and librdkafka continues at the offset
//! that it had, so the records of the new topic below it would be skipped silently. librdkafka's interface for Rust shows
//! no topic id. So the bridge remembers one record of the log, the anchor, and reads it again later: when another record
//! is at its offset, the log is another one.
//!
//! Owns the anchor and its text in a commit. Its invariant: everything that was read since the anchor was taken came from
//! the log that holds it, or the next comparison fails. Pure.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The beginning of our metadata. Other tools write other metadata.
const MARK: &str = "workflow-bridge/1";

/// One record of a log, to be compared with another at the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) offset: i64,
    timestamp_ms: Option<i64>,
    digest: u64,
}

impl Anchor {
    pub(super) fn of(offset: i64, timestamp_ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in [key, value] {
            // The length first, so that no two pairs give the same bytes; absent is not empty.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        let digest = hash.finalize().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self { offset, timestamp_ms, digest }
    }

    /// The digest of the key and the value.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

/// The metadata of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CommitNote {
    /// A record of the committed log.
    pub(super) anchor: Option<Anchor>,
    /// How many partitions the topic had when the group began to read it: later ones were added.
    pub(super) partitions: Option<i32>,
}

impl CommitNote {
    /// The text of the metadata; empty when there is nothing to write.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(count) = self.partitions {
            _ = write!(text, " partitions={count}");
        }
        if let Some(anchor) = &self.anchor {
            _ = write!(text, " offset={} digest={:016x}", anchor.offset, anchor.digest);
            if let Some(timestamp) = anchor.timestamp_ms {
                _ = write!(text, " timestamp={timestamp}");
            }
        }
        if text.is_empty() { text } else { format!("{MARK}{text}") }
    }

    /// Reads what [`text`](Self::text) wrote; the default when another tool wrote it.
    pub(super) fn parse(text: &str) -> Self {
        let mut words = text.trim_end_matches('\0').split(' ');
        if words.next() != Some(MARK) {
            return Self::default();
        }
        let (mut offset, mut digest, mut timestamp_ms, mut partitions) = (None, None, None, None);
        for word in words {
            match word.split_once('=') {
                Some(("offset", text)) => offset = text.parse().ok(),
                Some(("digest", text)) => digest = u64::from_str_radix(text, 16).ok(),
                Some(("timestamp", text)) => timestamp_ms = text.parse().ok(),
                Some(("partitions", text)) => partitions = text.parse().ok(),
                _ => {}
            }
        }
        let anchor = offset.zip(digest).map(|(offset, digest)| Anchor { offset, timestamp_ms, digest });
        Self { anchor, partitions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let anchor = Anchor::of(7, Some(1_700_000_000_000), Some(b"key"), Some(b"value"));
        for note in [
            CommitNote { anchor: Some(anchor), partitions: Some(12) },
            CommitNote { anchor: Some(Anchor::of(0, None, None, None)), partitions: None },
            CommitNote { anchor: None, partitions: Some(3) },
            CommitNote::default(),
        ] {
            assert_eq!(CommitNote::parse(&note.text()), note, "{}", note.text());
            assert!(note.text().len() < 200, "far below the broker's limit of 4096");
        }
        let text = CommitNote { anchor: Some(anchor), partitions: None }.text();
        assert_eq!(CommitNote::parse(&format!("{text}\0")).anchor, Some(anchor), "some clients add a zero byte");
    }

    #[test]
    fn metadata_of_other_tools_is_ignored() {
        for text in ["", "consumer-1", "workflow-bridge/2 offset=1 digest=00", "offset=1 digest=00"] {
            assert_eq!(CommitNote::parse(text), CommitNote::default(), "{text}");
        }
        assert_eq!(CommitNote::parse("workflow-bridge/1 offset=x digest=zz partitions=").anchor, None);
    }

    #[test]
    fn any_difference_makes_another_record() {
        let record = Anchor::of(7, Some(1), Some(b"ab"), Some(b"c"));
        for other in [
            Anchor::of(8, Some(1), Some(b"ab"), Some(b"c")),
            Anchor::of(7, Some(2), Some(b"ab"), Some(b"c")),
            Anchor::of(7, Some(1), Some(b"a"), Some(b"bc")),
            Anchor::of(7, Some(1), None, Some(b"c")),
            Anchor::of(7, Some(1), Some(b"ab"), None),
            Anchor::of(7, Some(1), Some(b"ab"), Some(b"")),
        ] {
            assert_ne!(record, other);
        }
    }
}
