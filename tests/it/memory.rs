//! Hostile and heavy records, by the resident memory of the process: whatever they contain and
//! whoever holds them, the budget holds.

use std::time::Duration;

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::json;

use crate::kit::{Bridge, BridgeSetup, HttpAgent, Record, Reply, bridge::LONG_SESSION, event, kafka, poll, unique};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(240);
/// Where nobody listens.
const DOWN: &str = "http://127.0.0.1:1";

fn routing(agents: &[String]) -> String {
    use std::fmt::Write as _;

    let mut yaml = "agents:\n".to_owned();
    for (number, url) in agents.iter().enumerate() {
        let _ = writeln!(
            yaml,
            "  a{number}: {{http: {{url: '{url}/events'}}, timeout: 60s, retry: {{initial: 1s, max: 5s}}}}"
        );
    }
    let names: Vec<_> = (0..agents.len()).map(|number| format!("a{number}")).collect();
    let _ = writeln!(
        yaml,
        "rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{}]}}",
        names.join(", ")
    );
    yaml
}

/// Publishes each value as a compressed batch of its own.
fn produce_compressed(topic: &str, values: &[Vec<u8>]) {
    let producer: ThreadedProducer<DefaultProducerContext> = kafka()
        .client()
        .set("compression.type", "zstd")
        // A batch that is sent again does not move the offsets of those after it.
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "100000000")
        .create()
        .expect("a producer can be made");
    for value in values {
        producer.send(BaseRecord::<(), _>::to(topic).payload(value)).map_err(|(error, _)| error).expect("it is sent");
        producer.flush(DEADLINE).expect("the broker takes the batch");
    }
}

/// `{"n":[0,0,...]}` of so many bytes.
fn zeros(bytes: usize) -> Vec<u8> {
    let mut value = b"{\"n\":[".to_vec();
    value.extend(b"0,".repeat(bytes / 2));
    value.extend(b"0]}");
    value
}

#[test]
fn records_of_48_mb_and_of_99999_headers_are_dead_letters_and_memory_stays_bounded() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("bomb", 1);
    let dense = event(&unique("dense")).data(json!({"n": vec![0; 1_800_000]})).json().to_string().into_bytes();
    assert!(dense.len() < 4 << 20, "below the limit of a record, above that of a document");
    produce_compressed(&topic, &[zeros(48_000_000), zeros(48_000_000), dense, zeros(5_000_000)]);
    let headers = vec![("h".to_owned(), None); 99_999];
    let many_headers = (0..20).map(|_| Record { headers: headers.clone(), ..event(&unique("headers")).record() });
    kafka().produce_all(&topic, many_headers.chain([event(&unique("good")).record()]));
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&routing(&[agent.url()])).start();
    let before = bridge.rss_bytes();
    agent.wait_accepted(1, DEADLINE);
    kafka().wait_committed(bridge.group(), &topic, DEADLINE);
    let (after, peak) = (bridge.rss_bytes(), bridge.peak_rss_bytes());
    println!("two records of 48 MB: resident {} MiB, then {} MiB, peak {} MiB", before / MIB, after / MIB, peak / MIB);
    bridge.stop();

    let mut letters = kafka().read_all(&format!("{topic}.dlq"));
    letters.sort_by_key(|letter| letter.header("dlq-offset").and_then(|offset| offset.parse::<i64>().ok()));
    // Dead letters are at least once.
    letters.dedup_by_key(|letter| letter.header("dlq-offset"));
    assert_eq!(letters.len(), 24);
    for letter in letters.split_off(4) {
        let error = letter.header("dlq-error").unwrap_or_default();
        assert!(error.contains("99999 headers") && error.contains("1000"), "{error}");
        // With all of its headers and the reason, librdkafka could read none of them.
        assert_eq!(letter.header("dlq-headers-omitted").as_deref(), Some("true"), "{error}");
        assert!(letter.value.is_some(), "the value is kept: {error}");
    }
    let found: Vec<_> = letters
        .iter()
        .map(|letter| {
            (letter.header("dlq-reason").unwrap_or_default(), letter.header("dlq-value-bytes").unwrap_or_default())
        })
        .collect();
    let sizes: Vec<_> = found.iter().map(|(_, bytes)| bytes.parse().unwrap_or(0)).collect();
    assert!(found.iter().all(|(reason, _)| reason == "too_large"), "{found:?}");
    assert_eq!((sizes[0], sizes[1], sizes[3]), (48_000_009, 48_000_009, 5_000_009), "the values were left out");
    let error = letters[0].header("dlq-error").unwrap_or_default();
    assert!(error.contains("48000009") && error.contains("4194304") && error.contains("max_record_bytes"), "{error}");
    assert!(peak < 350 * MIB, "peak {} MiB", peak / MIB);
}

