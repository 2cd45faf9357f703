//! The ends of parked deliveries that the ledger topic may not have.
//!
//! A process that is killed after it wrote an end to its ledger, and before the ledger topic had it, passes the delivery's parked
//! record over after its restart. Another process, without this folder, would make the delivery again. Invariant: of a parked
//! partition nothing is committed before the ledger topic has every end in it that this folder had when the process began to
//! own it, or that was still on its way when the process gave it up.

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
};
use crate::{
    dedup::{Ledger, LedgerError},
    kafka::{Acks, ParkedHead},
};

/// The most memory of ids that one scan keeps. When there are more, they are appended first, and the partition is scanned again.
const MAX_BYTES: usize = 8 << 20;
/// What an id takes beside its text.
const ID: usize = 64;
/// The records that are appended at once.
const CHUNK: usize = 64;
const LOOK: Duration = Duration::from_millis(10);

/// Events with a parked delivery whose end may be known to this folder alone.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Unsent {
    ids: BTreeSet<String>,
    bytes: usize,
    /// Where those begin that there was no room for.
    rest: Option<i64>,
}

/// Nothing is committed of the parked partition before it is released: never, if that is not done.
#[must_use = "it is released when the ledger topic has everything"]
pub(in crate::pipeline) struct CommitHold(Arc<SourcePartition>);

impl Unsent {
    /// Takes note of a delivery that needs nothing more, if the ledger has its end.
    pub(super) fn note(&mut self, ledger: &Ledger, offset: i64, head: &ParkedHead<&str>) -> Result<(), LedgerError> {
        if self.rest.is_some() || self.ids.contains(head.event_id) {
            return Ok(());
        }
        let known = match ledger.get(head.event_id) {
            Err(LedgerError::CorruptRecord { .. }) => return Ok(()),
            known => known?,
        };
        if known.is_some_and(|known| known.has_ended_in(head.rule, head.agent, head.generation)) {
            if self.bytes >= MAX_BYTES {
                self.rest = Some(offset);
                return Ok(());
            }
            self.bytes += ID + head.event_id.len();
            self.ids.insert(head.event_id.to_owned());
        }
        Ok(())
    }

    /// Where those begin that there was no room for.
    pub(super) fn rest(&self) -> Option<i64> {
        self.rest
    }
}

impl SourcePartition {
    /// The offset from which on ends may be unsent; `None` when all were sent.
    pub(super) fn unsent_from(&self, context: &PipelineContext) -> Option<i64> {
        let replication = context.replication.as_ref()?;
        let is_sent = context.parking.sent.has(&self.topic, self.number);
        let is_first = !is_sent && context.ledger.is_recovered();
        (is_first || replication.unacknowledged(self.number) > 0).then_some(0)
    }

    fn hold_commit(self: &Arc<Self>) -> CommitHold {
        self.unsent.fetch_add(1, Ordering::AcqRel);
        CommitHold(Arc::clone(self))
    }

    pub(super) fn is_commit_held(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }
}

impl CommitHold {
    /// Before anything of the partition may be committed. `None` when there is nothing to send.
    pub(in crate::pipeline) fn on(
        context: &PipelineContext,
        partition: &Arc<SourcePartition>,
        unsent: &Unsent,
    ) -> Option<Self> {
        if unsent.ids.is_empty() {
            context.parking.sent.add(&partition.topic, partition.number);
            return None;
        }
        Some(partition.hold_commit())
    }

