//! A parked delivery as a record. Pure.
//!
//! Owns its headers. The key, the value and every header of the original record are kept as they were; the bridge's own
//! headers follow them, and the last one says how many these are. So a publisher's header with one of their names is only
//! a header of the original.

use std::sync::Arc;

use bytes::Bytes;

use super::super::record::OwnedHeader;
use crate::event::{Generation, MAX_EVENT_ID_BYTES, MAX_HEADERS, Origin, RecordSize};

const COUNT: &str = "parked-headers";
const EVENT_ID: &str = "parked-event-id";
const RULE: &str = "parked-rule";
const AGENT: &str = "parked-agent";
const TOPIC: &str = "parked-topic";
const PARTITION: &str = "parked-partition";
const OFFSET: &str = "parked-offset";
const TIMESTAMP: &str = "parked-timestamp-ms";
const GENERATION: &str = "parked-generation";
const AGAIN: &str = "parked-again";
const ATTEMPTS: &str = "parked-attempts";
const FAILED_ATTEMPTS: &str = "parked-failed-attempts";
const FIRST_ATTEMPT: &str = "parked-first-attempt-ms";
const TIME: &str = "parked-time-ms";

/// The bridge's own headers, at most.
const MAX_OWN_HEADERS: usize = 14;
/// The longest name of a rule, an agent or a topic that is read.
const MAX_NAME_BYTES: usize = 1024;

/// A delivery that waits until its agent works again, with the record of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedDelivery {
    /// The topic, partition and offset of the event's record.
    pub origin: Origin,
    /// Its key, as it was published.
    pub key: Option<Bytes>,
    /// Its value, as it was published.
    pub value: Option<Bytes>,
    /// Its headers, as they were published.
    pub headers: Arc<[OwnedHeader]>,
    /// When it was published or appended, ms since 1970.
    pub timestamp_ms: Option<u64>,
    /// Which delivery it is, and what was tried.
    pub head: ParkedHead<Arc<str>>,
}

/// What the headers say of a parked delivery. `S` is text, borrowed or owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedHead<S> {
    /// The event.
    pub event_id: S,
    /// The rule's name.
    pub rule: S,
    /// The agent's name.
    pub agent: S,
    /// Which time it is made; no header says 0.
    pub generation: Generation,
    /// Attempts that were made.
    pub attempts: u32,
    /// Those that count towards `max_attempts`.
    pub failed_attempts: u32,
    /// When the first of them was made, ms since 1970.
    pub first_attempt_ms: Option<u64>,
    /// When it was parked, ms since 1970.
    pub parked_ms: u64,
}

/// Why a record of the parked topic is no parked delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotParked {
    /// It was written by another program.
    #[error("it does not end with the header `{COUNT}` that the bridge writes")]
    Foreign,
    /// A header is absent, or says something else than it should.
    #[error("its header `{header}` is absent or has an unusable value")]
    Header {
        /// The header's name.
        header: &'static str,
    },
}

/// The borrowed parts of a parked record, read from its headers alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedHeaders<'a> {
    /// Which delivery it is.
    pub head: ParkedHead<&'a str>,
    /// The topic of the event's record.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was published or appended, ms since 1970.
    pub timestamp_ms: Option<u64>,
    /// How many headers the original record has: the first ones.
    pub original: usize,
}

impl ParkedDelivery {
    /// How large the parts of the original record are.
    pub(crate) fn size(&self) -> RecordSize {
        let bytes = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        RecordSize {
            key: self.key.as_ref().map_or(0, Bytes::len),
            value: self.value.as_ref().map_or(0, Bytes::len),
            headers: self.headers.len(),
            header_bytes: bytes.sum(),
        }
    }

    /// Every header of its record.
    pub(super) fn record_headers(&self) -> Vec<OwnedHeader> {
        let mut headers = self.headers.to_vec();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), Some(value.as_bytes().to_vec())));
        let head = &self.head;
        add(EVENT_ID, &head.event_id);
        add(RULE, &head.rule);
        add(AGENT, &head.agent);
        add(TOPIC, &self.origin.topic);
        let numbers = [
            (PARTITION, i128::from(self.origin.partition)),
            (OFFSET, self.origin.offset.into()),
            (ATTEMPTS, head.attempts.into()),
            (FAILED_ATTEMPTS, head.failed_attempts.into()),
            (TIME, head.parked_ms.into()),
        ];
        let Generation { again, number } = head.generation;
        let optional = [
            (TIMESTAMP, self.timestamp_ms),
            (FIRST_ATTEMPT, head.first_attempt_ms),
            (GENERATION, (number > 0).then(|| number.into())),
            (AGAIN, (again > 0).then(|| again.into())),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?.into())));
        for (name, number) in numbers.into_iter().chain(optional) {
            add(name, &number.to_string());
        }
        let own = headers.len() - self.headers.len() + 1;
        headers.push((COUNT.to_owned(), Some(own.to_string().into_bytes())));
        headers
    }
}

