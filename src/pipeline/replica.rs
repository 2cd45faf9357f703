//! The ledger as the other replicas know it.
//!
//! Joins the ledger with the ledger topic, in both directions: [`Replication`] appends what this process writes,
//! [`Applier`] merges what was read of the topic. Invariant: the ledger has a record before the topic gets it, so
//! what this process wrote itself need not be merged again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use metrics::counter;
use tracing::error;

use super::clock::now_ms;
use crate::{
    dedup::{self, Ledger, Record, decode_entry, encode_entry, ledger_owner},
    kafka::{Acks, ApplyEntries, Entries, LedgerAppender, LedgerPosition},
    telemetry,
};

/// Who writes to the ledger topic: the consumer group, and this start of the process.
#[derive(Debug, Clone, Copy)]
struct Identity {
    owner: u64,
    writer: u64,
}

/// Appends the ledger's records to the ledger topic.
pub(crate) struct Replication {
    appender: LedgerAppender,
    identity: Identity,
    merged: Arc<AtomicU64>,
}

/// Merges the records of the ledger topic into the ledger.
pub(crate) struct Applier {
    ledger: Ledger,
    identity: Identity,
    merged: Arc<AtomicU64>,
    foreign_logged: bool,
}

/// Both directions, for one consumer group.
pub(crate) fn replicate(ledger: &Ledger, group: &str, appender: LedgerAppender) -> (Replication, Applier) {
    let identity = Identity { owner: ledger_owner(group), writer: rand::random() };
    let merged = Arc::new(AtomicU64::new(0));
    let applier = Applier { ledger: ledger.clone(), identity, merged: Arc::clone(&merged), foreign_logged: false };
    (Replication { appender, identity, merged }, applier)
}

impl Replication {
    /// Appends what is known of an event. `partition` is the source partition that the event was read from.
    pub(super) fn append(&self, partition: i32, event_id: &str, record: &Record, acks: &Acks) {
        let value = encode_entry(self.identity.owner, self.identity.writer, record);
        self.appender.append(partition, event_id, &value, acks);
    }

    /// Resolves when there is room for what an attempt will have to append.
    pub(super) async fn room(&self) {
        self.appender.room().await;
    }

    /// Whether there is room now.
    pub(super) fn has_room(&self) -> bool {
        self.appender.has_room()
    }

    /// How many records of a partition the broker has not acknowledged.
    pub(super) fn unacknowledged(&self, partition: i32) -> u64 {
        self.appender.unacknowledged(partition)
    }

    /// How often records of other processes were merged into the ledger.
    pub(super) fn merged(&self) -> u64 {
        self.merged.load(Ordering::Acquire)
    }
}

impl Applier {
    /// The records of other processes, by event id. One of a later version is not passed: whoever reads it after an update would
    /// miss it.
    fn decode(&mut self, partition: i32, entries: &Entries) -> Result<Vec<(String, Record)>, String> {
        let (mut foreign, mut unreadable) = (0_u64, 0_u64);
        let mut records = Vec::with_capacity(entries.len());
        for (key, value) in entries.iter() {
            if dedup::entry_writer(value) == Some(self.identity.writer) {
                continue;
            }
            match (std::str::from_utf8(key), decode_entry(value)) {
                (Ok(_), Ok(entry)) if entry.owner != self.identity.owner => foreign += 1,
                (Ok(event_id), Ok(entry)) => records.push((event_id.to_owned(), entry.record)),
                _ => match dedup::later_format(value, self.identity.owner) {
                    Some(format) => {
                        return Err(format!(
                            "it has a record of format {format}, which a later version of the bridge wrote: update this replica too"
                        ));
                    }
                    None => unreadable += 1,
                },
            }
        }
        counter!(telemetry::LEDGER_ENTRIES_IGNORED, "reason" => "foreign").increment(foreign);
        counter!(telemetry::LEDGER_ENTRIES_IGNORED, "reason" => "unreadable").increment(unreadable);
        if foreign + unreadable > 0 && !self.foreign_logged {
            self.foreign_logged = true;
            error!(
                partition,
                foreign,
                unreadable,
                "the ledger topic has records of another consumer group, or that are no ledger records: they are ignored; give each group a \
                 topic of its own (dedup.ledger_topic); logged once"
            );
        }
        Ok(records)
    }
}

impl ApplyEntries for Applier {
    fn position(&self, partition: i32) -> Option<LedgerPosition> {
        let dedup::LedgerPosition { offset, anchor } = self.ledger.position(partition)?;
        Some(LedgerPosition { offset, anchor })
    }

    fn lost(&mut self, partition: i32) -> Result<(), String> {
        self.ledger.note_topic_loss(Some(partition), now_ms()).map_err(|error| error.to_string())
    }

    fn apply(&mut self, partition: i32, entries: &Entries, position: LedgerPosition) -> Result<(), String> {
        let records = self.decode(partition, entries)?;
        let LedgerPosition { offset, anchor } = position;
        let position = dedup::LedgerPosition { offset, anchor };
        let merged = self.ledger.merge_batch(partition, records, position).map_err(|error| error.to_string())?;
        if merged.added + merged.changed > 0 {
            self.merged.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }
}
