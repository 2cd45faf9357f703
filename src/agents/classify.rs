//! Whose failure an answer is: one pure table.
//!
//! Owns the meaning of every status and every way in which a request can fail. Its invariant: the
//! table in docs/agents.md says the same, row by row (a test compares them). It does not know what
//! is done about a class, nor how an answer was had.
//!
//! The rule of thumb behind it: a refusal of *how the bridge asks* (who it is, where it asks, how
//! fast) is the agent's fault and holds the events; a refusal of *what it sends* is the event's.

use std::{collections::BTreeMap, time::Duration};

use super::Class;

/// The longest `Retry-After` that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Which request was answered: what an ambiguous answer could have done differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The event, to a plain HTTP endpoint: sent again with the same key.
    Http,
    /// The run, to a LangGraph server: never sent again before a look and `settle`.
    Run,
    /// What a LangGraph delivery asks before its run (claim, look, thread): without effect on it.
    Before,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// An answer with this status.
    Status(u16),
    /// A 2xx that is not what a run API says: a proxy's page, an answer cut short.
    Unreadable,
    /// The server does not know the assistant.
    UnknownAssistant,
    /// No connection: nothing was sent.
    Connect,
    /// Sent, and no answer in time.
    Timeout,
    /// Sent, and the connection broke.
    Io,
}

/// The table. `overrides` is the agent's `classify:`. It may call a LangGraph answer what it likes
/// but accepted: there, only a run is acceptance.
pub fn classify(request: Request, observation: Observation, overrides: &BTreeMap<u16, Class>) -> Class {
    if let Observation::Status(status) = observation
        && let Some(class) = overrides.get(&status)
        && (request == Request::Http || *class != Class::Accepted)
    {
        return *class;
    }
    match (request, observation) {
        (Request::Http, Observation::Status(200..=299)) => Class::Accepted,
        (Request::Http | Request::Run, Observation::Status(409 | 423)) => Class::Busy,
        (Request::Run, Observation::Status(200..=299 | 408)) => Class::Ambiguous,
        (Request::Http | Request::Run, Observation::Status(status)) => match status {
            ..=399 | 401 | 402 | 403 | 404 | 405 | 407 | 408 | 410 | 421 | 425 | 426 | 429 => Class::AgentFault,
            400..=499 => Class::EventFault,
            500.. => Class::Ambiguous,
        },
        (Request::Http | Request::Run, Observation::Unreadable | Observation::Timeout | Observation::Io) => {
            Class::Ambiguous
        }
        (Request::Before, _) | (_, Observation::UnknownAssistant | Observation::Connect) => Class::AgentFault,
    }
}

/// The bounded label of an answer, for metrics.
pub fn label(observation: Observation) -> &'static str {
    match observation {
        Observation::Status(status) => match status {
            401 => "401",
            403 => "403",
            404 => "404",
            409 => "409",
            422 => "422",
            429 => "429",
            503 => "503",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other_status",
        },
        Observation::Unreadable => "unreadable",
        Observation::UnknownAssistant => "unknown_assistant",
        Observation::Connect => "connect",
        Observation::Timeout => "timeout",
        Observation::Io => "io",
    }
}

/// `Retry-After` as seconds or as an HTTP date, at most [`MAX_RETRY_AFTER`]. `None` when it is
/// neither; a date that is past is zero.
pub fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        Duration::try_from(http_date(value)?.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The three forms of RFC 9110: of the internet's mail, of RFC 850, and of C's `asctime`. The name of the
/// day says nothing that the date does not.
fn http_date(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(zoned) = jiff::fmt::rfc2822::parse(text) {
        return Some(zoned.timestamp());
    }
    let date = text.split_once(", ").map_or_else(|| text.split_once(' '), Some)?.1.trim();
    let date = date.strip_suffix("GMT").or_else(|| date.strip_suffix("UTC")).unwrap_or(date).trim_end();
    // The first of them that fits; `%d` takes one digit too, and a day padded with a space.
    let forms = ["%d-%b-%y %H:%M:%S", "%b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S"];
    let parsed = forms.iter().find_map(|form| jiff::civil::DateTime::strptime(form, date).ok())?;
    parsed.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests;
