use super::*;

/// Looks until the consumer has polled for so long a time without standing still. Neither its loop nor its status may
/// stand still for long meanwhile.
#[track_caller]
fn assert_polled_on(consumer: &ConsumerHandle, time: Duration) {
    const STEP: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);
    let deadline = Instant::now() + PATIENCE;
    let mut began = Instant::now();
    // How much later than wanted this thread went on, in all: the machine may have held up the loop for so long too.
    let mut late = Duration::ZERO;
    loop {
        let looked = Instant::now();
        std::thread::sleep(STEP);
        let asked = Instant::now();
        let last_poll = consumer.status().last_poll;
        let (took, idle) = (asked.elapsed(), last_poll.elapsed());
        late += looked.elapsed().saturating_sub(STEP);
        assert!(took < LONG, "the status took {took:?}");
        assert!(idle < LONG + late, "not polled for {idle:?}");
        if idle >= Duration::from_secs(4) + late {
            // The machine may have held up the loop's thread alone: from here on it has to poll for the whole time.
            began = Instant::now();
        } else if last_poll >= began + time {
            return;
        }
        assert!(Instant::now() < deadline, "polled in between only, last {idle:?} ago");
    }
}

#[test]
fn records_are_received_in_order_with_all_that_belongs_to_them() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..500));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 500);
    assert_eq!(values(&inbox), numbered(0..500).collect::<Vec<_>>());
    {
        let inbox = inbox.lock().unwrap();
        assert_eq!(inbox[7].origin, Origin { topic: "events".into(), partition: 0, offset: 7 });
        assert_eq!(inbox[7].key.as_deref(), Some(&b"key"[..]));
        assert_eq!(inbox[7].headers, [("event_id".to_owned(), Some(b"event 7".to_vec()))]);
    }
    let status = consumer.status();
    assert_eq!(status.assigned.len(), 1);
    assert_eq!(status.assigned[0].span, 500);
    assert_eq!(status.in_flight_events, 500);
    assert!(status.cluster_id.is_some());
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn only_the_finished_beginning_is_committed_and_the_rest_comes_again() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..100));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 100);
    complete(&inbox, (0..40).rev());
    complete(&inbox, 50..100);
    until("the commit of 40", || {
        let committed = broker.committed(0);
        if committed == Some(40) { Ok(()) } else { Err(format!("committed {committed:?}")) }
    });
    complete(&inbox, [40]);
    consumer.close(PATIENCE).unwrap();
    assert_eq!(broker.committed(0), Some(41), "the last commit is made on the way out");

    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 59);
    assert_eq!(values(&inbox), numbered(41..100).collect::<Vec<_>>());
    complete(&inbox, 0..59);
    consumer.close(PATIENCE).unwrap();
    assert_eq!(broker.committed(0), Some(100));
}

#[test]
fn a_ticket_that_is_dropped_refunds_the_budget_and_holds_the_offset() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 10);
    drop(inbox.lock().unwrap()[4].ticket.take());
    complete(&inbox, (0..10).filter(|n| *n != 4));
    until("the budget to be empty", || {
        let used = consumer.status().in_flight_events;
        if used == 0 { Ok(()) } else { Err(format!("{used} in flight")) }
    });
    consumer.close(PATIENCE).unwrap();
    assert_eq!(broker.committed(0), Some(4));
}

