use std::{sync::Arc, time::Duration};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::*;
use crate::event::decode;

const PATIENCE: Duration = Duration::from_secs(20);

fn broker() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("workflow-events", 1, 1).unwrap();
    cluster
}

fn record(publisher: &Publisher, id: &str) -> Record {
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
    broker.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
    let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), "not_acknowledged");
    assert!(error.to_string().contains("IDEMPOTENT_WRITE"), "{error}");
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
        // Once in company, and once alone.
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
    assert!(publisher.close(PATIENCE).is_empty(), "closing twice is nothing");
}

#[test]
fn a_deadline_that_no_clock_can_express_is_a_long_one() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    publisher.publish_record(record(&publisher, "e-1"), Duration::MAX).unwrap();
    publisher.flush(Some(Duration::MAX)).unwrap();
}

#[test]
fn an_event_is_written_as_the_bridge_reads_it() {
    let topic: Arc<str> = "events".into();
    let loose =
        br#"{"event_type":"workflow.completed","event_id":"e","timestamp":"2026-01-01 00:00:00","source":"airflow",
        "workflow_id":"etl","workflow_run_id":"r1","tenant":7}"#;
    let record = Record::from_json(loose, &topic, None).unwrap();
    assert_eq!((record.event_id(), record.key()), ("e", "etl/r1"));
    let text = String::from_utf8(record.value().to_vec()).unwrap();
    assert!(!text.contains('\n'), "{text}");
    assert!(
        text.starts_with(r#"{"event_id":"e","event_type":"WORKFLOW_COMPLETED","timestamp":"2026-01-01T00:00:00Z""#)
    );
    assert!(text.ends_with(r#""payload":{"data":{}},"metadata":{},"tenant":7}"#), "{text}");
    assert_eq!(Record::from_json(b"{}", &topic, None).unwrap_err().kind(), "missing_field");
}

const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;

fn spooling(broker: &MockCluster<'static, DefaultProducerContext>) -> (tempfile::TempDir, Publisher) {
    let dir = tempfile::tempdir().unwrap();
    let builder = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).linger(Duration::from_millis(200));
    let spool = Spool::new(spool::SpoolSettings::new(dir.path().join("spool")));
    (dir, builder.spool(spool).build().unwrap())
}

#[test]
fn what_is_refused_as_too_large_in_company_is_tried_alone() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    publisher.connect(PATIENCE).unwrap();
    // One batch is refused, then one record alone.
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
    let records = ["e-1", "e-2", "e-3"].map(|id| record(&publisher, id));
    let answers = publisher.publish_many(records.to_vec(), PATIENCE);
    let kinds: Vec<&str> =
        answers.iter().map(|answer| answer.as_ref().map_or_else(PublishError::kind, |_| "ok")).collect();
    assert_eq!(kinds, ["too_large", "ok", "ok"]);
    // What another thread sends may be in one batch with a record that is published alone.
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
    publisher.publish_record(record(&publisher, "e-4"), PATIENCE).unwrap();

    for record in &records {
        publisher.spool().unwrap().put(record, publisher.bootstrap_servers(), "a test").unwrap();
    }
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
    let drained = publisher.drain(Budget { time: PATIENCE, ..Budget::ALL }).unwrap();
    assert_eq!((drained.published, drained.quarantined, drained.left), (2, 1, 0), "{drained:?}");
}

#[test]
fn without_acknowledgements_nothing_leaves_the_spool() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    let spooled = publisher.publish_record(record(&publisher, "e-1"), Duration::ZERO).unwrap_err();
    assert_eq!(spooled.kind(), "spooled");
    let careless = Publisher::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .acks("0")
        .spool(publisher.spool().cloned())
        .build()
        .unwrap();
    let ack = careless.publish_record(record(&careless, "e-2"), PATIENCE).unwrap();
    assert_eq!(ack.offset, -1, "nobody says");
    let drained = careless.drain(Budget::ALL).unwrap();
    assert_eq!((drained.published, drained.left), (0, 1));
    assert!(drained.error.unwrap().contains("acks=0"));
    assert_eq!(publisher.drain(Budget::ALL).unwrap().published, 1, "another client empties it");

    // Nor does a report that comes late take a file out.
    let mut late = careless.begin(Duration::from_secs(60));
    careless.add(&mut late, vec![record(&careless, "e-3")]);
    let batch = Arc::clone(&late.batch);
    batch.settle(after(PATIENCE));
    let kept = Batch::new();
    let index = kept.add();
    assert!(kept.wait(Instant::now())[index].is_none());
    let spool = careless.spool().unwrap();
    let path = spool.put(&record(&careless, "e-4"), "elsewhere:9092", "late").unwrap();
    assert!(kept.spooled(index, path.clone(), spool).is_none());
    kept.answer(index, Ok(Ack { partition: 0, offset: -1 }));
    assert!(path.exists());
    assert!(careless.finish(late)[0].is_ok());
}

