//! One file of the spool: a header line in JSON, then the event's bytes as they would have been
//! published, then a line feed.
//!
//! The header says how many bytes the event has, so that a truncated file is recognised. It never holds a secret. Pure:
//! bytes in, bytes out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest format that is read. It says key and headers.
pub(super) const FORMAT: u64 = 2;
/// The format of a workflow event, whose key and headers follow from the event: an older version of the client, which may
/// use the same folder, reads it too.
const WORKFLOW_FORMAT: u64 = 1;

/// The largest event that is kept, in bytes; no sensible topic accepts a tenth of it.
pub(super) const MAX_EVENT_BYTES: u64 = 128 * 1024 * 1024;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// An event and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) bootstrap_servers: String,
    pub(super) event_id: String,
    pub(super) traceparent: Option<String>,
    /// Key and headers, where they do not follow from the event.
    pub(super) chosen: Option<ChosenHeader>,
    pub(super) value: Vec<u8>,
}

/// Key and headers that do not follow from the event, as the header line has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChosenHeader {
    /// None: the record has no key.
    pub(super) key: Option<String>,
    /// Names and values, in their order, beside `event_id`.
    pub(super) headers: Vec<(String, String)>,
}

/// A new entry, borrowed, with what people may want to know of it.
pub(super) struct NewEntry<'a> {
    pub(super) topic: &'a str,
    pub(super) bootstrap_servers: &'a str,
    pub(super) event_id: &'a str,
    pub(super) traceparent: Option<&'a str>,
    pub(super) chosen: Option<ChosenHeader>,
    pub(super) spooled_at: &'a str,
    pub(super) reason: &'a str,
    pub(super) value: &'a [u8],
}

/// Why a file is not read as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not a whole file of a spool.
    Damaged(String),
    /// A newer version of the client wrote it.
    Newer(u64),
}

/// The header line.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    format: u64,
    pub(super) topic: String,
    pub(super) bootstrap_servers: String,
    pub(super) event_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    traceparent: Option<String>,
    spooled_at: String,
    pub(super) reason: String,
    bytes: u64,
    /// From format 2 on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    record: Option<ChosenHeader>,
}

impl NewEntry<'_> {
    /// The file's content.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(&Header {
            format: if self.chosen.is_some() { FORMAT } else { WORKFLOW_FORMAT },
            topic: self.topic.to_owned(),
            bootstrap_servers: self.bootstrap_servers.to_owned(),
            event_id: self.event_id.to_owned(),
            traceparent: self.traceparent.map(str::to_owned),
            spooled_at: self.spooled_at.to_owned(),
            reason: self.reason.chars().take(MAX_REASON).collect(),
            bytes: self.value.len() as u64,
            record: self.chosen.clone(),
        })?;
        bytes.reserve_exact(self.value.len() + 2);
        bytes.push(b'\n');
        bytes.extend_from_slice(self.value);
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Entry {
    /// Reads a file's content.
    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Self, Unreadable> {
        let damaged = |reason: String| Unreadable::Damaged(reason);
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Err(damaged(format!("expected a header line, found {} bytes without a line's end", bytes.len())));
        };
        let header: Value = serde_json::from_slice(&bytes[..end])
            .map_err(|error| damaged(format!("expected a header line in JSON: {error}")))?;
        let is_chosen = match header.get("format").and_then(Value::as_u64) {
            Some(WORKFLOW_FORMAT) => false,
            Some(FORMAT) => true,
            Some(newer) if newer > FORMAT => return Err(Unreadable::Newer(newer)),
            _ => {
                return Err(damaged(format!(
                    "expected a header with `format` {WORKFLOW_FORMAT} or {FORMAT}, found none or an unknown one"
                )));
            }
        };
        let header: Header =
            serde_json::from_value(header).map_err(|error| damaged(format!("the header line: {error}")))?;
        if is_chosen != header.record.is_some() {
            return Err(damaged(
                "expected `record`, with key and headers, in a header of format 2 and in no other".into(),
            ));
        }
        let found = (bytes.len() - end - 1) as u64;
        if found != header.bytes.saturating_add(1) || bytes.last() != Some(&b'\n') {
            let expected = header.bytes;
            return Err(damaged(format!(
                "expected an event of {expected} bytes and a line feed, found {found} bytes: it was cut short or changed"
            )));
        }
        bytes.pop();
        bytes.drain(..=end);
        Ok(Self {
            topic: header.topic,
            bootstrap_servers: header.bootstrap_servers,
            event_id: header.event_id,
            traceparent: header.traceparent,
            chosen: header.record,
            value: bytes,
        })
    }
}
