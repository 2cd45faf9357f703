//! The document of an event, which may be decoded when it is first asked for.
//!
//! An event that goes to its agents as it was published is read no further than its envelope: a document takes several times
//! the memory of its text. Invariant: a text that is kept is one that the projection has read, so it decodes, to an event
//! with the same envelope.

#[cfg(feature = "consume")]
use std::sync::OnceLock;

#[cfg(feature = "consume")]
use bytes::Bytes;
use serde_json::Value;

#[cfg(feature = "consume")]
use super::{limits::Limits, raw::Raw};

/// The document of an event.
#[derive(Debug, Clone)]
pub(super) enum Document {
    Decoded(Value),
    /// Of a native event, which is decoded when somebody asks.
    #[cfg(feature = "consume")]
    Text(AsPublished),
}

/// The text of a native event.
#[cfg(feature = "consume")]
#[derive(Debug, Clone)]
pub(super) struct AsPublished {
    text: Bytes,
    trace: Trace<Box<str>>,
    decoded: OnceLock<Value>,
}

/// `traceparent` and `tracestate` of an event's metadata, where they are texts.
pub(super) type Trace<T> = [Option<T>; 2];

/// The names of these two.
pub(super) const TRACE: [&str; 2] = ["traceparent", "tracestate"];

impl Document {
    /// The whole document.
    pub(super) fn get(&self) -> &Value {
        match self {
            Self::Decoded(document) => document,
            #[cfg(feature = "consume")]
            Self::Text(text) => text.decoded.get_or_init(|| decode(&text.text)),
        }
    }
}

#[cfg(feature = "consume")]
impl Document {
    /// The document of a text which the projection has read.
    pub(super) fn of_text(text: Bytes, trace: Trace<Box<str>>) -> Self {
        Self::Text(AsPublished { text, trace, decoded: OnceLock::new() })
    }

    /// Whether it is in memory as a whole.
    pub(super) fn is_decoded(&self) -> bool {
        match self {
            Self::Decoded(_) => true,
            Self::Text(text) => text.decoded.get().is_some(),
        }
    }

    /// See [`Trace`]. Decodes nothing.
    pub(super) fn trace(&self) -> Trace<&str> {
        match self {
            Self::Decoded(document) => TRACE.map(|name| document.get("metadata")?.get(name)?.as_str()),
            Self::Text(text) => text.trace.each_ref().map(Option::as_deref),
        }
    }
}

#[cfg(feature = "consume")]
fn decode(text: &[u8]) -> Value {
    match Limits::NONE.decode(Raw::from(text)).map(|event| event.document) {
        Ok(Document::Decoded(document)) => document,
        other => {
            let error = other.err().map(|poison| poison.to_string());
            tracing::error!(
                error,
                "an event whose envelope was read cannot be decoded: this is a defect, please report it"
            );
            Value::Null
        }
    }
}
