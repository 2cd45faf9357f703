//! A record to an event: which dialect it is written in, read liberally, refused with a reason.
//!
//! Its invariant: each dialect is brought to the fields of a native event, and one reader makes the
//! event of those; so whatever decodes can be encoded, and decodes to the same event again.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    Event, Limits, Poison, airflow, cloudevents, hints, native,
    read::{self, has},
};

/// A record as it stands in Kafka, borrowed. A value alone is one too: `decode(bytes)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, name and value, in order. The last of a name counts.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// When it was published or appended, in milliseconds since 1970: the time of an event that has
    /// none of its own, where its dialect allows that.
    pub timestamp_ms: Option<i64>,
}

impl<'a> Raw<'a> {
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

/// How a publisher wrote an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The project's own wire format.
    Native,
    /// What the event producer of Airflow's Kafka provider writes.
    Airflow,
    /// CloudEvents 1.0, the attributes and the data in the value.
    CloudEventsStructured,
    /// CloudEvents 1.0, the attributes in `ce_` headers.
    CloudEventsBinary,
}

impl Dialect {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Native, Self::Airflow, Self::CloudEventsStructured, Self::CloudEventsBinary];

    /// A stable word for logs and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Airflow => "airflow",
            Self::CloudEventsStructured => "cloudevents-structured",
            Self::CloudEventsBinary => "cloudevents-binary",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a record as an event, in whichever dialect it is written, however large it is.
/// docs/events.md has the mappings.
///
/// # Errors
/// [`Poison`] says what the record is instead of an event. Nesting deeper than 127 levels and a
/// number outside the range of f64 are refused as not JSON.
pub fn decode<'a>(record: impl Into<Raw<'a>>) -> Result<Event, Poison> {
    decode_within(&record.into(), &Limits::NONE)
}

pub(super) fn decode_within(record: &Raw<'_>, limits: &Limits) -> Result<Event, Poison> {
    let (fields, dialect) = fields(record, limits)?;
    if dialect != Dialect::Native {
        read::check_depth(&fields)?;
    }
    native::event(fields, dialect)
}

/// The fields of the native event that the record is, or stands for.
fn fields(record: &Raw<'_>, limits: &Limits) -> Result<(Map<String, Value>, Dialect), Poison> {
    let content_type = record.header("content-type").map(cloudevents::unquoted);
    let structured = cloudevents::is_declared(content_type.as_deref())?;
    if !structured {
        let attributes = cloudevents::attributes(record.headers)?;
        if cloudevents::has_any_required(&attributes) {
            let fields = cloudevents::binary(attributes, record, content_type.as_deref(), limits)?;
            return Ok((fields, Dialect::CloudEventsBinary));
        }
    }
    let body = read::object(record.value.ok_or(Poison::Tombstone)?, limits)?;
    if has(&body, "event_id") {
        Ok((body, Dialect::Native))
    } else if structured || has(&body, "specversion") {
        Ok((cloudevents::structured(body, record, limits)?, Dialect::CloudEventsStructured))
    } else if airflow::is_body(&body) {
        Ok((airflow::fields(body, record)?, Dialect::Airflow))
    } else if let Some(poison) = hints::wrapped(&body) {
        Err(poison)
    } else {
        Ok((body, Dialect::Native))
    }
}
