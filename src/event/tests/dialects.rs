//! The vectors in tests/vectors/dialects, and properties of every record.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{
    documents::read,
    records::{OwnedRecord, any_record, binary_cloudevent},
};
use crate::event::{Dialect, Event, Poison, base64, decode};

/// A decoded event must encode, and decode to the same event again.
fn assert_round_trip(event: &Event) {
    let again = decode(&*event.encode()).unwrap_or_else(|poison| panic!("{poison}: {}", event.document()));
    assert_eq!(&again, event);
    assert_eq!(again.dialect(), Dialect::Native);
    assert_eq!(again.encode(), event.encode());
    let parts = |event: &Event| {
        (event.id().to_owned(), event.event_type().clone(), event.source().clone(), event.timestamp(), event.key())
    };
    assert_eq!(parts(&again), parts(event));
}

fn check_vectors(dialect: Dialect, at_least: usize) {
    let path = format!("tests/vectors/dialects/{dialect}.jsonl");
    let mut wrong = Vec::new();
    let text = read(&path);
    for (number, line) in (1..).zip(text.lines()) {
        let vector: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}:{number}: {error}"));
        let name = vector["name"].as_str().unwrap();
        let found = OwnedRecord::of_vector(vector["record"].as_object().unwrap()).decode();
        let agrees = match (&found, vector.get("event")) {
            (Ok(event), Some(expected)) => {
                assert_round_trip(event);
                // A native event keeps its dialect in any envelope.
                event.document() == expected && event.dialect() == dialect
            }
            (Err(poison), None) => {
                let said = poison.to_string();
                let says = vector["says"].as_array().unwrap();
                assert!(!says.is_empty(), "{path}:{number}");
                Poison::KINDS.contains(&poison.kind())
                    && vector["poison"] == poison.kind()
                    && says.iter().all(|word| said.contains(word.as_str().unwrap()))
            }
            _ => false,
        };
        if !agrees {
            let found = found.map(|event| format!("{}: {}", event.dialect(), event.document()));
            let found = found.unwrap_or_else(|poison| format!("{}: {poison}", poison.kind()));
            wrong.push(format!("{path}:{number} ({name})\n  found    {found}\n  expected {vector}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(text.lines().count() >= at_least, "{path} has lost its vectors");
}

#[test]
fn native_records_agree_with_their_vectors() {
    check_vectors(Dialect::Native, 9);
}

#[test]
fn the_airflow_providers_records_agree_with_their_vectors() {
    check_vectors(Dialect::Airflow, 23);
}

#[test]
fn structured_cloudevents_agree_with_their_vectors() {
    check_vectors(Dialect::CloudEventsStructured, 59);
}

#[test]
fn binary_cloudevents_agree_with_their_vectors() {
    check_vectors(Dialect::CloudEventsBinary, 29);
}

#[test]
fn openlineage_events_agree_with_their_vectors() {
    check_vectors(Dialect::OpenLineage, 34);
}

#[test]
fn integration_events_agree_with_their_vectors() {
    check_vectors(Dialect::Integration, 17);
}

#[test]
fn a_header_that_is_not_utf8_is_poison_for_a_core_attribute_and_left_out_otherwise() {
    let mut record = binary_cloudevent();
    record.headers.push(("ce_team".into(), Some(b"\xff".to_vec())));
    let event = record.decode().unwrap();
    assert_eq!(event.document()["metadata"], json!({}));
    record.headers.push(("ce_type".into(), Some(b"\xff".to_vec())));
    let poison = record.decode().unwrap_err();
    assert_eq!(poison.kind(), "invalid_value");
    assert!(poison.to_string().contains("`ce_type`"), "{poison}");
}

#[test]
fn a_record_is_refused_if_its_event_is_nested_too_deep() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let (mut deepest, mut refused) = (0, 0);
    for levels in 100..140 {
        let mut record = binary_cloudevent();
        record.headers.push(("content-type".into(), Some(b"application/json".to_vec())));
        record.value = Some(nested(levels).into_bytes());
        match record.decode() {
            Ok(event) => {
                assert_round_trip(&event);
                deepest = levels;
            }
            Err(poison) => {
                assert_eq!(poison.kind(), "not_json");
                refused = if refused == 0 { levels } else { refused };
            }
        }
    }
    // The document and its payload are two levels, and the parser stops at 128.
    assert_eq!((deepest, refused), (125, 126));
}

#[test]
fn base64_is_decoded_in_all_its_variants() {
    for (plain, encoded) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
    {
        assert_eq!(base64::encode(plain.as_bytes()), encoded);
        for spelling in [encoded, encoded.trim_end_matches('='), &format!("{encoded}\r\n")] {
            assert_eq!(base64::decode(spelling).as_deref(), Some(plain.as_bytes()), "{spelling:?}");
        }
    }
    assert_eq!(base64::decode("_-8="), base64::decode("/+8="));
    for none in ["Z", "Zm9vY", "Zm 9v", "Zg==Zg==", "ä"] {
        assert_eq!(base64::decode(none), None, "{none:?}");
    }
}

#[test]
fn every_decoded_event_encodes_and_decodes_to_itself() {
    let config = ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() };
    let seen = RefCell::new(BTreeMap::<_, usize>::new());
    let result = TestRunner::new(config).run(&any_record(), |record| {
        let found = record.decode();
        prop_assert_eq!(&record.decode(), &found, "the same record gives the same result");
        let what = match &found {
            Ok(event) => {
                assert_round_trip(event);
                event.dialect().as_str()
            }
            Err(poison) => {
                prop_assert!(Poison::KINDS.contains(&poison.kind()) && !poison.to_string().is_empty());
                poison.kind()
            }
        };
        *seen.borrow_mut().entry(what).or_default() += 1;
        Ok(())
    });
    let seen = seen.into_inner();
    assert!(result.is_ok(), "{}", result.unwrap_err());
    for dialect in Dialect::ALL {
        assert!(seen.get(dialect.as_str()) >= Some(&20), "too few events in {dialect} to say anything: {seen:?}");
    }
}

proptest! {
    #[test]
    fn base64_reads_what_it_writes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(base64::decode(&base64::encode(&bytes)), Some(bytes));
    }
}
