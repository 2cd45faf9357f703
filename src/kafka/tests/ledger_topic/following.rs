use std::collections::BTreeMap;

use super::*;

/// A store that keeps what it gets, and fails while it is told to.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    entries: Vec<(i32, String, String)>,
    positions: BTreeMap<i32, LedgerPosition>,
    /// The partitions whose records it does not take.
    fails: Vec<i32>,
    /// The partitions of which the topic lost records.
    lost: Vec<i32>,
}

impl Store {
    fn failing(partition: i32) -> Self {
        let store = Self::default();
        store.0.lock().unwrap().fails.push(partition);
        store
    }

    fn at(partition: i32, offset: i64, anchor: u64) -> Self {
        let store = Self::default();
        store.0.lock().unwrap().positions.insert(partition, LedgerPosition { offset, anchor });
        store
    }

    fn works(&self) {
        self.0.lock().unwrap().fails.clear();
    }

    fn keys(&self, partition: i32) -> Vec<String> {
        let stored = self.0.lock().unwrap();
        stored.entries.iter().filter(|(found, ..)| *found == partition).map(|(_, key, _)| key.clone()).collect()
    }

    fn lost(&self) -> Vec<i32> {
        self.0.lock().unwrap().lost.clone()
    }

    fn offset(&self, partition: i32) -> Option<i64> {
        self.0.lock().unwrap().positions.get(&partition).map(|position| position.offset)
    }
}

impl ApplyEntries for Store {
    fn position(&self, partition: i32) -> Option<LedgerPosition> {
        self.0.lock().unwrap().positions.get(&partition).copied()
    }

    fn lost(&mut self, partition: i32) -> Result<(), String> {
        self.0.lock().unwrap().lost.push(partition);
        Ok(())
    }

