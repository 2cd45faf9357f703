//! Projections beside the decoder: the definition is [`FieldSet::of`] on the decoded document.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    native,
    records::{OwnedRecord, any_record, field_name},
};
use crate::event::{BYTE_ORDER_MARK, Event, FieldSet, Limits};

fn fields(paths: &[&[&str]]) -> FieldSet {
    let mut fields = FieldSet::default();
    for path in paths {
        fields.add(path);
    }
    fields
}

fn is_projected(text: &str, paths: &[&[&str]]) -> bool {
    OwnedRecord { value: Some(text.into()), ..OwnedRecord::default() }.is_projected(&fields(paths))
}

/// As it is unless something says otherwise: a projection that is `None` costs a second pass.
#[track_caller]
fn assert_projected(text: &str, paths: &[&[&str]], expected: &Value) {
    let record = OwnedRecord { value: Some(text.into()), ..OwnedRecord::default() };
    let decoded = crate::event::decode(text.as_bytes()).unwrap();
    let projected = record.project(&fields(paths), |projected, document| {
        assert_eq!(document, *expected);
        assert_eq!(document, fields(paths).of(decoded.document()));
        assert_eq!((projected.id(), projected.event_type()), (decoded.id(), decoded.event_type()));
        assert_same_event(&projected.into_event(text.trim_start_matches('\u{feff}').to_owned().into()), &decoded);
    });
    assert_eq!(projected, Some(()), "not projected: {text}");
}

/// One whose document is decoded later, and the one that the decoder makes at once.
#[track_caller]
fn assert_same_event(event: &Event, decoded: &Event) {
    let envelope = |event: &Event| {
        (
            event.id().to_owned(),
            event.event_type().clone(),
            event.source().clone(),
            event.timestamp(),
            event.key(),
            event.dialect(),
        )
    };
    assert_eq!(envelope(event), envelope(decoded));
    assert!(!event.is_decoded(), "{event:?}");
    assert_eq!(event.trace(), decoded.trace());
    assert!(!event.is_decoded(), "its trace needs no document");
    assert_eq!(event.document(), decoded.document());
    assert!(event.is_decoded());
    assert_eq!(event.trace(), decoded.trace());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_projected_is_a_part_of_what_is_decoded(
        record in any_record(),
        paths in prop::collection::vec(prop::collection::vec(field_name(), 0..4), 0..6),
    ) {
        let mut fields = FieldSet::default();
        for path in &paths {
            fields.add(&path.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let compared = record.project(&fields, |projected, document| {
            let decoded = record.decode();
            let decoded = decoded.as_ref().map_err(|poison| TestCaseError::fail(format!("it is poison: {poison}")))?;
            prop_assert_eq!(projected.id(), decoded.id());
            prop_assert_eq!(projected.event_type(), decoded.event_type());
            prop_assert_eq!(document, fields.of(decoded.document()));
            let text = record.value.as_deref().unwrap_or_default();
            let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).to_owned();
            assert_same_event(&projected.into_event(text.into()), decoded);
            Ok(())
        });
        compared.unwrap_or(Ok(()))?;
    }
}

#[test]
fn the_trace_is_that_of_the_last_metadata_whatever_is_asked_for() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (metadata, expected) in [
        (json!({"traceparent": parent, "tracestate": "a=1"}).to_string(), [Some(parent), Some("a=1")]),
        (json!({"traceparent": {"x": [1, "y"]}, "tracestate": 7, "team": "core"}).to_string(), [None, None]),
        (
            format!("{{\"tracestate\": \"a=1\"}}, \"metadata\": {{\"trace\\u0070arent\": \"{parent}\"}}"),
            [Some(parent), None],
        ),
        ("{\"traceparent\": \"a\", \"traceparent\": null}".to_owned(), [None, None]),
        ("{\"traceparent\": \"a\"}, \"metadata\": null".to_owned(), [None, None]),
        ("null".to_owned(), [None, None]),
    ] {
        let mut event = native();
        event["metadata"] = "HERE".into();
        let text = event.to_string().replace("\"HERE\"", &metadata);
        let decoded = crate::event::decode(text.as_bytes()).unwrap();
        assert_eq!(decoded.trace(), expected, "{text}");
        for paths in [
            &[][..],
            &[&["metadata"][..]],
            &[&["metadata", "traceparent"][..]],
            &[&["metadata", "traceparent", "x"][..]],
        ] {
            let asked = fields(paths);
            assert_projected(&text, paths, &asked.of(decoded.document()));
        }
    }
}

#[test]
fn a_native_event_is_projected_to_the_fields_that_are_asked_for() {
    let text = native().to_string();
    assert_projected(&text, &[], &json!({}));
    assert_projected(
        &text,
        &[&["event_type"], &["workflow_id"], &["payload", "data", "status"], &["metadata", "no"], &["no", "such"]],
        &json!({"event_type": "WORKFLOW_COMPLETED", "workflow_id": "etl_daily",
                "payload": {"data": {"status": "success"}}, "metadata": {}}),
    );
    let all: Vec<&[&str]> =
        vec![&["event_id"], &["event_type"], &["timestamp"], &["source"], &["workflow_id"], &["workflow_run_id"]];
    let expected: serde_json::Map<_, _> = native()
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .filter(|(name, _)| all.contains(&&[name.as_str()][..]))
        .collect();
    assert_projected(&text, &all, &Value::Object(expected));
}

