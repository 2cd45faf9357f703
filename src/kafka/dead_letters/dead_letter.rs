//! A dead letter, and its forms. Pure. It shares the record's bytes with the event in flight.

use std::{num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;

use super::super::record::OwnedHeader;
use crate::event::{Generation, Origin, RECORDED_MS};

/// The longest `dlq-error`, in bytes.
const MAX_ERROR_BYTES: usize = 1024;

/// The longest name of a workflow or a run, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The most original headers that a dead letter keeps: librdkafka reads no header of a record that has more than
/// 100,000, so with more of them the reason could not be read.
const MAX_KEPT_HEADERS: usize = 99_900;

/// A record that could not be delivered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// The record's topic, partition and offset.
    pub origin: Origin,
    /// Its key, as it was published.
    pub key: Option<Bytes>,
    /// Its value, as it was published.
    pub value: Option<Bytes>,
    /// Its headers, as they were published.
    pub headers: Arc<[OwnedHeader]>,
    /// When it was published first, ms since 1970.
    pub recorded_ms: Option<i64>,
    /// Why, in one stable word: the `dlq-reason` header and the metric's label.
    pub reason: &'static str,
    /// Why, in a sentence; cut to 1 KiB when it is written.
    pub error: String,
    /// The rule of the delivery, if it failed in one.
    pub rule: Option<String>,
    /// The agent of the delivery, if it failed in one.
    pub agent: Option<String>,
    /// Which time the delivery was made.
    pub generation: Generation,
    /// The endpoint that may have the delivery, by its number (`agents::EndpointId`).
    pub sent_to: Option<NonZeroU64>,
    /// The event's id, if it is an event; likewise its workflow and its run.
    pub event_id: Option<String>,
    /// The workflow, cut to 255 bytes when it is written.
    pub workflow_id: Option<String>,
    /// The workflow's run, likewise.
    pub workflow_run_id: Option<String>,
    /// How many attempts were made in all, over restarts; 0 when it was never sent.
    pub attempts: u32,
    /// The agent's last answer, as an HTTP status.
    pub status: Option<u16>,
    /// When the bridge gave up.
    pub time: Timestamp,
}

/// The forms of a dead letter, each smaller than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Whole,
    NoValue,
    NoHeaders,
    NoKey,
    Coordinates,
}

impl Form {
    pub(super) const ALL: [Self; 5] = [Self::Whole, Self::NoValue, Self::NoHeaders, Self::NoKey, Self::Coordinates];

    pub(super) fn left_out(self) -> &'static str {
        match self {
            Self::Whole => "nothing",
            Self::NoValue => "the value",
            Self::NoHeaders => "the value and the original headers",
            Self::NoKey => "the value, the original headers and the key",
            Self::Coordinates => "everything but the coordinates and sizes",
        }
    }
}

/// What is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<OwnedHeader>,
}

