//! What the headers of a record of a dead-letter topic say. Pure.
//!
//! Whoever may write to the topic may write any header: what is read is text within limits, and a number is one.

use std::num::NonZeroU64;

use super::super::record::OwnedHeader;
use crate::event::{Generation, RECORDED_MS};

const AGAIN: &str = "dlq-again";
const GENERATION: &str = "dlq-generation";
const MARK: &str = "dlq-mark";
const MARK_PARTITION: &str = "dlq-mark-partition";
const MARK_OFFSET: &str = "dlq-mark-offset";
const MARK_TIME: &str = "dlq-mark-time";
const MARK_BY: &str = "dlq-mark-by";

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, for a moment")]
pub(crate) enum TopicRecord<'a> {
    /// A dead letter.
    Letter(LetterHead<'a>),
    /// It says of a letter that it is done.
    Mark(Mark),
    /// Neither: another program wrote it.
    Foreign,
}

/// What the headers of a dead letter say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LetterHead<'a> {
    /// Why, in one word.
    pub reason: &'a str,
    /// Why, in a sentence.
    pub error: &'a str,
    /// The rule and the agent of the delivery; `None` when the whole record is a dead letter.
    pub delivery: Option<(&'a str, &'a str)>,
    /// Which time the delivery was made.
    pub generation: Generation,
    /// A header of the generation that is there and is no number: its name.
    pub unreadable: Option<&'static str>,
    /// The endpoint that may have the delivery, by its number.
    pub sent_to: Option<NonZeroU64>,
    /// The event's id; letters of before have it if its publisher wrote the header `event_id`.
    pub event_id: Option<&'a str>,
    /// The workflow, as far as 255 bytes of it.
    pub workflow_id: Option<&'a str>,
    /// Its run, likewise.
    pub workflow_run_id: Option<&'a str>,
    /// Attempts that were made.
    pub attempts: Option<&'a str>,
    /// The agent's last answer, as an HTTP status.
    pub status: Option<&'a str>,
    /// When it was given up.
    pub time: Option<&'a str>,
    /// Topic, partition and offset of its record.
    pub origin: Option<(&'a str, i32, i64)>,
    /// When its record was published first, ms since 1970; letters of before do not say.
    pub recorded_ms: Option<i64>,
    /// A part of the record did not fit: its value, its key or its headers.
    pub is_cut: bool,
}

/// How a letter is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// It was sent again.
    Redriven,
    /// Nobody needs it.
    Discarded,
}

impl MarkKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

/// A letter is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: MarkKind,
    /// Where the letter is.
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Mark {
    /// The headers of its record, with when it is written (RFC 3339) and by whom.
    pub(super) fn headers(self, time: &str, by: &str) -> Vec<OwnedHeader> {
        [
            (MARK, self.kind.as_str().to_owned()),
            (MARK_PARTITION, self.partition.to_string()),
            (MARK_OFFSET, self.offset.to_string()),
            (MARK_TIME, time.to_owned()),
            (MARK_BY, by.to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Some(value.into_bytes())))
        .collect()
    }

    /// A key of its own: in a compacted topic it must not take the place of the letter.
    pub(super) fn key(self) -> String {
        format!("dlq-mark/{}/{}", self.partition, self.offset)
    }
}

impl<'a> TopicRecord<'a> {
    /// Reads the headers of a record.
    pub(crate) fn read(headers: &[(&'a str, Option<&'a [u8]>)]) -> Self {
        let text = |name: &str| {
            let found = headers.iter().find(|(found, _)| *found == name);
            found.and_then(|(_, value)| std::str::from_utf8((*value)?).ok()).filter(|value| !value.is_empty())
        };
        if let Some(kind) = text(MARK) {
            return mark(kind, text(MARK_PARTITION), text(MARK_OFFSET)).map_or(Self::Foreign, Self::Mark);
        }
        let Some(reason) = text("dlq-reason") else { return Self::Foreign };
        let omitted = ["dlq-value-omitted", "dlq-key-omitted", "dlq-headers-omitted"];
        Self::Letter(LetterHead {
            reason,
            error: text("dlq-error").unwrap_or_default(),
            delivery: text("dlq-rule").zip(text("dlq-agent")),
            generation: Generation {
                again: text(AGAIN).and_then(number).unwrap_or(0),
                number: text(GENERATION).and_then(number).unwrap_or(0),
            },
            unreadable: unreadable(headers),
            sent_to: text("dlq-sent-to").and_then(number),
            event_id: text("dlq-event-id").or_else(|| text("event_id")),
            workflow_id: text("dlq-workflow-id"),
            workflow_run_id: text("dlq-workflow-run-id"),
            attempts: text("dlq-attempts"),
            status: text("dlq-status"),
            time: text("dlq-time"),
            origin: text("dlq-topic")
                .and_then(|topic| Some((topic, number(text("dlq-partition")?)?, number(text("dlq-offset")?)?))),
            recorded_ms: text(RECORDED_MS).and_then(number),
            is_cut: omitted.iter().any(|name| text(name).is_some()),
        })
    }
}

