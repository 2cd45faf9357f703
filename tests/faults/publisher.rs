//! Publishes events all the time, and keeps which of them the brokers acknowledged.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};

use super::history::{Kind, Published};
use crate::kit::{Kafka, event};

/// How many keys the events have.
const KEYS: usize = 24;
/// Of a hundred events, how many are published a second time.
const TWICE: u32 = 4;
/// How many events later the second record of such an event comes.
const LATER: std::ops::Range<usize> = 50..400;

/// Which kind, of a hundred events.
fn kind(percent: u32) -> Kind {
    match percent {
        0..52 => Kind::Http,
        52..62 => Kind::LangGraph,
        62..72 => Kind::Both,
        72..97 => Kind::Unmatched,
        _ => Kind::Poison,
    }
}

/// A record that was handed to the client.
#[derive(Clone)]
struct Sent {
    id: String,
    kind: Kind,
    key: String,
    value: Arc<str>,
}

/// The header that has a record's number.
const NUMBER: &str = "number";

/// When each record was acknowledged, by its number. Where it stands is read from the topic: of a record that was sent again
/// after its answer was lost, the client is not told the offset.
#[derive(Clone)]
struct Reports {
    began: Instant,
    acknowledged: Arc<Mutex<BTreeMap<usize, u64>>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        if result.is_ok() {
            let at = super::since(self.began);
            self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(*number, at);
        }
    }
}

/// Publishes so many events a second until told to stop, and waits until the brokers have acknowledged all of them.
/// What was acknowledged, and how many records were not.
pub fn publish(
    kafka: &Kafka,
    topic: &str,
    (seed, rate): (u64, u32),
    began: Instant,
    stop: &AtomicBool,
) -> (Vec<Published>, usize) {
    let reports = Reports { began, acknowledged: Arc::default() };
    let producer: ThreadedProducer<Reports> = kafka
        .client()
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        // A record waits for its brokers for as long as that takes.
        .set("message.timeout.ms", "0")
        .set("topic.metadata.refresh.interval.ms", "2000")
        .create_with_context(reports.clone())
        .expect("a producer can be made");
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    let mut sent: Vec<Sent> = Vec::new();
    let mut again: BTreeMap<usize, Sent> = BTreeMap::new();
    let first = Instant::now();
    while !stop.load(SeqCst) {
        let number = sent.len();
        let next = again.remove(&number).unwrap_or_else(|| make(seed, number, &mut random));
        if next.kind != Kind::Poison && random.random_range(0..100) < TWICE {
            again.entry(number + random.random_range(LATER)).or_insert_with(|| next.clone());
        }
        send(&producer, topic, number, &next);
        sent.push(next);
        let due = first + Duration::from_secs(1) * u32::try_from(sent.len()).unwrap_or(u32::MAX) / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    // The error is a time-out: the records that it is about have no place.
    let _ = producer.flush(Duration::from_secs(120));
    let places = places(kafka, topic);
    let acknowledged = reports.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    let published: Vec<Published> = acknowledged
        .iter()
        .map(|(number, at)| {
            let Sent { id, kind, key, .. } = sent[*number].clone();
            let place = places.get(number);
            let (partition, offset) =
                *place.unwrap_or_else(|| panic!("the brokers lost {id}, which they acknowledged"));
            Published { id, kind, key, partition, offset, at: *at }
        })
        .collect();
    let missing = sent.len() - published.len();
    (published, missing)
}

/// The partition and the offset of each record, by its number.
fn places(kafka: &Kafka, topic: &str) -> BTreeMap<usize, (i32, i64)> {
    let records = kafka.read_all(topic).into_iter();
    let numbered = records.map(|record| {
        let number = record.header(NUMBER).and_then(|number| number.parse().ok()).expect("each record has its number");
        (number, (record.partition, record.offset))
    });
    numbered.collect()
}

fn make(seed: u64, number: usize, random: &mut StdRng) -> Sent {
    let id = format!("f{seed}-{number:06}");
    let kind = kind(random.random_range(0..100));
    let event = event(&id).run(&format!("run-{:02}", random.random_range(0..KEYS)));
    let event_type = match kind {
        Kind::Http => "WORKFLOW_COMPLETED",
        Kind::LangGraph => "WORKFLOW_FAILED",
        Kind::Both => "WORKFLOW_TRIGGERED",
        Kind::Unmatched | Kind::Poison => "WORKFLOW_PAUSED",
    };
    let key = event.key();
    let value = match kind {
        Kind::Poison => format!("{id} is no event"),
        _ => event.event_type(event_type).json().to_string(),
    };
    Sent { id, kind, key, value: value.into() }
}

fn send(producer: &ThreadedProducer<Reports>, topic: &str, number: usize, sent: &Sent) {
    let headers = OwnedHeaders::new().insert(Header { key: NUMBER, value: Some(&number.to_string()) });
    let record = BaseRecord::with_opaque_to(topic, Box::new(number)).key(&*sent.key).payload(&*sent.value);
    let mut record = record.headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                record = refused;
                thread::sleep(Duration::from_millis(50));
            }
            Err((error, _)) => panic!("the client takes no record: {error}"),
        }
    }
}
