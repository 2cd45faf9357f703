//! Why an attempt failed, in a form that is safe for logs, metrics and dead letters.
//!
//! Its invariant: a [`Failure`] holds nothing secret, no query of a URL, and at most [`MAX_REASON_BYTES`] of
//! reason, in one line. It does not know how a request is made.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use super::{Class, Observation, Request, classify, label};

/// The longest [`Failure::reason`], in bytes.
pub(crate) const MAX_REASON_BYTES: usize = 1024;

/// Why a delivery was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whose failure it is. Never [`Class::Accepted`].
    pub class: Class,
    /// The status, if there was a response.
    pub status: Option<u16>,
    /// When the agent wants to be asked again, at most [`MAX_RETRY_AFTER`](super::classify::MAX_RETRY_AFTER).
    pub retry_after: Option<Duration>,
    /// What went wrong: a label for metrics.
    pub kind: FailureKind,
    /// What happened, for a log or a dead letter: the request, the response and an excerpt of it, in one
    /// line without control characters.
    pub reason: String,
}

impl Failure {
    /// A failure of the agent that no response shows.
    pub(super) fn of_agent(observation: Observation, reason: &str) -> Self {
        Self {
            class: classify(Request::BeforeRun, observation, &BTreeMap::new()),
            status: None,
            retry_after: None,
            kind: FailureKind::Observed(observation),
            reason: clean(reason, &[]),
        }
    }

    /// A run on the claim thread that may be the delivery's. Only this delivery is affected: the agent works.
    pub(super) fn unknown_run(class: Class, reason: &str) -> Self {
        Self { class, status: None, retry_after: None, kind: FailureKind::UnknownRun, reason: clean(reason, &[]) }
    }
}

/// What went wrong in an attempt. docs/agents.md lists the labels (a test compares them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// What was observed, of a response or of none.
    Observed(Observation),
    /// There is a run on the claim thread, and nothing shows whether it is the delivery's.
    UnknownRun,
    /// A handler of this process did not handle the event.
    Handler(HandlerFailure),
}

/// How a handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandlerFailure {
    /// It returned an error.
    Error,
    /// It panicked.
    Panic,
    /// It took longer than it may.
    Timeout,
    /// It will never handle the event.
    Rejected,
    /// A value of the event is not what it reads.
    InvalidValue,
    /// The event lacks what it reads.
    MissingField,
}

impl HandlerFailure {
    /// Whether the fault is the event's, as the handler says.
    pub(crate) fn is_of_event(self) -> bool {
        matches!(self, Self::Rejected | Self::InvalidValue | Self::MissingField)
    }
}

impl FailureKind {
    /// The label in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Observed(observation) => label(observation),
            Self::UnknownRun => "unknown_run",
            Self::Handler(HandlerFailure::Error) => "error",
            Self::Handler(HandlerFailure::Panic) => "panic",
            Self::Handler(HandlerFailure::Timeout) => label(Observation::Timeout),
            Self::Handler(HandlerFailure::Rejected) => "rejected",
            Self::Handler(HandlerFailure::InvalidValue) => "invalid_value",
            Self::Handler(HandlerFailure::MissingField) => "missing_field",
        }
    }
}

/// The error with its causes; many errors repeat them in their own text.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
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
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: &str = include_str!("../../docs/agents.md");

    #[test]
    fn the_docs_list_every_kind_of_failure() {
        let statuses = (100..1000).map(Observation::Status);
        let others = [
            Observation::Unreadable,
            Observation::UnknownAssistant,
            Observation::Connect,
            Observation::Timeout,
            Observation::Io,
            Observation::Secret,
            Observation::ClaimInvisible,
            Observation::ClaimContended,
        ];
        let observed = statuses.chain(others).map(FailureKind::Observed);
        let of_handlers = [
            HandlerFailure::Error,
            HandlerFailure::Panic,
            HandlerFailure::Timeout,
            HandlerFailure::Rejected,
            HandlerFailure::InvalidValue,
            HandlerFailure::MissingField,
        ];
        let of_handlers = of_handlers.into_iter().map(FailureKind::Handler);
        let labels: std::collections::BTreeSet<_> =
            observed.chain([FailureKind::UnknownRun]).chain(of_handlers).map(FailureKind::as_str).collect();
        let list = AGENTS.split("<!-- kinds -->").nth(1).unwrap();
        let documented: std::collections::BTreeSet<_> = list
            .lines()
            .skip(3)
            .filter_map(|row| row.strip_prefix("| ")?.split(" | ").next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        assert_eq!(labels, documented);
    }

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
