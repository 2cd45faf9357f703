use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{spool::Spool, *};
use crate::{cases::cases, event::decode};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn broker() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("workflow-events", 1, 1).unwrap();
    cluster
}

pub(super) fn record(publisher: &Publisher, id: &str) -> Record {
    let event = format!(
        r#"{{"event_id":"{id}","event_type":"WORKFLOW_COMPLETED","timestamp":"2026-01-01T00:00:00Z","source":"AIRFLOW",
        "workflow_id":"etl","workflow_run_id":"r1"}}"#
    );
    Record::new(&decode(Some(event.as_bytes())).unwrap(), publisher.topic(), None)
}

#[test]
fn a_client_that_has_failed_for_good_is_replaced_by_the_next_publish() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    // More than one: a client that has failed before the record is handed over is replaced by this publish already.
    broker.request_errors(RDKafkaApiKey::InitProducerId, &[denied; 100]);
    let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), "not_acknowledged");
    assert!(error.to_string().contains("IDEMPOTENT_WRITE"), "{error}");
    broker.clear_request_errors(RDKafkaApiKey::InitProducerId);
    publisher.publish_record(record(&publisher, "e-2"), PATIENCE).unwrap();
}

#[test]
fn a_record_that_is_refused_names_the_remedy() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    for (code, kind, remedy) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "too_large", "max.message.bytes"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "not_acknowledged", "WRITE"),
    ] {
        // Once in a batch, and once alone.
        broker.request_errors(RDKafkaApiKey::Produce, &[code; 2]);
        let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn threads_share_a_client_and_a_close_waits_for_what_they_enqueued() {
    let broker = broker();
    let publisher = Arc::new(Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap());
    thread::scope(|scope| {
        for thread in 0..8 {
            let publisher = Arc::clone(&publisher);
            scope.spawn(move || {
                for n in 0..50 {
                    let record = record(&publisher, &format!("e-{thread}-{n}"));
                    if n % 2 == 0 {
                        publisher.publish_record(record, PATIENCE).unwrap();
                    } else {
                        publisher.enqueue(&record).unwrap();
                    }
                }
            });
        }
    });
    assert!(publisher.close(PATIENCE).is_empty());
    assert!(publisher.close(PATIENCE).is_empty(), "closing twice does nothing");
}

#[test]
fn a_deadline_that_the_clock_cannot_express_is_a_long_one() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    publisher.publish_record(record(&publisher, "e-1"), Duration::MAX).unwrap();
    publisher.flush(Some(Duration::MAX), Interrupt::never()).unwrap();
}

