use proptest::prelude::*;

use super::*;
use crate::dedup::{
    codec::{decode, encode},
    header::{FORMAT, Header, HeaderError},
};

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let status = prop_oneof![Just(Status::Pending), Just(Status::Delivered), Just(Status::Dead)];
    let attempts = prop_oneof![any::<u32>().prop_map(|both| (both, both)), any::<(u32, u32)>()];
    (name(), name(), any::<u32>(), status, attempts, any::<Option<u64>>()).prop_map(
        |(rule, agent, generation, status, (attempts, tried), first_attempt_ms)| Delivery {
            rule: rule.into(),
            agent: agent.into(),
            generation,
            status,
            attempts,
            tried,
            first_attempt_ms,
        },
    )
}

fn any_record() -> impl Strategy<Value = Record> {
    (any::<u64>(), any::<u64>(), proptest::collection::vec(delivery(), 0..6))
        .prop_map(|(digest, seen, deliveries)| Record::from_parts(digest, seen, deliveries))
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
            prop_assert_ne!(read, record);
        }
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = decode(&bytes);
        let _ = Header::decode(&bytes);
        let _ = Header::decode(&[b"wbledger\x01", bytes.as_slice()].concat());
    }

    #[test]
    fn a_header_is_read_as_it_was_written(group in name(), cluster in proptest::option::of(name())) {
        let header = Header { group, cluster };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
}

#[test]
fn a_record_of_two_deliveries_is_compact() {
    let record = Record::new(u64::MAX, 1_700_000_000_000, &plan(&[("analyse", "analyst"), ("analyse", "audit")]));
    assert_eq!(encode(&record).len(), 52);
}

#[test]
fn a_record_from_before_attempts_were_counted_apart_is_read() {
    let mut old = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 9, 1];
    old.extend([1, b'r', 1, b'a', 0, 0b100, 3, 5]);
    let record = decode(&old).unwrap();
    assert_eq!((record.attempts("r", "a"), record.tried("r", "a")), (3, 3));
    assert_eq!(encode(&record), old, "and written as it was");
}

#[test]
fn a_record_of_another_version_names_it() {
    let mut bytes = encode(&record(&[Status::Pending]));
    bytes[0] = 9;
    assert_eq!(decode(&bytes), Err(DecodeError::Version { found: 9 }));
}

#[test]
fn a_count_beyond_the_bytes_reserves_nothing() {
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 0];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(decode(&bytes).unwrap_err().kind(), "invalid");
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
    assert_eq!(Header::decode(b"wbledger\x63rest"), Err(HeaderError::Format(0x63)));
    assert!(matches!(Header::decode(b"wbledger"), Err(HeaderError::Damaged(_))));
    assert!(matches!(Header::decode(&[b"wbledger", &[FORMAT, 9][..]].concat()), Err(HeaderError::Damaged(_))));
}
