use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::{
    dedup::{
        codec::{decode, encode},
        header::{FORMAT, Header, HeaderError},
    },
    event::Generation,
};

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

/// An id as a server may choose it: mostly a UUID.
fn id() -> impl Strategy<Value = String> {
    let uuid = any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string());
    prop_oneof![uuid.clone(), uuid.prop_map(|uuid| uuid.to_uppercase()), name()]
}

/// A few times, so that they are often equal, or any.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![1_000..1_004_u64, any::<u64>()]
}

fn run() -> impl Strategy<Value = Box<RunRecord>> {
    (id(), proptest::option::of(id())).prop_map(|(thread, run)| Box::new(RunRecord::new(&thread, run.as_deref())))
}

fn failure() -> impl Strategy<Value = Box<FailureRecord>> {
    (time(), name(), any::<Option<u16>>())
        .prop_map(|(at_ms, class, status)| Box::new(FailureRecord::new(at_ms, &class, status)))
}

fn source() -> impl Strategy<Value = Source> {
    (name(), any::<i32>(), any::<i64>()).prop_map(|(topic, partition, offset)| Source {
        topic: topic.into(),
        partition,
        offset,
    })
}

fn delivery(names: impl Strategy<Value = (String, String, Generation)>) -> impl Strategy<Value = DeliveryRecord> {
    use DeliveryStatus::{Dead, Delivered, Parked, Pending, Planned};
    let status = prop_oneof![Just(Planned), Just(Pending), Just(Parked), Just(Dead), Just(Delivered)];
    let attempts = prop_oneof![(0..4_u32).prop_map(|both| (both, both)), (0..4_u32, 0..4_u32), any::<(u32, u32)>()];
    let time = || proptest::option::of(time());
    let sent_to = prop_oneof![Just(0), 1..4_u64, any::<u64>()].prop_map(NonZeroU64::new);
    let details = (proptest::option::of(run()), proptest::option::of(failure()), sent_to);
    (names, status, attempts, time(), time(), details).prop_map(
        |((rule, agent, generation), status, attempts, first_attempt_ms, ended_ms, details)| DeliveryRecord {
            rule: rule.into(),
            agent: agent.into(),
            generation,
            status,
            failed_attempts: attempts.0,
            attempts: attempts.1,
            first_attempt_ms,
            ended_ms,
            sent_to: details.2,
            run: details.0,
            last_failure: details.1,
        },
    )
}

pub(super) fn record_of(
    digest: impl Strategy<Value = u64>,
    names: impl Strategy<Value = (String, String, Generation)>,
) -> impl Strategy<Value = Record> {
    let deliveries = proptest::collection::vec(delivery(names), 0..6);
    let details = (proptest::option::of(source()), proptest::option::of(time()));
    (digest, time(), details, deliveries).prop_map(|(digest, first_seen_ms, (source, written_ms), mut deliveries)| {
        deliveries.sort_by(|a, b| a.key().cmp(&b.key()));
        deliveries.dedup_by(|a, b| a.key() == b.key());
        Record { digest, first_seen_ms, source, written_ms, deliveries }
    })
}

