//! A Kafka record as the decoder takes it.

/// When a record was published first, ms since 1970: in its dead letter, and in the record that is published again. As the
/// timestamp of that record it would be wrong: Kafka's retention goes by it, and may remove the record at once.
pub(crate) const RECORDED_MS: &str = "dlq-timestamp-ms";

/// A record, borrowed. A value alone is one too: `decode(bytes)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, name and value, in order. The last one of a name counts.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// When it was published or appended, in milliseconds since 1970: the time of an event that has
    /// none of its own, where its dialect allows that.
    pub timestamp_ms: Option<i64>,
}

impl<'a> Raw<'a> {
    /// When it was published first, in milliseconds since 1970: it may have been published again since.
    pub(super) fn recorded_ms(&self) -> Option<i64> {
        recorded_ms(self.headers.iter().copied(), self.timestamp_ms)
    }

    /// The last header of this name, in any case, as text.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.headers.iter().rfind(|(found, _)| found.eq_ignore_ascii_case(name))?;
        std::str::from_utf8((*value)?).ok()
    }
}

impl<'a> From<&'a [u8]> for Raw<'a> {
    fn from(value: &'a [u8]) -> Self {
        Some(value).into()
    }
}

impl<'a> From<Option<&'a [u8]>> for Raw<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        Self { value, ..Self::default() }
    }
}

/// When a record was published first: what its header says, or else Kafka's timestamp of it. ms since 1970.
pub(crate) fn recorded_ms<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    timestamp_ms: Option<i64>,
) -> Option<i64> {
    let (_, value) = headers.into_iter().find(|(name, _)| *name == RECORDED_MS).unwrap_or_default();
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).or(timestamp_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_published_again_says_when_it_was_published_first() {
        let read = |value: Option<&[u8]>| recorded_ms([("h", None), (RECORDED_MS, value)], Some(7));
        assert_eq!(read(Some(b"1769860800000")), Some(1_769_860_800_000));
        for unusable in [None, Some(&b""[..]), Some(b"-1"), Some(b"\xff"), Some(b"99999999999999999999")] {
            assert_eq!(read(unusable), Some(7), "{unusable:?}");
        }
        assert_eq!((recorded_ms([], Some(7)), recorded_ms([], None)), (Some(7), None));
    }
}
