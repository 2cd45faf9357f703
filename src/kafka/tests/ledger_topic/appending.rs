use std::collections::BTreeSet;

use super::{
    super::super::testing::{owned, owned_ticket},
    *,
};

fn appender(broker: &Broker) -> LedgerAppender {
    LedgerAppender::connect(&broker.settings(), &ledger_settings()).unwrap()
}

/// How tickets ended: `true` for completed.
type Ends = Arc<Mutex<Vec<bool>>>;

fn ticket(ends: &Ends) -> Ticket {
    let ends = Arc::clone(ends);
    owned_ticket(&owned(), move |completed| ends.lock().unwrap().push(completed))
}

/// Appends one record and gives its event's ticket away.
fn append(appender: &LedgerAppender, key: &str, ends: &Ends) {
    let acks = Acks::new();
    appender.append(0, key, format!("record of {key}").as_bytes(), &acks);
    ticket(ends).complete_after(&acks);
}

fn keys(found: &[Got]) -> BTreeSet<&[u8]> {
    found.iter().filter_map(|got| got.key.as_deref()).collect()
}

#[track_caller]
fn until_ended(ends: &Ends, expected: &[bool]) {
    until("the tickets", || {
        let ends = ends.lock().unwrap();
        if *ends == expected { Ok(()) } else { Err(format!("{} of {} ended", ends.len(), expected.len())) }
    });
}

#[test]
fn a_ticket_completes_when_its_records_are_acknowledged_and_they_are_in_their_partition() {
    let broker = broker(2);
    let appender = appender(&broker);
    let (acks, ends) = (Acks::new(), Ends::default());
    broker.cluster.broker_down(-1).unwrap();
    appender.append(1, "event", b"first", &acks);
    appender.append(1, "event", b"second", &acks);
    ticket(&ends).complete_after(&acks);
    assert_eq!(appender.flush(Some(&[1]), Instant::now() + Duration::from_millis(300)), Err(2));
    assert_eq!((appender.unacknowledged(1), appender.unacknowledged(0)), (2, 0));
    assert_eq!(appender.flush(Some(&[0]), Instant::now()), Ok(()), "nothing waits for the other partition");
    assert!(ends.lock().unwrap().is_empty(), "not before the acknowledgement");
    broker.cluster.broker_up(-1).unwrap();
    appender.flush(None, Instant::now() + PATIENCE).unwrap();
    until_ended(&ends, &[true]);
    let found = broker.read(LEDGER, 2);
    let found: Vec<_> = found.iter().map(|got| (got.origin.partition, got.value.as_deref().unwrap())).collect();
    assert_eq!(found, [(1, &b"first"[..]), (1, b"second")]);
    ticket(&ends).complete_after(&acks);
    assert_eq!(*ends.lock().unwrap(), [true, true], "at once: no append is open");
}

#[test]
fn a_record_that_is_refused_is_sent_until_it_is_acknowledged() {
    let broker = broker(1);
    let appender = appender(&broker);
    let ends = Ends::default();
    append(&appender, "before", &ends);
    until_ended(&ends, &[true]);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 1_000]);
    append(&appender, "event", &ends);
    until("the reason", || {
        let status = appender.status();
        let says = status.error.as_ref().is_some_and(|error| error.contains("grant our user WRITE"));
        if says && status.unacknowledged == 1 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    broker.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    until_ended(&ends, &[true, true]);
    until("a status without an error", || {
        let status = appender.status();
        if status == AppenderStatus::default() { Ok(()) } else { Err(format!("{status:?}")) }
    });
    assert_eq!(broker.read(LEDGER, 2).len(), 2);
}

#[test]
fn a_producer_that_fails_for_good_is_replaced_and_its_records_are_sent_again() {
    let broker = broker(1);
    let appender = appender(&broker);
    let ends = Ends::default();
    append(&appender, "before", &ends);
    until_ended(&ends, &[true]);
    // At the head of the line librdkafka cannot recover from it.
    let desynchronized = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[desynchronized]);
    for n in 0..100 {
        append(&appender, &format!("event {n}"), &ends);
    }
    until_ended(&ends, &[true; 101]);
    // Each at least once: what was under way when the producer was given up may have been written before.
    broker.read_until(LEDGER, "101 keys", |found| keys(found).len() == 101);
}

#[test]
fn more_records_than_the_client_queues_are_all_acknowledged() {
    let broker = broker(1);
    let mut settings = broker.settings();
    settings.properties.insert("queue.buffering.max.messages".into(), "10".into());
    let appender = LedgerAppender::connect(&settings, &ledger_settings()).unwrap();
    let ends = Ends::default();
    for n in 0..500 {
        append(&appender, &format!("event {n}"), &ends);
    }
    until_ended(&ends, &[true; 500]);
    assert_eq!(broker.read(LEDGER, 500).len(), 500);
}

#[test]
fn when_the_appender_closes_the_tickets_that_wait_are_dropped() {
    let broker = broker(1);
    let appender = appender(&broker);
    let ends = Ends::default();
    append(&appender, "before", &ends);
    until_ended(&ends, &[true]);
    broker.cluster.broker_down(-1).unwrap();
    append(&appender, "in flight", &ends);
    let clone = appender.clone();
    drop(appender);
    append(&clone, "also in flight", &ends);
    assert_eq!(clone.flush(None, Instant::now() + Duration::from_millis(300)), Err(2));
    drop(clone);
    until_ended(&ends, &[true, false, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_room_while_too_many_bytes_wait_for_the_broker() {
    let broker = broker(1);
    let appender = appender(&broker);
    broker.cluster.broker_down(-1).unwrap();
    let acks = Acks::new();
    for _ in 0..64 {
        tokio::time::timeout(PATIENCE, appender.room()).await.unwrap();
        appender.append(0, "event", &vec![b'x'; 1 << 20], &acks);
    }
    let waited = tokio::time::timeout(Duration::from_millis(300), appender.room()).await;
    assert!(waited.is_err(), "64 MiB wait");
    broker.cluster.broker_up(-1).unwrap();
    tokio::time::timeout(PATIENCE, appender.room()).await.unwrap();
}

/// The first of two requests is refused, and the second, which was under way by then, is not.
#[test]
fn a_ticket_waits_for_its_own_record_although_a_later_one_was_acknowledged() {
    let broker = broker(1);
    let mut settings = broker.settings();
    settings.properties.insert("batch.num.messages".into(), "1".into());
    let appender = LedgerAppender::connect(&settings, &ledger_settings()).unwrap();
    let ends = Ends::default();
    append(&appender, "before", &ends);
    until_ended(&ends, &[true]);
    broker.cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
    append(&appender, "first", &ends);
    append(&appender, "second", &ends);
    until_ended(&ends, &[true; 3]);
    let found = broker.read_until(LEDGER, "three keys", |found| keys(found).len() == 3);
    assert_eq!(keys(&found), [&b"before"[..], b"first", b"second"].into());
}