#[test]
fn names_and_times_are_in_the_canonical_spelling_and_the_last_field_of_a_name_counts() {
    let text = "\u{feff}{\"event_type\": 7, \"event_id\": null, \"event_id\": \"\\u00e9\", \
        \"event_type\": \"workflow.completed\", \"timestamp\": \"2026-01-31T12:00:00+01:00\", \"source\": \"airflow\", \
        \"workflow_id\": \"w\", \"workflow_run_id\": \"r\", \"metadata\": null, \"x\": 1, \"x\": [{\"y\": 2}, {\"z\": \"t\"}, \"s\"]}";
    let paths: &[&[&str]] =
        &[&["event_type"], &["timestamp"], &["payload", "data"], &["metadata", "team"], &["x", "y"], &["event_id"]];
    let expected = json!({"event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T11:00:00Z",
        "payload": {"data": {}}, "metadata": {}, "x": [{"y": 2}, {}, ""], "event_id": "é"});
    // A type that is no string is left to the decoder, although a later one counts.
    assert!(!is_projected(text, paths));
    assert_projected(&text.replacen("\"event_type\": 7, ", "", 1), paths, &expected);
}

#[test]
fn fields_beside_the_envelope_are_found_before_and_after_it_and_among_many() {
    let mut event = native();
    for n in 0..40 {
        event[format!("field-{n:02}")] = n.into();
    }
    let first = event.to_string();
    let last = first.strip_suffix('}').unwrap();
    let text = format!("{{\"a\": 1, \"z\": 2, {}, \"z\": 3, \"a\": {{\"b\": 4}}}}", &last[1..]);
    let names: Vec<String> = (0..40).step_by(2).map(|n| format!("field-{n:02}")).collect();
    let many: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let envelope: [&[&str]; 4] = [&["a"], &["z"], &["workflow_id"], &["event_type"]];
    let decoded = crate::event::decode(text.as_bytes()).unwrap();
    for many in [&many[..1], &many[..]] {
        let paths: Vec<&[&str]> = envelope.into_iter().chain(many.iter().map(|path| &path[..])).collect();
        let expected = fields(&paths).of(decoded.document());
        assert_eq!(expected.as_object().map(serde_json::Map::len), Some(paths.len()));
        assert_projected(&text, &paths, &expected);
    }

    let payload = |values: &str| text.replacen("\"payload\":{\"data\":{\"status\":\"success\"}}", values, 1);
    let paths: &[&[&str]] = &[&["payload", "data", "status"], &["a"]];
    for values in
        ["\"payload\": null, \"payload\": {\"data\": {\"status\": 1}}", "\"payload\": {\"data\": 1}, \"payload\": null"]
    {
        let text = payload(values);
        assert!(text.contains(values));
        let decoded = crate::event::decode(text.as_bytes()).unwrap();
        assert_projected(&text, paths, &fields(paths).of(decoded.document()));
    }
    assert!(!is_projected(&payload("\"payload\": {}, \"payload\": 7"), paths));
}

#[test]
fn whatever_is_unusual_is_left_to_the_decoder() {
    let text = native().to_string();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    for other in [
        String::new(),
        "[]".to_owned(),
        format!("{text} x"),
        with("\"event_id\":", "\"id\":"),
        with("\"AIRFLOW\"", "\" \""),
        with("2026-01-31T12:00:00Z", "yesterday"),
        with("\"prod\"", "1e999"),
        with("\"prod\"", "\"\\ud800\""),
        with("{\"status\":\"success\"}", &format!("{}{}", "[".repeat(126), "]".repeat(126))),
        with("{\"data\":{\"status\":\"success\"}}", "7"),
    ] {
        assert!(!is_projected(&other, &[&["event_type"]]), "{other}");
    }
    let value = Some(text.into_bytes());
    let headers = |name: &str, value: &str| vec![(name.to_owned(), Some(value.as_bytes().to_vec()))];
    for (headers, is_projected) in [
        (headers("content-type", "application/json"), true),
        (headers("content-type", "application/cloudevents+json"), false),
        (headers("ce_id", "1"), false),
        (headers("event_id", "1"), true),
    ] {
        let record = OwnedRecord { value: value.clone(), headers, ..OwnedRecord::default() };
        assert_eq!(record.is_projected(&fields(&[])), is_projected, "{:?}", record.headers);
    }
}

#[test]
fn a_record_whose_memory_is_above_the_limit_is_left_to_the_decoder() {
    let mut event = native();
    event["payload"]["data"] = json!({"numbers": vec![0; 2_000]});
    let text = event.to_string();
    let raw = crate::event::Raw { value: Some(text.as_bytes()), ..Default::default() };
    assert!(Limits::new(1 << 20, u64::MAX).project(&raw, &fields(&[])).is_some());
    assert!(Limits::new(1 << 20, 10_000).project(&raw, &fields(&[])).is_none());
}

/// Its own reader of a `Value` would read the text as JSON, or refuse the object.
#[test]
fn a_name_that_serde_json_uses_inside_is_only_a_name() {
    const NAME: &str = "$serde_json::private::RawValue";
    for value in [json!("[[],[]]"), json!("no JSON"), json!(7), json!({"a": 1})] {
        let inner = Value::Object([(NAME.to_owned(), value)].into_iter().collect());
        let mut event = native();
        event["payload"]["data"]["status"] = inner.clone();
        let decoded = crate::event::decode(event.to_string().as_bytes()).unwrap();
        assert_eq!(decoded.document()["payload"]["data"]["status"], inner);
        assert_projected(
            &event.to_string(),
            &[&["payload", "data", "status"]],
            &json!({"payload": {"data": {"status": {}}}}),
        );
        let mut whole = serde_json::Map::from_iter([(NAME.to_owned(), inner)]);
        whole.extend(native().as_object().unwrap().clone());
        let text = Value::Object(whole).to_string();
        assert!(text.starts_with(&format!("{{\"{NAME}")));
        assert_projected(&text, &[&["event_type"]], &json!({"event_type": "WORKFLOW_COMPLETED"}));
    }
}
