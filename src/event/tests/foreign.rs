//! Records of other systems: accepted where their meaning is clear, and explained where they are not events.

use serde_json::{Value, json};

use super::{native, with};
use crate::event::{Dialect, Event, Limits, Poison, Raw, decode};

fn headed(headers: &[(&str, &str)], value: &str) -> Result<Event, Poison> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    decode(Raw { value: Some(value.as_bytes()), headers: &headers, ..Raw::default() })
}

fn said(value: impl AsRef<[u8]>) -> (&'static str, String) {
    let poison = decode(value.as_ref()).unwrap_err();
    (poison.kind(), poison.to_string())
}

#[test]
fn the_headers_of_a_cloudevent_are_read_in_any_case() {
    for prefix in ["ce_", "Ce_", "CE_", "cE_", "ce-", "Ce-", "CE-"] {
        let name = |attribute: &str| format!("{prefix}{attribute}");
        let names: Vec<_> = ["SpecVersion", "type", "Source", "Id", "subject", "time"].map(name).into();
        let values = ["1.0", "workflow.completed", "/airflow", "7", "etl/run", "2026-01-31T12:00:00Z"];
        let headers: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
        let event = headed(&headers, "{}").unwrap_or_else(|poison| panic!("{prefix}: {poison}"));
        assert_eq!(event.dialect(), Dialect::CloudEventsBinary, "{prefix}");
        assert_eq!(event.key(), "etl/run");
    }
}

#[test]
fn quotes_are_removed_from_headers_written_as_json_strings() {
    let envelope = json!({
        "specversion": "1.0", "type": "workflow.completed", "source": "/airflow", "id": "7", "subject": "etl/run",
        "time": "2026-01-31T12:00:00Z", "data": {"rows": 1},
    });
    let quoted = [("Content-Type", "\"application/cloudevents+json; charset=UTF-8\"")];
    let structured = headed(&quoted, &envelope.to_string()).unwrap();
    assert_eq!(structured.dialect(), Dialect::CloudEventsStructured);

    let plain: Vec<(String, String)> = envelope
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| Some((format!("ce_{name}"), value.as_str()?.to_owned())))
        .chain([("content-type".to_owned(), "application/json".to_owned())])
        .collect();
    let quoted: Vec<_> =
        plain.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()).to_string())).collect();
    let read = |headers: &[(String, String)]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headed(&headers, "{\"rows\": 1}").unwrap()
    };
    assert_eq!(read(&quoted), read(&plain));
    assert_eq!(read(&plain).document()["payload"]["data"]["rows"], 1);
    let refused = headed(&[("content-type", "\"application/cloudevents+avro\"")], "{}").unwrap_err();
    assert_eq!(refused.kind(), "invalid_value");
}

#[test]
fn a_quote_that_belongs_to_an_attribute_stays() {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "workflow.completed"),
        ("ce_source", "/airflow"),
        ("ce_id", "\"7\""),
        ("ce_subject", "etl/run"),
        ("ce_time", "2026-01-31T12:00:00Z"),
    ];
    assert_eq!(headed(&headers, "{}").unwrap().document()["cloudevent"]["id"], "\"7\"");
}

