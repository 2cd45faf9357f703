//! What a pattern can match in `timestamp`, which every event has in one form.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::verdict::Verdict::{self, Fine, Never};
use crate::yaml::quoted;

/// A time that the whole field would have to equal.
pub(super) fn exact(text: &str) -> Verdict {
    match time(text) {
        Some(time) if time == text => Fine,
        Some(time) => Never(format!("events write this time as {time}, found {}: write that", quoted(text))),
        None => Never(format!("expected a time as events write it, such as {EXAMPLE}, found {}", quoted(text))),
    }
}

const EXAMPLE: &str = "2026-01-31T12:00:00Z";

/// A time in the form that events have, whatever form it is given in.
fn time(text: &str) -> Option<String> {
    let time = text.parse::<Timestamp>().or_else(|_| {
        text.parse::<DateTime>().and_then(|naive| naive.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp())
    });
    time.ok().map(|time| time.to_string())
}

/// Whether a time may begin so: `2026-01-31T12:00:00` with a fraction or without one, and `Z`.
pub(super) fn begins(text: &str) -> Verdict {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    // A year before 0 has a sign and six digits.
    if text.starts_with('-') {
        return Fine;
    }
    let (whole, rest) = text.as_bytes().split_at(text.len().min(SHAPE.len()));
    let fits = whole.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    });
    let rest = std::str::from_utf8(rest).unwrap_or("?");
    let fraction = rest.strip_suffix('Z').unwrap_or(rest);
    let fits = fits
        && match fraction.strip_prefix('.') {
            Some(digits) => digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit()),
            None => fraction.is_empty(),
        };
    if fits { Fine } else { Never(format!("no event's time begins so: they look like {EXAMPLE}, in UTC")) }
}

pub(super) fn ends(text: &str) -> Verdict {
    let fits = text.is_empty() || (text.ends_with('Z') && written_with(text));
    if fits { Fine } else { Never(format!("no event's time ends so: they look like {EXAMPLE}, in UTC")) }
}

fn written_with(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z'))
}

pub(super) fn wildcard(text: &str) -> Verdict {
    let parts: Vec<_> = text.split('*').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return Fine };
    if text.contains('\\') || !middle.iter().all(|part| written_with(part)) {
        return Never(format!("no event's time looks so: they look like {EXAMPLE}, in UTC"));
    }
    if parts.len() == 1 {
        return exact(text);
    }
    match (begins(first), ends(last)) {
        (Fine, Fine) => Fine,
        (Fine, other) | (other, _) => other,
    }
}
