//! Whatever a producer writes: it ends in the dead-letter topic as it was, and the next event goes on.

use std::collections::BTreeSet;

use crate::kit::{BridgeSetup, HttpAgent, Kafka, PATIENCE, Record, event, kafka, unique};

/// The topic's limit in these tests: small, so that "at the limit" is cheap.
const LIMIT: usize = 100_000;

fn bridge(kafka: &Kafka, topic: &str, agent: &HttpAgent) -> BridgeSetup {
    BridgeSetup::new(kafka, topic).routing(&format!(
        "agents:
  audit: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
        agent.url()
    ))
}

fn without(field: &str) -> String {
    let mut event = event(&unique("missing")).json().clone();
    event.as_object_mut().expect("an event is an object").remove(field);
    event.to_string()
}

#[test]
fn poison_of_every_kind_is_kept_byte_for_byte_and_the_next_event_goes_on() {
    let text = |value: &str| Record::new(value.as_bytes().to_vec());
    let typed =
        |field: &str, value: serde_json::Value| text(&event(&unique("typed")).with(field, value).json().to_string());
    let id = unique("range");
    let out_of_range = event(&id).json().to_string().replace("\"success\"", "1e999");
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let mut poison = vec![
        ("not_json", text("hello")),
        ("not_json", text("{\"event_id\": \"cut")),
        ("not_utf8", Record::new(b"{\"event_id\": \"\xff\xfe\"}".to_vec())),
        ("empty", text("")),
        ("tombstone", Record::tombstone().key("a key")),
        ("not_json", text(&deep)),
        ("not_json", text(&out_of_range)),
        ("not_an_object", text("[1, 2]")),
        ("invalid_value", typed("event_id", "x".repeat(10_000).into())),
        ("invalid_value", typed("timestamp", "soon".into())),
        ("wrong_type", typed("payload", "text".into())),
        ("wrong_type", typed("workflow_id", 7.into())),
    ];
    for field in ["event_id", "event_type", "timestamp", "source", "workflow_id", "workflow_run_id"] {
        poison.push(("missing_field", text(&without(field))));
    }
    let agent = HttpAgent::start();
    let topic = kafka().topic("poison", 1);
    let good = unique("good");
    let records = poison.iter().map(|(_, record)| record.clone().header("trace", "kept"));
    kafka().produce_all(&topic, records.chain([event(&good).record()]));
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    agent.wait_accepted(1, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();

    let mut letters = kafka().read_all(&format!("{topic}.dlq"));
    letters.sort_by_key(|letter| letter.header("dlq-offset").and_then(|offset| offset.parse::<i64>().ok()));
    // Dead letters are at least once.
    letters.dedup_by_key(|letter| letter.header("dlq-offset"));
    assert_eq!(letters.len(), poison.len());
    for (letter, (reason, record)) in letters.iter().zip(&poison) {
        let place = letter.header("dlq-offset");
        assert_eq!(letter.header("dlq-reason").as_deref(), Some(*reason), "{place:?}");
        assert_eq!(letter.value, record.value, "{place:?}");
        assert_eq!(letter.key, record.key, "{place:?}");
        assert_eq!(letter.header("trace").as_deref(), Some("kept"), "{place:?}");
        assert!(letter.header("dlq-error").is_some_and(|error| !error.is_empty() && error.len() <= 1024), "{place:?}");
    }
}

/// A poison value that makes a record of exactly the topic's limit, or nearly so.
fn filling(headers: usize) -> Record {
    // The batch and record overhead is below 200 bytes.
    let value = vec![b'x'; LIMIT - headers - 200];
    if headers == 0 { Record::new(value) } else { Record::new(value).header("large", vec![b'h'; headers - 100]) }
}

/// One batch each: the topic's limit is one of batches.
fn produce_each(topic: &str, records: impl IntoIterator<Item = Record>) {
    for record in records {
        kafka().produce(topic, record);
    }
}

#[test]
fn a_record_at_the_size_limit_is_kept_whole_where_the_topic_has_room() {
    let agent = HttpAgent::start();
    let topic = unique("limit");
    kafka().create_topic(&topic, 1, &[("max.message.bytes", &LIMIT.to_string())]);
    produce_each(&topic, [filling(0), filling(50_000), event(&unique("good")).record()]);
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    agent.wait_accepted(1, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    let offsets: BTreeSet<_> = letters.iter().filter_map(|letter| letter.header("dlq-offset")).collect();
    assert_eq!(offsets, BTreeSet::from(["0", "1"].map(str::to_owned)), "dead letters are at least once");
    for letter in &letters {
        let offset = letter.header("dlq-offset").unwrap_or_default();
        let original = filling(if offset == "0" { 0 } else { 50_000 });
        assert_eq!(letter.value, original.value, "offset {offset}");
        assert_eq!(letter.header("dlq-value-omitted"), None, "offset {offset}");
    }
}

#[test]
fn a_record_that_cannot_fit_leaves_its_coordinates_and_sizes() {
    let agent = HttpAgent::start();
    let topic = unique("ladder");
    kafka().create_topic(&topic, 1, &[("max.message.bytes", &LIMIT.to_string())]);
    // Somebody made the dead-letter topic before, and made it small.
    let dead_letters = format!("{topic}.dlq");
    kafka().create_topic(&dead_letters, 1, &[("max.message.bytes", "2000")]);
    let large_key = Record::new(b"no json".to_vec()).key(vec![b'k'; 5_000]);
    produce_each(&topic, [filling(0), filling(50_000), large_key, event(&unique("good")).record()]);
    let mut bridge = bridge(kafka(), &topic, &agent).start();
    agent.wait_accepted(1, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let mut letters = kafka().read_all(&dead_letters);
    letters.sort_by_key(|letter| letter.header("dlq-offset"));
    letters.dedup_by_key(|letter| letter.header("dlq-offset"));
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert_eq!(letter.value, None);
        assert_eq!(letter.header("dlq-value-omitted").as_deref(), Some("true"));
        assert_eq!(letter.header("dlq-topic"), Some(topic.clone()));
        assert_eq!(letter.header("dlq-reason").as_deref(), Some("not_json"));
    }
    let sizes: Vec<_> = letters.iter().filter_map(|letter| letter.header("dlq-value-bytes")).collect();
    assert_eq!(sizes, [(LIMIT - 200).to_string(), (LIMIT - 50_200).to_string(), "7".to_owned()]);
    assert_eq!(letters[1].header("large"), None, "the large header went too");
    assert_eq!(letters[2].key, None, "the large key went too");
}
