//! Records that are appended to the ledger topic again, because it lost them or will soon.
//!
//! Owns those that the broker has not acknowledged. Invariant: a record counts as written when the broker has it, so a crash
//! repeats an append and forgets none. A partition that takes nothing keeps up no other.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{clock::now_ms, context::PipelineContext};
use crate::{
    dedup::{LedgerError, Record},
    kafka::Acks,
};

/// The records of a partition that may wait for the broker, so that what deliveries append does not wait behind many.
const MAX_OPEN: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Rewrites {
    open: Vec<Batch>,
    /// Since the last report.
    written: usize,
    /// Some were written since the last call of [`take_progress`](Self::take_progress).
    progress: bool,
}

/// Records of one partition.
#[derive(Default)]
struct Batch {
    partition: i32,
    records: Vec<(String, Record)>,
    acks: Acks,
}

impl Rewrites {
    /// Appends records, as many as there is room for; whether that was all. No offset waits for them.
    pub(super) fn append(&mut self, context: &PipelineContext, records: Vec<(String, Record)>) -> bool {
        let Some(replication) = &context.replication else { return true };
        let now = context.ledger.written_now(now_ms());
        let partitions = context.consumer.ledger_partitions();
        let mut batches: BTreeMap<i32, Batch> = BTreeMap::new();
        let mut is_all = true;
        for (event_id, mut record) in records {
            let Some(partition) = record.source().map(|source| source.partition) else { continue };
            // A source topic had more partitions once. Nobody would read it there.
            if partitions.is_some_and(|count| count > 0 && partition >= count) {
                continue;
            }
            let batch = batches.entry(partition).or_insert_with(|| Batch { partition, ..Batch::default() });
            let is_full = self.open_of(partition) + batch.records.len() >= MAX_OPEN;
            if is_full || partitions == Some(0) || !replication.has_room() {
                is_all = false;
                continue;
            }
            record.record_written(now);
            replication.append(partition, &event_id, &record, &batch.acks);
            batch.records.push((event_id, record));
        }
        self.open.extend(batches.into_values().filter(|batch| !batch.records.is_empty()));
        is_all
    }

    fn open_of(&self, partition: i32) -> usize {
        self.open.iter().filter(|batch| batch.partition == partition).map(|batch| batch.records.len()).sum()
    }

    /// Notes what the broker has acknowledged meanwhile, as much as there is time for.
    pub(super) fn note_written(
        &mut self,
        context: &PipelineContext,
        began: Instant,
        time: Duration,
    ) -> Result<(), LedgerError> {
        while began.elapsed() < time
            && let Some(index) = self.open.iter().position(|batch| batch.acks.is_complete())
        {
            let batch = self.open.swap_remove(index);
            for (event_id, record) in &batch.records {
                context.ledger.merge(event_id, record)?;
            }
            self.written += batch.records.len();
            self.progress = true;
        }
        Ok(())
    }

    /// Whether the broker has all of them.
    pub(super) fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether any were written since the last call.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// How many were written since the last call.
    pub(super) fn take_written(&mut self) -> usize {
        std::mem::take(&mut self.written)
    }
}
