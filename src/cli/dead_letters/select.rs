//! Which dead letters are meant: the flags, and whether a letter fits them.

use std::{fmt, str::FromStr};

use clap::Args;
use jiff::Timestamp;

use super::super::since::{Since, since};
use crate::{
    event::{Event, Limits, Poison, RECORDED_MS, Raw, RecordSize},
    kafka::{LetterHead, MarkKind, OwnedHeader},
};

/// The flags of every command that selects letters. Those of one kind are alternatives, those of several kinds all hold.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only this dead letter, as PARTITION@OFFSET or TOPIC:PARTITION@OFFSET; may be repeated, as the next ones
    #[arg(long, value_name = "LETTER")]
    pub(super) letter: Vec<Place>,
    /// Only of this reason
    #[arg(long)]
    reason: Vec<String>,
    /// Only deliveries of this rule
    #[arg(long)]
    rule: Vec<String>,
    /// Only deliveries to this agent
    #[arg(long)]
    agent: Vec<String>,
    /// Only events of this workflow
    #[arg(long, value_name = "WORKFLOW_ID")]
    workflow: Vec<String>,
    /// Only the event with this id
    #[arg(long, value_name = "EVENT_ID")]
    event: Vec<String>,
    /// Only dead letters whose error has this text, in any letter case
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only dead letters written since then: a time (RFC 3339), or how long ago, as in 24h
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<Since>,
    /// Only dead letters written before then
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) until: Option<Since>,
}

/// Where a letter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The dead-letter topic; `None` when there is only one.
    pub(super) topic: Option<String>,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected PARTITION@OFFSET, as in 0@17".to_owned();
        let (topic, place) = text.rsplit_once(':').map_or((None, text), |(topic, place)| (Some(topic), place));
        let (partition, offset) = place.split_once('@').ok_or_else(wrong)?;
        let (partition, offset) = (partition.parse::<i32>(), offset.parse::<i64>());
        match (partition, offset) {
            (Ok(partition @ 0..), Ok(offset @ 0..)) => Ok(Self { topic: topic.map(str::to_owned), partition, offset }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(topic) = &self.topic {
            write!(f, "{topic}:")?;
        }
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

/// A letter that is visited.
pub(super) struct Letter<'a> {
    pub(super) place: Place,
    /// When it was written, ms since 1970.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) head: LetterHead<'a>,
    pub(super) done: Option<MarkKind>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl Letter<'_> {
    /// The headers of the record as it was published.
    pub(super) fn original_headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().copied().filter(|(name, _)| !name.starts_with("dlq-"))
    }

    /// When its record was published; at the latest when the letter was written.
    fn recorded_ms(&self) -> Option<i64> {
        self.head.recorded_ms.or(self.timestamp_ms)
    }

    /// The headers of the record that is published again.
    pub(super) fn headers_again(&self) -> Vec<OwnedHeader> {
        let originals = self.original_headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        let recorded = self.head.recorded_ms.map(|ms| (RECORDED_MS.to_owned(), Some(ms.to_string().into_bytes())));
        originals.chain(recorded).collect()
    }

    /// The event, with another value if one is given.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn event(&self, limits: &Limits, value: Option<&[u8]>) -> Result<Event, Poison> {
        let headers: Vec<_> = self.original_headers().collect();
        let value = value.or(self.value);
        let bytes = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
        limits.check(&RecordSize {
            key: self.key.map_or(0, <[u8]>::len),
            value: value.map_or(0, <[u8]>::len),
            headers: headers.len(),
            header_bytes: bytes.sum(),
        })?;
        limits.decode(Raw { key: self.key, value, headers: &headers, timestamp_ms: self.recorded_ms() })
    }

    /// When it was written, for people.
    pub(super) fn time(&self) -> String {
        time(self.timestamp_ms)
    }
}

