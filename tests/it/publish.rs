//! The publish client against a real Kafka, and against none.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use workflow_bridge::{
    event::{Event, decode},
    publish::{
        Builder, Interrupt, PublishError, Publisher, Record,
        spool::{Spool, SpoolSettings},
    },
};

use crate::kit::{Broker, PATIENCE, event, kafka, poll, process::Scratch, unique, when};

fn an_event(id: &str) -> Event {
    decode(Some(event(id).json().to_string().as_bytes())).expect("a test event is an event")
}

fn spool(folder: &Path) -> Spool {
    Spool::new(SpoolSettings::new(folder))
}

fn client(servers: &str, topic: &str, folder: &Path) -> Builder {
    Publisher::builder().bootstrap_servers(servers).topic(topic).spool(spool(folder))
}

/// Waits until a client for `127.0.0.1:1` has found nobody there: an enqueue waits no longer than a second for the
/// client to be made.
#[track_caller]
fn made(nobody: &Publisher) {
    poll(PATIENCE, "the client is made", || {
        let missing = nobody.connect(Duration::from_millis(500), Interrupt::never()).expect_err("nobody is there");
        when(missing.to_string().contains("refused"), missing.to_string())
    });
}

/// The files of the spool that hold an event.
fn spooled(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.expect("the spool can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "event"))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_published_event_has_its_key_its_headers_and_its_bytes() {
    let (topic, folder) = (kafka().topic("publish", 3), Scratch::new("publish"));
    let publisher = client(kafka().bootstrap(), &topic, &folder.join("spool")).build().expect("the settings are right");
    publisher.connect(PATIENCE, Interrupt::never()).expect("the broker is there");
    let event = an_event(&unique("published"));
    let ack = publisher.publish(&event, PATIENCE).expect("the broker acknowledges");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Record::new(&event, &Arc::from(topic.as_str()), Some(trace));
    let second = publisher.publish_record(traced, PATIENCE).expect("the broker acknowledges");
    assert_eq!(ack.partition, second.partition, "one key has one partition");
    assert_eq!(second.offset, ack.offset + 1);
    let stored = kafka().read_all(&topic);
    assert_eq!(stored.len(), 2);
    for record in &stored {
        assert_eq!(record.key.as_deref(), Some(event.key().as_bytes()));
        assert_eq!(record.text().as_bytes(), event.encode());
        assert_eq!(record.header("event_id").as_deref(), Some(event.id()));
        assert_eq!(record.header("event_type").as_deref(), Some("WORKFLOW_COMPLETED"));
        assert_eq!(record.header("content-type").as_deref(), Some("application/json"));
    }
    assert_eq!(stored[0].header("traceparent"), None);
    assert_eq!(stored[1].header("traceparent").as_deref(), Some(trace));
    assert!(publisher.close(Duration::from_secs(5)).is_empty());
    assert_eq!(publisher.publish(&event, Duration::from_secs(5)), Err(PublishError::Closed));
    assert_eq!(spooled(&folder.join("spool")), [""; 0]);
}

#[test]
fn many_events_are_answered_in_their_order() {
    let (topic, folder) = (kafka().topic("many", 4), Scratch::new("many"));
    let publisher = client(kafka().bootstrap(), &topic, &folder.join("spool")).build().expect("the settings are right");
    let topic_name: Arc<str> = Arc::from(topic.as_str());
    let prefix = unique("many");
    let events: Vec<_> = (0..5_000).map(|n| an_event(&format!("{prefix}-{n}"))).collect();
    let records = events.iter().map(|event| Record::new(event, &topic_name, None)).collect();
    let answers = publisher.publish_many(records, PATIENCE);
    let stored = kafka().read_all(&topic);
    for (event, answer) in events.iter().zip(&answers) {
        let ack = answer.as_ref().expect("the broker acknowledges");
        let there = stored.iter().find(|record| record.partition == ack.partition && record.offset == ack.offset);
        assert_eq!(there.and_then(|record| record.header("event_id")).as_deref(), Some(event.id()));
    }
    assert_eq!(stored.len(), events.len());
    publisher.close(Duration::from_secs(5));
}

#[test]
fn without_a_broker_the_event_is_in_the_spool_by_the_deadline() {
    let folder = Scratch::new("nobroker");
    // One that refuses, and one that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let silent = silent.local_addr().expect("it is bound").to_string();
    for (servers, complaint) in [("127.0.0.1:1", "refused"), (silent.as_str(), "")] {
        let spool = folder.join(servers.replace(':', "-"));
        let publisher = client(servers, "workflow-events", &spool).build().expect("the settings are right");
        // It can say why from the moment in which librdkafka has heard it.
        let missing = poll(PATIENCE, "the reason is heard", || {
            let missing =
                publisher.connect(Duration::from_millis(500), Interrupt::never()).expect_err("nobody is there");
            if missing.to_string().contains(complaint) { Ok(missing) } else { Err(missing.to_string()) }
        });
        assert_eq!(missing.kind(), "no_broker");
        assert!(
            missing.to_string().contains(servers) && missing.to_string().contains("bootstrap_servers"),
            "{missing}"
        );
        let event = an_event(&unique("away"));
        let begin = Instant::now();
        let error = publisher.publish(&event, Duration::from_secs(2)).expect_err("nobody is there");
        let took = begin.elapsed();
        // Far from the two minutes that librdkafka would try, however long the machine stands still.
        assert!(took < Duration::from_secs(100), "the deadline of 2 s was kept to {took:?}");
        let PublishError::Spooled { path, reason, .. } = &error else { panic!("{error}") };
        assert!(reason.contains(complaint) && reason.contains("bootstrap_servers"), "{reason}");
        let text = fs::read_to_string(path).expect("the file is there");
        assert!(text.as_bytes().windows(event.encode().len()).any(|part| part == event.encode()), "{text}");
        assert_eq!(fs::metadata(path).expect("the file is there").permissions().mode() & 0o777, 0o600);
        let begin = Instant::now();
        publisher.close(Duration::ZERO);
        println!("{servers}: spooled after {took:?}, closed in {:?}", begin.elapsed());
    }
}

#[test]
fn what_was_enqueued_is_published_by_a_flush_and_spooled_by_a_close() {
    let (topic, folder) = (kafka().topic("enqueue", 1), Scratch::new("enqueue"));
    let topic_name: Arc<str> = Arc::from(topic.as_str());
    let record = |id: &str| Record::new(&an_event(id), &topic_name, None);
    let publisher = client(kafka().bootstrap(), &topic, &folder.join("spool")).build().expect("the settings are right");
    publisher.connect(PATIENCE, Interrupt::never()).expect("the broker is there");
    for n in 0..100 {
        publisher.enqueue(&record(&format!("queued-{n}"))).expect("there is room");
    }
    publisher.flush(Some(PATIENCE), Interrupt::never()).expect("the broker acknowledges");
    assert_eq!(kafka().read_all(&topic).len(), 100);
    assert!(publisher.close(Duration::from_secs(5)).is_empty());

    let nobody = client("127.0.0.1:1", &topic, &folder.join("nobody")).build().expect("the settings are right");
    made(&nobody);
    for n in 0..10 {
        nobody.enqueue(&record(&format!("queued-{n}"))).expect("there is room");
    }
    let pending = nobody.flush(Some(Duration::from_millis(100)), Interrupt::never()).expect_err("nobody acknowledges");
    assert!(matches!(pending, PublishError::FlushTimedOut { pending: 10, .. }), "{pending}");
    let failures = nobody.close(Duration::from_millis(100));
    assert_eq!(failures.len(), 10);
    assert!(failures.iter().all(|failure| failure.kind() == "spooled"), "{failures:?}");
    assert_eq!(spooled(&folder.join("nobody")).len(), 10);
}

#[test]
fn an_acknowledgement_that_comes_late_takes_the_event_out_of_the_spool() {
    let mut broker = Broker::start();
    let (topic, folder) = (broker.topic("late", 1), Scratch::new("late"));
    let publisher = client(broker.bootstrap(), &topic, &folder.join("spool")).build().expect("the settings are right");
    publisher.publish(&an_event("early"), PATIENCE).expect("the broker acknowledges");
    broker.freeze();
    let error = publisher.publish(&an_event("late"), Duration::from_secs(1)).expect_err("the broker is frozen");
    assert_eq!(error.kind(), "spooled", "{error}");
    assert_eq!(spooled(&folder.join("spool")).len(), 1);
    broker.thaw();
    poll(PATIENCE, "the spool to be empty", || {
        let left = spooled(&folder.join("spool"));
        when(left.is_empty(), left)
    });
    let ids: Vec<_> = broker.read_all(&topic).iter().filter_map(|record| record.header("event_id")).collect();
    assert_eq!(ids, ["early", "late"]);
    publisher.close(Duration::from_secs(5));
}

#[test]
fn an_event_that_nothing_takes_is_handed_back_whole() {
    let folder = Scratch::new("nothing");
    fs::write(folder.join("file"), "in the way").expect("a scratch folder can be written");
    let publisher =
        client("127.0.0.1:1", "workflow-events", &folder.join("file")).build().expect("the settings are right");
    let lost = an_event("lost");
    let error = publisher.publish(&lost, Duration::from_millis(200)).expect_err("nobody takes it");
    let PublishError::Lost { event, .. } = &error else { panic!("{error}") };
    assert_eq!(event.as_bytes(), lost.encode());
    assert!(error.to_string().contains("LOST"), "{error}");

    let unspooled = Publisher::builder().bootstrap_servers("127.0.0.1:1").build().expect("the settings are right");
    let error = unspooled.publish(&lost, Duration::from_millis(200)).expect_err("nobody takes it");
    assert_eq!(error.kind(), "not_acknowledged", "{error}");
}

#[test]
fn every_mistake_in_the_settings_is_reported_at_once() {
    let error = Publisher::builder()
        .bootstrap_servers("kafka")
        .bootstrap_servers("http://kafka:9092")
        .topic("a b")
        .acks("two")
        .max_in_flight_requests_per_connection(0)
        .compression_type("rar")
        .delivery_timeout_ms(Duration::ZERO)
        .property("sasl.password", "hunter2")
        .property("no.such.thing", "1")
        .build()
        .expect_err("nothing is right");
    let PublishError::Settings(mistakes) = &error else { panic!("{error}") };
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let settings: Vec<_> = mistakes.iter().map(|mistake| mistake.setting.as_str()).collect();
    for setting in [
        "bootstrap_servers",
        "topic",
        "acks",
        "max_in_flight",
        "compression_type",
        "delivery_timeout_ms",
        "properties.sasl.password",
        "properties.no.such.thing",
    ] {
        assert!(settings.iter().any(|found| found.starts_with(setting)), "{setting} is not among {settings:?}");
    }
}

#[test]
fn the_next_publish_brings_along_what_waits_in_the_spool_for_the_same_brokers() {
    let (topic, folder) = (kafka().topic("along", 1), Scratch::new("along"));
    let folder = folder.join("spool");
    let elsewhere = client("127.0.0.1:1", &topic, &folder).build().expect("the settings are right");
    elsewhere.publish(&an_event("elsewhere"), Duration::ZERO).expect_err("straight into the spool");
    let publisher = client(kafka().bootstrap(), &topic, &folder).build().expect("the settings are right");
    for n in 0..10 {
        let error = publisher.publish(&an_event(&format!("waits-{n}")), Duration::ZERO).expect_err("straight there");
        assert_eq!(error.kind(), "spooled", "{error}");
    }
    assert_eq!(spooled(&folder).len(), 11);
    publisher.publish(&an_event("now"), PATIENCE).expect("the broker acknowledges");
    // A publish gives the spool a second at most: a machine that stands still for that long needs another one, which is
    // due much later if it was the listing that stood still.
    poll(5 * PATIENCE, "what was spooled for other brokers alone is left", || {
        let left = spooled(&folder);
        if left.len() > 1 {
            publisher.publish(&an_event("again"), PATIENCE).expect("the broker acknowledges");
        }
        when(left.len() == 1, left)
    });
    let ids: Vec<_> = kafka().read_all(&topic).iter().filter_map(|record| record.header("event_id")).collect();
    assert_eq!(ids[0], "now", "the caller's own event does not wait for the spool");
    let brought: BTreeSet<_> = ids.into_iter().filter(|id| id != "now" && id != "again").collect();
    assert_eq!(brought, (0..10).map(|n| format!("waits-{n}")).collect::<BTreeSet<_>>());
    publisher.close(Duration::from_secs(5));
}

#[test]
fn a_close_spools_everything_that_was_enqueued_however_much_it_is() {
    let folder = Scratch::new("much");
    let topic: Arc<str> = Arc::from("workflow-events");
    let publisher = client("127.0.0.1:1", &topic, &folder.join("spool")).build().expect("the settings are right");
    let count = 5_000;
    made(&publisher);
    for n in 0..count {
        publisher.enqueue(&Record::new(&an_event(&format!("much-{n}")), &topic, None)).expect("there is room");
    }
    let begin = Instant::now();
    let failures = publisher.close(Duration::ZERO);
    println!("{count} enqueued events were spooled by a close in {:?}", begin.elapsed());
    assert_eq!(failures.len(), count);
    assert_eq!(spooled(&folder.join("spool")).len(), count);
}