impl DeadLetter {
    pub(super) fn record(&self, form: Form) -> Record<'_> {
        let (value, key) = (
            self.value.as_deref().filter(|_| form < Form::NoValue),
            self.key.as_deref().filter(|_| form < Form::NoKey),
        );
        let mut headers = Vec::new();
        let keeps_headers = form < Form::NoHeaders && self.headers.len() <= MAX_KEPT_HEADERS;
        if keeps_headers {
            // A dead letter that was published again carries the headers of the first time.
            headers.extend(self.headers.iter().filter(|(name, _)| !name.starts_with("dlq-")).cloned());
        }
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), Some(value.into_bytes())));
        add("dlq-reason", self.reason.to_owned());
        if form < Form::Coordinates {
            add("dlq-error", cut(&self.error, MAX_ERROR_BYTES).to_owned());
        }
        for (name, value) in [("dlq-rule", &self.rule), ("dlq-agent", &self.agent)] {
            if let Some(value) = value {
                add(name, value.clone());
            }
        }
        if self.agent.is_some() {
            add("dlq-generation", self.generation.number.to_string());
            if self.generation.again > 0 {
                add("dlq-again", self.generation.again.to_string());
            }
        }
        if let Some(sent_to) = self.sent_to {
            add("dlq-sent-to", sent_to.to_string());
        }
        if form < Form::Coordinates {
            for (name, value) in self.event_headers() {
                add(name, value.to_owned());
            }
            add("dlq-attempts", self.attempts.to_string());
            if let Some(status) = self.status {
                add("dlq-status", status.to_string());
            }
        }
        add("dlq-topic", self.origin.topic.to_string());
        add("dlq-partition", self.origin.partition.to_string());
        add("dlq-offset", self.origin.offset.to_string());
        if let Some(ms) = self.recorded_ms {
            add(RECORDED_MS, ms.to_string());
        }
        add("dlq-time", self.time.to_string());
        headers.extend(self.omitted(form, keeps_headers));
        Record { key, value, headers }
    }

    /// What says that something was left out, and how large it was.
    fn omitted(&self, form: Form, keeps_headers: bool) -> Vec<OwnedHeader> {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), Some(value.into_bytes())));
        if form >= Form::NoValue
            && let Some(value) = &self.value
        {
            add("dlq-value-omitted", "true".into());
            add("dlq-value-bytes", value.len().to_string());
        }
        if !keeps_headers && !self.headers.is_empty() {
            let bytes = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
            add("dlq-headers-omitted", "true".into());
            add("dlq-headers-bytes", bytes.sum::<usize>().to_string());
        }
        if form >= Form::NoKey
            && let Some(key) = &self.key
        {
            add("dlq-key-omitted", "true".into());
            add("dlq-key-bytes", key.len().to_string());
        }
        headers
    }

    /// What names the event.
    fn event_headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let event = [
            ("dlq-event-id", &self.event_id),
            ("dlq-workflow-id", &self.workflow_id),
            ("dlq-workflow-run-id", &self.workflow_run_id),
        ];
        event.into_iter().filter_map(|(name, value)| Some((name, cut(value.as_deref()?, MAX_NAME_BYTES))))
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter() -> DeadLetter {
        DeadLetter {
            origin: Origin { topic: "events".into(), partition: 3, offset: 41 },
            key: Some("k".into()),
            value: Some("value".into()),
            headers: [("event_id".into(), Some(b"e".to_vec())), ("dlq-reason".into(), Some(b"old".to_vec()))].into(),
            recorded_ms: Some(1_769_860_800_000),
            reason: "not_json",
            error: "expected JSON".into(),
            rule: Some("analyse".into()),
            agent: None,
            generation: Generation::FIRST,
            sent_to: None,
            event_id: Some("e".into()),
            workflow_id: Some("w".repeat(300)),
            workflow_run_id: None,
            attempts: 2,
            status: Some(422),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn header<'a>(record: &'a Record<'_>, name: &str) -> Vec<&'a str> {
        let values = record.headers.iter().filter(|(found, _)| found == name);
        values.filter_map(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()).collect()
    }

    #[test]
    fn the_whole_dead_letter_is_the_record_and_the_reason() {
        let dead_letter = dead_letter();
        let record = dead_letter.record(Form::Whole);
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"value"[..])));
        for (name, value) in [
            ("event_id", "e"),
            ("dlq-error", "expected JSON"),
            ("dlq-rule", "analyse"),
            ("dlq-attempts", "2"),
            ("dlq-status", "422"),
            ("dlq-event-id", "e"),
            ("dlq-topic", "events"),
            ("dlq-partition", "3"),
            ("dlq-offset", "41"),
            ("dlq-timestamp-ms", "1769860800000"),
            ("dlq-time", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(header(&record, name), [value], "{name}");
        }
        assert_eq!(header(&record, "dlq-workflow-id"), ["w".repeat(255)]);
        for absent in ["dlq-agent", "dlq-generation", "dlq-again", "dlq-sent-to", "dlq-workflow-run-id"] {
            assert_eq!(header(&record, absent), [""; 0]);
        }
        let sent_to = NonZeroU64::new(5);
        let redriven = DeadLetter { agent: Some("audit".into()), generation: 3.into(), sent_to, ..dead_letter.clone() };
        assert_eq!(header(&redriven.record(Form::Coordinates), "dlq-generation"), ["3"]);
        assert_eq!(header(&redriven.record(Form::Whole), "dlq-again"), [""; 0]);
        let again = DeadLetter { generation: Generation { again: 2, number: 0 }, ..redriven.clone() };
        let again = again.record(Form::Coordinates);
        assert_eq!((header(&again, "dlq-again"), header(&again, "dlq-generation")), (vec!["2"], vec!["0"]));
        assert_eq!(header(&redriven.record(Form::Coordinates), "dlq-sent-to"), ["5"]);
    }

    #[test]
    fn the_headers_of_an_earlier_dead_letter_are_replaced() {
        assert_eq!(header(&dead_letter().record(Form::Whole), "dlq-reason"), ["not_json"]);
    }

    #[test]
    fn each_form_leaves_out_more_and_says_so() {
        let dead_letter = dead_letter();
        let said = |form, name: &str| header(&dead_letter.record(form), name).len();
        for (form, value, headers, key) in [
            (Form::Whole, 0, 0, 0),
            (Form::NoValue, 1, 0, 0),
            (Form::NoHeaders, 1, 1, 0),
            (Form::NoKey, 1, 1, 1),
            (Form::Coordinates, 1, 1, 1),
        ] {
            let record = dead_letter.record(form);
            assert_eq!(said(form, "dlq-value-omitted"), value, "{form:?}");
            assert_eq!(said(form, "dlq-headers-omitted"), headers, "{form:?}");
            assert_eq!(said(form, "dlq-key-omitted"), key, "{form:?}");
            assert_eq!(record.value.is_none(), value == 1);
            assert_eq!(record.key.is_none(), key == 1);
            assert_eq!(said(form, "event_id"), 1 - headers);
        }
        assert_eq!(header(&dead_letter.record(Form::NoKey), "dlq-value-bytes"), ["5"]);
    }

    #[test]
    fn a_dead_letter_never_has_more_headers_than_its_reader_can_read() {
        let with = |count: usize| DeadLetter { headers: vec![("h".to_owned(), None); count].into(), ..dead_letter() };
        let kept = with(MAX_KEPT_HEADERS);
        let kept = kept.record(Form::Whole);
        assert!(kept.headers.len() > MAX_KEPT_HEADERS && kept.headers.len() <= 100_000);
        let omitted = with(MAX_KEPT_HEADERS + 1);
        let omitted = omitted.record(Form::Whole);
        assert_eq!((omitted.value, header(&omitted, "dlq-headers-omitted")), (Some(&b"value"[..]), vec!["true"]));
        assert_eq!((omitted.headers.len() < 100, header(&omitted, "dlq-reason")), (true, vec!["not_json"]));
    }

    #[test]
    fn the_last_form_fits_whatever_the_record_was() {
        let dead_letter = DeadLetter {
            key: Some(vec![b'k'; 1 << 20].into()),
            value: Some(vec![b'v'; 1 << 20].into()),
            headers: [("h".repeat(1 << 20), None)].into(),
            error: "é".repeat(1 << 20),
            rule: Some("r".repeat(64)),
            agent: Some("a".repeat(64)),
            origin: Origin { topic: "t".repeat(249).into(), partition: i32::MAX, offset: i64::MAX },
            ..dead_letter()
        };
        let record = dead_letter.record(Form::Coordinates);
        let size: usize =
            record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        assert!(size < 1024, "{size} bytes: {:?}", record.headers);
    }

    #[test]
    fn a_tombstone_stays_one_and_nothing_of_it_is_omitted() {
        let dead_letter = DeadLetter { value: None, ..dead_letter() };
        assert_eq!(header(&dead_letter.record(Form::NoValue), "dlq-value-omitted"), [""; 0]);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut(&"é".repeat(2_000), MAX_ERROR_BYTES).len(), 1024);
        assert_eq!(cut(&format!("a{}", "é".repeat(2_000)), MAX_ERROR_BYTES).len(), 1023);
    }
}
