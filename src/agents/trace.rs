//! Values of an event in a request besides its body: the trace context, tags, metadata.
//!
//! Owns their bounds. Its invariant: no value of an event makes a request malformed,
//! so a trace context is forwarded as W3C defines it or not at all. It does not know how a record
//! or a request carries it.

use std::sync::Arc;

use super::is_invisible;

/// W3C asks for 8,192; many servers take no more than 8 KB of headers in all, and refuse the event then.
const MAX_BAGGAGE_BYTES: usize = 4096;
const MAX_BAGGAGE_MEMBERS: usize = 64;
const MAX_TRACESTATE_BYTES: usize = 512;
const MAX_TRACESTATE_MEMBERS: usize = 32;
/// A later version may be longer than `00`, which has 55.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// Optional white space around a part.
const OWS: [char; 2] = [' ', '\t'];

/// The longest text of an event in a tag or in metadata, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 255;

/// The trace that an event belongs to, valid and bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TraceContext {
    traceparent: Option<Arc<str>>,
    tracestate: Option<Arc<str>>,
    baggage: Option<Arc<str>>,
}

impl TraceContext {
    /// Reads the trace context from every value that stands under these names, in order. What is not
    /// valid is left out, and `tracestate` goes with its `traceparent`.
    pub(crate) fn read<'a>(
        traceparent: impl IntoIterator<Item = &'a str>,
        tracestate: impl IntoIterator<Item = &'a str>,
        baggage: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut parents = traceparent.into_iter().map(str::trim);
        let first = parents.next();
        // Several that differ are ambiguous.
        let parent = first.filter(|first| parents.all(|other| other == *first) && is_traceparent(first));
        let state = parent.and_then(|_| tracestate_of(tracestate));
        Self { traceparent: parent.map(Into::into), tracestate: state, baggage: baggage_of(baggage) }
    }

    /// This context, with what it lacks taken from `other`.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        let baggage = self.baggage.or(other.baggage);
        let (traceparent, tracestate) = match self.traceparent {
            None => (other.traceparent, other.tracestate),
            some => (some, self.tracestate),
        };
        Self { traceparent, tracestate, baggage }
    }

    /// The trace and the span that the event comes from.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What the systems on the way have added to it.
    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The headers of W3C that carry it.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("traceparent", &self.traceparent), ("tracestate", &self.tracestate), ("baggage", &self.baggage)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// `version-traceid-parentid-flags` in lower-case hex, neither id all zero.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    if text.len() > MAX_TRACEPARENT_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // A later version may go on after another dash; the first one ends here.
    let ends = parts.next().is_none() || version != "00";
    hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && some(trace)
        && hex(parent, 16)
        && some(parent)
        && hex(flags, 2)
        && ends
}

/// The members of a list that is spread over several values.
fn members<'a>(values: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    values.into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// As many members from the front as the limits allow.
fn join<'a>(members: impl Iterator<Item = &'a str>, count: usize, bytes: usize) -> Option<Arc<str>> {
    let mut text = String::new();
    for member in members.take(count) {
        if text.len() + member.len() + 1 > bytes {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(member);
    }
    (!text.is_empty()).then(|| text.into())
}

/// One invalid member invalidates the list, as W3C demands.
fn tracestate_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Arc<str>> {
    let mut keys = std::collections::HashSet::new();
    let mut list = Vec::new();
    for member in members(values) {
        let (key, value) = member.split_once('=')?;
        let of_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
        let part = |part: &str, most: usize| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.len() <= most
                && part.bytes().all(of_key)
        };
        let key_is_valid = match key.split_once('@') {
            Some((tenant, system)) => part(tenant, 241) && part(system, 14),
            None => part(key, 256),
        };
        let value_is_valid =
            (1..=256).contains(&value.len()) && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=');
        if !key_is_valid || !value_is_valid || !keys.insert(key) {
            return None;
        }
        if list.len() < MAX_TRACESTATE_MEMBERS {
            list.push(member);
        } else {
            break;
        }
    }
    join(list.into_iter(), MAX_TRACESTATE_MEMBERS, MAX_TRACESTATE_BYTES)
}

/// The valid members; they are independent.
fn baggage_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Arc<str>> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let octets =
        |text: &str| text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e));
    let pair = |text: &str, needs_value: bool| match text.split_once('=') {
        Some((key, value)) => token(key.trim_matches(OWS)) && octets(value.trim_matches(OWS)),
        None => !needs_value && token(text.trim_matches(OWS)),
    };
    let valid = |member: &&str| {
        let mut parts = member.split(';');
        parts.next().is_some_and(|first| pair(first, true)) && parts.all(|property| pair(property, false))
    };
    join(members(values).filter(valid), MAX_BAGGAGE_MEMBERS, MAX_BAGGAGE_BYTES)
}

/// A text of an event for a tag or metadata: cut to [`MAX_TEXT_BYTES`], with invisible characters and those
/// that a database cannot store replaced.
pub(super) fn bounded(text: &str) -> String {
    let mut bounded: String =
        text.chars().take(MAX_TEXT_BYTES + 1).map(|c| if is_invisible(c) { '\u{fffd}' } else { c }).collect();
    if bounded.len() > MAX_TEXT_BYTES {
        let room = MAX_TEXT_BYTES - '…'.len_utf8();
        bounded.truncate((0..=room).rev().find(|end| bounded.is_char_boundary(*end)).unwrap_or(0));
        bounded.push('…');
    }
    bounded
}

#[cfg(test)]
mod tests;