#[test]
fn a_time_may_have_more_than_nine_fractional_digits() {
    let expected: jiff::Timestamp = "2026-01-31T12:00:00.123456789Z".parse().unwrap();
    for text in [
        "2026-01-31T12:00:00.1234567891Z",
        "2026-01-31T12:00:00.123456789123456789Z",
        "2026-01-31T13:00:00.1234567899999+01:00",
        "2026-01-31T12:00:00.1234567890",
        "2026-01-31t12:00:00.123456789z",
    ] {
        let event =
            decode(with("timestamp", json!(text)).to_string().as_bytes()).unwrap_or_else(|poison| panic!("{poison}"));
        assert_eq!(event.timestamp(), expected, "{text}");
        assert_eq!(event.document()["timestamp"], "2026-01-31T12:00:00.123456789Z");
    }
    for text in ["2026-01-31T12:00:00.1234567891x", "2026-01-31.1234567891234"] {
        let (kind, error) = said(with("timestamp", json!(text)).to_string());
        assert_eq!(kind, "invalid_value");
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_number_that_json_does_not_have_is_named() {
    for name in ["NaN", "Infinity", "-Infinity"] {
        for text in [
            native().to_string().replace("\"success\"", name),
            serde_json::to_string_pretty(&native()).unwrap().replace("\"success\"", name),
        ] {
            let (kind, error) = said(&text);
            assert_eq!(kind, "not_json");
            assert!(error.contains(name.trim_start_matches('-')) && error.contains("allow_nan=False"), "{error}");
            assert!(error.contains(" at line "), "{error}");
        }
    }
    let data = headed(
        &[
            ("ce_specversion", "1.0"),
            ("ce_type", "t"),
            ("ce_source", "s"),
            ("ce_id", "1"),
            ("content-type", "application/json"),
        ],
        "{\"rate\": NaN}",
    );
    assert!(data.unwrap_err().to_string().contains("allow_nan=False"));
}

#[test]
fn a_python_repr_is_named() {
    for text in ["{'event_id': '1'}", "{\"a\": None}", "{\"a\": True}", "{\"a\": 'b'}"] {
        let (kind, error) = said(text);
        assert!(kind == "not_json" && error.contains("json.dumps(event)"), "{text}: {error}");
    }
}

#[test]
fn the_frame_of_a_schema_registry_is_explained_with_the_schema() {
    let framed = |rest: &[u8]| [&[0, 0, 0, 1, 2], rest].concat();
    for (value, what) in
        [(framed(b"\x10abc\xff\xfe"), "Avro or Protobuf"), (framed(native().to_string().as_bytes()), "JSON")]
    {
        let (kind, error) = said(value);
        assert_eq!(kind, "not_json");
        assert!(error.contains("magic byte 0, schema id 258") && error.contains(what), "{error}");
    }
    let glue = [&[3_u8, 0][..], &[0xab; 16], b"rest"].concat();
    let (_, error) = said(glue);
    assert!(error.contains("AWS Glue") && error.contains(&"ab".repeat(16)), "{error}");
    let (_, error) = said("{\"a\": 1}".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    assert!(!error.contains("schema"), "{error}");
}

#[test]
fn the_envelope_of_another_system_is_named() {
    let dapr = json!({
        "id": "1", "source": "orders", "type": "com.dapr.event.sent", "specversion": "1.0", "pubsubname": "kafka",
        "topic": "workflow-events", "datacontenttype": "text/plain", "data": native().to_string(),
    });
    let (kind, error) = said(dapr.to_string());
    assert!(kind == "missing_field" && error.contains("Dapr") && error.contains("application/json"), "{error}");

    let mut whole = dapr;
    whole["data"] = native();
    assert_eq!(decode(whole.to_string().as_bytes()).unwrap().id(), native()["event_id"]);

    let connect = json!({"schema": {"type": "struct"}, "payload": native()});
    let (kind, error) = said(connect.to_string());
    assert!(kind == "missing_field" && error.contains("schemas.enable=false"), "{error}");

    let (kind, error) = said(Value::from(native().to_string()).to_string());
    assert!(kind == "not_an_object" && error.contains("twice"), "{error}");
}

#[test]
fn a_byte_order_mark_before_the_event_is_ignored() {
    let value = [&b"\xef\xbb\xbf"[..], native().to_string().as_bytes()].concat();
    assert_eq!(decode(&*value).unwrap().document(), &native());
    assert_eq!(said("\u{feff} ").0, "empty");
}

#[test]
fn a_document_of_many_small_values_is_refused_before_it_takes_memory_in_every_dialect() {
    let limits = Limits::new(1 << 20, u64::MAX);
    let zeros = format!("[{}0]", "0,".repeat(500_000));
    let native = native().to_string().replace("\"success\"", &zeros);
    let envelope = |data: &str| {
        format!(
            "{{\"specversion\": \"1.0\", \"type\": \"t\", \"source\": \"s\", \"id\": \"1\", \"subject\": \"w/r\", \
             \"time\": \"2026-01-31T12:00:00Z\", {data}}}"
        )
    };
    let airflow = format!(
        "{{\"event\": \"dag_run.success\", \"schema_version\": 1, \"timestamp\": \"2026-01-31T12:00:00Z\", \
         \"dag_id\": \"d\", \"run_id\": \"r\", \"x\": {zeros}}}"
    );
    let encoded = crate::event::base64::encode(zeros.as_bytes());
    for value in [
        native,
        airflow,
        envelope(&format!("\"data\": {zeros}")),
        envelope(&format!("\"data_base64\": \"{encoded}\"")),
        format!("[{}0]", format!("{}0{},", "[".repeat(120), "]".repeat(120)).repeat(1_000)),
        zeros.clone(),
        zeros.trim_end_matches(']').to_owned(),
    ] {
        let poison = limits.decode(value.as_bytes()).unwrap_err();
        assert_eq!(poison.kind(), "too_large", "{}: {poison}", &value[..60]);
    }
    let headers: Vec<_> = [("ce_specversion", "1.0"), ("ce_type", "t"), ("ce_source", "s"), ("ce_id", "1")]
        .map(|(name, value)| (name, Some(value.as_bytes())))
        .into();
    let binary = Raw { value: Some(zeros.as_bytes()), headers: &headers, ..Raw::default() };
    assert_eq!(limits.decode(binary).unwrap_err().kind(), "too_large");
}

#[test]
fn a_large_text_is_an_event_up_to_the_size_of_the_record() {
    let limits = Limits::new(1 << 20, u64::MAX);
    let value = native().to_string().replace("success", &"x".repeat(1 << 20));
    let event = limits.decode(value.as_bytes()).unwrap();
    assert_eq!(event.encoded_len(), event.encode().len());
    assert!(event.document_bytes() < (1 << 20) + 8_192, "{}", event.document_bytes());
}