#[test]
fn an_event_is_written_as_the_bridge_reads_it() {
    let topic: Arc<str> = "events".into();
    let loose =
        br#"{"event_type":"workflow.completed","event_id":"e","timestamp":"2026-01-01 00:00:00","source":"airflow",
        "workflow_id":"etl","workflow_run_id":"r1","tenant":7}"#;
    let record = Record::from_json(loose, &topic, None).unwrap();
    assert_eq!((record.event_id(), record.key()), ("e", Some("etl/r1")));
    let text = String::from_utf8(record.value().to_vec()).unwrap();
    assert!(!text.contains('\n'), "{text}");
    assert!(
        text.starts_with(r#"{"event_id":"e","event_type":"WORKFLOW_COMPLETED","timestamp":"2026-01-01T00:00:00Z""#)
    );
    assert!(text.ends_with(r#""payload":{"data":{}},"metadata":{},"tenant":7}"#), "{text}");
    assert_eq!(Record::from_json(b"{}", &topic, None).unwrap_err().kind(), "missing_field");
}

#[test]
fn a_key_and_headers_that_are_chosen_have_limits_and_the_message_names_the_part() {
    let topic: Arc<str> = "users.created".into();
    let (long, many) = ("k".repeat(4_097), vec![("name", "value"); 101]);
    let large = "v".repeat(8 * 1_024);
    let chosen = |id: &str, key: Option<&str>, headers: &[(&str, &str)], value: &[u8]| {
        Record::chosen(&topic, id, key, headers, value.to_vec())
    };
    let record = chosen("e", Some(&long[1..]), &many[1..], b"{}").unwrap();
    assert_eq!((record.event_id(), record.key(), record.value()), ("e", Some(&long[1..]), &b"{}"[..]));
    for (found, said) in [
        (chosen("", None, &[], b"{}"), "event_id: "),
        (chosen("e", Some(&long), &[], b"{}"), "key: expected at most 4096 bytes, found 4097"),
        (chosen("e", None, &many, b"{}"), "headers: expected at most 100, found 101"),
        (
            chosen("e", None, &[("name", &large)], b"{}"),
            "headers: expected at most 8192 bytes in names and values, found 8196",
        ),
        (chosen("e", None, &[("", "value")], b"{}"), "headers: expected names that are not empty"),
        (chosen("e", None, &[("event_id", "other")], b"{}"), "not `event_id`"),
        (chosen("e", None, &[], b""), "value: expected text in UTF-8"),
        (chosen("e", None, &[], b"\xff"), "value: expected text in UTF-8"),
        (Record::chosen(&Arc::from("a topic"), "e", None, &[], b"{}".to_vec()), "topic: "),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_record_that_is_enqueued_and_fails_keeps_its_key_and_headers_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(spool::SpoolSettings::new(dir.path().join("spool")));
    let publisher = Publisher::builder().bootstrap_servers("127.0.0.1:1").spool(spool.clone()).build().unwrap();
    let topic: Arc<str> = "users.created".into();
    let headers = [("event_type", "UserCreated"), ("traceparent", "00-trace")];
    let wanted = [None, Some("user-7")].map(|key| {
        let id = key.unwrap_or("no-key");
        Record::chosen(&topic, id, key, &headers, b"{}".to_vec()).unwrap()
    });
    for record in wanted.iter().chain([&record(&publisher, "e-1")]) {
        // A client that is not made within a second spools at once.
        publisher.enqueue(record).or_else(|error| if error.kind() == "spooled" { Ok(()) } else { Err(error) }).unwrap();
    }
    publisher.close(Duration::ZERO);
    let claimed = spool.claim(None, 10).unwrap();
    let mut found: Vec<_> = claimed.iter().map(|claimed| claimed.record.clone()).collect();
    found.sort_by_key(|record| record.event_id().to_owned());
    let [without, with] = wanted;
    assert_eq!(found, [record(&publisher, "e-1"), without, with]);
}

const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;

/// What is handed over within 200 ms is sent together.
pub(super) fn spooling(broker: &MockCluster<'static, DefaultProducerContext>) -> (tempfile::TempDir, Publisher) {
    let dir = tempfile::tempdir().unwrap();
    let linger = Duration::from_millis(200);
    let builder = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).linger_ms(linger);
    let spool = Spool::new(spool::SpoolSettings::new(dir.path().join("spool")));
    (dir, builder.spool(spool).build().unwrap())
}

/// How often a test makes things meet in the client before it gives up: a machine that stands still keeps them apart.
const TRIES: usize = 10;

fn kinds(answers: &[Result<Ack, PublishError>]) -> Vec<&'static str> {
    answers.iter().map(|answer| answer.as_ref().map_or_else(PublishError::kind, |_| "ok")).collect()
}

#[test]
fn a_record_refused_as_too_large_in_a_batch_is_sent_alone() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    publisher.connect(PATIENCE, Interrupt::never()).unwrap();
    let records = ["e-1", "e-2", "e-3"].map(|id| record(&publisher, id));
    let is_together = (0..TRIES).any(|_| {
        // One batch is refused, then one record alone; if they were not sent together, two batches and no record.
        broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
        let found = kinds(&publisher.publish_many(records.to_vec(), PATIENCE));
        assert!(found == ["too_large", "ok", "ok"] || found == ["ok"; 3], "{found:?}");
        found[0] == "too_large"
    });
    assert!(is_together, "the three were never in one batch");
    // What another thread sends may be in one batch with a record that is published alone.
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
    publisher.publish_record(record(&publisher, "e-4"), PATIENCE).unwrap();

    let is_together = (0..TRIES).any(|_| {
        for record in &records {
            publisher.spool().unwrap().put(record, publisher.bootstrap_servers(), "a test").unwrap();
        }
        broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
        let drained = publisher.drain(Budget { time: PATIENCE, ..Budget::ALL }, Interrupt::never()).unwrap();
        let found = (drained.published, drained.quarantined, drained.left);
        assert!(found == (2, 1, 0) || found == (3, 0, 0), "{drained:?}");
        drained.quarantined == 1
    });
    assert!(is_together, "the three were never in one batch");
}

