//! Decodes a record: detects its dialect and makes the event.
//!
//! Invariant: every dialect is mapped to the fields of a native event, and one reader makes the event
//! of those. So every decoded event can be encoded, and decodes to the same event again.

use serde_json::{Map, Value};

use super::{
    airflow, cloudevents, dialect::Dialect, fields::has, hints, integration, limits::Limits, model::Event, native,
    openlineage, parse, poison::Poison, raw::Raw,
};

/// Reads a record of any size as an event, in any dialect. docs/events.md has the mappings.
///
/// # Errors
/// [`Poison`] says what is wrong with the record. Nesting deeper than 127 levels and a number outside
/// the range of f64 are refused as not JSON.
pub fn decode<'a>(record: impl Into<Raw<'a>>) -> Result<Event, Poison> {
    decode_within(&record.into(), &Limits::NONE)
}

impl Limits {
    /// As [`decode`], within these limits; [`check`](Self::check) comes first.
    ///
    /// # Errors
    /// [`Poison`] says what is wrong with the record.
    pub fn decode<'a>(&self, record: impl Into<Raw<'a>>) -> Result<Event, Poison> {
        decode_within(&record.into(), self)
    }
}

fn decode_within(record: &Raw<'_>, limits: &Limits) -> Result<Event, Poison> {
    let (fields, dialect) = fields(record, limits)?;
    if dialect != Dialect::Native {
        parse::check_depth(&fields)?;
    }
    native::event(fields, dialect)
}

/// The fields of the native event in the record, and the dialect that they were read from.
fn fields(record: &Raw<'_>, limits: &Limits) -> Result<(Map<String, Value>, Dialect), Poison> {
    let content_type = record.header("content-type").map(cloudevents::unquoted);
    let structured = cloudevents::is_declared(content_type.as_deref())?;
    if !structured {
        let attributes = cloudevents::from_headers(record.headers)?;
        if cloudevents::has_any_required(&attributes) {
            let fields = cloudevents::binary(attributes, record, content_type.as_deref(), limits)?;
            return Ok((fields, Dialect::CloudEventsBinary));
        }
    }
    let body = parse::object(record.value.ok_or(Poison::Tombstone)?, limits)?;
    if has(&body, "event_id") && integration::is_body(&body) {
        Ok((integration::fields(body)?, Dialect::Integration))
    } else if has(&body, "event_id") {
        Ok((body, Dialect::Native))
    } else if structured || has(&body, "specversion") {
        Ok((cloudevents::structured(body, record, limits)?, Dialect::CloudEventsStructured))
    } else if airflow::is_body(&body) {
        Ok((airflow::fields(body, record)?, Dialect::Airflow))
    } else if openlineage::is_body(&body) {
        Ok((openlineage::fields(body)?, Dialect::OpenLineage))
    } else if let Some(poison) = hints::connect_envelope(&body) {
        Err(poison)
    } else {
        Ok((body, Dialect::Native))
    }
}