pub(super) fn any_record() -> impl Strategy<Value = Record> {
    let again = prop_oneof![3 => Just(0), 1 => any::<u16>()];
    let generation = (again, any::<u32>()).prop_map(|(again, number)| Generation { again, number });
    record_of(any::<u64>(), (name(), name(), generation))
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in any_record()) {
        prop_assert_eq!(decode(&encode(&record)), Ok(record));
    }

    #[test]
    fn a_record_cut_short_anywhere_is_refused(record in any_record(), at in any::<prop::sample::Index>()) {
        let bytes = encode(&record);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_record_with_something_after_it_is_refused(record in any_record(), extra in 1_usize..9) {
        let mut bytes = encode(&record);
        let at = bytes.len();
        bytes.extend(vec![0; extra]);
        prop_assert_eq!(decode(&bytes), Err(DecodeError::Trailing { at, extra }));
    }

    #[test]
    fn flipped_bits_never_panic(record in any_record(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = encode(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = decode(&bytes) {
            // The first byte is the format, and another one may have the same bytes for a record with few fields.
            prop_assert!(at == 0 || read != record, "{:?} at {}", read, at);
        }
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 2;
        }
        let _ = decode(&bytes);
        let _ = Header::decode(&bytes);
        let _ = Header::decode(&[b"wbledger\x01", bytes.as_slice()].concat());
    }

    #[test]
    fn a_header_is_read_as_it_was_written(group in name(), cluster in proptest::option::of(name())) {
        let header = Header { group, cluster };
        prop_assert_eq!(Header::decode(&header.encode()), Ok((header, FORMAT)));
    }
}

#[test]
fn a_record_is_compact() {
    const SEEN: u64 = 1_700_000_000_000;
    let mut record = Record::new(u64::MAX, SEEN, &plan(&[("analyse", "analyst"), ("analyse", "audit")]));
    assert_eq!(encode(&record).len(), 53, "one byte more than in format 1");

    let thread = uuid::Uuid::max().to_string();
    record.record_source(Source { topic: "workflow-events".into(), partition: 3, offset: 123_456_789 });
    record.written_ms = Some(SEEN + 1_500);
    record.record_failure("analyse", "analyst", FailureRecord::new(SEEN + 900, "ambiguous", Some(503)));
    record.record_failed_attempt("analyse", "analyst", SEEN + 900);
    record.record_run("analyse", "analyst", RunRecord::new(&thread, Some(&thread)));
    record.finish("analyse", "analyst", DeliveryStatus::Delivered, SEEN + 1_500);
    record.finish("analyse", "audit", DeliveryStatus::Delivered, SEEN + 1_500);
    assert_eq!(encode(&record).len(), 131, "with everything that explains it: fewer than 200 more than in format 1");
}

/// Bytes that format 1 wrote.
#[test]
fn a_record_of_format_1_is_read_and_written_in_this_format() {
    let mut head = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 9];
    head.push(2);
    let failed = [1, b's', 1, b'a', 0, 0b100, 3, 5];
    for (status, expected) in [(0, DeliveryStatus::Planned), (1, DeliveryStatus::Delivered), (2, DeliveryStatus::Dead)]
    {
        let other = [1, b'r', 1, b'a', 4, 0b1000 | status, 0, 6];
        let record = decode(&[&head[..], &failed, &other].concat()).unwrap();
        assert_eq!((record.digest(), record.first_seen_ms()), (7, 9));
        assert_eq!((record.failed_attempts("s", "a"), record.attempts("s", "a")), (3, 3));
        assert_eq!((record.first_attempt_ms("s", "a"), record.attempts("r", "a")), (Some(5), 6));
        let statuses: Vec<_> =
            record.deliveries().iter().map(|one| (&*one.rule, one.generation.number, one.status)).collect();
        let rest = if status == 0 { DeliveryStatus::Planned } else { DeliveryStatus::Pending };
        assert_eq!(statuses, [("r", 4, expected), ("s", 0, rest)], "sorted, and frozen by an end");
        assert_eq!(encode(&record)[0], FORMAT);
        assert_eq!(decode(&encode(&record)), Ok(record));
    }
}

/// Ledgers have these bytes.
#[test]
fn endpoints_stand_behind_the_last_delivery() {
    let mut record = Record::new(7, 9, &plan(&[("r", "a"), ("s", "a")]));
    record.record_sent_to("s", "a", NonZeroU64::new(5).unwrap());
    let head = [3, 0, 0, 0, 0, 0, 0, 0, 7, 9, 0b100, 2];
    let deliveries = [1, b'r', 1, b'a', 0, 0, 0, 1, b's', 1, b'a', 0, 0, 0];
    let endpoints = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let bytes = [&head[..], &deliveries, &endpoints].concat();
    assert_eq!(encode(&record), bytes);
    assert_eq!(decode(&bytes), Ok(record));
}

/// Ledgers have these bytes.
#[test]
fn how_often_deliveries_were_sent_again_stands_behind_the_endpoints() {
    let mut record = Record::new(7, 9, &plan(&[("r", "a"), ("s", "a")]));
    record.raise("s", "a", Generation { again: 300, number: 2 });
    record.deliveries[0].status = DeliveryStatus::Pending;
    let head = [4, 0, 0, 0, 0, 0, 0, 0, 7, 9, 0b1000, 2];
    let deliveries = [1, b'r', 1, b'a', 0, 1, 0, 1, b's', 1, b'a', 2, 1, 0];
    let again = [0, 0xac, 2];
    let bytes = [&head[..], &deliveries, &again].concat();
    assert_eq!(encode(&record), bytes);
    assert_eq!(decode(&bytes), Ok(record.clone()));
    // A bridge that knows no more than format 3 stops at it, and format 3 has nothing of it.
    let mut as_format_3 = bytes;
    as_format_3[0] = 3;
    let refused = decode(&as_format_3);
    assert!(matches!(refused, Err(DecodeError::Invalid { expected: "a record's flags", .. })), "{refused:?}");
    for wrong in [&[0, 0][..], &[0, 0x80, 0x80, 4]] {
        let bytes = [&head[..], &deliveries, wrong].concat();
        assert!(matches!(decode(&bytes), Err(DecodeError::Invalid { .. })), "{wrong:?}");
    }
    record.record_sent_to("r", "a", NonZeroU64::MIN);
    let bytes = encode(&record);
    assert!(bytes.ends_with(&[&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &again].concat()), "{bytes:?}");
}