#[test]
fn an_event_that_is_too_large_is_kept_and_says_where() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE; 2]);
    let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
    let PublishError::TooLarge { kept: Kept::In(path), .. } = &error else { panic!("{error}") };
    assert!(path.exists() && path.parent().unwrap().ends_with("spool/quarantine"), "{path:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let stats = publisher.spool().unwrap().stats().unwrap();
    assert_eq!((stats.events, stats.quarantined), (0, 1));
}

#[test]
fn a_close_beside_threads_that_enqueue_is_quick_and_loses_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(spool::SpoolSettings::new(dir.path().join("spool")));
    let mut kept = 0;
    for round in 0..cases(20) {
        let builder = Publisher::builder().bootstrap_servers("127.0.0.1:1").spool(spool.clone());
        let publisher = builder.build().unwrap();
        let go = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let (publisher, go) = (&publisher, &go);
                    scope.spawn(move || {
                        let enqueue = |n| publisher.enqueue(&record(publisher, &format!("e-{round}-{thread}-{n}")));
                        let taken = |answer: &Result<(), PublishError>| match answer {
                            Ok(()) => true,
                            Err(error) => error.kind() == "spooled",
                        };
                        let first = usize::from(taken(&enqueue(0)));
                        go.wait();
                        // Not without end: the close may stand still, and the disk has to take them all.
                        first + (1..300).map(enqueue).take_while(taken).count()
                    })
                })
                .collect();
            go.wait();
            let failures = publisher.close(Duration::ZERO);
            // A record that the close had missed would hold it up until it gave up.
            assert!(failures.iter().all(|failure| failure.kind() == "spooled"), "round {round}: {failures:?}");
            kept += threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
        });
        drop(publisher);
    }
    // What was handed over last is spooled a moment later.
    let until = Instant::now() + PATIENCE;
    while spool.stats().unwrap().events < kept as u64 && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(spool.stats().unwrap().events, kept as u64);
}

/// Publishes until nothing is in the spool. A drain on the way has a second: when the machine stands still for so
/// long, it is the next one that empties the spool. After a listing that stood still that is due much later.
#[track_caller]
fn until_drained(publisher: &Publisher, publish: impl Fn()) {
    let deadline = Instant::now() + 10 * PATIENCE;
    loop {
        publish();
        let events = publisher.spool().unwrap().stats().unwrap().events;
        if events == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{events} are still in the spool");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_flush_with_an_acknowledgement_drains_the_spool() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    publisher.publish_record(record(&publisher, "e-1"), Duration::ZERO).unwrap_err();
    publisher.flush(Some(PATIENCE), Interrupt::never()).unwrap();
    assert_eq!(publisher.spool().unwrap().stats().unwrap().events, 1, "nothing shows that Kafka is reachable");
    // The client has to be there: an enqueue waits no longer than a second for it.
    publisher.connect(PATIENCE, Interrupt::never()).unwrap();
    until_drained(&publisher, || {
        publisher.enqueue(&record(&publisher, "e-2")).unwrap();
        publisher.flush(Some(PATIENCE), Interrupt::never()).unwrap();
    });
}

#[test]
fn settings_that_librdkafka_refuses_are_reported_as_settings() {
    // Each is allowed by itself.
    let builder = Publisher::builder().bootstrap_servers("127.0.0.1:1").property("linger.ms", "200000");
    let publisher = builder.build().unwrap();
    let error = publisher.connect(PATIENCE, Interrupt::never()).unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("linger.ms"), "{error}");
}

