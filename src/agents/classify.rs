//! What an answer means: one pure table.
//!
//! Owns the meaning of every status and of every way in which an attempt can fail. Invariant: the table in
//! docs/agents.md says the same, row by row (a test compares them). It does not know how an answer was obtained,
//! nor what follows from a class.
//!
//! The rule of thumb: a refusal of *how the bridge asks* (who it is, where it asks, how fast) is a fault of the
//! agent, and its events wait; a refusal of *what the bridge sends* is a fault of the event.

use std::{collections::BTreeMap, time::Duration};

use super::Class;

/// The longest `Retry-After` that is honoured.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Which request was answered. What an ambiguous answer may have done depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The event, to a plain HTTP endpoint. It is repeated with the same key.
    Http,
    /// The run, to a LangGraph server. It is repeated only after a search for the run, once no earlier request can be in flight.
    Run,
    /// What a LangGraph delivery asks before it creates a run (claim, search, thread). It starts nothing.
    BeforeRun,
}

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observation {
    /// An answer with this status.
    Status(u16),
    /// A 2xx that no run API sends: a proxy's page, a truncated answer.
    Unreadable,
    /// The server does not know the assistant.
    UnknownAssistant,
    /// No connection: nothing was sent.
    Connect,
    /// Sent, and no answer in time.
    Timeout,
    /// Sent, and the connection broke.
    Io,
    /// A secret cannot be read: nothing was sent.
    Secret,
    /// The claim thread exists, and the server does not show it.
    ClaimInvisible,
    /// The claim changed hands during the attempt.
    ClaimContended,
}

/// The table. `overrides` is the agent's `classify:`. It may reclassify every status, but cannot declare a
/// LangGraph answer accepted: there, only a run is acceptance.
pub(crate) fn classify(request: Request, observation: Observation, overrides: &BTreeMap<u16, Class>) -> Class {
    if let Observation::Status(status) = observation
        && let Some(class) = overrides.get(&status)
        && (request == Request::Http || *class != Class::Accepted)
    {
        return if *class == Class::AgentFault { agent_fault(observation) } else { *class };
    }
    match (request, observation) {
        (Request::Http, Observation::Status(200..=299)) => Class::Accepted,
        (Request::Http | Request::Run, Observation::Status(409 | 423)) => Class::Busy,
        (Request::Run, Observation::Status(200..=299 | 408)) => Class::Ambiguous,
        (Request::Http | Request::Run, Observation::Status(status)) => match status {
            ..=399 | 401 | 402 | 403 | 404 | 405 | 407 | 408 | 410 | 421 | 425 | 426 | 429 => agent_fault(observation),
            400..=499 => Class::EventFault,
            500.. => Class::Ambiguous,
        },
        (Request::Http | Request::Run, Observation::Unreadable | Observation::Timeout | Observation::Io) => {
            Class::Ambiguous
        }
        (Request::BeforeRun, _)
        | (
            _,
            Observation::UnknownAssistant
            | Observation::Connect
            | Observation::Secret
            | Observation::ClaimInvisible
            | Observation::ClaimContended,
        ) => agent_fault(observation),
    }
}

/// Whether a fault of the agent may pass by itself.
fn agent_fault(observation: Observation) -> Class {
    match observation {
        Observation::Status(408 | 425 | 429 | 500..)
        | Observation::Timeout
        | Observation::Io
        | Observation::ClaimInvisible
        | Observation::ClaimContended => Class::AgentUnavailable,
        Observation::Status(_)
        | Observation::Unreadable
        | Observation::UnknownAssistant
        | Observation::Connect
        | Observation::Secret => Class::AgentFault,
    }
}

/// The bounded label of an answer, for metrics.
pub(crate) fn label(observation: Observation) -> &'static str {
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
        Observation::Secret => "secret",
        Observation::ClaimInvisible => "claim_invisible",
        Observation::ClaimContended => "claim_contended",
    }
}

/// `Retry-After` as seconds or as an HTTP date, at most [`MAX_RETRY_AFTER`]. `None` when it is
/// neither. A date in the past is zero.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        Duration::try_from(http_date(value)?.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The three forms of RFC 9110: RFC 5322, RFC 850 and C's `asctime`. The name of the day is ignored.
fn http_date(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(zoned) = jiff::fmt::rfc2822::parse(text) {
        return Some(zoned.timestamp());
    }
    let date = text.split_once(", ").map_or_else(|| text.split_once(' '), Some)?.1.trim();
    let date = date.strip_suffix("GMT").or_else(|| date.strip_suffix("UTC")).unwrap_or(date).trim_end();
    // `%d` accepts one digit too, and a day padded with a space.
    let forms = ["%d-%b-%y %H:%M:%S", "%b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S"];
    let parsed = forms.iter().find_map(|form| jiff::civil::DateTime::strptime(form, date).ok())?;
    parsed.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests;
