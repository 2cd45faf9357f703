//! The recent errors of fetching, by offset as far as librdkafka tells it.
//!
//! librdkafka reports an error of a partition without the partition, only with a text that may name an offset. Together
//! with the position of each partition that is enough to say which of them is stuck. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// An error that was not repeated for so long is over.
const FORGET_AFTER: Duration = Duration::from_secs(60);
const MAX_ERRORS: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FetchErrors {
    /// The last error for each offset that is named, and for none.
    errors: BTreeMap<Option<i64>, (Instant, String)>,
}

impl FetchErrors {
    /// Adds an error; `text` is kept, and `reason` is searched for an offset.
    pub(super) fn add(&mut self, text: &str, reason: &str, now: Instant) {
        self.errors.retain(|_, (last, _)| now.duration_since(*last) < FORGET_AFTER);
        let offset = offset_in(reason);
        if self.errors.len() < MAX_ERRORS || self.errors.contains_key(&offset) {
            self.errors.insert(offset, (now, text.to_owned()));
        }
    }

    /// The error that stops a partition whose position has been `offset` since then: a later one that names that offset,
    /// or the beginning of the batch that holds it, or no offset at all.
    pub(super) fn at(&self, offset: i64, since: Instant) -> Option<String> {
        let below = self.errors.range(..=Some(offset)).rev();
        below.into_iter().find(|(_, (last, _))| *last > since).map(|(_, (_, text))| text.clone())
    }
}

/// The offset in `message at 12 of 99 bytes`, `Message at offset 12 might`, `failed at offset 12 (leader epoch 0)`.
fn offset_in(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once(" at ")?;
    rest.trim_start_matches("offset ").split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_read_from_librdkafkas_texts() {
        for text in [
            "Decompression (codec 0x4) of message at 12 of 4711 bytes failed: Local: Invalid compressed data",
            "Message at offset 12 might be too large to fetch, try increasing receive.message.max.bytes",
            "Fetch from broker 1 failed at offset 12 (leader epoch 0): Broker: Message size too large",
        ] {
            assert_eq!(offset_in(text), Some(12), "{text}");
        }
        let text = "Receive failed: Invalid response size 9 (0..4): increase receive.message.max.bytes";
        assert_eq!(offset_in(text), None);
    }

    #[test]
    fn an_error_is_the_partitions_that_stands_at_its_offset_or_behind_it_in_the_batch() {
        let mut errors = FetchErrors::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        errors.add("bad batch", "message at 12 of 99 bytes", later);
        assert_eq!(errors.at(12, start).as_deref(), Some("bad batch"));
        assert_eq!(errors.at(14, start).as_deref(), Some("bad batch"));
        assert_eq!(errors.at(11, start), None);
        assert_eq!(errors.at(12, later), None, "the partition has moved since");
        errors.add("too large", "Invalid response size 9", later);
        assert_eq!(errors.at(3, start).as_deref(), Some("too large"));
    }
}
