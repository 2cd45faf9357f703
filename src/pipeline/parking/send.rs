//! Sends the ends of parked deliveries that the ledger topic may not have.
//!
//! Invariant: of a parked partition nothing is committed before the ledger topic has every end that this folder had when the
//! process began to own it, or that was still on its way when the process gave it up.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tracing::info;

use super::{
    super::{
        clock::now_ms,
        context::PipelineContext,
        wait::{begin_attempt, pause, stopped},
    },
    SourcePartition,
    scan::{Scanned, unsent_from},
    unsent::Unsent,
};
use crate::{dedup::LedgerError, kafka::Acks};

/// The records of a partition that are appended at once.
const CHUNK: usize = 64;
const LOOK: Duration = Duration::from_millis(10);

/// Nothing is committed of the parked partition before everything was sent: never, if that is not done.
#[must_use = "what it holds the commit for is to be sent"]
pub(in crate::pipeline) struct CommitHold(Arc<SourcePartition>);

impl CommitHold {
    /// Before anything of the partition may be committed. `None` when there is nothing to send.
    pub(in crate::pipeline) fn on(
        context: &PipelineContext,
        partition: &Arc<SourcePartition>,
        scanned: &Scanned,
    ) -> Option<Self> {
        if !scanned.unsent.ids.is_empty() {
            return Some(Self::of(partition));
        }
        // A broker may not know the topic yet.
        if scanned.exists {
            context.parking.sent.add(&partition.topic, partition.number);
        }
        None
    }

    fn of(partition: &Arc<SourcePartition>) -> Self {
        partition.held.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(partition))
    }

    fn release(self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// Sends them, and lets the commit go when the broker has them. It goes on holding it when the partition is given up, and
    /// when the pipeline shuts down.
    pub(in crate::pipeline) async fn send(
        self,
        context: &PipelineContext,
        mut unsent: Unsent,
    ) -> Result<(), LedgerError> {
        let partition = &self.0;
        let mut records = 0;
        loop {
            let Some(more) = append(context, partition, unsent.ids).await? else { return Ok(()) };
            records += more;
            let Some(rest) = unsent.rest else { break };
            let Some(next) = unsent_from(context, partition, rest).await? else { return Ok(()) };
            unsent = next;
        }
        if records > 0 {
            info!(
                topic = %partition.topic, partition = partition.number, records,
                "ends of parked deliveries were written to the ledger topic again, in case it did not have them"
            );
        }
        context.parking.sent.add(&partition.topic, partition.number);
        self.release();
        Ok(())
    }
}

/// Appends what the ledger has of these events, and resolves when the broker has it, with the number of records; with `None`
/// when the partition is given up before, or the pipeline shuts down.
async fn append(
    context: &PipelineContext,
    partition: &SourcePartition,
    ids: BTreeSet<String>,
) -> Result<Option<usize>, LedgerError> {
    let Some(replication) = &context.replication else { return Ok(None) };
    let stop = || stopped(&context.shutdown, &partition.ownership);
    let ids: Vec<String> = ids.into_iter().collect();
    let mut written = 0;
    for chunk in ids.chunks(CHUNK) {
        tokio::select! {
            biased;
            () = stop() => return Ok(None),
            () = replication.room() => {}
        }
        // The next owner has the partition when the broker has these.
        let Some(guard) = begin_attempt(&context.shutdown, &partition.ownership).await else { return Ok(None) };
        let (acks, mut records) = (Acks::new(), Vec::with_capacity(chunk.len()));
        for id in chunk {
            let mut record = match context.ledger.get(id) {
                Ok(Some(record)) => record,
                Ok(None) | Err(LedgerError::CorruptRecord { .. }) => continue,
                Err(error) => return Err(error),
            };
            record.record_written(context.ledger.written_now(now_ms()));
            replication.append(partition.number, id, &record, &acks);
            records.push((id, record));
        }
        acks.keep(guard);
        while !acks.is_complete() {
            if !pause(stop(), LOOK).await {
                return Ok(None);
            }
        }
        for (id, record) in &records {
            context.ledger.merge(id, record)?;
        }
        written += records.len();
    }
    Ok(Some(written))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Origin,
        kafka::{KafkaSettings, ParkedTopics, testing::owned},
        pipeline::parking::{Found, Parking},
    };

    #[test]
    fn nothing_is_committed_of_a_partition_while_ends_are_written() {
        let topics = ParkedTopics::connect(&KafkaSettings::default()).unwrap();
        let parking = Parking::new(topics, ["audit".into()], None, (1_000, 400));
        let (ownership, origin) = (owned(), Origin { topic: "events".into(), partition: 0, offset: 0 });
        let partition = parking.partition(&origin, &ownership).0;
        let found = Found { first: 3, last: 3, count: 1, oldest_ms: 1 };
        partition.scanned([("audit".into(), found)], (4, true), false);
        let commits = || parking.commits().into_values().collect::<Vec<_>>();
        assert_eq!(commits(), [3]);
        let (first, second) = (CommitHold::of(&partition), CommitHold::of(&partition));
        assert_eq!(commits(), [0_i64; 0]);
        first.release();
        assert_eq!(commits(), [0_i64; 0]);
        second.release();
        assert_eq!(commits(), [3]);
        drop(CommitHold::of(&partition));
        assert_eq!(commits(), [0_i64; 0], "it was not sent");
    }
}
