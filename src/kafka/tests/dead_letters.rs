use std::collections::BTreeSet;

use super::{super::dead_letters::DeadLetterError, *};

fn dead_letter(value: Vec<u8>) -> DeadLetter {
    DeadLetter {
        origin: Origin { topic: "events".into(), partition: 0, offset: 7 },
        key: Some("key".into()),
        value: Some(value.into()),
        headers: [("event_id".into(), Some(b"e".to_vec())), ("empty".into(), None)].into(),
        recorded_ms: None,
        reason: "not_json",
        error: "expected one JSON object".into(),
        rule: None,
        agent: None,
        generation: crate::event::Generation::FIRST,
        sent_to: None,
        event_id: None,
        workflow_id: None,
        workflow_run_id: None,
        attempts: 0,
        status: None,
        time: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn header<'a>(got: &'a Got, name: &str) -> Option<&'a [u8]> {
    got.headers.iter().rev().find(|(found, _)| found == name)?.1.as_deref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_acknowledged_with_the_original_bytes() {
    let broker = Broker::new(1);
    let dead_letters = DeadLetters::connect(&broker.settings()).unwrap();
    dead_letters.send(&dead_letter(b"\xffnot json".to_vec())).await.unwrap();
    let found = tokio::task::block_in_place(|| broker.read("events.dlq", 1));
    assert_eq!((found[0].key.as_deref(), found[0].value.as_deref()), (Some(&b"key"[..]), Some(&b"\xffnot json"[..])));
    assert_eq!(header(&found[0], "dlq-offset"), Some(&b"7"[..]));
    assert_eq!(found[0].headers[..2], *dead_letter(vec![]).headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_the_broker_finds_too_large_takes_the_next_smaller_form() {
    let broker = Broker::new(1);
    let dead_letters = DeadLetters::connect(&broker.settings()).unwrap();
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    dead_letters.send(&dead_letter(b"first".to_vec())).await.unwrap();
    for (refusals, value_bytes, own_header, key) in
        [(1, true, true, true), (2, true, false, true), (3, true, false, false), (4, true, false, false)]
    {
        broker.cluster.request_errors(RDKafkaApiKey::Produce, &vec![too_large; refusals]);
        dead_letters.send(&dead_letter(b"value".to_vec())).await.unwrap();
        let found = tokio::task::block_in_place(|| broker.read("events.dlq", refusals + 1));
        let mut found: Vec<_> = found.into_iter().filter(|got| got.value.is_none()).collect();
        found.sort_by_key(|got| got.headers.len());
        let matches = found.iter().any(|got| {
            (header(got, "dlq-value-bytes") == Some(b"5")) == value_bytes
                && header(got, "event_id").is_some() == own_header
                && got.key.is_some() == key
        });
        assert!(matches, "after {refusals} refusals: {:?}", found.iter().map(|got| &got.headers).collect::<Vec<_>>());
    }
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[too_large; 5]);
    let error = dead_letters.send(&dead_letter(b"value".to_vec())).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::TooLarge { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_the_client_finds_too_large_goes_without_its_value() {
    let broker = Broker::new(1);
    let mut settings = broker.settings();
    settings.properties.insert("message.max.bytes".into(), "2000".into());
    let dead_letters = DeadLetters::connect(&settings).unwrap();
    dead_letters.send(&dead_letter(vec![b'x'; 5_000])).await.unwrap();
    let found = tokio::task::block_in_place(|| broker.read("events.dlq", 1));
    assert_eq!((found[0].value.as_deref(), header(&found[0], "dlq-value-bytes")), (None, Some(&b"5000"[..])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_tried_until_it_is_acknowledged_or_the_bridge_stops() {
    let broker = Broker::new(1);
    let dead_letters = DeadLetters::connect(&broker.settings()).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 3]);
    dead_letters.deliver(&dead_letter(b"value".to_vec()), std::future::pending()).await.unwrap();
    assert_eq!(tokio::task::block_in_place(|| broker.read("events.dlq", 1)).len(), 1);

    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 1_000]);
    let stop = tokio::time::sleep(Duration::from_millis(600));
    let error = dead_letters.deliver(&dead_letter(b"value".to_vec()), stop).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::Stopped { .. }), "{error}");
}

/// The first of two requests is refused, and the second, which was under way by then, is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_whose_request_was_refused_is_written_although_a_later_one_was_acknowledged() {
    let broker = Broker::new(1);
    let dead_letters = DeadLetters::connect(&broker.settings()).unwrap();
    dead_letters.send(&dead_letter(b"before".to_vec())).await.unwrap();
    broker.cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
    let (first, second) = (dead_letter(b"first".to_vec()), dead_letter(b"second".to_vec()));
    let deliver = |letter| dead_letters.deliver(letter, std::future::pending());
    let ended = tokio::join!(deliver(&first), deliver(&second));
    assert_eq!(ended, (Ok(()), Ok(())));
    let values = |found: &[Got]| found.iter().filter_map(|got| got.value.clone()).collect::<BTreeSet<_>>();
    // One that was written twice is as good.
    let found = tokio::task::block_in_place(|| {
        broker.read_until("events.dlq", "three values", |found| values(found).len() == 3)
    });
    assert_eq!(values(&found), ["before", "first", "second"].map(|value| value.as_bytes().to_vec()).into());
}