/// A header of the generation that is there and is no number.
fn unreadable(headers: &[(&str, Option<&[u8]>)]) -> Option<&'static str> {
    let is_wrong = |name: &str, is_number: fn(&str) -> bool| {
        let found = headers.iter().find(|(found, _)| *found == name);
        found.is_some_and(|(_, value)| !value.and_then(|value| std::str::from_utf8(value).ok()).is_some_and(is_number))
    };
    if is_wrong(AGAIN, |text| number::<u16>(text).is_some()) {
        return Some(AGAIN);
    }
    is_wrong(GENERATION, |text| number::<u32>(text).is_some()).then_some(GENERATION)
}

fn mark(kind: &str, partition: Option<&str>, offset: Option<&str>) -> Option<Mark> {
    let kind = [MarkKind::Redriven, MarkKind::Discarded].into_iter().find(|known| known.as_str() == kind)?;
    Some(Mark { kind, partition: number(partition?)?, offset: number(offset?)? })
}

/// A number without a sign.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn borrowed(headers: &[OwnedHeader]) -> Vec<(&str, Option<&[u8]>)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_a_half_one_marks_nothing() {
        for kind in [MarkKind::Redriven, MarkKind::Discarded] {
            let mark = Mark { kind, partition: 3, offset: i64::MAX };
            let mut headers = mark.headers("2026-01-31T00:00:00Z", "somebody");
            assert_eq!(TopicRecord::read(&borrowed(&headers)), TopicRecord::Mark(mark));
            headers[2].1 = Some(b"-1".to_vec());
            // Not a letter either, whatever else it says.
            headers.push(("dlq-reason".to_owned(), Some(b"refused".to_vec())));
            assert_eq!(TopicRecord::read(&borrowed(&headers)), TopicRecord::Foreign);
        }
    }

    #[test]
    fn a_header_of_the_generation_that_is_no_number_is_named() {
        for (name, wrong) in [
            (AGAIN, &[&b"one"[..], b"-1", b"+1", b"65536", b"\xff", b""][..]),
            (GENERATION, &[&b"one"[..], b"-1", b"4294967296", b"\xff"][..]),
        ] {
            for value in wrong.iter().copied() {
                let headers = [("dlq-reason", Some(&b"refused"[..])), (name, Some(value))];
                let TopicRecord::Letter(head) = TopicRecord::read(&headers) else { panic!("it is a letter") };
                assert_eq!((head.unreadable, head.generation), (Some(name), Generation::FIRST), "{value:?}");
            }
            let headers = [("dlq-reason", Some(&b"refused"[..])), (name, Some(&b"7"[..]))];
            let TopicRecord::Letter(head) = TopicRecord::read(&headers) else { panic!("it is a letter") };
            assert_eq!(head.unreadable, None);
        }
    }

    #[test]
    fn a_letter_of_an_earlier_version_is_read() {
        let headers: Vec<OwnedHeader> = [
            ("event_id", "e"),
            ("dlq-reason", "refused"),
            ("dlq-error", "400"),
            ("dlq-rule", "all"),
            ("dlq-agent", "audit"),
            ("dlq-topic", "events"),
            ("dlq-partition", "3"),
            ("dlq-offset", "41"),
        ]
        .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())))
        .into();
        let expected = LetterHead {
            reason: "refused",
            error: "400",
            delivery: Some(("all", "audit")),
            event_id: Some("e"),
            origin: Some(("events", 3, 41)),
            ..LetterHead::default()
        };
        assert_eq!(TopicRecord::read(&borrowed(&headers)), TopicRecord::Letter(expected));
        assert_eq!(TopicRecord::read(&borrowed(&headers[..1])), TopicRecord::Foreign);
    }
}
