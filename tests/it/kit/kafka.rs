//! A Kafka cluster as a client sees it: topics, records, offsets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, Headers, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};

use super::{PATIENCE, block_on, poll, topic_id::topic_id, unique, when};

/// How long one call to the cluster may take.
const CALL: Duration = Duration::from_secs(30);
/// A record to publish.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Its key, if any.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order; a header may have no value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The partition; `None` leaves it to the key.
    pub partition: Option<i32>,
    /// Its `CreateTime` in ms since 1970; `None` is now.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// A record with this value and nothing else.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record without a value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// Sets the key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// Sets `CreateTime`.
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record as it stands in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Stored {
    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rfind(|(header, _)| header == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The value as text; empty without one.
    pub fn text(&self) -> String {
        self.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }
}

/// A Kafka cluster.
#[derive(Debug, Clone)]
pub struct Kafka {
    bootstrap: String,
}

impl Kafka {
    /// The cluster at these addresses.
    pub fn at(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned() }
    }

    /// `host:port`, or several.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client's configuration for this cluster.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// A new topic with a unique name.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        let name = unique(prefix);
        self.create_topic(&name, partitions, &[]);
        name
    }

    /// Creates a topic with these settings (`max.message.bytes` and the like) and waits until it has leaders.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = settings
            .iter()
            .fold(NewTopic::new(name, partitions, TopicReplication::Fixed(-1)), |topic, (key, value)| {
                topic.set(key, value)
            });
        let admin = self.admin();
        poll(PATIENCE, "the topic is created", || {
            let created =
                block_on(admin.create_topics([&topic], &admin_options())).map_err(|error| error.to_string())?;
            // A broker that stood still is fenced for a moment. After an answer that was lost the topic is there.
            let is_there = |result| is_done(result, RDKafkaErrorCode::TopicAlreadyExists);
            when(created.iter().all(is_there), format!("{created:?}"))
        });
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        poll(PATIENCE, "the new topic has a leader for each partition", || {
            let metadata = consumer.fetch_metadata(Some(name), CALL).map_err(|error| error.to_string())?;
            let led = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
            let led = led.filter(|partition| partition.leader() >= 0).count();
            when(i32::try_from(led) == Ok(partitions), format!("{led} of {partitions} partitions have a leader"))
        });
    }

    /// Deletes a topic and creates it again as soon as Kafka lets us.
    pub fn recreate_topic(&self, name: &str, partitions: i32) {
        let admin = self.admin();
        poll(PATIENCE, "the topic is deleted", || {
            let deleted =
                block_on(admin.delete_topics(&[name], &admin_options())).map_err(|error| error.to_string())?;
            let is_gone = |result| is_done(result, RDKafkaErrorCode::UnknownTopicOrPartition);
            when(deleted.iter().all(is_gone), format!("{deleted:?}"))
        });
        let mut is_lost = false;
        poll(PATIENCE, "the topic can be created again", || {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
            let created = block_on(admin.create_topics([&topic], &admin_options())).map_err(|error| {
                is_lost = true;
                error.to_string()
            })?;
            let is_there = |result: &TopicResult| {
                result.is_ok() || (is_lost && is_done(result, RDKafkaErrorCode::TopicAlreadyExists))
            };
            when(created.iter().all(is_there), format!("{created:?}"))
        });
    }

    /// Deletes a topic, and waits until it is gone from every broker of the addresses: what stands behind its name then is
    /// another one. `false` when there was none.
    pub fn delete_topic(&self, name: &str) -> bool {
        let brokers: Vec<SocketAddr> =
            self.bootstrap.split(',').map(|address| address.parse().expect("the address of a broker")).collect();
        let ids = || brokers.iter().map(|broker| topic_id(*broker, name)).collect::<Result<Vec<_>, _>>();
        let Some(old) = poll(PATIENCE, "each broker answers", ids).into_iter().flatten().next() else { return false };
        let admin = self.admin();
        let mut is_accepted = false;
        poll(PATIENCE, "the topic is gone from every broker", || {
            let left = ids()?.into_iter().filter(|id| *id == Some(old)).count();
            if left == 0 {
                return Ok(());
            }
            // Somebody may create the next one soon, which is to stay: this is asked again only after a failure that had no effect.
            let mut answer = String::new();
            if !is_accepted && left == brokers.len() {
                let deleted = block_on(admin.delete_topics(&[name], &admin_options()));
                is_accepted = deleted.as_ref().is_ok_and(|results| results.iter().all(Result::is_ok));
                answer = format!("{deleted:?}");
            }
            Err(format!("{left} of {} brokers have it; {answer}", brokers.len()))
        });
        true
    }

    /// Gives a topic more partitions.
    pub fn add_partitions(&self, name: &str, count: usize) {
        let wanted = NewPartitions::new(name, count);
        let admin = self.admin();
        poll(PATIENCE, "the new partitions are there", || {
            let seen = self.led_partitions(name)?;
            if seen == count {
                return Ok(());
            }
            // While a broker is away this is refused, and after a time-out it may have been done.
            let added = block_on(admin.create_partitions([&wanted], &admin_options()));
            Err(format!("{seen} of {count} partitions have a leader; {added:?}"))
        });
    }

    fn led_partitions(&self, name: &str) -> Result<usize, String> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let metadata = consumer.fetch_metadata(Some(name), CALL).map_err(|error| error.to_string())?;
        let led = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        Ok(led.filter(|partition| partition.leader() >= 0).count())
    }

    /// Whether the topic exists. Does not create it.
    pub fn topic_exists(&self, name: &str) -> bool {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let metadata = poll(PATIENCE, "the broker answers", || {
            consumer.fetch_metadata(None, CALL).map_err(|error| error.to_string())
        });
        metadata.topics().iter().any(|topic| topic.name() == name)
    }

    /// Drops the records below an offset, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a plain offset");
        poll(PATIENCE, "the records are deleted", || {
            // A client may keep asking a leader that has moved.
            let asked = block_on(self.admin().delete_records(&offsets, &admin_options()));
            let deleted = asked.map_err(|error| error.to_string())?;
            // Such as a leader that has moved.
            let errors = deleted.elements().into_iter().filter_map(|element| element.error().err());
            let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
            when(errors.is_empty(), errors.join(", "))
        });
    }

    /// Publishes one record; its partition and offset.
    pub fn produce(&self, topic: &str, record: Record) -> (i32, i64) {
        self.produce_all(topic, [record]).pop().expect("one record gives one place")
    }

    /// Publishes records in order with `acks=all`, idempotent; each one's partition and offset. Safe
    /// for a million: the queue is bounded.
    #[track_caller]
    pub fn produce_all(&self, topic: &str, records: impl IntoIterator<Item = Record>) -> Vec<(i32, i64)> {
        let reports = Reports::default();
        let producer: ThreadedProducer<Reports> = self
            .client()
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.max.bytes", "50000000")
            .set("message.timeout.ms", "120000")
            .create_with_context(reports.clone())
            .expect("a producer can be made");
        let mut sent = 0_usize;
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut next = BaseRecord::with_opaque_to(topic, Box::new(sent));
            next.key = record.key.as_deref();
            next.payload = record.value.as_deref();
            next.partition = record.partition;
            next.timestamp = record.timestamp_ms;
            next.headers = Some(headers).filter(|headers| headers.count() > 0);
            while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) = producer.send(next) {
                next = again;
                std::thread::sleep(Duration::from_millis(5));
            }
            sent += 1;
        }
        producer.flush(Duration::from_secs(150)).expect("the broker takes the records");
        let places = std::mem::take(&mut *reports.places.lock().expect("no report panicked"));
        assert_eq!(places.len(), sent, "each record is reported once");
        places.into_values().map(|place| place.expect("the broker takes the record")).collect()
    }

    /// Every record of a topic, by partition and then offset. A topic that does not exist has none.
    pub fn read_all(&self, topic: &str) -> Vec<Stored> {
        let ends = self.watermarks(topic);
        let mut open: BTreeMap<i32, i64> = ends
            .iter()
            .filter(|(_, (low, high))| low < high)
            .map(|(partition, (_, high))| (*partition, *high))
            .collect();
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "50000000")
            .set("receive.message.max.bytes", "100000000")
            .create()
            .expect("a consumer can be made");
        let mut from = TopicPartitionList::new();
        for partition in open.keys() {
            from.add_partition_offset(topic, *partition, Offset::Beginning).expect("a plain offset");
        }
        consumer.assign(&from).expect("partitions can be assigned");
        let mut records = Vec::new();
        let mut read_at = Instant::now();
        while !open.is_empty() {
            match consumer
                .poll(PATIENCE)
                .unwrap_or_else(|| panic!("{topic} gave nothing for {PATIENCE:?}; open: {open:?}"))
            {
                Ok(message) => {
                    if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                        open.remove(&message.partition());
                    }
                    records.push(stored(&message));
                    read_at = Instant::now();
                }
                // A fetch may come back before the broker shows the last records.
                Err(KafkaError::PartitionEOF(partition)) => {
                    let position = consumer.position().expect("positions are known");
                    let at = position.find_partition(topic, partition).and_then(|found| found.offset().to_raw());
                    if open.get(&partition).is_none_or(|end| at >= Some(*end)) {
                        open.remove(&partition);
                    }
                }
                // The client goes on by itself when the broker is back.
                Err(error) if is_passing(&error) && read_at.elapsed() < PATIENCE => {}
                Err(error) => panic!("{topic} cannot be read: {error}"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The low and high watermark of each partition. Empty for a topic that does not exist.
    pub fn watermarks(&self, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        self.partitions(&consumer, topic)
            .map(|partition| {
                // A broker that was away may have no leader for it yet.
                let watermarks = poll(PATIENCE, &format!("{topic}[{partition}] has watermarks"), || {
                    // A client that has heard of a topic without a leader calls its partitions unknown until it asks
                    // again.
                    consumer.fetch_metadata(Some(topic), CALL).map_err(|error| error.to_string())?;
                    consumer.fetch_watermarks(topic, partition, CALL).map_err(|error| error.to_string())
                });
                (partition, watermarks)
            })
            .collect()
    }

    /// The committed offset of each partition that has one.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer can be made");
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(&consumer, topic) {
            asked.add_partition(topic, partition);
        }
        // A fresh broker has no coordinator until it has made its offsets topic.
        let committed = poll(PATIENCE, "the group's coordinator answers", || {
            consumer.committed_offsets(asked.clone(), CALL).map_err(|error| error.to_string())
        });
        committed
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    /// How many records of the topic the group has not committed, all partitions together.
    pub fn lag(&self, group: &str, topic: &str) -> i64 {
        let committed = self.committed(group, topic);
        // One of several brokers may not have heard of a new topic yet.
        let ends = poll(PATIENCE, "the topic is known", || {
            let ends = self.watermarks(topic);
            if ends.is_empty() { Err("it is not") } else { Ok(ends) }
        });
        ends.iter().map(|(partition, (low, high))| high - committed.get(partition).unwrap_or(low)).sum()
    }

    /// Waits until the group has committed everything that is in the topic now.
    #[track_caller]
    pub fn wait_committed(&self, group: &str, topic: &str, deadline: Duration) {
        poll(deadline, "the group has committed the whole topic", || {
            let lag = self.lag(group, topic);
            when(lag == 0, format!("{lag} records not committed"))
        });
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client can be made")
    }

    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> impl Iterator<Item = i32> + use<> {
        let known = self.topic_exists(topic);
        let count = if known {
            let metadata = poll(PATIENCE, "a broker answers", || {
                consumer.fetch_metadata(Some(topic), CALL).map_err(|error| error.to_string())
            });
            metadata.topics().iter().map(|topic| topic.partitions().len()).sum()
        } else {
            0
        };
        0..i32::try_from(count).expect("a topic has few partitions")
    }
}

/// Whether it is done, or was by a call whose answer was lost, as this code says.
fn is_done(result: &TopicResult, before: RDKafkaErrorCode) -> bool {
    result.as_ref().err().is_none_or(|(_, code)| *code == before)
}

/// Whether it says that a broker is away or slow.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut))
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL))
}

fn stored(message: &impl Message) -> Stored {
    Stored {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message
            .headers()
            .map(|headers| {
                headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
            })
            .unwrap_or_default(),
    }
}

type Places = BTreeMap<usize, Result<(i32, i64), KafkaError>>;

/// Where each record went, by the order of sending.
#[derive(Clone, Default)]
struct Reports {
    places: Arc<Mutex<Places>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let place = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.places.lock().expect("no report panicked").insert(*number, place);
    }
}
