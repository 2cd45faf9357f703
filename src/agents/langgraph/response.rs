//! How the responses about threads, created runs and errors are read.
//!
//! Its invariant: a few short strings are kept of a response, whatever it holds. It does not know what
//! follows from them. Lists of runs are read in run_list.rs.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use uuid::Uuid;

use super::lenient::{MAX_ID, Object, Short, Text};

/// A thread, as the server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    /// Identifies its creator; `None` if that was no bridge, or the server does not show it.
    pub nonce: Option<Uuid>,
}

#[derive(Deserialize)]
struct ThreadFields {
    #[serde(default)]
    thread_id: Short,
    #[serde(default)]
    metadata: Object<Nonce>,
}

#[derive(Deserialize)]
struct Nonce {
    #[serde(default)]
    nonce: Short,
}

/// The thread in a response, if it is the expected one.
pub(super) fn thread(body: &[u8], expected: Uuid) -> Option<Thread> {
    let fields: ThreadFields = serde_json::from_slice(body).ok()?;
    if fields.thread_id.uuid()? != expected {
        return None;
    }
    Some(Thread { nonce: fields.metadata.0.and_then(|metadata| metadata.nonce.uuid()) })
}

/// The run that was created, if the response is one, and on that thread. A server repeats the whole
/// input in this response, so the body may be cut off at its limit: then both ids must stand before the cut.
pub(super) fn created_run(body: &[u8], thread: Uuid) -> Option<String> {
    let mut fields = Created::default();
    let mut from = serde_json::Deserializer::from_slice(body);
    let cut = match (&mut fields).deserialize(&mut from).and_then(|()| from.end()) {
        Ok(()) => false,
        Err(error) if error.is_eof() => true,
        Err(_) => return None,
    };
    let of_thread = match &fields.thread_id {
        Some(id) => id.uuid() == Some(thread),
        None => !cut,
    };
    fields.run_id.0.filter(|_| of_thread)
}

#[derive(Default)]
struct Created {
    run_id: Short,
    thread_id: Option<Short>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum CreatedKey {
    RunId,
    ThreadId,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Created {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Created {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                CreatedKey::RunId => self.run_id = map.next_value()?,
                CreatedKey::ThreadId => self.thread_id = Some(map.next_value()?),
                CreatedKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The text of an error: `detail` or `message` of an object, if it is a string, else the whole body.
pub(super) fn detail(body: &[u8]) -> String {
    error_text(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        detail: Text,
        #[serde(default)]
        message: Text,
    }
    let fields = serde_json::from_slice::<Object<Fields>>(body).ok()?.0?;
    fields.detail.0.or(fields.message.0)
}

/// Whether a 404 is the server's own, and not of a proxy that has no such path. Measured: `Thread with
/// ID <id> not found` (LangGraph, as JSON; LangGraph.js, as plain text), `Thread '<id>' not found` in
/// `message` (aegra). A wrong guess costs one request: creating the thread decides.
pub(super) fn is_no_thread(body: &[u8]) -> bool {
    let text = error_text(body).is_some();
    let plain = String::from_utf8_lossy(&body[..body.len().min(MAX_ID)]).trim_start().to_lowercase();
    text || (plain.starts_with("thread") && plain.contains("not found"))
}

/// Whether a 422 says that the thread is busy, as LangGraph.js does: `Thread is already running a task.
/// Wait for it to finish or choose a different multitask strategy.` Only the beginning counts: what
/// follows may repeat the event.
pub(super) fn is_busy(detail: &str) -> bool {
    detail.trim_start().to_lowercase().starts_with("thread is already running")
}

/// Whether a 422 or a 404 says that there is no such assistant. Only the beginning counts: what follows
/// may repeat the event. Measured: `Invalid assistant: 'x'. Must be either: ...` (LangGraph), `Assistant
/// 'x' not found` (aegra), `No assistant found for "x"` (LangGraph.js).
pub(super) fn is_unknown_assistant(detail: &str) -> bool {
    let detail = detail.trim_start().to_lowercase();
    let says = [
        "invalid assistant",
        "unknown assistant",
        "no such assistant",
        "no assistant found",
        "assistant not found",
        "unknown graph",
    ];
    let names = ["assistant ", "graph "];
    says.iter().any(|text| detail.starts_with(text))
        || (names.iter().any(|text| detail.starts_with(text))
            && detail.chars().take(200).collect::<String>().contains("not found"))
}

#[cfg(test)]
mod tests;