#[test]
fn a_record_of_format_2_is_read_and_has_nothing_of_this_format() {
    let record = record(&[DeliveryStatus::Dead, DeliveryStatus::Pending]);
    let as_format_2 = |record: &Record| {
        let mut bytes = encode(record);
        bytes[0] = 2;
        decode(&bytes)
    };
    assert_eq!(as_format_2(&record), Ok(record.clone()));
    let (mut sent_to, mut again) = (record.clone(), record);
    sent_to.record_sent_to("rule-1", "agent", NonZeroU64::MIN);
    again.raise("rule-0", "agent", Generation { again: 1, number: 0 });
    for later in [sent_to, again] {
        assert!(matches!(as_format_2(&later), Err(DecodeError::Invalid { expected: "a record's flags", .. })));
    }
}

#[test]
fn a_delivery_that_is_there_twice_is_refused() {
    let mut record = record(&[DeliveryStatus::Planned; 2]);
    record.deliveries[1] = record.deliveries[0].clone();
    assert!(matches!(decode(&encode(&record)), Err(DecodeError::Invalid { expected: "no delivery twice", .. })));
}

/// A version that did not know redrives merges the generations of a delivery into a list.
#[test]
fn of_several_generations_one_is_read_as_if_they_were_merged() {
    let mut both = record(&[DeliveryStatus::Dead; 2]);
    both.deliveries[1] = DeliveryRecord { generation: 1.into(), ..both.deliveries[0].clone() };
    both.deliveries[1].status = DeliveryStatus::Pending;
    let read = decode(&encode(&both)).unwrap();
    assert_eq!(read.deliveries(), &both.deliveries[1..]);
    both.deliveries[0].status = DeliveryStatus::Delivered;
    assert_eq!(decode(&encode(&both)).unwrap().deliveries(), &both.deliveries[..1], "it was accepted");
}

#[test]
fn an_id_or_a_class_that_is_too_long_is_refused() {
    let long: std::sync::Arc<str> = "x".repeat(65).into();
    let mut run = record(&[DeliveryStatus::Planned]);
    run.deliveries[0].run = Some(Box::new(RunRecord { thread: "t".into(), run: Some(long.clone()) }));
    let mut class = record(&[DeliveryStatus::Planned]);
    class.deliveries[0].last_failure = Some(Box::new(FailureRecord { at_ms: 1, class: long, status: None }));
    for record in [run, class] {
        assert!(matches!(decode(&encode(&record)), Err(DecodeError::Invalid { expected: "a shorter text", .. })));
    }
}

#[test]
fn a_record_of_another_version_names_it() {
    let mut bytes = encode(&record(&[DeliveryStatus::Pending]));
    bytes[0] = 9;
    assert_eq!(decode(&bytes), Err(DecodeError::Version { found: 9 }));
}

#[test]
fn a_count_beyond_the_bytes_reserves_nothing() {
    let mut bytes = vec![2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(matches!(decode(&bytes), Err(DecodeError::Invalid { .. })));
}

#[test]
fn a_number_of_more_than_64_bits_is_refused() {
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 7];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0]);
    assert_eq!(decode(&bytes), Err(DecodeError::Invalid { expected: "a number of at most 64 bits", at: 9 }));
}

#[test]
fn a_header_says_whether_it_is_a_ledgers_and_of_which_format() {
    assert_eq!(Header::decode(b"another program's"), Err(HeaderError::NotALedger));
    assert_eq!(Header::decode(b"wbledger\x01\x01g"), Ok((Header { group: "g".into(), cluster: None }, 1)));
    assert_eq!(Header::decode(b"wbledger\x63rest"), Err(HeaderError::Format(0x63)));
    assert!(matches!(Header::decode(b"wbledger"), Err(HeaderError::Damaged(_))));
    assert!(matches!(Header::decode(&[b"wbledger", &[FORMAT, 9][..]].concat()), Err(HeaderError::Damaged(_))));
}
