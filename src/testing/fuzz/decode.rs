//! Records of Kafka, in any dialect.
//!
//! An input is the value of a record. With an empty line in it, what stands above are lines about the record: `name: value`
//! is a header, `name` a header without a value, `@key: text` the key, `@timestamp: number` the time, and `@tombstone` says
//! that there is no value.

use crate::event::{Canonical, Event, FieldSet, Limits, Poison, Raw, RecordSize, decode as decode_any};

/// The longest message about a record: it may quote a part of it.
const MAX_MESSAGE: usize = 4_000;

struct Record<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
    timestamp_ms: Option<i64>,
}

impl<'a> Record<'a> {
    fn parse(input: &'a [u8]) -> Self {
        let mut record = Self { key: None, value: Some(input), headers: Vec::new(), timestamp_ms: None };
        let Some(end) = input.windows(2).position(|pair| pair == b"\n\n") else { return record };
        record.value = input.get(end + 2..);
        for (name, value) in headers(input) {
            match name {
                "@key" => record.key = value,
                "@timestamp" => {
                    let text = value.and_then(|value| std::str::from_utf8(value).ok());
                    record.timestamp_ms = text.and_then(|text| text.parse().ok());
                }
                "@tombstone" => record.value = None,
                _ => record.headers.push((name, value)),
            }
        }
        record
    }

    fn size(&self) -> RecordSize {
        let header_bytes = self.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        RecordSize {
            key: self.key.map_or(0, <[u8]>::len),
            value: self.value.map_or(0, <[u8]>::len),
            headers: self.headers.len(),
            header_bytes,
        }
    }
}

/// The headers of a record, as lines.
pub(super) fn headers(input: &[u8]) -> Vec<(&str, Option<&[u8]>)> {
    let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let lines = input[..end].split(|byte| *byte == b'\n');
    lines.filter_map(header).collect()
}

/// `name: value`, or `name` for a header without a value. `None` if the name is no text.
fn header(line: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    let value = line.get(colon + 1..).map(|value| value.strip_prefix(b" ").unwrap_or(value));
    Some((name, value))
}

/// A record is an event that is encoded and decoded to itself, or there is a short reason why not; a limit on the size
/// changes nothing else.
pub(super) fn decode(input: &[u8]) {
    let record = Record::parse(input);
    let Record { key, value, timestamp_ms, .. } = record;
    let raw = Raw { key, value, headers: &record.headers, timestamp_ms };
    let found = decode_any(raw);
    match &found {
        Ok(event) => check_event(event),
        Err(poison) => {
            let text = poison.to_string();
            assert!(Poison::KINDS.contains(&poison.kind()), "{} is not in the list of kinds", poison.kind());
            assert!(!text.is_empty() && text.len() <= MAX_MESSAGE, "a message of {} bytes: {text}", text.len());
        }
    }
    for limits in [Limits::default(), Limits::new(200, u64::MAX), Limits::new(u64::MAX, 1_000)] {
        let limited = limits.check(&record.size()).and_then(|()| limits.decode(raw));
        let too_large = matches!(&limited, Err(poison) if poison.kind() == "too_large");
        assert!(too_large || limited == found, "with {limits:?}: {limited:?}, without: {found:?}");
    }
    let fields = fields();
    if let Some((projected, document)) =
        Limits::default().check(&record.size()).ok().and_then(|()| Limits::default().project(&raw, &fields))
    {
        let event = found.as_ref().ok();
        assert_eq!(event.map(Event::id), Some(projected.id()), "some fields of an event, and all of them");
        assert_eq!(event.map(Event::event_type), Some(projected.event_type()));
        assert_eq!(event.map(|event| fields.of(event.document())), Some(document.to_value()));
    }
    if let Some(canonical) = value.and_then(Canonical::read) {
        let event = decode_any(value);
        let event = event.as_ref().ok();
        assert_eq!(event.map(Event::id), Some(&*canonical.event_id), "a canonical value, and the event in it");
        assert_eq!(event.map(|event| event.event_type().as_str()), Some(&*canonical.event_type));
        assert_eq!(event.map(Event::workflow_id), Some(&*canonical.workflow_id));
        assert_eq!(event.map(Event::workflow_run_id), Some(&*canonical.workflow_run_id));
    }
}

/// Fields as rules ask for them, at the top and inside.
fn fields() -> FieldSet {
    let mut fields = FieldSet::default();
    for path in [
        "event_type",
        "workflow_id",
        "timestamp",
        "payload.data.status",
        "payload.data.rows",
        "metadata.environment",
        "x",
    ] {
        fields.add(&path.split('.').collect::<Vec<_>>());
    }
    fields
}

fn check_event(event: &Event) {
    let encoded = event.encode();
    assert_eq!(encoded.len(), event.encoded_len());
    let again = decode_any(encoded.as_slice());
    assert_eq!(again.as_ref(), Ok(event), "an event is not decoded as it was encoded");
    let again = again.as_ref().ok();
    assert_eq!(again.map(Event::id), Some(event.id()));
    assert_eq!(again.map(Event::timestamp), Some(event.timestamp()));
    assert_eq!(again.map(Event::encode), Some(encoded), "an event is not encoded as it was");
}
