//! Reads the ledger topic while it is written, and keeps when each record was seen: a consumer gets a record when every
//! in-sync replica has it, which is when its writer may be told so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use super::since;
use crate::kit::{Kafka, PATIENCE, poll, unique, when};

/// How often it looks for the topic, and for partitions that were added.
const LOOK: Duration = Duration::from_secs(1);
/// How long it waits for metadata; brokers may be away.
const CALL: Duration = Duration::from_secs(5);

/// A record of the ledger topic.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its key: the event's id.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was seen, in milliseconds since the run began.
    pub at: u64,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// The next offset of each partition.
    next: BTreeMap<i32, i64>,
    /// The partitions that lost records before they were read.
    gaps: BTreeSet<i32>,
}

/// The reader.
pub struct Follower {
    kafka: Kafka,
    topic: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Reads this topic from now on, as soon as it is there.
    pub fn start(kafka: &Kafka, topic: String, began: Instant) -> Self {
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let consumer: BaseConsumer = kafka
            .client()
            .set("group.id", unique("follower"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50")
            .create()
            .expect("a consumer can be made");
        let (shared, stopped, name) = (Arc::clone(&state), Arc::clone(&stop), topic.clone());
        let thread = thread::spawn(move || follow(&consumer, &name, began, &shared, &stopped));
        Self { kafka: kafka.clone(), topic, state, stop, thread: Some(thread) }
    }

    /// Everything that it read up to the topic's end as of now, and the partitions of which it missed something; `None` when
    /// there is no such topic.
    #[track_caller]
    pub fn read_to_the_end(&self) -> Option<(Vec<Seen>, BTreeSet<i32>)> {
        let ends = self.kafka.watermarks(&self.topic);
        if ends.is_empty() {
            return None;
        }
        poll(2 * PATIENCE, "the ledger topic was read to its end", || {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let behind = ends.iter().filter(|(partition, (low, high))| {
                low < high && state.next.get(partition).is_none_or(|next| next < high)
            });
            let behind = behind.count();
            when(behind == 0, format!("{behind} partitions behind"))
        });
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gaps = state.gaps.clone();
        for (partition, (low, _)) in &ends {
            // What was removed unread at the end of a partition has no record behind it that shows so.
            if *low > 0 && state.next.get(partition).is_none_or(|next| next < low) {
                gaps.insert(*partition);
            }
        }
        Some((state.seen.clone(), gaps))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(consumer: &BaseConsumer, topic: &str, began: Instant, state: &Mutex<State>, stop: &AtomicBool) {
    let mut looked: Option<Instant> = None;
    let mut assigned = 0;
    while !stop.load(SeqCst) {
        if looked.is_none_or(|looked| looked.elapsed() > LOOK) {
            looked = Some(Instant::now());
            // All topics: to ask for one would create it where brokers allow that.
            let Ok(metadata) = consumer.fetch_metadata(None, CALL) else { continue };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let partitions = found.map_or(0, |found| found.partitions().len());
            if partitions > assigned {
                assigned = partitions;
                assign(consumer, topic, partitions, &state.lock().unwrap_or_else(PoisonError::into_inner).next);
            }
        }
        if assigned == 0 {
            thread::sleep(Duration::from_millis(100));
            continue;
        }
        // An error is a broker that is away: the client goes on by itself.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let expected = state.next.insert(message.partition(), message.offset() + 1).unwrap_or_default();
            if message.offset() > expected {
                state.gaps.insert(message.partition());
            }
            state.seen.push(Seen {
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
                partition: message.partition(),
                offset: message.offset(),
                at: since(began),
            });
        }
    }
}

fn assign(consumer: &BaseConsumer, topic: &str, partitions: usize, next: &BTreeMap<i32, i64>) {
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).expect("a topic has few partitions") {
        let from = next.get(&partition).map_or(Offset::Beginning, |next| Offset::Offset(*next));
        list.add_partition_offset(topic, partition, from).expect("a plain offset");
    }
    consumer.assign(&list).expect("partitions can be assigned");
}
