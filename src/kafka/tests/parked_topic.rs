use bytes::Bytes;

use super::{
    super::parked_topic::{
        ParkError, ParkedDelivery, ParkedHead, ParkedHeaders, ParkedTopics, ReadEnd, ReadError, ReadFrom, Visit,
    },
    *,
};

fn delivery(offset: i64, agent: &str) -> ParkedDelivery {
    ParkedDelivery {
        origin: Origin { topic: "events".into(), partition: 0, offset },
        key: Some(Bytes::from_static(b"key")),
        value: Some(format!("event {offset}").into()),
        headers: vec![("event_id".to_owned(), Some(offset.to_string().into_bytes()))].into(),
        timestamp_ms: Some(5),
        head: ParkedHead {
            event_id: offset.to_string().into(),
            rule: "rule".into(),
            agent: agent.into(),
            generation: crate::event::Generation::FIRST,
            attempts: 1,
            failed_attempts: 1,
            first_attempt_ms: Some(7),
            parked_ms: 9,
        },
    }
}

async fn parked(broker: &Broker) -> ParkedTopics {
    broker.cluster.create_topic(&broker.settings().parked_topic("events"), 1, 1).unwrap();
    let topic = ParkedTopics::connect(&broker.settings()).unwrap();
    // A look at the topic that is not answered within 5 s is made again after 30 s, and nothing is parked before.
    let deadline = Instant::now() + 2 * PATIENCE;
    while !topic.prepare("events", 0).await {
        assert!(Instant::now() < deadline, "the parked topic was not found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    topic
}

/// What a read visits: the offset in the parked topic, the source offset and the agent. A read that failed is made
/// again: its requests have 5 s each, and the records 15 s.
async fn read(
    topic: &ParkedTopics,
    from: ReadFrom,
    until: Option<i64>,
    most: usize,
) -> (Vec<(i64, i64, String)>, ReadEnd) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read_once(topic, from, until, most).await {
            Ok(read) => return read,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn read_once(
    topic: &ParkedTopics,
    from: ReadFrom,
    until: Option<i64>,
    most: usize,
) -> Result<(Vec<(i64, i64, String)>, ReadEnd), ReadError> {
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let visited = Arc::clone(&seen);
    let end = topic.read(
        ("events", 0),
        from,
        until,
        Box::new(move |record| {
            let headers: Vec<_> = record.headers.iter().collect();
            let read = ParkedHeaders::read(&headers).unwrap();
            assert_eq!(record.value, Some(format!("event {}", read.offset).as_bytes()));
            let mut visited = visited.lock().unwrap();
            visited.push((record.offset, read.offset, read.head.agent.to_owned()));
            if visited.len() == most { Visit::Stop } else { Visit::Continue }
        }),
    );
    let end = end.await?;
    let seen = seen.lock().unwrap().clone();
    Ok((seen, end))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_read_again_in_parts_and_in_order() {
    let broker = Broker::new(1);
    let topic = parked(&broker).await;
    let mut parked = vec![];
    for source in 100..120 {
        parked.push((topic.park(&delivery(source, "a"), std::future::pending()).await.unwrap(), source));
    }
    let offsets = |seen: &[(i64, i64, String)]| seen.iter().map(|(at, source, _)| (*at, *source)).collect::<Vec<_>>();
    let (all, end) = read(&topic, ReadFrom::Committed, None, 99).await;
    // A record that is not answered within 10 s is sent again, and is there twice.
    let log = offsets(&all);
    let next = parked[19].0 + 1;
    assert!(log.iter().map(|(at, _)| *at).eq(0..next), "{log:?}");
    assert!(parked.is_sorted() && parked.iter().all(|one| log.contains(one)), "{parked:?} in {log:?}");
    assert!(log.is_sorted_by_key(|(_, source)| *source), "{log:?}");
    assert_eq!(end, ReadEnd { next, end: next, exists: true, source_committed: None, missing: 0 });
    let expected = |range: std::ops::Range<usize>| log[range].to_vec();
    let (some, end) = read(&topic, ReadFrom::Offset(5), Some(15), 4).await;
    assert_eq!((offsets(&some), end.next), (expected(5..9), 9));
    let (more, end) = read(&topic, ReadFrom::Offset(9), Some(15), 99).await;
    assert_eq!((offsets(&more), end.next), (expected(9..15), 15));
    let (again, _) = read(&topic, ReadFrom::Offset(3), Some(5), 99).await;
    assert_eq!(offsets(&again), expected(3..5), "back to an earlier offset");
    let last = topic.park(&delivery(120, "a"), std::future::pending()).await.unwrap();
    let (new, end) = read(&topic, ReadFrom::Offset(next), None, 99).await;
    assert_eq!((offsets(&new), end.next), ((next..=last).map(|at| (at, 120)).collect::<Vec<_>>(), last + 1));
    let (none, end) = read(&topic, ReadFrom::Offset(last + 1), None, 99).await;
    assert_eq!((none.len(), end.next), (0, last + 1));
    let (all, _) = read(&topic, ReadFrom::Offset(1_000), None, 99).await;
    assert!(offsets(&all).iter().map(|(at, _)| *at).eq(0..=last), "an offset behind the end was of another topic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_exist_is_empty() {
    let broker = Broker::new(1);
    let topic = ParkedTopics::connect(&broker.settings()).unwrap();
    let (seen, end) = read(&topic, ReadFrom::Committed, None, 99).await;
    assert_eq!((seen.len(), end), (0, ReadEnd { next: 0, end: 0, exists: false, source_committed: None, missing: 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_parked_once_it_is_acknowledged_and_never_cut() {
    let broker = Broker::new(1);
    let topic = parked(&broker).await;
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 3]);
    topic.park(&delivery(1, "a"), std::future::pending()).await.unwrap();
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let error = topic.park(&delivery(2, "a"), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, ParkError::TooLarge { .. }), "{error}");
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 1_000]);
    let error = topic.park(&delivery(3, "a"), tokio::time::sleep(Duration::from_millis(600))).await.unwrap_err();
    assert!(matches!(error, ParkError::Stopped { .. }), "{error}");
    let error = topic.park(&delivery(3, "a"), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, ParkError::Refused { .. }), "{error}");
}
