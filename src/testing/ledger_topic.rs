//! The two ends of the ledger topic, without the rest of a bridge.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::kafka::{
    Acks, ApplyEntries, Consumer, ConsumerHandle, Entries, Incoming, KafkaSettings, LedgerAppender, LedgerPosition,
    LedgerTopicSettings,
};

/// The records of the source topic that were received: partition and offset.
type Received = Arc<Mutex<BTreeSet<(i32, i64)>>>;

/// How long a close may take.
const CLOSE: Duration = Duration::from_secs(30);

/// A replica that reads its source topic after the ledger topic. A record with a key has an outcome at once, which is
/// appended to the ledger topic; one without a key has none.
#[derive(Debug)]
pub struct LedgerReplica {
    appender: LedgerAppender,
    consumer: ConsumerHandle,
    read: Arc<ReadRecords>,
    received: Received,
}

/// What a replica has read of the ledger topic: its store, which outlives it.
#[derive(Debug, Default)]
pub struct ReadRecords {
    records: AtomicU64,
    bytes: AtomicU64,
    positions: Mutex<BTreeMap<i32, (i64, u64)>>,
}

impl ReadRecords {
    /// How many records were applied, repeated ones included.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }

    /// The bytes of their keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    fn positions(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, (i64, u64)>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Count(Arc<ReadRecords>);

impl ApplyEntries for Count {
    fn position(&self, partition: i32) -> Option<LedgerPosition> {
        self.0.positions().get(&partition).map(|&(offset, anchor)| LedgerPosition { offset, anchor })
    }

    fn lost(&mut self, _partition: i32) -> Result<(), String> {
        Ok(())
    }

    fn apply(&mut self, partition: i32, entries: &Entries, position: LedgerPosition) -> Result<(), String> {
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.0.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.0.records.fetch_add(entries.len() as u64, Ordering::AcqRel);
        self.0.positions().insert(partition, (position.offset, position.anchor));
        Ok(())
    }
}

impl LedgerReplica {
    /// Starts it; `read` is its store, and `session` how long its group does without a sign of it.
    ///
    /// # Errors
    /// The settings are refused.
    pub fn start(
        bootstrap_servers: &str,
        group: &str,
        topic: &str,
        ledger_topic: &str,
        window: Duration,
        read: &Arc<ReadRecords>,
        session: Duration,
    ) -> Result<Self, String> {
        let mut settings = KafkaSettings {
            bootstrap_servers: bootstrap_servers.into(),
            topics: vec![topic.into()],
            group_id: group.into(),
            ..KafkaSettings::default()
        };
        settings.properties.insert("session.timeout.ms".into(), session.as_millis().to_string());
        let ledger = LedgerTopicSettings { topic: ledger_topic.into(), window };
        let received = Received::default();
        let seen = Arc::clone(&received);
        let started = || {
            let appender = LedgerAppender::connect(&settings, &ledger)?;
            let outcomes = appender.clone();
            let receive = move |record: Incoming<'_>| {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert((record.origin.partition, record.origin.offset));
                let acks = Acks::new();
                if let Some(key) = record.key {
                    let key = String::from_utf8_lossy(key);
                    outcomes.append(record.origin.partition, &key, b"outcome", &acks);
                }
                record.ticket.complete_after(&acks);
            };
            let consumer = Consumer::new(&settings)?.following(&ledger, Box::new(Count(Arc::clone(read))))?;
            Ok((appender, consumer.start(Box::new(receive), Box::new(|_| Ok(())))?))
        };
        let (appender, consumer) = started().map_err(|error: crate::kafka::KafkaError| error.to_string())?;
        Ok(Self { appender, consumer, read: Arc::clone(read), received })
    }

    /// Appends one record to the ledger topic, when there is room.
    pub async fn append(&self, partition: i32, key: &str, value: &[u8]) {
        self.appender.room().await;
        self.appender.append(partition, key, value, &Acks::new());
    }

    /// Waits until what was appended is acknowledged.
    ///
    /// # Errors
    /// How many records of the partition, and of all, are not acknowledged at the deadline, and why.
    pub fn flush(&self, partition: i32, deadline: Instant) -> Result<(), String> {
        self.appender.flush(None, deadline).map_err(|all| {
            let of_partition = self.appender.unacknowledged(partition);
            let status = self.appender.status();
            let waiting = status.waiting_since.map(|since| since.elapsed());
            format!("{of_partition}, of {all} in all, since {waiting:?}: {:?}", status.error)
        })
    }

    /// How many records of the source topic it has received. One that comes again, after a lost membership, counts once.
    pub fn received(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Its store.
    pub fn read(&self) -> &ReadRecords {
        &self.read
    }

    /// The source partitions that wait for the ledger topic, each with how far it is and what it waits for.
    pub fn waiting(&self) -> Vec<(i32, String)> {
        let assigned = self.consumer.view().status().assigned.into_iter();
        assigned.filter_map(|partition| Some((partition.partition, format!("{:?}", partition.ledger?)))).collect()
    }

    /// How many source partitions are assigned to it.
    pub fn assigned(&self) -> usize {
        self.consumer.view().status().assigned.len()
    }

    /// The next offset of each ledger partition that it follows.
    pub fn following(&self) -> Vec<(i32, i64)> {
        self.consumer.view().ledger_positions()
    }

    /// The error with which it ended by itself.
    pub async fn failed(&self) -> String {
        self.consumer.finished().await.to_string()
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// Why it could not be closed.
    pub fn close(self) -> Result<(), String> {
        self.consumer.close(CLOSE).map_err(|error| error.to_string())
    }
}
