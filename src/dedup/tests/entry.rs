use proptest::prelude::*;

use super::{codec::any_record, *};
use crate::{
    dedup::{codec as record_codec, entry::Entry},
    event::Generation,
};

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(record in any_record(), owner in any::<u64>(), writer in any::<u64>()) {
        let bytes = encode_entry(owner, writer, &record);
        prop_assert_eq!(decode_entry(&bytes), Ok(Entry { owner, writer, record }));
    }

    #[test]
    fn arbitrary_entries_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_entry(&bytes);
        for (at, byte) in [(0, 1), (17, 3)] {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let _ = decode_entry(&bytes);
    }

    #[test]
    fn an_entry_cut_short_anywhere_is_refused(record in any_record(), at in any::<prop::sample::Index>()) {
        let bytes = encode_entry(1, 2, &record);
        prop_assert!(decode_entry(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn another_version_and_a_value_that_is_too_large_are_refused() {
    let mut bytes = encode_entry(1, 2, &record(&[DeliveryStatus::Planned]));
    bytes[0] = 2;
    assert_eq!(decode_entry(&bytes), Err(DecodeError::EntryVersion { found: 2 }));
    assert!(matches!(decode_entry(&vec![1; (1 << 20) + 1]), Err(DecodeError::Invalid { .. })));
}

#[test]
fn a_record_of_a_later_version_is_recognized_among_the_owners_own() {
    let mut bytes = encode_entry(7, 2, &record(&[DeliveryStatus::Planned]));
    assert_eq!(later_format(&bytes, 7), None);
    bytes[17] = record_codec::LATEST;
    assert_eq!(later_format(&bytes, 7), None);
    bytes[17] += 1;
    assert_eq!((later_format(&bytes, 7), later_format(&bytes, 8)), (Some(5), None));
    assert_eq!(later_format(&bytes[..17], 7), None);
    bytes[0] = 9;
    assert_eq!(later_format(&bytes, 7), None);
}

/// A replica of format 3 stops at a record that it would otherwise pass as unreadable.
#[test]
fn only_a_record_that_was_sent_again_is_of_the_latest_format() {
    let mut known = record(&[DeliveryStatus::Delivered]);
    assert_eq!(encode_entry(7, 2, &known)[17], 3);
    known.raise("rule-0", "agent", Generation { again: 1, number: 0 });
    assert_eq!(encode_entry(7, 2, &known)[17], 4);
}

#[test]
fn an_owner_is_a_group() {
    assert_eq!(ledger_owner("group"), ledger_owner("group"));
    assert_ne!(ledger_owner("group"), ledger_owner("Group"));
}

proptest! {
    #[test]
    fn the_writer_of_an_entry_is_read_without_the_rest(record in any_record(), owner in any::<u64>(), writer in any::<u64>()) {
        prop_assert_eq!(entry_writer(&encode_entry(owner, writer, &record)), Some(writer));
    }

    #[test]
    fn arbitrary_bytes_have_no_writer_or_any(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(entry_writer(&bytes).is_some(), bytes.len() >= 17 && bytes[0] == 1);
    }
}