#[test]
fn an_event_that_is_too_large_and_has_no_room_in_the_quarantine_is_still_too_large() {
    let broker = broker();
    let dir = tempfile::tempdir().unwrap();
    let settings = spool::SpoolSettings { max_bytes: 10, ..spool::SpoolSettings::new(dir.path().join("spool")) };
    let builder = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).spool(Spool::new(settings));
    let publisher = builder.build().unwrap();
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE; 2]);
    let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
    let PublishError::TooLarge { kept: Kept::Nowhere(why), event, .. } = &error else { panic!("{error}") };
    assert!(event.contains("e-1") && error.to_string().contains(why.as_str()), "{error}");
}

#[test]
fn a_listing_that_was_slow_once_is_tried_again() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    publisher.publish_record(record(&publisher, "e-1"), Duration::ZERO).unwrap_err();
    publisher.spool().unwrap().set_listing_time(PATIENCE);
    until_drained(&publisher, || {
        publisher.publish_record(record(&publisher, "e-2"), PATIENCE).unwrap();
    });
}

/// The first of two requests is refused, and the second, which was under way by then, is not. If it was not under way,
/// the first is sent again, and the broker gives it an offset.
#[test]
fn a_record_whose_request_was_refused_is_not_published_although_a_later_one_was_acknowledged() {
    let broker = broker();
    let publisher = Publisher::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .max_in_flight_requests_per_connection(5)
        .property("batch.num.messages", "1")
        .build()
        .unwrap();
    publisher.publish_record(record(&publisher, "before"), PATIENCE).unwrap();
    broker.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let is_under_way = (0..TRIES).any(|_| {
        broker.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
        let answers = publisher.publish_many(["first", "second"].map(|id| record(&publisher, id)).to_vec(), PATIENCE);
        match &answers[..] {
            [Err(first), Ok(_)] => {
                assert_eq!(first.kind(), "not_acknowledged", "{first}");
                true
            }
            [Ok(first), Ok(_)] if first.offset >= 0 => false,
            other => panic!("{other:?}"),
        }
    });
    assert!(is_under_way, "the second was never under way when the first was refused");
}

#[test]
fn a_closed_client_refuses_what_is_new_and_spools_what_was_accepted_before() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(spool::SpoolSettings::new(folder.path().join("spool")));
    let builder = Publisher::builder().bootstrap_servers("127.0.0.1:1");
    let publisher = builder.spool(spool).build().unwrap();
    assert!(publisher.close(Duration::ZERO).is_empty());
    let end = |mut batch: PublishBatch, id: &str| {
        publisher.add(&mut batch, vec![record(&publisher, id)]);
        publisher.finish(batch, Interrupt::never()).pop().unwrap().unwrap_err()
    };
    assert_eq!(end(publisher.begin(PATIENCE), "new").kind(), "closed");
    assert_eq!(publisher.enqueue(&record(&publisher, "new")).unwrap_err().kind(), "closed");
    assert_eq!(end(publisher.begin_accepted(PATIENCE), "accepted").kind(), "spooled");
    // As a thread does that found it open, and stood still until it was closed: no producer had been made before.
    let failure = publisher.client().enqueue(&record(&publisher, "late"), wait::after(PATIENCE)).unwrap_err();
    assert!(failure.reason.contains("closed meanwhile"), "{}", failure.reason);
    let error = publisher.enqueue_accepted(&record(&publisher, "accepted-2")).unwrap_err();
    assert_eq!(error.kind(), "spooled");
    assert!(error.to_string().contains("closed meanwhile"), "{error}");
}
