//! The workflow event: its model, its wire format, and the records that are not events.
//!
//! Owns the wire format, the other dialects that are read, the ids that are derived from an event,
//! and the meaning of *poison*. Invariant: a decoded [`Event`] has an id, a type, a source, a time, a
//! workflow and a run, and its [`document`](Event::document) has the same values in the canonical
//! spelling. It knows nothing of Kafka's client, of rules or of agents.

mod airflow;
mod asked;
mod base64;
mod canonical;
mod cloudevents;
mod decode;
mod dialect;
mod document;
mod fields;
mod generation;
mod hints;
mod ids;
mod integration;
mod lazy;
mod limits;
mod memory;
mod model;
mod names;
mod native;
mod openlineage;
mod parse;
mod poison;
#[cfg_attr(not(feature = "consume"), expect(dead_code, reason = "without a consumer nothing is matched"))]
mod projection;
mod raw;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "handlers ask for no redrive"))]
mod redrive;
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "without rules nothing is matched"))]
mod tree;

#[cfg(test)]
mod tests;

pub use canonical::Canonical;
pub use decode::decode;
pub use dialect::Dialect;
#[cfg(feature = "consume")]
pub(crate) use document::FieldSet;
pub use generation::Generation;
pub use ids::{DeliveryId, digest};
pub use limits::{DECODED_FACTOR, DEFAULT_MAX_RECORD_BYTES, Limits, MAX_HEADER_BYTES, MAX_HEADERS, RecordSize};
pub use model::{Event, MAX_EVENT_ID_BYTES, Origin};
pub use names::{EventType, Source};
pub(crate) use native::check_event_id;
pub use parse::BYTE_ORDER_MARK;
pub use poison::Poison;
#[cfg(feature = "consume")]
pub(crate) use projection::Projected;
pub use raw::Raw;
#[cfg(feature = "consume")]
pub(crate) use raw::{RECORDED_MS, recorded_ms};
#[cfg(feature = "consume")]
pub(crate) use redrive::{BadRedrive, MAX_NAME_BYTES, RedriveRequest};
#[cfg(feature = "service")]
pub(crate) use tree::{Scalar, Shape, Tree};