impl<'a> ParkedHeaders<'a> {
    /// Reads the headers of a record of the parked topic.
    ///
    /// # Errors
    /// [`NotParked`] for a record that the bridge did not write.
    pub(crate) fn read(headers: &[(&'a str, Option<&'a [u8]>)]) -> Result<Self, NotParked> {
        let own = match headers.last() {
            Some((COUNT, Some(count))) => number(count).and_then(|count| usize::try_from(count).ok()),
            _ => None,
        };
        let own = own.filter(|own| (1..=MAX_OWN_HEADERS).contains(own)).ok_or(NotParked::Foreign)?;
        let original = headers.len().checked_sub(own).filter(|original| *original <= MAX_HEADERS);
        let original = original.ok_or(NotParked::Foreign)?;
        let own = &headers[original..];
        let find = |name: &str| own.iter().find(|(found, _)| *found == name).and_then(|(_, value)| *value);
        let text = |header: &'static str, limit: usize| {
            let value = find(header).and_then(|value| std::str::from_utf8(value).ok());
            value.filter(|value| !value.is_empty() && value.len() <= limit).ok_or(NotParked::Header { header })
        };
        let required = |header: &'static str| find(header).and_then(number).ok_or(NotParked::Header { header });
        let optional = |header: &'static str| match find(header) {
            None => Ok(None),
            Some(value) => number(value).map(Some).ok_or(NotParked::Header { header }),
        };
        let in_range = |header| move |_| NotParked::Header { header };
        Ok(Self {
            head: ParkedHead {
                event_id: text(EVENT_ID, MAX_EVENT_ID_BYTES)?,
                rule: text(RULE, MAX_NAME_BYTES)?,
                agent: text(AGENT, MAX_NAME_BYTES)?,
                generation: Generation {
                    again: optional(AGAIN)?.unwrap_or(0).try_into().map_err(in_range(AGAIN))?,
                    number: optional(GENERATION)?.unwrap_or(0).try_into().map_err(in_range(GENERATION))?,
                },
                attempts: required(ATTEMPTS)?.try_into().map_err(in_range(ATTEMPTS))?,
                failed_attempts: required(FAILED_ATTEMPTS)?.try_into().map_err(in_range(FAILED_ATTEMPTS))?,
                first_attempt_ms: optional(FIRST_ATTEMPT)?,
                parked_ms: required(TIME)?,
            },
            topic: text(TOPIC, MAX_NAME_BYTES)?,
            partition: required(PARTITION)?.try_into().map_err(in_range(PARTITION))?,
            offset: required(OFFSET)?.try_into().map_err(in_range(OFFSET))?,
            timestamp_ms: optional(TIMESTAMP)?,
            original,
        })
    }
}