#[test]
fn what_a_record_becomes_is_charged_to_its_ticket_and_given_back_with_it() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..200));
    let mut settings = broker.settings();
    settings.budget.max_bytes = 8 << 20;
    let held: Arc<Mutex<Vec<Ticket>>> = Arc::default();
    let receiver = {
        let held = Arc::clone(&held);
        move |mut record: Incoming<'_>| {
            let copy = record.copy_cost();
            record.ticket.charge((1 << 20) - 2_048 - copy);
            held.lock().unwrap().push(record.ticket);
        }
    };
    let consumer = Consumer::new(&settings).unwrap().start(Box::new(receiver), Box::new(|_| Ok(()))).unwrap();
    let until_position = |expected: i64| {
        until("exactly the budget", || {
            let status = consumer.status();
            let found = (status.assigned.first().and_then(|place| place.position), status.in_flight_bytes);
            if found == (Some(expected), 8 << 20) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    until_position(8);
    held.lock().unwrap().drain(..4).for_each(drop);
    until_position(12);
    drop(std::mem::take(&mut *held.lock().unwrap()));
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_used_up_budget_pauses_fetching_polling_goes_on_and_nothing_is_lost_or_doubled() {
    let broker = Broker::new(2);
    broker.publish(0, numbered(0..200));
    broker.publish(1, numbered(200..400));
    let mut settings = broker.settings();
    settings.budget.max_events = 50;
    let (consumer, inbox) = start(&settings);
    until("the pause", || {
        let status = consumer.status();
        if status.paused && status.in_flight_events == 50 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    assert_polled_on(&consumer, Duration::from_secs(3));
    assert_eq!(inbox.lock().unwrap().len(), 50, "nothing is received beyond the budget");
    let mut settled = 0;
    until("all records", || {
        let there = inbox.lock().unwrap().len();
        complete(&inbox, settled..there);
        settled = there;
        if there >= 400 { Ok(()) } else { Err(format!("{there} received, {:?}", consumer.status())) }
    });
    let mut all: Vec<_> = inbox.lock().unwrap().iter().map(|got| (got.origin.partition, got.origin.offset)).collect();
    let in_order = all.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 400, "none twice");
    for partition in 0..2 {
        let offsets: Vec<_> = in_order.iter().filter(|place| place.0 == partition).collect();
        assert!(offsets.is_sorted());
    }
    consumer.close(PATIENCE).unwrap();
    assert_eq!((broker.committed(0), broker.committed(1)), (Some(200), Some(200)));
}

#[test]
fn one_stalled_event_holds_its_partition_at_the_span_and_no_other() {
    let broker = Broker::new(2);
    broker.publish(0, numbered(0..100));
    broker.publish(1, numbered(100..200));
    let mut settings = broker.settings();
    settings.budget.max_span_per_partition = 20;
    let (consumer, inbox) = start(&settings);
    let mut seen = 0;
    let mut step = |stalled: bool| {
        let mut inbox = inbox.lock().unwrap();
        for got in &mut inbox[seen..] {
            if !stalled || got.origin.partition == 1 || got.origin.offset > 0 {
                got.ticket.take().unwrap().complete();
            }
        }
        seen = inbox.len();
        let count = |partition| inbox.iter().filter(|got| got.origin.partition == partition).count();
        (count(0), count(1))
    };
    until("the other partition", || {
        let (held, other) = step(true);
        let capped = consumer.status().assigned.iter().any(|partition| partition.partition == 0 && partition.capped);
        // The cap is marked before the record that reaches it is handed over.
        if capped && (held, other) == (20, 100) { Ok(()) } else { Err(format!("{held} and {other} received")) }
    });
    assert_eq!(step(true).0, 20, "the held one stops at its cap");
    let first =
        inbox.lock().unwrap().iter_mut().find(|got| got.origin.partition == 0).and_then(|got| got.ticket.take());
    first.unwrap().complete();
    until("the rest", || {
        let (held, _) = step(false);
        if held == 100 { Ok(()) } else { Err(format!("{held} received")) }
    });
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn stop_fetching_drains_and_still_commits() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 10);
    consumer.stop_fetching();
    until("the drain", || if consumer.status().paused { Ok(()) } else { Err("not paused".into()) });
    broker.publish(0, numbered(10..20));
    complete(&inbox, 0..10);
    until("the commit", || {
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}")) }
    });
    assert_eq!(inbox.lock().unwrap().len(), 10);
    consumer.close(PATIENCE).unwrap();
}

/// A broker with ten records and a new group that has begun at their end. `None` when the group's offsets or the end
/// came too late, as when the machine stood still: by design reading begins at the oldest record then, or at an end
/// without a number, which is not committed.
fn begun_at_the_end() -> Option<(Broker, KafkaSettings)> {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let settings = KafkaSettings { auto_offset_reset: OffsetReset::Latest, ..broker.settings() };
    let mut is_late = false;
    let (consumer, inbox) = start(&settings);
    until("the commit of the start", || {
        let status = consumer.status();
        let partition = status.assigned.first();
        // In time, the end is the position from the assignment on. (The error of a request that was not answered is
        // resolved soon: it may be gone before a look.)
        is_late |= partition.is_some_and(|partition| partition.position != Some(10));
        is_late |= !inbox.lock().unwrap().is_empty();
        let committed = partition.and_then(|partition| partition.committed);
        if is_late || committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}, {status:?}")) }
    });
    let status = consumer.status();
    consumer.close(PATIENCE).unwrap();
    if is_late {
        println!("{} received, {status:?}", inbox.lock().unwrap().len());
        return None;
    }
    assert_eq!((inbox.lock().unwrap().len(), broker.committed(0)), (0, Some(10)));
    Some((broker, settings))
}

#[test]
fn a_new_group_with_latest_begins_at_the_end_and_remembers_where_that_was() {
    let begun = (0..5).find_map(|_| begun_at_the_end());
    let (broker, settings) = begun.expect("one time in five the machine goes on");
    broker.publish(0, numbered(10..13));
    let (consumer, inbox) = start(&settings);
    received(&inbox, 3);
    assert_eq!(values(&inbox), numbered(10..13).collect::<Vec<_>>(), "published while nobody read");
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_broker_that_is_away_holds_up_neither_the_loop_nor_the_status() {
    let broker = Broker::new(8);
    broker.publish(0, numbered(0..10));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 10);
    broker.cluster.broker_down(-1).unwrap();
    assert_polled_on(&consumer, Duration::from_secs(8));
    complete(&inbox, 0..10);
    broker.cluster.broker_up(-1).unwrap();
    let mut settled = 10;
    until("the commit after the outage", || {
        // A longer outage costs the membership, and the records come again.
        let there = inbox.lock().unwrap().len();
        complete(&inbox, settled..there);
        settled = there;
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}, {:?}", consumer.status())) }
    });
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_cluster_that_is_refused_ends_the_consumer_before_the_first_record() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let received = Arc::new(Mutex::new(0));
    let count = Arc::clone(&received);
    let consumer = Consumer::new(&broker.settings())
        .unwrap()
        .start(
            Box::new(move |_: Incoming<'_>| *count.lock().unwrap() += 1),
            Box::new(|cluster| {
                Err(Arc::new(std::io::Error::other(format!("the ledger belongs to another cluster than {cluster}"))))
            }),
        )
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.finished()).await.unwrap() });
    assert!(matches!(error, KafkaError::ClusterRefused { .. }), "{error}");
    assert!(error.to_string().contains("the ledger belongs to another cluster"), "{error}");
    assert_eq!(*received.lock().unwrap(), 0);
    assert_eq!(consumer.close(PATIENCE).unwrap_err().to_string(), error.to_string());
}

