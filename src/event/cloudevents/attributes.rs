//! The attributes of a CloudEvent: in the headers or in the value.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::event::{
    fields::{excerpt, optional, time},
    poison::Poison,
};

/// A core attribute, and its name in messages: `name` in the structured mode, `header` in the binary one.
pub(super) struct Attribute {
    pub(super) name: &'static str,
    header: &'static str,
}

const fn core(name: &'static str, header: &'static str) -> Attribute {
    Attribute { name, header }
}

pub(super) const SPECVERSION: &Attribute = &core("specversion", "ce_specversion");
pub(super) const TYPE: &Attribute = &core("type", "ce_type");
pub(super) const SOURCE: &Attribute = &core("source", "ce_source");
pub(super) const ID: &Attribute = &core("id", "ce_id");
pub(super) const SUBJECT: &Attribute = &core("subject", "ce_subject");
const TIME: &Attribute = &core("time", "ce_time");
pub(super) const DATA_CONTENT_TYPE: &Attribute = &core("datacontenttype", "content-type");
const DATA_SCHEMA: &Attribute = &core("dataschema", "ce_dataschema");
const REQUIRED: [&Attribute; 4] = [SPECVERSION, TYPE, SOURCE, ID];
pub(super) const CORE: [&Attribute; 8] = [SPECVERSION, TYPE, SOURCE, ID, SUBJECT, TIME, DATA_CONTENT_TYPE, DATA_SCHEMA];

/// Where a CloudEvent has its attributes: in the value, or in headers.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Structured,
    Binary,
}

/// Whether the content type declares the value as a CloudEvent. Event formats other than JSON are refused.
pub(in crate::event) fn is_declared(content_type: Option<&str>) -> Result<bool, Poison> {
    const MEDIA_TYPE: &str = "application/cloudevents";
    let Some(content_type) = content_type.map(str::trim) else { return Ok(false) };
    if !content_type.get(..MEDIA_TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(false);
    }
    let format = media_type(&content_type[MEDIA_TYPE.len()..]);
    if format.is_empty() || format == "+json" {
        return Ok(true);
    }
    Err(Poison::InvalidValue {
        field: "content-type",
        reason: format!(
            "expected application/cloudevents+json, found {:?}: publish one CloudEvent a record, in the JSON format",
            excerpt(content_type)
        ),
    })
}

/// A media type without its parameters, in lower case.
pub(super) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A header's value without the quotes of a client that writes headers as JSON, such as Spring.
pub(in crate::event) fn unquoted(value: &str) -> Cow<'_, str> {
    let trimmed = value.trim();
    if trimmed.len() >= 2 && trimmed.starts_with('"') && trimmed.ends_with('"') {
        return serde_json::from_str(trimmed).map_or(value.into(), Cow::Owned);
    }
    value.into()
}

/// Whether a header has an attribute.
pub(in crate::event) fn is_attribute(header: &str) -> bool {
    let prefix = header.get(..3);
    header.len() > 3
        && prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case("ce_") || prefix.eq_ignore_ascii_case("ce-"))
}

/// The attributes in the headers, by their names without `ce_`. If the version is in quotes, the client
/// writes headers as JSON, and the quotes are removed from every attribute.
pub(in crate::event) fn from_headers(headers: &[(&str, Option<&[u8]>)]) -> Result<Map<String, Value>, Poison> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let (true, Some(value)) = (is_attribute(name), value) else { continue };
        let name = name[3..].to_ascii_lowercase();
        match std::str::from_utf8(value) {
            Ok(text) => drop(attributes.insert(name, text.into())),
            Err(_) => {
                if let Some(attribute) = CORE.iter().find(|attribute| attribute.name == name) {
                    let reason = "expected UTF-8, found other bytes: write the attribute as text".into();
                    return Err(Poison::InvalidValue { field: attribute.header, reason });
                }
            }
        }
    }
    let quoted = |version: &str| version.trim().starts_with('"');
    if attributes.get(SPECVERSION.name).and_then(Value::as_str).is_some_and(quoted) {
        for (_, value) in &mut attributes {
            if let Some(Cow::Owned(text)) = value.as_str().map(unquoted) {
                *value = text.into();
            }
        }
    }
    Ok(attributes)
}

/// Whether one of the required attributes is present.
pub(in crate::event) fn has_any_required(attributes: &Map<String, Value>) -> bool {
    REQUIRED.iter().any(|attribute| attributes.contains_key(attribute.name))
}

pub(super) fn missing(mode: Mode, name: &'static str, header: &'static str, remedy: &'static str) -> Poison {
    let attribute = match mode {
        Mode::Structured => name,
        Mode::Binary => header,
    };
    Poison::MissingAttribute { what: "a CloudEvent", attribute, remedy }
}

pub(super) fn attribute<'e>(
    envelope: &'e Map<String, Value>,
    attribute: &Attribute,
    mode: Mode,
) -> Result<Option<&'e str>, Poison> {
    let name = match mode {
        Mode::Structured => attribute.name,
        Mode::Binary => attribute.header,
    };
    optional(envelope, attribute.name, name)
}

pub(super) fn required<'e>(
    envelope: &'e Map<String, Value>,
    wanted: &'static Attribute,
    mode: Mode,
) -> Result<&'e str, Poison> {
    attribute(envelope, wanted, mode)?.ok_or_else(|| {
        let remedy = match mode {
            Mode::Structured => "the value of a structured CloudEvent has specversion, type, source and id",
            Mode::Binary => "a binary CloudEvent has the headers ce_specversion, ce_type, ce_source and ce_id",
        };
        missing(mode, wanted.name, wanted.header, remedy)
    })
}

pub(super) fn check_version(version: &str, mode: Mode) -> Result<(), Poison> {
    let version = version.trim();
    if version == "1" || version.starts_with("1.") {
        return Ok(());
    }
    let field = match mode {
        Mode::Structured => SPECVERSION.name,
        Mode::Binary => SPECVERSION.header,
    };
    let reason = format!("expected 1.0, found {:?}: publish CloudEvents 1.0", excerpt(version));
    Err(Poison::InvalidValue { field, reason })
}

/// The time of the envelope, or else of the record.
pub(super) fn timestamp(
    envelope: &Map<String, Value>,
    mode: Mode,
    recorded_ms: Option<i64>,
) -> Result<Timestamp, Poison> {
    match (attribute(envelope, TIME, mode)?, mode) {
        (Some(text), Mode::Structured) => time(text, TIME.name),
        (Some(text), Mode::Binary) => time(text, TIME.header),
        (None, _) => recorded_ms
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .ok_or_else(|| missing(mode, TIME.name, TIME.header, "set it, in RFC 3339: the record has no time either")),
    }
}
