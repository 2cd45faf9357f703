//! What is handed to an agent, and what comes back.
//!
//! Owns the types between the pipeline and the kinds of endpoint. Its invariant: a [`Failure`] holds
//! nothing secret, no query of a URL, and at most [`MAX_REASON_BYTES`] of reason. It does not
//! know how a request is made.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::Url;
use serde_json::{Map, Value};

use super::{Class, TraceContext};
use crate::event::{DeliveryId, Event, Origin};

/// The longest [`Failure::reason`], in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// One event to one agent for one rule: everything that an attempt needs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The identity, the same for every attempt, restart and replica.
    pub id: DeliveryId,
    /// The rule that sends it.
    pub rule: Arc<str>,
    /// The agent that it goes to.
    pub agent: Arc<str>,
    /// The event.
    pub event: Arc<Event>,
    /// Where its record stands in Kafka.
    pub origin: Origin,
    /// The event as it was published, or in the native form if it was published in another dialect.
    pub raw: Bytes,
    /// The trace that the event belongs to.
    pub trace: TraceContext,
    /// What the rule's template made of the event; `None` is the agent kind's default body.
    pub body: Option<Value>,
    /// What the agent's own templates made of it; for a LangGraph server only.
    pub settings: RunSettings,
}

/// What the routing file says of each run of a LangGraph agent, rendered for one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSettings {
    /// The run's `config`, when it has templates in it; otherwise it is part of the agent's spec.
    pub config: Option<Value>,
    /// The run's `context`, likewise.
    pub context: Option<Value>,
    /// Metadata of the run and of its thread besides the bridge's own.
    pub metadata: Map<String, Value>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The agent has it.
    Accepted {
        /// The run, where the agent names one.
        run_id: Option<String>,
        /// A look found it: it was accepted by an earlier request, whose answer was lost.
        found: bool,
        /// The status of the answer that says so.
        status: Option<u16>,
    },
    /// An earlier request may still arrive, or another process may hold the claim: give the slot
    /// back and attempt again after this time, with the same session. Not a failure.
    Wait(Duration),
    /// After [`Session::end`](super::Session::end): there is no run, and none will come any more.
    Ended,
    /// Not accepted, as far as can be told.
    Failed(Failure),
}

/// Why a delivery was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose failure it is. Never [`Class::Accepted`].
    pub class: Class,
    /// The status, where there was an answer.
    pub status: Option<u16>,
    /// When the agent wants to be asked again, at most [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER).
    pub retry_after: Option<Duration>,
    /// A bounded label for metrics: see [`KINDS`].
    pub kind: &'static str,
    /// What happened, for a log or a dead letter: what was asked, the answer and an excerpt of it, in one
    /// line without control characters.
    pub reason: String,
}

/// Every [`Failure::kind`]: the status or its class, or
///
/// - `connect`: no connection, so nothing was sent;
/// - `timeout`: sent, and no answer in time;
/// - `io`: sent, and the connection broke;
/// - `unreadable`: an answer that does not say what a run API says;
/// - `unknown_assistant`: the LangGraph server does not know the assistant;
/// - `claim_invisible`: a claim that exists and cannot be seen;
/// - `claim_unsettled`: the claim kept changing hands;
/// - `unknown_run`: a run on the claim thread that may be the delivery's, and nothing tells;
/// - `secret`: a secret that cannot be had.
#[rustfmt::skip]
pub const KINDS: &[&str] = &[
    "401", "403", "404", "409", "422", "429", "503", "2xx", "3xx", "4xx", "5xx", "other_status",
    "connect", "timeout", "io", "unreadable",
    "unknown_assistant", "claim_invisible", "claim_unsettled", "unknown_run", "secret",
];

/// An address for a log: without credentials, query and fragment.
pub(super) fn address(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The body of a refusal as text, or that there is none.
pub(super) fn excerpt(body: &[u8]) -> Cow<'_, str> {
    if body.trim_ascii().is_empty() { "(empty body)".into() } else { String::from_utf8_lossy(body) }
}

/// `text` as one line without any of `secrets`, as they are or as JSON writes them, control characters
/// escaped, cut to [`MAX_REASON_BYTES`].
pub(super) fn clean(text: &str, secrets: &[Arc<str>]) -> String {
    let mut text = text.to_owned();
    let mut secrets: Vec<&str> = secrets.iter().map(|secret| &**secret).filter(|secret| !secret.is_empty()).collect();
    // A longer one first: it may begin with a shorter one.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        text = text.replace(secret, "[secret]");
        let json = Value::from(secret).to_string();
        let json = json.trim_matches('"');
        if json != secret {
            text = text.replace(json, "[secret]");
        }
    }
    let mut line = String::with_capacity(text.len().min(MAX_REASON_BYTES));
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if is_invisible(c) {
                line.extend(c.escape_unicode());
            } else {
                line.push(c);
            }
            if line.len() > MAX_REASON_BYTES {
                break;
            }
        }
        if line.len() > MAX_REASON_BYTES {
            break;
        }
    }
    if line.len() > MAX_REASON_BYTES {
        let room = MAX_REASON_BYTES - '…'.len_utf8();
        line.truncate((0..=room).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0));
        line.push('…');
    }
    line
}

/// Whether a terminal would obey a character rather than show it: control characters, and those of
/// Unicode that hide or reorder text.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_with_its_control_characters_escaped() {
        assert_eq!(clean("a\r\nb\u{1b}[31m\tc\u{0}", &[]), "a b\\u{1b}[31m c\\u{0}");
        assert_eq!(clean("\u{202e}lived\u{feff}", &[]), "\\u{202e}lived\\u{feff}");
    }

    #[test]
    fn a_secret_is_hidden_as_it_is_as_json_writes_it_and_with_another_that_it_begins_with() {
        let secrets: Vec<Arc<str>> = ["hunter", "hunter2-long", "a\"b\\c"].map(Into::into).into();
        let text = r#"{"key": "hunter2-long", "other": "a\"b\\c"} a"b\c hunter"#;
        assert_eq!(clean(text, &secrets), r#"{"key": "[secret]", "other": "[secret]"} [secret] [secret]"#);
    }

    #[test]
    fn an_address_shows_neither_credentials_nor_the_query() {
        let shown = |url: &str| address(&url.parse().unwrap());
        assert_eq!(shown("https://u:hunter2@h:8443/a/b?token=hunter2#x"), "https://h:8443/a/b");
        assert_eq!(shown("http://[::1]:1/"), "http://[::1]:1/");
    }

    #[test]
    fn a_reason_never_shows_a_secret_that_the_answer_repeats() {
        let reason = clean("bad key sk-1234, really sk-1234", &["sk-1234".into(), "".into()]);
        assert_eq!(reason, "bad key [secret], really [secret]");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        for text in ["é".repeat(3000), "word ".repeat(3000), format!("x{}", "€".repeat(3000))] {
            let reason = clean(&text, &[]);
            assert!(reason.len() <= MAX_REASON_BYTES && reason.len() > MAX_REASON_BYTES - 8, "{}", reason.len());
            assert!(reason.ends_with('…'));
        }
    }
}