#[test]
fn a_wait_that_shall_not_go_on_ends_with_the_event_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Publisher::builder()
        .bootstrap_servers("127.0.0.1:1")
        .spool(Spool::new(spool::SpoolSettings::new(dir.path().join("spool"))))
        .build()
        .unwrap();
    let began = Instant::now();
    let mut asked = 0;
    let mut many = nowhere.begin(Duration::from_secs(3600));
    nowhere.add(&mut many, vec![record(&nowhere, "e-1"), record(&nowhere, "e-2")]);
    let answers = nowhere.finish_while(many, &mut || {
        asked += 1;
        asked < 3
    });
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, ["spooled", "spooled"]);
    assert!(nowhere.connect_while(Duration::from_secs(3600), &mut || false).is_err());
    let drained = nowhere.drain_while(Budget::ALL, &mut || false).unwrap();
    assert_eq!((drained.published, drained.left), (0, 2));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn an_event_that_is_too_large_is_kept_and_says_where() {
    let broker = broker();
    let (_dir, publisher) = spooling(&broker);
    broker.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE; 2]);
    let error = publisher.publish_record(record(&publisher, "e-1"), PATIENCE).unwrap_err();
    let PublishError::TooLarge { kept: Some(path), .. } = &error else { panic!("{error}") };
    assert!(path.exists() && path.parent().unwrap().ends_with("spool/quarantine"), "{path:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let stats = publisher.spool().unwrap().stats().unwrap();
    assert_eq!((stats.events, stats.quarantined), (0, 1));
}

#[test]
fn an_answer_that_came_in_time_counts_however_late_it_is_asked_for() {
    let broker = broker();
    let publisher = Publisher::builder().bootstrap_servers(broker.bootstrap_servers()).build().unwrap();
    publisher.connect(PATIENCE).unwrap();
    let mut many = publisher.begin(PATIENCE);
    publisher.add(&mut many, vec![record(&publisher, "e-1")]);
    many.batch.settle(many.until);
    broker.broker_down(1).unwrap();
    many.until = Instant::now();
    publisher.add(&mut many, vec![record(&publisher, "e-2")]);
    let answers = publisher.finish(many);
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), "not_acknowledged", "its deadline had passed");
}

#[test]
fn a_close_beside_threads_that_enqueue_is_quick_and_each_event_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(spool::SpoolSettings::new(dir.path().join("spool")));
    let mut kept = 0;
    for turn in 0..20 {
        let builder = Publisher::builder().bootstrap_servers("127.0.0.1:1").spool(spool.clone());
        let publisher = builder.build().unwrap();
        let go = std::sync::Barrier::new(4);
        let closing = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let (publisher, go) = (&publisher, &go);
                    scope.spawn(move || {
                        let enqueue = |n| publisher.enqueue(&record(publisher, &format!("e-{turn}-{thread}-{n}")));
                        let taken = |answer: &Result<(), PublishError>| match answer {
                            Ok(()) => true,
                            Err(error) => error.kind() == "spooled",
                        };
                        let first = usize::from(taken(&enqueue(0)));
                        go.wait();
                        first + (1..u32::MAX).map(enqueue).take_while(taken).count()
                    })
                })
                .collect();
            go.wait();
            let began = Instant::now();
            publisher.close(Duration::ZERO);
            let closing = began.elapsed();
            kept += threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
            closing
        });
        assert!(closing < PATIENCE, "turn {turn}: {closing:?}");
        drop(publisher);
    }
    // What was handed over at the last moment is rescued a moment later.
    let until = Instant::now() + PATIENCE;
    while spool.stats().unwrap().events < kept as u64 && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(spool.stats().unwrap().events, kept as u64);
}
