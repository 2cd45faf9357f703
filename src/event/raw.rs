//! A Kafka record as the decoder takes it.

use super::redrive::recorded_ms;

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