/// RFC 3339, to the second.
pub(super) fn time(ms: Option<i64>) -> String {
    let time = ms.and_then(|ms| Timestamp::from_second(ms.div_euclid(1_000)).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

impl Filter {
    /// Whether no flag selects anything.
    pub(super) fn is_empty(&self) -> bool {
        let lists = [&self.reason, &self.rule, &self.agent, &self.workflow, &self.event];
        self.letter.is_empty()
            && lists.iter().all(|list| list.is_empty())
            && self.error.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// Whether a letter is meant. Its time is not looked at: only the part of the topic that was asked for is read.
    pub(super) fn fits(&self, letter: &Letter<'_>, limits: &Limits) -> bool {
        let head = &letter.head;
        let is_one = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|one| one == value))
        };
        let place = &letter.place;
        let is_named = |named: &Place| {
            (named.partition, named.offset) == (place.partition, place.offset)
                && (named.topic.is_none() || place.topic.is_none() || named.topic == place.topic)
        };
        (self.letter.is_empty() || self.letter.iter().any(is_named))
            && is_one(&self.reason, Some(head.reason))
            && is_one(&self.rule, head.delivery.map(|(rule, _)| rule))
            && is_one(&self.agent, head.delivery.map(|(_, agent)| agent))
            && self.error.as_ref().is_none_or(|text| head.error.to_lowercase().contains(&text.to_lowercase()))
            && self.fits_event(letter, limits, is_one)
    }

    /// A letter of an earlier version does not say which event it is of: that is read from its record.
    fn fits_event(
        &self,
        letter: &Letter<'_>,
        limits: &Limits,
        is_one: impl Fn(&[String], Option<&str>) -> bool,
    ) -> bool {
        let (id, workflow) = (letter.head.event_id, letter.head.workflow_id);
        let is_known = (self.event.is_empty() || id.is_some()) && (self.workflow.is_empty() || workflow.is_some());
        if is_known {
            return is_one(&self.event, id) && is_one(&self.workflow, workflow);
        }
        letter.event(limits, None).is_ok_and(|event| {
            is_one(&self.event, Some(event.id())) && is_one(&self.workflow, Some(event.workflow_id()))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(flags: &[&str]) -> Filter {
        Flags::try_parse_from(["test"].iter().chain(flags)).unwrap().filter
    }

    fn letter(head: LetterHead<'static>) -> Letter<'static> {
        let value = br#"{"event_id": "e-1", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
            "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": "r", "payload": {}, "metadata": {}}"#;
        let place = Place { topic: None, partition: 1, offset: 41 };
        let (key, done, headers) = (None, None, vec![("dlq-reason", Some(&b"refused"[..])), ("h", None)]);
        Letter { place, timestamp_ms: Some(0), head, done, key, value: Some(value), headers }
    }

    #[test]
    fn flags_of_one_kind_are_alternatives_and_those_of_several_kinds_all_hold() {
        let head = LetterHead {
            reason: "refused",
            error: "422: No Such field",
            delivery: Some(("all", "audit")),
            ..LetterHead::default()
        };
        let limits = Limits::default();
        for (flags, expected) in [
            (&[][..], true),
            (&["--letter", "1@41"], true),
            (&["--letter", "1@40", "--letter", "events.dlq:1@41"], true),
            (&["--letter", "1@40"], false),
            (&["--reason", "gave_up", "--reason", "refused"], true),
            (&["--reason", "gave_up"], false),
            (&["--rule", "all", "--agent", "audit"], true),
            (&["--rule", "all", "--agent", "other"], false),
            (&["--error", "no such FIELD"], true),
            (&["--error", "timeout"], false),
            (&["--workflow", "etl", "--event", "e-1"], true),
            (&["--workflow", "etl2"], false),
            (&["--event", "e-2"], false),
        ] {
            assert_eq!(filter(flags).fits(&letter(head.clone()), &limits), expected, "{flags:?}");
            assert_eq!(filter(flags).is_empty(), flags.is_empty());
        }
        let known = LetterHead { event_id: Some("e-1"), workflow_id: Some("etl"), ..head };
        let unreadable = Letter { value: None, ..letter(known) };
        assert!(filter(&["--workflow", "etl", "--event", "e-1"]).fits(&unreadable, &limits));
    }

    #[test]
    fn a_place_is_read_as_it_is_shown() {
        for text in ["0@17", "events.dlq:3@0"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for wrong in ["", "17", "0@", "@1", "-1@0", "0@-1", "a@1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
