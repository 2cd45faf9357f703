//! The vectors in tests/vectors/dialects, what holds of every record, and the tables of docs/events.md.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use crate::event::{Dialect, Event, Poison, Raw, airflow, base64, cloudevents, decode};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A record with a life of its own.
#[derive(Debug, Clone, Default)]
struct Written {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp_ms: Option<i64>,
}

impl Written {
    fn decode(&self) -> Result<Event, Poison> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        decode(Raw {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
            timestamp_ms: self.timestamp_ms,
        })
    }

    /// As a vector has it: headers as an object, or as a list where the order or a repetition matters.
    fn of_vector(record: &Map<String, Value>) -> Self {
        let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
        let mut written = Self::default();
        for (field, value) in record {
            match (field.as_str(), value) {
                ("key", _) => written.key = bytes(value),
                ("value", _) => written.value = bytes(value),
                ("value_base64", Value::String(text)) => written.value = base64::decode(text),
                ("timestamp_ms", _) => written.timestamp_ms = value.as_i64(),
                ("headers", Value::Object(headers)) => {
                    written.headers = headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
                }
                ("headers", Value::Array(headers)) => {
                    written.headers = headers
                        .iter()
                        .map(|header| (header[0].as_str().unwrap().to_owned(), bytes(&header[1])))
                        .collect();
                }
                _ => panic!("a vector's record has no `{field}`: {value}"),
            }
        }
        written
    }
}