/// Publishes a backlog that the agents do not take; the resident memory when the budget is used up.
fn held(name: &str, rules: &str, records: impl IntoIterator<Item = Record>) -> u64 {
    let topic = kafka().topic("held", 1);
    let count = kafka().produce_all(&topic, records).len();
    // What is parked, on a machine that needs long for the backlog, would not be held.
    let config = format!("{LONG_SESSION}park_after: off\n");
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&config).routing(rules).start();
    let idle = bridge.rss_bytes();
    let events = wait_paused(&bridge);
    let (peak, charged) = (bridge.peak_rss_bytes(), bridge.metric("in_flight_bytes", &[]));
    println!(
        "{name}: {events} of {count} events in flight, charged {:.1} MiB; resident {} MiB idle, peak {} MiB",
        charged / MIB as f64,
        idle / MIB,
        peak / MIB
    );
    assert!(events < count as u64, "{name}: the backlog exceeds the budget");
    peak
}

/// How many events are in flight when the budget is used up. `partitions_paused` would not do: it also counts a partition
/// that waits for the ledger topic.
fn wait_paused(bridge: &Bridge) -> u64 {
    poll(DEADLINE, "the budget is used up", || {
        let consumer = bridge.status()["consumer"].clone();
        let seen = (consumer["paused"].clone(), consumer["in_flight_events"].as_u64().unwrap_or_default());
        if seen.0 == true && seen.1 > 0 { Ok(seen.1) } else { Err(seen) }
    })
}

#[test]
fn the_budget_holds_for_ten_agents_that_are_down() {
    let agents = vec![DOWN.to_owned(); 10];
    let records = (0..20_000).map(|number| event(&format!("{}-{number}", unique("ten"))).record());
    let peak = held("ten agents down", &routing(&agents), records);
    assert!(peak < 200 * MIB, "peak {} MiB", peak / MIB);
}

#[test]
fn the_budget_holds_for_many_headers_small_numbers_and_large_bodies() {
    let agent = HttpAgent::start();
    agent.reply(Reply::Hang);
    agent.keep_bodies(false);
    let as_published = routing(&[agent.url()]);
    let with_body = as_published.replace("to: [", "body: {whole: '{{ event }}'}, to: [");
    let headers = (0..3_000).map(|_| {
        let record = event(&unique("headers")).record();
        (0..900).fold(record, |record, number| record.header(&format!("h{number}"), ""))
    });
    let numbers = || (0..100).map(|_| event(&unique("numbers")).data(json!(vec![0; 150_000])).record());
    let text = "x".repeat(900_000);
    let bodies = (0..200).map(|_| event(&unique("body")).data(json!({"text": text})).record());
    let found = [
        held("900 headers each", &as_published, headers),
        held("150,000 numbers each", &as_published, numbers()),
        held("150,000 numbers each, in a body", &with_body, numbers()),
        held("1 MB bodies", &as_published, bodies),
    ];
    assert!(found.iter().all(|peak| *peak < 250 * MIB), "peaks {:?} MiB", found.map(|peak| peak / MIB));
}
