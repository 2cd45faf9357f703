//! The room against librdkafka's own mock cluster: a broker in the process.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Message as _, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::*;
use crate::event::Origin;

const PATIENCE: Duration = Duration::from_secs(20);

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// A record that was received: its place in the log, and its ticket until somebody takes it.
struct Got {
    origin: Origin,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
    ticket: Option<Ticket>,
}

type Inbox = Arc<Mutex<Vec<Got>>>;

impl Broker {
    fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", partitions, 1).unwrap();
        Self { cluster }
    }

    fn settings(&self) -> KafkaSettings {
        let mut settings = KafkaSettings {
            bootstrap_servers: self.cluster.bootstrap_servers(),
            topics: vec!["events".into()],
            group_id: "tests".into(),
            ..KafkaSettings::default()
        };
        settings.properties.insert("group.protocol".into(), "consumer".into());
        settings
    }

    fn publish(&self, partition: i32, values: impl IntoIterator<Item = String>) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::new().set("bootstrap.servers", self.cluster.bootstrap_servers()).create().unwrap();
        for value in values {
            let headers = OwnedHeaders::new().insert(Header { key: "event_id", value: Some(value.as_bytes()) });
            let record = BaseRecord::to("events").partition(partition).key("key").payload(&value).headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "tests")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition("events", partition);
        match consumer.committed_offsets(list, PATIENCE).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// All that stands in a topic's only partition or partitions.
    fn read(&self, topic: &str, count: usize) -> Vec<Got> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "reader")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let partitions = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap().topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, i32::try_from(partition).unwrap(), Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut found = vec![];
        while found.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records in {topic}", found.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                found.push(Got {
                    origin: Origin { topic: topic.into(), partition: message.partition(), offset: message.offset() },
                    key: message.key().map(Into::into),
                    value: message.payload().map(Into::into),
                    headers: Headers::native(message.headers()).to_owned(),
                    ticket: None,
                });
            }
        }
        found
    }
}

fn start(settings: &KafkaSettings) -> (ConsumerHandle, Inbox) {
    let inbox = Inbox::default();
    let receiver = {
        let inbox = Arc::clone(&inbox);
        move |record: Incoming<'_>| {
            inbox.lock().unwrap().push(Got {
                origin: record.origin,
                key: record.key.map(Into::into),
                value: record.value.map(Into::into),
                headers: record.headers.to_owned(),
                ticket: Some(record.ticket),
            });
        }
    };
    (Consumer::start(settings, Box::new(receiver), Box::new(|_| Ok(()))).unwrap(), inbox)
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(state) = done() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}: {state}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn received(inbox: &Inbox, count: usize) {
    until("records", || {
        let found = inbox.lock().unwrap().len();
        if found >= count { Ok(()) } else { Err(format!("{found} of {count} received")) }
    });
}

fn values(inbox: &Inbox) -> Vec<String> {
    inbox.lock().unwrap().iter().map(|got| String::from_utf8(got.value.clone().unwrap()).unwrap()).collect()
}

fn settle(inbox: &Inbox, which: impl IntoIterator<Item = usize>) {
    for index in which {
        let ticket = inbox.lock().unwrap()[index].ticket.take();
        ticket.unwrap().settle();
    }
}

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("event {n}"))
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
    settle(&inbox, (0..40).rev());
    settle(&inbox, 50..100);
    until("the commit of 40", || {
        let committed = broker.committed(0);
        if committed == Some(40) { Ok(()) } else { Err(format!("committed {committed:?}")) }
    });
    settle(&inbox, [40]);
    consumer.close(PATIENCE).unwrap();
    assert_eq!(broker.committed(0), Some(41), "the last commit is made on the way out");

    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 59);
    assert_eq!(values(&inbox), numbered(41..100).collect::<Vec<_>>());
    settle(&inbox, 0..59);
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
    settle(&inbox, (0..10).filter(|n| *n != 4));
    until("the budget to be empty", || {
        let used = consumer.status().in_flight_events;
        if used == 0 { Ok(()) } else { Err(format!("{used} in flight")) }
    });
    consumer.close(PATIENCE).unwrap();
    assert_eq!(broker.committed(0), Some(4));
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
    let paused_at = Instant::now();
    while paused_at.elapsed() < Duration::from_secs(3) {
        let idle = consumer.status().last_poll.elapsed();
        assert!(idle < Duration::from_secs(2), "not polled for {idle:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(inbox.lock().unwrap().len(), 50, "nothing is received beyond the budget");
    let mut settled = 0;
    until("all records", || {
        let there = inbox.lock().unwrap().len();
        settle(&inbox, settled..there);
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
                got.ticket.take().unwrap().settle();
            }
        }
        seen = inbox.len();
        let count = |partition| inbox.iter().filter(|got| got.origin.partition == partition).count();
        (count(0), count(1))
    };
    until("the other partition", || {
        let (held, other) = step(true);
        let capped = consumer.status().assigned.iter().any(|partition| partition.partition == 0 && partition.capped);
        if capped && other == 100 { Ok(()) } else { Err(format!("{held} and {other} received")) }
    });
    assert_eq!(step(true).0, 20, "the held one stops at its cap");
    let first =
        inbox.lock().unwrap().iter_mut().find(|got| got.origin.partition == 0).and_then(|got| got.ticket.take());
    first.unwrap().settle();
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
    settle(&inbox, 0..10);
    until("the commit", || {
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}")) }
    });
    assert_eq!(inbox.lock().unwrap().len(), 10);
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_new_group_with_latest_begins_at_the_end_and_remembers_where_that_was() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let settings = KafkaSettings { auto_offset_reset: OffsetReset::Latest, ..broker.settings() };
    let (consumer, inbox) = start(&settings);
    until("the commit of the start", || {
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}")) }
    });
    consumer.close(PATIENCE).unwrap();
    assert_eq!(inbox.lock().unwrap().len(), 0);
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
    let down_at = Instant::now();
    while down_at.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        let idle = consumer.status().last_poll.elapsed();
        assert!(asked.elapsed() < Duration::from_secs(4), "the status took {:?}", asked.elapsed());
        assert!(idle < Duration::from_secs(4), "not polled for {idle:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    settle(&inbox, 0..10);
    broker.cluster.broker_up(-1).unwrap();
    until("the commit after the outage", || {
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
    let consumer = Consumer::start(
        &broker.settings(),
        Box::new(move |_: Incoming<'_>| *count.lock().unwrap() += 1),
        Box::new(|cluster| Err(format!("the ledger belongs to another cluster than {cluster}"))),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.finished()).await.unwrap() });
    assert_eq!(error.kind(), "cluster_refused");
    assert!(error.to_string().contains("the ledger belongs to another cluster"), "{error}");
    assert_eq!(*received.lock().unwrap(), 0);
    assert_eq!(consumer.close(PATIENCE), Err(error));
}

#[test]
fn a_receiver_that_panics_is_an_end_that_is_told() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..1));
    let consumer =
        Consumer::start(&broker.settings(), Box::new(|_: Incoming<'_>| panic!("meant")), Box::new(|_| Ok(()))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.finished()).await.unwrap() });
    assert_eq!(error, KafkaError::Died);
}

#[test]
fn a_commit_that_the_broker_refuses_is_made_again() {
    let broker = Broker::new(1);
    broker.publish(0, numbered(0..10));
    let (consumer, inbox) = start(&broker.settings());
    received(&inbox, 10);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 2];
    broker.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
    settle(&inbox, 0..10);
    until("the commit", || {
        let committed = broker.committed(0);
        if committed == Some(10) { Ok(()) } else { Err(format!("committed {committed:?}, {:?}", consumer.status())) }
    });
    consumer.close(PATIENCE).unwrap();
}