/// What is decoded is what the bridge stands on: it has to survive being written and read.
fn assert_writes_itself(event: &Event) {
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
        let found = Written::of_vector(vector["record"].as_object().unwrap()).decode();
        let agrees = match (&found, vector.get("event")) {
            (Ok(event), Some(expected)) => {
                assert_writes_itself(event);
                // A native event is one in whatever envelope's company.
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
fn native_records_read_as_their_vectors_say() {
    check_vectors(Dialect::Native, 9);
}

#[test]
fn the_airflow_providers_records_read_as_their_vectors_say() {
    check_vectors(Dialect::Airflow, 23);
}

#[test]
fn structured_cloudevents_read_as_their_vectors_say() {
    check_vectors(Dialect::CloudEventsStructured, 59);
}

#[test]
fn binary_cloudevents_read_as_their_vectors_say() {
    check_vectors(Dialect::CloudEventsBinary, 29);
}

#[test]
fn a_header_that_is_no_text_is_poison_where_it_matters_and_left_out_where_not() {
    let mut record = binary_cloudevent();
    record.headers.push(("ce_team".into(), Some(b"\xff".to_vec())));
    let event = record.decode().unwrap();
    assert_eq!(event.document()["metadata"], json!({}));
    record.headers.push(("ce_type".into(), Some(b"\xff".to_vec())));
    let poison = record.decode().unwrap_err();
    assert_eq!(poison.kind(), "invalid_value");
    assert!(poison.to_string().contains("`ce_type`"), "{poison}");
}

fn binary_cloudevent() -> Written {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "workflow.completed"),
        ("ce_source", "/airflow"),
        ("ce_id", "1"),
        ("ce_time", "2026-01-31T12:00:00Z"),
        ("ce_subject", "etl/r1"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
    Written { headers: headers.to_vec(), ..Written::default() }
}

#[test]
fn what_was_written_as_deep_as_can_be_read_is_refused_where_an_event_is_deeper() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let (mut deepest, mut refused) = (0, 0);
    for levels in 100..140 {
        let mut record = binary_cloudevent();
        record.headers.push(("content-type".into(), Some(b"application/json".to_vec())));
        record.value = Some(nested(levels).into_bytes());
        match record.decode() {
            Ok(event) => {
                assert_writes_itself(&event);
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
fn base64_is_read_as_it_was_written_in_any_of_its_kinds() {
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

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((field_name(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Names that mean something in some dialect, and others.
fn field_name() -> impl Strategy<Value = String> {
    let known = [
        "event_id",
        "event_type",
        "timestamp",
        "source",
        "workflow_id",
        "workflow_run_id",
        "payload",
        "metadata",
        "cloudevent",
        "schema_version",
        "event",
        "dag_id",
        "run_id",
        "task_id",
        "map_index",
        "try_number",
        "specversion",
        "type",
        "id",
        "time",
        "subject",
        "data",
        "data_base64",
        "datacontenttype",
        "workflowid",
        "workflowrunid",
        "taskid",
        "mapindex",
        "environment",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Texts that mean something somewhere, and others.
fn any_text() -> impl Strategy<Value = String> {
    let known = [
        "1.0",
        "0.3",
        "workflow.completed",
        "com.example.workflow.failed.v1",
        "dag_run.success",
        "task_instance.skipped",
        "2026-01-31T12:00:00.123456+01:00",
        "2026-01-31 12:00:00",
        "etl/r1",
        "etl",
        "7",
        "/airflow/prod",
        "urn:LANGGRAPH",
        "application/json",
        "application/cloudevents+json",
        "text/plain",
        "",
        " ",
        "aGVsbG8=",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![4 => any_text().prop_map(Value::from), 1 => any_json()];
    proptest::collection::vec((field_name(), value), 0..12).prop_map(|fields| fields.into_iter().collect())
}

/// An object that is whole in one of the dialects, but for what is laid over it.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let whole = [
        json!({}),
        json!({"event_id": "e", "event_type": "workflow.completed", "timestamp": "2026-01-31T12:00:00Z",
               "source": "airflow", "workflow_id": "w", "workflow_run_id": "r"}),
        json!({"schema_version": 1, "event": "task_instance.success", "timestamp": "2026-01-31T12:00:00Z",
               "dag_id": "w", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}),
        json!({"specversion": "1.0", "type": "a.workflow.failed", "source": "s", "id": "1", "subject": "w/r",
               "time": "2026-01-31T12:00:00Z"}),
    ];
    (proptest::sample::select(whole.to_vec()), any_object(), any::<bool>()).prop_map(|(mut body, over, keep)| {
        if keep && let Some(body) = body.as_object_mut() {
            for (name, value) in over {
                body.entry(name).or_insert(value);
            }
        } else if let Some(body) = body.as_object_mut() {
            body.extend(over);
        }
        body.to_string().into_bytes()
    })
}

fn any_record() -> impl Strategy<Value = Written> {
    let value = prop_oneof![
        8 => any_body(),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let name = prop_oneof![
        4 => field_name().prop_map(|name| format!("ce_{name}")),
        2 => Just("content-type".to_owned()),
        1 => ".{0,6}",
    ];
    let text =
        prop_oneof![8 => any_text().prop_map(String::into_bytes), 1 => proptest::collection::vec(any::<u8>(), 0..8)];
    let headers = proptest::collection::vec((name, proptest::option::weighted(0.9, text)), 0..4);
    let key = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8));
    let time = prop_oneof![3 => 0..2_000_000_000_000_i64, 1 => any::<i64>()];
    (key, proptest::option::weighted(0.9, value), headers, 0..4_u8, proptest::option::of(time)).prop_map(
        |(key, value, mut headers, cloudevent, timestamp_ms)| {
            if cloudevent == 0 {
                headers.splice(0..0, binary_cloudevent().headers);
            }
            Written { key, value, headers, timestamp_ms }
        },
    )
}

#[test]
fn whatever_decodes_is_written_natively_and_read_as_the_same_event() {
    let config = ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() };
    let seen = RefCell::new(BTreeMap::<_, usize>::new());
    let result = TestRunner::new(config).run(&any_record(), |record| {
        let found = record.decode();
        prop_assert_eq!(&record.decode(), &found, "twice the same record is twice the same");
        let what = match &found {
            Ok(event) => {
                assert_writes_itself(event);
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

/// The rows of the table that stands under this heading.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip_while(|line| !(line.starts_with('#') && line.trim_start_matches('#').trim() == heading))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_tables_of_the_documents_are_the_tables_of_the_code() {
    let text = read("docs/events.md");
    let code = |text: &str| format!("`{text}`");
    let documented: Vec<_> = table(&text, "Dialects").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, Dialect::ALL.iter().map(|dialect| code(dialect.as_str())).collect::<Vec<_>>());

    let documented: Vec<_> =
        table(&text, "What Airflow's provider reports").into_iter().map(|row| row[..3].to_vec()).collect();
    let rows = airflow::EVENTS.iter();
    let expected: Vec<_> =
        rows.map(|(event, name, scope)| [event, name, scope].map(|text| code(text)).to_vec()).collect();
    assert_eq!(documented, expected);

    let documented = table(&text, "Extension attributes");
    let rows = cloudevents::EXTENSIONS.iter();
    let mut expected: Vec<_> = rows.map(|(extension, place)| vec![code(extension), code(place)]).collect();
    expected.push(vec!["any other".into(), "`metadata`, under its own name".into()]);
    assert_eq!(documented, expected);

    for names in [airflow::OF_TASKS, cloudevents::WORKFLOW_IN_DATA, cloudevents::RUN_IN_DATA] {
        let list = names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ");
        assert!(text.contains(&list), "docs/events.md does not name {list}");
    }
}
