//! Reads the ledger topic while it is written, and keeps when each record was seen: a consumer gets a record when every
//! in-sync replica has it, which is when its writer may be told so.
//!
//! The topic may be deleted: what has its name next is another log, with offsets of its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    /// How many topics of this name there had been before.
    pub log: usize,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was seen, in milliseconds since the run began.
    pub at: u64,
}

/// For each partition that lost records before they were read, and for all (`None`): when the last of those had been written.
pub type Gaps = BTreeMap<Option<i32>, u64>;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    log: usize,
    /// The next offset of each partition of this log.
    next: BTreeMap<i32, i64>,
    gaps: Gaps,
    /// Nothing is to be read.
    hold: bool,
    /// Nothing is read.
    held: bool,
}

impl State {
    fn note_gap(&mut self, partition: Option<i32>, until: u64) {
        let known = self.gaps.entry(partition).or_default();
        *known = until.max(*known);
    }
}

/// The reader.
pub struct Follower {
    kafka: Kafka,
    topic: String,
    began: Instant,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Reads this topic from now on, as soon as it is there.
    pub fn start(kafka: &Kafka, topic: String, began: Instant) -> Self {
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let (cluster, name) = (kafka.clone(), topic.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(SeqCst) {
                lock(&shared).held = false;
                follow(&cluster, &name, began, &shared, &stopped);
                while lock(&shared).hold && !stopped.load(SeqCst) {
                    lock(&shared).held = true;
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Self { kafka: kafka.clone(), topic, began, state, stop, thread: Some(thread) }
    }

    /// Reads to the topic's end as of now; `false` when there is no such topic.
    #[track_caller]
    fn catch_up(&self) -> bool {
        let ends = self.kafka.watermarks(&self.topic);
        if ends.is_empty() {
            return false;
        }
        poll(2 * PATIENCE, "the ledger topic was read to its end", || {
            let state = lock(&self.state);
            let behind = ends.iter().filter(|(partition, (low, high))| {
                low < high && state.next.get(partition).is_none_or(|next| next < high)
            });
            let behind = behind.count();
            when(behind == 0, format!("{behind} partitions behind"))
        });
        let mut state = lock(&self.state);
        for (partition, (low, _)) in &ends {
            // What was removed unread at the end of a partition has no record behind it that shows so.
            if *low > 0 && state.next.get(partition).is_none_or(|next| next < low) {
                state.note_gap(Some(*partition), since(self.began));
            }
        }
        true
    }

    /// How many topics of this name there had been before the one that it reads.
    pub fn log(&self) -> usize {
        lock(&self.state).log
    }

    /// Reads what there is, lets the topic be deleted, and reads the next one of its name. `delete` is given the number of
    /// the log that it is to delete. What is written in between is in no log that is read.
    #[track_caller]
    pub fn over_deletion(&self, delete: impl FnOnce(usize)) {
        if !self.catch_up() {
            return;
        }
        lock(&self.state).hold = true;
        poll(2 * PATIENCE, "nothing is read of the ledger topic", || when(lock(&self.state).held, ()));
        delete(lock(&self.state).log);
        let mut state = lock(&self.state);
        state.note_gap(None, since(self.began));
        state.log += 1;
        state.next.clear();
        state.hold = false;
    }

    /// Everything that it read up to the topic's end as of now, and what it missed; `None` when there is no such topic.
    #[track_caller]
    pub fn read_to_the_end(&self) -> Option<(Vec<Seen>, Gaps)> {
        if !self.catch_up() {
            return None;
        }
        Some((self.seen(), lock(&self.state).gaps.clone()))
    }

    /// Everything that it read so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
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

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until it is to hold or to stop.
fn follow(kafka: &Kafka, topic: &str, began: Instant, state: &Mutex<State>, stop: &AtomicBool) {
    // One for each log: nothing that a consumer was sent of a former one can come later.
    let consumer: BaseConsumer = kafka
        .client()
        .set("group.id", unique("follower"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .create()
        .expect("a consumer can be made");
    let mut looked: Option<Instant> = None;
    let mut assigned = 0;
    while !stop.load(SeqCst) && !lock(state).hold {
        if looked.is_none_or(|looked| looked.elapsed() > LOOK) {
            looked = Some(Instant::now());
            // All topics: to ask for one would create it where brokers allow that.
            let Ok(metadata) = consumer.fetch_metadata(None, CALL) else { continue };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let partitions = found.map_or(0, |found| found.partitions().len());
            if partitions > assigned {
                assigned = partitions;
                assign(&consumer, topic, partitions, &lock(state).next);
            }
        }
        if assigned == 0 {
            thread::sleep(Duration::from_millis(100));
            continue;
        }
        // An error is a broker that is away: the client goes on by itself.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let at = since(began);
            let mut state = lock(state);
            let expected = state.next.insert(message.partition(), message.offset() + 1).unwrap_or_default();
            if message.offset() > expected {
                state.note_gap(Some(message.partition()), at);
            }
            let log = state.log;
            state.seen.push(Seen {
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
                log,
                partition: message.partition(),
                offset: message.offset(),
                at,
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