fn letter(value: Vec<u8>) -> DeadLetter {
    DeadLetter {
        origin: Origin { topic: "events".into(), partition: 0, offset: 7 },
        key: Some(b"key".to_vec()),
        value: Some(value),
        headers: vec![("event_id".into(), Some(b"e".to_vec())), ("empty".into(), None)],
        reason: "not_json",
        error: "expected one JSON object".into(),
        rule: None,
        agent: None,
        attempts: 0,
        status: None,
        time: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn header<'a>(got: &'a Got, name: &str) -> Option<&'a [u8]> {
    Headers::owned(&got.headers).get(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_acknowledged_with_the_original_bytes() {
    let broker = Broker::new(1);
    let letters = DeadLetters::connect(&broker.settings()).unwrap();
    letters.send(&letter(b"\xffnot json".to_vec())).await.unwrap();
    let found = tokio::task::block_in_place(|| broker.read("events.dlq", 1));
    assert_eq!((found[0].key.as_deref(), found[0].value.as_deref()), (Some(&b"key"[..]), Some(&b"\xffnot json"[..])));
    assert_eq!(header(&found[0], "dlq-offset"), Some(&b"7"[..]));
    assert_eq!(found[0].headers[..2], letter(vec![]).headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_the_broker_finds_too_large_takes_the_next_smaller_form() {
    let broker = Broker::new(1);
    let letters = DeadLetters::connect(&broker.settings()).unwrap();
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    letters.send(&letter(b"first".to_vec())).await.unwrap();
    for (refusals, value_bytes, own_header, key) in
        [(1, true, true, true), (2, true, false, true), (3, true, false, false), (4, true, false, false)]
    {
        broker.cluster.request_errors(RDKafkaApiKey::Produce, &vec![too_large; refusals]);
        letters.send(&letter(b"value".to_vec())).await.unwrap();
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
    let error = letters.send(&letter(b"value".to_vec())).await.unwrap_err();
    assert_eq!(error.kind(), "too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_the_client_finds_too_large_goes_without_its_value() {
    let broker = Broker::new(1);
    let mut settings = broker.settings();
    settings.properties.insert("message.max.bytes".into(), "2000".into());
    let letters = DeadLetters::connect(&settings).unwrap();
    letters.send(&letter(vec![b'x'; 5_000])).await.unwrap();
    let found = tokio::task::block_in_place(|| broker.read("events.dlq", 1));
    assert_eq!((found[0].value.as_deref(), header(&found[0], "dlq-value-bytes")), (None, Some(&b"5000"[..])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_tried_until_it_is_acknowledged_or_the_bridge_stops() {
    let broker = Broker::new(1);
    let letters = DeadLetters::connect(&broker.settings()).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 3]);
    letters.deliver(&letter(b"value".to_vec()), std::future::pending()).await.unwrap();
    assert_eq!(tokio::task::block_in_place(|| broker.read("events.dlq", 1)).len(), 1);

    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 1_000]);
    let stop = tokio::time::sleep(Duration::from_millis(600));
    let error = letters.deliver(&letter(b"value".to_vec()), stop).await.unwrap_err();
    assert_eq!(error.kind(), "stopped");
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