    /// Sends them, and lets the commit go when the broker has them.
    pub(in crate::pipeline) async fn send(self, context: &PipelineContext, unsent: Unsent) -> Result<(), LedgerError> {
        if append(context, &self.0, unsent).await? {
            context.parking.sent.add(&self.0.topic, self.0.number);
            self.0.unsent.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Appends what the ledger has of these events, and resolves when the broker has it; false when the partition was given up
/// before, or the pipeline shuts down.
pub(super) async fn append(
    context: &PipelineContext,
    partition: &SourcePartition,
    unsent: Unsent,
) -> Result<bool, LedgerError> {
    let Some(replication) = &context.replication else { return Ok(false) };
    let stop = || stopped(&context.shutdown, &partition.ownership);
    let turn = async {
        let turn = context.parking.sent.turn().await;
        replication.room().await;
        turn
    };
    let _turn = tokio::select! {
        biased;
        () = stop() => return Ok(false),
        turn = turn => turn,
    };
    let ids: Vec<String> = unsent.ids.into_iter().collect();
    let mut written = 0;
    for chunk in ids.chunks(CHUNK) {
        tokio::select! {
            biased;
            () = stop() => return Ok(false),
            () = replication.room() => {}
        }
        // The next owner has the partition when the broker has these.
        let Some(guard) = begin_attempt(&context.shutdown, &partition.ownership).await else { return Ok(false) };
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
                return Ok(false);
            }
        }
        for (id, record) in &records {
            context.ledger.merge(id, record)?;
        }
        written += records.len();
    }
    info!(
        topic = %partition.topic, partition = partition.number, records = written,
        "ends of parked deliveries were written to the ledger topic once more: it may not have had those of an earlier run"
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dedup::{DeliveryStatus, LedgerOptions, PlannedDelivery, Record},
        event::{Generation, Origin},
        kafka::{KafkaSettings, ParkedTopics, testing::owned},
        pipeline::parking::{Found, Parking},
    };

    fn open(folder: &std::path::Path) -> Ledger {
        let options = LedgerOptions {
            group: "test".into(),
            window: Duration::from_secs(3600),
            cache_bytes: 1 << 20,
            flush_delay: Duration::from_millis(3),
            replace_damaged: false,
        };
        Ledger::open(folder, &options).unwrap().0
    }

    fn record(status: DeliveryStatus) -> Record {
        let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
        let mut record = Record::new(1, 1_000, &plan);
        record.finish("all", "audit", status, 2_000);
        record
    }

    fn head(event_id: &str) -> ParkedHead<&str> {
        ParkedHead {
            event_id,
            rule: "all",
            agent: "audit",
            generation: Generation::FIRST,
            attempts: 0,
            failed_attempts: 0,
            first_attempt_ms: None,
            parked_ms: 1_000,
        }
    }

    #[test]
    fn ends_are_noted_up_to_a_bound_and_the_next_scan_goes_on_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path());
        for (id, status) in
            [("a", DeliveryStatus::Delivered), ("b", DeliveryStatus::Dead), ("c", DeliveryStatus::Parked)]
        {
            ledger.merge(id, &record(status)).unwrap();
        }
        ledger.spoil("unreadable");
        let mut unsent = Unsent::default();
        for (offset, id) in (5..).zip(["a", "c", "unknown", "unreadable", "a", "b"]) {
            unsent.note(&ledger, offset, &head(id)).unwrap();
        }
        assert_eq!(
            (unsent.ids.into_iter().collect::<Vec<_>>(), unsent.rest),
            (vec!["a".to_owned(), "b".to_owned()], None)
        );

        let mut full = Unsent { bytes: MAX_BYTES, ..Unsent::default() };
        for (offset, id) in (5..).zip(["c", "unknown", "b", "a"]) {
            full.note(&ledger, offset, &head(id)).unwrap();
        }
        assert!(full.ids.is_empty());
        assert_eq!(full.rest(), Some(7), "where the next scan begins to take note");
    }

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
        let (first, second) = (partition.hold_commit(), partition.hold_commit());
        assert_eq!(commits(), [0_i64; 0]);
        first.0.unsent.fetch_sub(1, Ordering::AcqRel);
        assert_eq!(commits(), [0_i64; 0]);
        drop(second);
        assert_eq!(commits(), [0_i64; 0], "it was not released");
        partition.unsent.store(0, Ordering::Release);
        assert_eq!(commits(), [3]);
    }
}