#[test]
fn a_receiver_that_panics_ends_the_consumer_with_an_error() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..1));
    let consumer = Consumer::new(&broker.settings())
        .unwrap()
        .start(Box::new(|_: Incoming<'_>| panic!("intended")), Box::new(|_| Ok(())))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.finished()).await.unwrap() });
    assert!(matches!(error, KafkaError::Died), "{error}");
}

#[test]
fn a_commit_that_the_broker_refuses_is_made_again() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 10);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 2];
    broker.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
    complete(&inbox, 0..10);
    until("the commit", || {
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}, {:?}", consumer.status())) }
    });
    consumer.close(PATIENCE).unwrap();
}

/// A record batch, as the protocol has it, with one header whose name is no text and one that is.
/// (librdkafka does not check the batch's checksum unless it is told to.)
fn batch_with_an_unreadable_header_name() -> Vec<u8> {
    let zigzag = |n: usize| vec![u8::try_from(n * 2).unwrap()];
    let field = |bytes: &[u8]| [zigzag(bytes.len()), bytes.to_vec()].concat();
    let headers = [field(b"\xff\xfe"), field(b"v"), field(b"event_id"), field(b"e")].concat();
    let record = [vec![0, 0, 0], field(b"key"), field(b"value"), zigzag(2), headers].concat();
    let mut tail = vec![0; 2 + 4 + 8 + 8];
    tail.extend([0xff; 8 + 2 + 4]);
    tail.extend(1_i32.to_be_bytes());
    tail.extend(field(&record));
    let mut batch = vec![0; 8];
    batch.extend(i32::try_from(4 + 1 + 4 + tail.len()).unwrap().to_be_bytes());
    batch.extend([0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0]);
    batch.extend(tail);
    batch
}

#[test]
fn a_header_name_that_is_no_text_costs_that_header_and_nothing_else() {
    use std::io::{Read as _, Write as _};
    let broker = Broker::new(1);
    let batch = batch_with_an_unreadable_header_name();
    let text = |text: &str| [i16::try_from(text.len()).unwrap().to_be_bytes().to_vec(), text.into()].concat();
    let number = |n: usize| i32::try_from(n).unwrap().to_be_bytes().to_vec();
    // Produce, version 7: one topic, one partition.
    let request = [
        vec![0, 0, 0, 7, 0, 0, 0, 1],
        text("raw"),
        vec![0xff, 0xff, 0, 1, 0, 0, 0x10, 0, 0, 0, 0, 1],
        text("events"),
        number(1),
        number(0),
        number(batch.len()),
        batch,
    ]
    .concat();
    let mut socket = std::net::TcpStream::connect(broker.cluster.bootstrap_servers()).unwrap();
    socket.write_all(&[number(request.len()), request].concat()).unwrap();
    let _ = socket.read(&mut [0; 64]).unwrap();
    broker.publish(0, numbered(0..1));

    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 2);
    assert_eq!(values(&inbox), ["value", "event 0"]);
    assert_eq!(inbox.lock().unwrap()[0].headers, [("event_id".to_owned(), Some(b"e".to_vec()))]);
    consumer.close(PATIENCE).unwrap();
}
