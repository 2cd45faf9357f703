mod dialects;
mod documents;
mod foreign;
mod projection;
mod records;

use serde_json::{Value, json};

use super::*;

fn native() -> Value {
    json!({
        "event_id": "0f9d8c1e-1111-4222-8333-444455556666",
        "event_type": "WORKFLOW_COMPLETED",
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW",
        "workflow_id": "etl_daily",
        "workflow_run_id": "manual__1",
        "payload": {"data": {"status": "success"}},
        "metadata": {"environment": "prod", "version": "1.0", "team": "core"},
    })
}

fn read(value: &Value) -> Result<Event, Poison> {
    decode(Some(value.to_string().as_bytes()))
}

fn with(field: &str, value: Value) -> Value {
    let mut event = native();
    event[field] = value;
    event
}

#[test]
fn a_canonical_event_is_written_as_it_was_read() {
    let event = read(&native()).unwrap();
    assert_eq!(event.document(), &native());
    assert_eq!(event.encode(), native().to_string().into_bytes());
    assert_eq!(event.key(), "etl_daily/manual__1");
}

#[test]
fn names_are_read_in_any_spelling_and_written_in_the_canonical_one() {
    for spelling in ["workflow_completed", "Workflow.Completed", "workflow-completed", " WORKFLOW COMPLETED "] {
        let event = read(&with("event_type", json!(spelling))).unwrap();
        assert_eq!(event.event_type(), &EventType::Completed, "{spelling}");
        assert_eq!(event.document()["event_type"], "WORKFLOW_COMPLETED", "{spelling}");
    }
    let event = read(&with("source", json!("FastApi"))).unwrap();
    assert_eq!(event.source(), &Source::FastApi);
}

#[test]
fn an_unknown_type_is_an_event_and_keeps_its_name() {
    let event = read(&with("event_type", json!("workflow.paused"))).unwrap();
    assert_eq!(event.event_type().as_str(), "workflow.paused");
}