    fn apply(&mut self, partition: i32, entries: &Entries, position: LedgerPosition) -> Result<(), String> {
        let mut stored = self.0.lock().unwrap();
        if stored.fails.contains(&partition) {
            return Err("no space left on device".into());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        stored.entries.extend(entries.iter().map(|(key, value)| (partition, text(key), text(value))));
        stored.positions.insert(partition, position);
        Ok(())
    }
}

fn start_following(settings: &KafkaSettings, store: &Store) -> (ConsumerHandle, Inbox) {
    start_with(Consumer::new(settings).unwrap().following(&ledger_settings(), Box::new(store.clone())).unwrap())
}

/// Writes records to the ledger topic as another replica would: the number as the key and as a part of the value.
fn append_to(broker: &Broker, partition: i32, numbers: std::ops::Range<usize>) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", broker.cluster.bootstrap_servers()).create().unwrap();
    for number in numbers {
        let (key, value) = (number.to_string(), format!("value {number}"));
        let record = BaseRecord::to(LEDGER).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn keys(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[track_caller]
fn until_keys(store: &Store, partition: i32, numbers: std::ops::Range<usize>) {
    until("the records of the ledger topic", || {
        let found = store.keys(partition);
        if found == keys(numbers.clone()) { Ok(()) } else { Err(format!("{} found", found.len())) }
    });
}

fn waits(consumer: &ConsumerHandle, partition: i32) -> Option<LedgerProgress> {
    consumer.status().assigned.into_iter().find(|found| found.partition == partition)?.ledger
}

#[track_caller]
fn until_waits_for(consumer: &ConsumerHandle, partition: i32, problem: &str) {
    until(problem, || {
        let found = waits(consumer, partition).and_then(|progress| progress.problem);
        if found.as_ref().is_some_and(|found| found.contains(problem)) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

fn received_from(inbox: &Inbox, partition: i32) -> usize {
    inbox.lock().unwrap().iter().filter(|got| got.origin.partition == partition).count()
}

#[track_caller]
fn until_received_from(inbox: &Inbox, partition: i32, count: usize) {
    until("records of a partition", || {
        let found = received_from(inbox, partition);
        if found == count { Ok(()) } else { Err(format!("{found} of {count} of partition {partition}")) }
    });
}

#[test]
fn a_partition_is_read_after_its_part_of_the_ledger_topic_was_applied_and_others_do_not_wait() {
    let broker = broker(2);
    append_to(&broker, 1, 0..50_000);
    broker.publish(0, numbered(0..10));
    broker.publish(1, numbered(10..20));
    let store = Store::failing(1);
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    until_received_from(&inbox, 0, 10);
    until_waits_for(&consumer, 1, "no space left on device");
    assert_eq!(waits(&consumer, 1).unwrap().total, Some(50_000));
    assert_eq!(received_from(&inbox, 1), 0);
    store.works();
    until_received_from(&inbox, 1, 10);
    assert_eq!(store.keys(1), keys(0..50_000), "in order, before the first record of the partition");
    assert_eq!(waits(&consumer, 1), None);
    assert_eq!(store.offset(1), Some(50_000));

    append_to(&broker, 1, 50_000..50_001);
    until_keys(&store, 1, 0..50_001);
    append_to(&broker, 0, 0..3);
    until_keys(&store, 0, 0..3);
    until("the positions", || {
        let found = consumer.view().ledger_positions();
        if found == [(0, store.offset(0).unwrap()), (1, 50_001)] { Ok(()) } else { Err(format!("{found:?}")) }
    });
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_store_that_has_read_the_topic_reads_only_what_is_new() {
    let broker = broker(1);
    append_to(&broker, 0, 0..100);
    broker.publish(0, numbered(0..10));
    let store = Store::default();
    for round in 1..4 {
        let (consumer, inbox) = start_following(&broker.settings(), &store);
        received(&inbox, 10);
        assert_eq!(store.keys(0), keys(0..round * 100), "each once");
        consumer.close(PATIENCE).unwrap();
        // A stop waits for the reader for a second only, and one that reads on would apply what is appended now too.
        until("the end of the reader", || {
            let held = Arc::strong_count(&store.0) - 1;
            if held == 0 { Ok(()) } else { Err(format!("the store is held {held} times")) }
        });
        append_to(&broker, 0, round * 100..(round + 1) * 100);
    }
    assert_eq!(store.lost(), [0_i32; 0]);
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning() {
    // The position is beyond the end, or another record lies before it.
    for store in [Store::at(0, 1_000, 7), Store::at(0, 5, 7)] {
        let broker = broker(1);
        append_to(&broker, 0, 0..10);
        broker.publish(0, numbered(0..1));
        let (consumer, inbox) = start_following(&broker.settings(), &store);
        received(&inbox, 1);
        assert_eq!(store.keys(0), keys(0..10));
        assert_eq!(store.lost(), [0]);
        consumer.close(PATIENCE).unwrap();
    }
}

#[test]
fn a_topic_that_lost_records_is_read_from_what_is_left() {
    let broker = broker(1);
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", broker.cluster.bootstrap_servers()).create().unwrap();
    // The broker of the tests keeps 5 MiB.
    for number in 0..12 {
        let (key, value) = (number.to_string(), "x".repeat(900_000));
        producer
            .send(BaseRecord::to(LEDGER).partition(0).key(&key).payload(&value))
            .map_err(|(error, _)| error)
            .unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    broker.publish(0, numbered(0..1));
    let store = Store::at(0, 1, 7);
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    received(&inbox, 1);
    let found = store.keys(0);
    assert!(!found.is_empty() && found.len() < 8 && found.last().unwrap() == "11", "{found:?}");
    assert_eq!(store.lost(), [0]);
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn while_no_leader_tells_the_end_the_partition_waits_with_the_reason() {
    let broker = broker(1);
    append_to(&broker, 0, 0..10);
    broker.publish(0, numbered(0..1));
    let store = Store::default();
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    broker.cluster.request_errors(RDKafkaApiKey::ListOffsets, &[unknown; 3_000]);
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    until_waits_for(&consumer, 0, "the end of the ledger topic is not known");
    assert_eq!(received_from(&inbox, 0), 0);
    broker.cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    received(&inbox, 1);
    assert_eq!(store.keys(0), keys(0..10));
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_broker_that_is_away_while_the_topic_is_followed_is_waited_for() {
    let broker = broker(1);
    broker.publish(0, numbered(0..1));
    let store = Store::default();
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    received(&inbox, 1);
    broker.cluster.broker_down(-1).unwrap();
    until("the outage", || if consumer.status().reachable { Err("reachable") } else { Ok(()) }.map_err(String::from));
    broker.cluster.broker_up(-1).unwrap();
    append_to(&broker, 0, 0..10);
    until_keys(&store, 0, 0..10);
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_partition_without_a_ledger_partition_waits_and_no_other_does() {
    let broker = Broker::new(2);
    broker.cluster.create_topic(LEDGER, 1, 1).unwrap();
    broker.publish(0, numbered(0..10));
    broker.publish(1, numbered(10..20));
    let store = Store::default();
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    until_received_from(&inbox, 0, 10);
    until_waits_for(&consumer, 1, "lacks this partition");
    assert_eq!(received_from(&inbox, 1), 0);
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_budget_that_becomes_free_does_not_resume_a_partition_that_waits() {
    let broker = broker(2);
    append_to(&broker, 1, 0..10);
    broker.publish(0, numbered(0..400));
    broker.publish(1, numbered(400..410));
    let mut settings = broker.settings();
    settings.budget.max_events = 50;
    let store = Store::failing(1);
    let (consumer, inbox) = start_following(&settings, &store);
    until("the pause", || {
        let status = consumer.status();
        if status.paused && status.in_flight_events == 50 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let mut completed = 0;
    until("the other partition", || {
        let there = inbox.lock().unwrap().len();
        complete(&inbox, completed..there);
        completed = there;
        // Not what has been received by now: as much as the whole budget may have come since the look, and nothing
        // would complete it.
        if there == 400 { Ok(()) } else { Err(format!("{there} received")) }
    });
    assert_eq!(received_from(&inbox, 1), 0);
    assert!(waits(&consumer, 1).is_some());
    store.works();
    until_received_from(&inbox, 1, 10);
    consumer.close(PATIENCE).unwrap();
}

#[test]
fn a_partition_that_is_assigned_again_waits_for_what_was_appended_meanwhile() {
    let broker = broker(2);
    broker.publish(0, numbered(0..1));
    broker.publish(1, numbered(1..2));
    let (store, other_store) = (Store::default(), Store::default());
    let (consumer, inbox) = start_following(&broker.settings(), &store);
    received(&inbox, 2);
    let (other, _other_inbox) = start_following(&broker.settings(), &other_store);
    until("a partition for each", || {
        let (left, taken) = (consumer.status().assigned, other.status().assigned);
        if left.len() == 1 && taken.len() == 1 { Ok(()) } else { Err(format!("{left:?} {taken:?}")) }
    });
    let taken = other.status().assigned[0].partition;
    until("the first to follow one partition only", || {
        let found = consumer.view().ledger_positions();
        if found.len() == 1 && found[0].0 != taken { Ok(()) } else { Err(format!("{found:?}")) }
    });
    append_to(&broker, taken, 0..1_000);
    until_keys(&other_store, taken, 0..1_000);
    assert!(store.keys(taken).is_empty(), "not followed");
    store.0.lock().unwrap().fails.push(taken);
    other.close(PATIENCE).unwrap();
    until_waits_for(&consumer, taken, "no space left on device");
    let before = received_from(&inbox, taken);
    broker.publish(taken, numbered(2..3));
    store.works();
    until_received_from(&inbox, taken, before + 2);
    assert_eq!(store.keys(taken), keys(0..1_000));
    consumer.close(PATIENCE).unwrap();
}
