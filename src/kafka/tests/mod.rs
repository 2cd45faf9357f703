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

use super::{settings::OffsetReset, *};
use crate::event::Origin;

mod consume;
mod dead_letters;
mod ledger_topic;
mod parked_topic;
mod questions;
mod scan;

const PATIENCE: Duration = Duration::from_secs(60);

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// A record that was received, and its ticket until a test takes it.
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

    /// So many records of a topic, of all its partitions.
    fn read(&self, topic: &str, count: usize) -> Vec<Got> {
        self.read_until(topic, &format!("{count} records"), |found| found.len() >= count)
    }

    /// Reads all partitions of a topic until what was found is enough. A record that is written at least once may be
    /// there twice: a number of records does not say then that all were read.
    fn read_until(&self, topic: &str, wanted: &str, is_enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
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
        while !is_enough(&found) {
            assert!(Instant::now() < deadline, "{} records in {topic}, expected {wanted}", found.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                found.push(Got {
                    origin: Origin { topic: topic.into(), partition: message.partition(), offset: message.offset() },
                    key: message.key().map(Into::into),
                    value: message.payload().map(Into::into),
                    headers: Headers::new(message.headers()).to_owned_list(),
                    ticket: None,
                });
            }
        }
        found
    }
}

fn start(settings: &KafkaSettings) -> (ConsumerHandle, Inbox) {
    start_with(Consumer::new(settings).unwrap())
}

fn start_with(consumer: Consumer) -> (ConsumerHandle, Inbox) {
    let inbox = Inbox::default();
    let receiver = {
        let inbox = Arc::clone(&inbox);
        move |record: Incoming<'_>| {
            inbox.lock().unwrap().push(Got {
                origin: record.origin,
                key: record.key.map(Into::into),
                value: record.value.map(Into::into),
                headers: record.headers.to_owned_list(),
                ticket: Some(record.ticket),
            });
        }
    };
    (consumer.start(Box::new(receiver), Box::new(|_| Ok(()))).unwrap(), inbox)
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

fn complete(inbox: &Inbox, which: impl IntoIterator<Item = usize>) {
    for index in which {
        let ticket = inbox.lock().unwrap()[index].ticket.take();
        ticket.unwrap().complete();
    }
}

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("event {n}"))
}