#[test]
fn a_time_without_an_offset_is_utc() {
    let utc = read(&native()).unwrap().timestamp();
    for text in ["2026-01-31T12:00:00", "2026-01-31 12:00:00", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000Z"]
    {
        assert_eq!(read(&with("timestamp", json!(text))).unwrap().timestamp(), utc, "{text}");
    }
}

#[test]
fn unknown_fields_are_kept_after_the_known_ones() {
    let mut event = native();
    event["tenant"] = json!({"id": 7});
    let decoded = read(&event).unwrap();
    assert_eq!(decoded.document()["tenant"]["id"], 7);
    assert_eq!(decoded.document().as_object().unwrap().keys().next_back().unwrap(), "tenant");
}

#[test]
fn absent_payload_and_metadata_read_as_empty_ones() {
    let mut event = native();
    event.as_object_mut().unwrap().remove("payload");
    event["metadata"] = Value::Null;
    let decoded = read(&event).unwrap();
    assert_eq!(decoded.document()["payload"], json!({"data": {}}));
    assert_eq!(decoded.document()["metadata"], json!({}));
}

#[test]
fn every_kind_of_poison_is_named() {
    let deep = "[".repeat(10_000);
    let long = with("event_id", json!("x".repeat(256))).to_string();
    let out_of_range = native().to_string().replace("\"success\"", "1e400");
    let cases: &[(&str, Option<&[u8]>, &str)] = &[
        ("tombstone", None, "tombstone"),
        ("empty", Some(b""), "empty"),
        ("blank", Some(b" \n"), "empty"),
        ("not utf-8", Some(b"{\"a\": \"\xff\"}"), "not_utf8"),
        ("not json", Some(b"hello"), "not_json"),
        ("cut off", Some(b"{\"event_id\": \"a\""), "not_json"),
        ("two values", Some(b"{} {}"), "not_json"),
        ("too deep", Some(deep.as_bytes()), "not_json"),
        ("out of range", Some(out_of_range.as_bytes()), "not_json"),
        ("an array", Some(b"[]"), "not_an_object"),
        ("a number", Some(b"7"), "not_an_object"),
        ("no fields", Some(b"{}"), "missing_field"),
        ("a long id", Some(long.as_bytes()), "invalid_value"),
    ];
    for (name, value, kind) in cases {
        assert_eq!(decode(*value).unwrap_err().kind(), *kind, "{name}");
    }
    for field in ["event_id", "event_type", "timestamp", "source", "workflow_id", "workflow_run_id"] {
        assert_eq!(read(&with(field, json!(7))).unwrap_err().kind(), "wrong_type", "{field}");
        assert_eq!(read(&with(field, Value::Null)).unwrap_err().kind(), "missing_field", "{field}");
        assert_eq!(read(&with(field, json!(""))).unwrap_err().kind(), "invalid_value", "{field}");
    }
    for field in ["payload", "metadata"] {
        assert_eq!(read(&with(field, json!([]))).unwrap_err().kind(), "wrong_type", "{field}");
    }
    assert_eq!(read(&with("event_id", json!("a\u{7}b"))).unwrap_err().kind(), "invalid_value");
    assert_eq!(read(&with("timestamp", json!("yesterday"))).unwrap_err().kind(), "invalid_value");
}

#[test]
fn a_delivery_id_tells_its_parts_apart_and_never_changes() {
    let id = DeliveryId::new("rule", "agent", "event", Generation::FIRST);
    assert_eq!(id, DeliveryId::new("rule", "agent", "event", Generation::FIRST));
    assert_ne!(id, DeliveryId::new("rulea", "gent", "event", Generation::FIRST));
    assert_ne!(id, DeliveryId::new("rule", "agent", "event", 1.into()));
    let again = [(1, 0), (2, 0), (1, 1), (256, 0)].map(|(again, number)| Generation { again, number });
    let all: std::collections::HashSet<_> =
        again.iter().map(|again| DeliveryId::new("rule", "agent", "event", *again)).collect();
    assert_eq!((all.len(), all.contains(&id)), (again.len(), false));
    // Pinned: a change of this value would run every agent again after an upgrade.
    assert_eq!(id.to_string(), "4184525d-c487-542a-8d48-2d6e62e9312d");
    let again = DeliveryId::new("rule", "agent", "event", Generation { again: 1, number: 0 });
    assert_eq!(again.to_string(), "24546ac0-5796-56ba-bad4-11cb12243e6c");
    let seven = DeliveryId::new("rule", "agent", "event", 7.into());
    assert_eq!(seven.to_string(), "a4d3b63a-b082-51bf-8e6c-18e84ba94b22");
}

#[test]
fn the_digest_differs_for_another_event_and_not_for_a_repetition() {
    let event = read(&native()).unwrap();
    let later = read(&with("timestamp", json!("2026-02-01T00:00:00Z"))).unwrap();
    assert_eq!(digest(&event), digest(&later));
    for field in ["event_type", "source", "workflow_id", "workflow_run_id"] {
        assert_ne!(digest(&event), digest(&read(&with(field, json!("OTHER"))).unwrap()), "{field}");
    }
}

#[test]
fn a_canonical_value_decodes_to_the_same_event() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let mut events = vec![native().to_string()];
    for (field, value) in [
        ("event_id", json!("")),
        ("event_id", json!("a\u{7}b")),
        ("event_id", json!("\u{e9}\"quoted\"")),
        ("event_type", json!("workflow.completed")),
        ("event_type", json!("workflow.paused")),
        ("source", json!("airflow")),
        ("timestamp", json!("2026-01-31T12:00:00")),
        ("timestamp", json!("2026-01-31T12:00:00+01:00")),
        ("timestamp", json!("2026-01-31T12:00:00.120Z")),
        ("timestamp", json!("yesterdayZ")),
        ("workflow_id", json!("  ")),
        ("workflow_run_id", json!(null)),
        ("payload", json!([])),
        ("payload", json!({"data": {"n": [1, -2, 1.5, true, null, "x"]}})),
        ("metadata", json!(null)),
        ("tenant", json!({"id": 7})),
    ] {
        events.push(with(field, value).to_string());
    }
    let text = native().to_string();
    events.push(text.replace("\"success\"", "1e400"));
    events.push(text.replace("\"success\"", &deep));
    events.push(text.replacen('{', &format!("{{\"unknown\": {deep}, "), 1));
    events.push(text.replacen('{', "{\"unknown\": 1e400, ", 1));
    events.push(text.replacen('{', "{\"event_id\": \"twice\", ", 1));
    events.push(text.replacen('{', "{\n", 1));
    events.push(text.clone() + "x");
    let mut canonical = 0;
    for text in &events {
        let decoded = decode(Some(text.as_bytes()));
        let Some(read) = Canonical::read(text.as_bytes()) else { continue };
        canonical += 1;
        let event = decoded.unwrap_or_else(|poison| panic!("{text}: {poison}"));
        assert_eq!(event.id(), read.event_id);
        assert_eq!(event.event_type().as_str(), read.event_type);
        assert_eq!(event.key(), format!("{}/{}", read.workflow_id, read.workflow_run_id));
    }
    assert_eq!(canonical, 5, "only values that need the decoder go to it");
}