impl ParkedHead<&str> {
    /// A copy that outlives the record.
    pub(crate) fn to_owned_head(&self) -> ParkedHead<Arc<str>> {
        ParkedHead {
            event_id: self.event_id.into(),
            rule: self.rule.into(),
            agent: self.agent.into(),
            generation: self.generation,
            attempts: self.attempts,
            failed_attempts: self.failed_attempts,
            first_attempt_ms: self.first_attempt_ms,
            parked_ms: self.parked_ms,
        }
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    // `parse` would also take a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delivery() -> ParkedDelivery {
        ParkedDelivery {
            origin: Origin { topic: "events".into(), partition: 3, offset: 41 },
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"{}")),
            headers: vec![("event_id".to_owned(), Some(b"e".to_vec())), (AGENT.to_owned(), Some(b"forged".to_vec()))]
                .into(),
            timestamp_ms: Some(7),
            head: ParkedHead {
                event_id: "e".into(),
                rule: "r".into(),
                agent: "a".into(),
                generation: Generation::FIRST,
                attempts: 5,
                failed_attempts: 4,
                first_attempt_ms: Some(1_000),
                parked_ms: 2_000,
            },
        }
    }

    fn borrowed(headers: &[OwnedHeader]) -> Vec<(&str, Option<&[u8]>)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    #[test]
    fn a_parked_delivery_is_read_as_it_was_written() {
        for (timestamp_ms, first_attempt_ms) in [(Some(7), Some(1_000)), (None, None), (None, Some(0))] {
            let mut delivery = delivery();
            delivery.timestamp_ms = timestamp_ms;
            delivery.head.first_attempt_ms = first_attempt_ms;
            let redriven = Generation { again: u16::MAX, number: u32::MAX };
            delivery.head.generation = first_attempt_ms.map_or(Generation::FIRST, |_| redriven);
            let headers = delivery.record_headers();
            let headers = borrowed(&headers);
            let read = ParkedHeaders::read(&headers).unwrap();
            assert_eq!(read.head.to_owned_head(), delivery.head);
            assert_eq!((read.topic, read.partition, read.offset), ("events", 3, 41));
            assert_eq!(read.timestamp_ms, timestamp_ms);
            assert_eq!(headers[..read.original], borrowed(&delivery.headers), "the original headers, unchanged");
        }
    }

    #[test]
    fn a_header_of_the_publisher_with_one_of_our_names_means_nothing() {
        let mut delivery = delivery();
        let ours = delivery.record_headers();
        delivery.headers = ours.into();
        delivery.head.agent = "other".into();
        let headers = delivery.record_headers();
        let headers = borrowed(&headers);
        let read = ParkedHeaders::read(&headers).unwrap();
        assert_eq!((read.head.agent, read.original), ("other", delivery.headers.len()));
    }

    #[test]
    fn a_record_without_one_of_the_headers_is_refused_with_its_name() {
        let headers = delivery().record_headers();
        let required = [EVENT_ID, RULE, AGENT, TOPIC, PARTITION, OFFSET, ATTEMPTS, FAILED_ATTEMPTS, TIME];
        for name in required {
            for unusable in [None, Some(&b"-1"[..]), Some(b"\xff"), Some(b"99999999999999999999"), Some(b"")] {
                let is_text = [EVENT_ID, RULE, AGENT, TOPIC].contains(&name);
                if is_text
                    && unusable.is_some_and(|value| std::str::from_utf8(value).is_ok_and(|text| !text.is_empty()))
                {
                    continue;
                }
                let mut headers = borrowed(&headers);
                let at = headers.iter().rposition(|(found, _)| *found == name).unwrap();
                headers[at].1 = unusable;
                assert_eq!(ParkedHeaders::read(&headers), Err(NotParked::Header { header: name }));
            }
        }
        assert_eq!(ParkedHeaders::read(&[]), Err(NotParked::Foreign));
        assert_eq!(ParkedHeaders::read(&borrowed(&headers[..3])), Err(NotParked::Foreign));
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let mut too_long = borrowed(&headers);
        let at = too_long.iter().rposition(|(found, _)| *found == RULE).unwrap();
        too_long[at].1 = Some(long.as_bytes());
        assert_eq!(ParkedHeaders::read(&too_long), Err(NotParked::Header { header: RULE }));
    }

    proptest! {
        #[test]
        fn no_headers_make_the_reader_panic(
            names in prop::collection::vec(prop::sample::select(vec![
                COUNT, EVENT_ID, RULE, AGENT, TOPIC, PARTITION, OFFSET, TIMESTAMP, ATTEMPTS, FAILED_ATTEMPTS,
                FIRST_ATTEMPT, TIME, GENERATION, AGAIN, "event_id",
            ]), 0..30),
            values in prop::collection::vec(prop::option::of(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                any::<i128>().prop_map(|number| number.to_string().into_bytes()),
                (0..40_u32).prop_map(|number| number.to_string().into_bytes()),
            ]), 30),
        ) {
            let headers: Vec<_> = names.into_iter().zip(values.iter().map(Option::as_deref)).collect();
            if let Ok(read) = ParkedHeaders::read(&headers) {
                prop_assert!(read.original < headers.len() && read.partition >= 0 && read.offset >= 0);
            }
        }

        #[test]
        fn whatever_the_numbers_are_they_are_read_as_written(
            partition in 0..=i32::MAX, offset in 0..=i64::MAX, attempts: u32, failed: u32,
            first: Option<u64>, parked: u64, timestamp: Option<u64>,
        ) {
            let mut delivery = delivery();
            delivery.origin = Origin { topic: "t".into(), partition, offset };
            delivery.timestamp_ms = timestamp;
            let numbers = (attempts, failed, first, parked);
            (delivery.head.attempts, delivery.head.failed_attempts) = (attempts, failed);
            (delivery.head.first_attempt_ms, delivery.head.parked_ms) = (first, parked);
            let headers = delivery.record_headers();
            let headers = borrowed(&headers);
            let read = ParkedHeaders::read(&headers).unwrap();
            prop_assert_eq!((read.partition, read.offset, read.timestamp_ms), (partition, offset, timestamp));
            let head = read.head;
            prop_assert_eq!((head.attempts, head.failed_attempts, head.first_attempt_ms, head.parked_ms), numbers);
        }
    }
}
