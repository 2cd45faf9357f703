//! Limits on the size of a record.
//!
//! Invariant: whatever a record contains, reading it takes at most [`DECODED_FACTOR`] times the
//! allowed size. A compressed batch of a few KiB may hold records of any size, so the broker's limit
//! does not bound them.

use super::{memory, poison::Poison};

/// The largest record unless a setting says otherwise, in bytes.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 4 << 20;
/// The most headers in a record.
pub const MAX_HEADERS: usize = 1_000;
/// The most bytes in the names and values of a record's headers, together.
pub const MAX_HEADER_BYTES: usize = 256 << 10;
/// The memory of a decoded event, at most, as a multiple of the largest record.
pub const DECODED_FACTOR: u64 = 8;

/// The sizes of a record's parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordSize {
    /// Bytes of the key.
    pub key: usize,
    /// Bytes of the value.
    pub value: usize,
    /// How many headers there are.
    pub headers: usize,
    /// Bytes of the headers' names and values.
    pub header_bytes: usize,
}

impl RecordSize {
    /// All bytes of the record.
    pub fn bytes(&self) -> usize {
        self.key + self.value + self.header_bytes
    }
}

/// The limits of one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    record: usize,
    decoded: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_RECORD_BYTES, u64::MAX)
    }
}

impl Limits {
    /// For a publisher, which reads its own events, and for a text that was read within its limits before.
    pub(super) const NONE: Self = Self { record: usize::MAX, decoded: usize::MAX };

    /// Limits for records of at most `max_record_bytes`, where all events together may take `memory` bytes.
    pub fn new(max_record_bytes: u64, memory: u64) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            record: size(max_record_bytes),
            decoded: size(max_record_bytes.saturating_mul(DECODED_FACTOR).min(memory)),
        }
    }

    /// Whether a record may be read at all. Called before anything copies or parses it.
    ///
    /// # Errors
    /// [`Poison::TooLarge`].
    pub fn check(&self, size: &RecordSize) -> Result<(), Poison> {
        for (what, found, limit, remedy) in [
            ("bytes in its key, value and headers", size.bytes(), self.record, REFER),
            ("headers", size.headers, MAX_HEADERS, FEWER_HEADERS),
            ("bytes in its headers", size.header_bytes, MAX_HEADER_BYTES, FEWER_HEADERS),
        ] {
            if found > limit {
                return Err(Poison::TooLarge { what, found, limit, remedy });
            }
        }
        Ok(())
    }

    /// The error that a consumer with these limits would report for a record, if it is too large.
    /// Publishers use it for a warning.
    pub fn refuses(&self, size: &RecordSize, value: &[u8]) -> Option<Poison> {
        if let Err(poison) = self.check(size) {
            return Some(poison);
        }
        match self.check_text(value) {
            Err(TextError::TooLarge(poison)) => Some(poison),
            Ok(()) | Err(TextError::NotJson(_)) => None,
        }
    }

    /// Whether a text can be parsed within the limit. Syntax errors are found here too, because an
    /// unterminated document takes as much memory as a complete one.
    pub(super) fn check_text(&self, text: &[u8]) -> Result<(), TextError> {
        memory::check(text, self.decoded).map_err(|error| match error {
            memory::CheckError::NotJson(error) => TextError::NotJson(error),
            memory::CheckError::TooLarge => {
                TextError::TooLarge(Poison::TooLargeDecoded { limit: self.decoded, remedy: REFER })
            }
        })
    }
}

/// Why a text cannot be parsed.
pub(super) enum TextError {
    TooLarge(Poison),
    NotJson(serde_json::Error),
}

const REFER: &str = "publish a reference to the data instead of the data, or raise the bridge's \
                     kafka.budget.max_record_bytes";
const FEWER_HEADERS: &str = "publish what belongs to the event in its value";

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RecordSize = RecordSize { key: 10, value: 1_000, headers: 4, header_bytes: 200 };

    #[test]
    fn a_record_at_each_limit_is_read_and_one_above_it_is_not() {
        let limits = Limits::new(1_000_000, u64::MAX);
        let at = [
            RecordSize { value: 999_790, ..SMALL },
            RecordSize { key: 998_800, ..SMALL },
            RecordSize { headers: MAX_HEADERS, ..SMALL },
            RecordSize { header_bytes: MAX_HEADER_BYTES, ..SMALL },
        ];
        let above = [
            RecordSize { value: 999_791, ..SMALL },
            RecordSize { key: 998_801, ..SMALL },
            RecordSize { headers: MAX_HEADERS + 1, ..SMALL },
            RecordSize { header_bytes: MAX_HEADER_BYTES + 1, ..SMALL },
        ];
        for (at, above) in at.iter().zip(&above) {
            assert_eq!(limits.check(at), Ok(()));
            let poison = limits.check(above).unwrap_err();
            assert_eq!(poison.kind(), "too_large", "{poison}");
        }
    }

    #[test]
    fn a_publisher_is_warned_of_an_event_that_default_settings_refuse() {
        let limits = Limits::default();
        let refused =
            |value: &str| limits.refuses(&RecordSize { value: value.len(), ..RecordSize::default() }, value.as_bytes());
        let numbers = format!("{{\"n\": [{}0]}}", "0,".repeat(500_000));
        assert!(refused(&"x".repeat(5 << 20)).is_some_and(|poison| poison.to_string().contains("4194304")));
        assert!(refused(&numbers).is_some_and(|poison| poison.to_string().contains("33554432 bytes of memory")));
        assert_eq!(refused(&format!("{{\"text\": \"{}\"}}", "x".repeat(4_000_000))), None);
        assert_eq!(refused(&"no json".repeat(100_000)), None, "that is for the decoder to say");
    }

    #[test]
    fn the_message_has_what_was_found_the_limit_and_the_remedy() {
        let poison = Limits::default().check(&RecordSize { value: 50_000_000, ..SMALL }).unwrap_err();
        assert_eq!(
            poison.to_string(),
            "the record is too large to be read: it has 50000210 bytes in its key, value and headers, at most 4194304 are \
             allowed: publish a reference to the data instead of the data, or raise the bridge's \
             kafka.budget.max_record_bytes"
        );
    }
}
