//! The ends of parked deliveries that the ledger topic may not have.
//!
//! A process that is killed after it wrote an end to its ledger, and before the ledger topic had it, passes the delivery's parked
//! record over after its restart. Another process, without this folder, would make the delivery again. Invariant: nothing is
//! committed of a parked partition before the ledger topic has every end in it that this folder had when the process began.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tracing::info;

use super::{
    super::{
        context::PipelineContext,
        rewrite::Rewrites,
        wait::{pause, stopped},
    },
    SourcePartition,
};
use crate::{
    dedup::{Ledger, LedgerError},
    kafka::ParkedHead,
};

/// The most memory of ids that one scan keeps. When there are more, they are appended first, and the partition is scanned again.
const MAX_BYTES: usize = 8 << 20;
/// What an id takes beside its text.
const ID: usize = 64;
/// The records that are appended at once.
const CHUNK: usize = 256;
const LOOK: Duration = Duration::from_millis(10);
const FOR_ROOM: Duration = Duration::from_millis(200);

/// The events whose parked deliveries have ended, as only this folder may know.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Unsent {
    ids: BTreeSet<String>,
    bytes: usize,
    /// There are more.
    is_full: bool,
}

/// While it exists, nothing is committed of the parked partition.
pub(in crate::pipeline) struct CommitHold(Arc<SourcePartition>);

impl Unsent {
    /// Takes note of a delivery that needs nothing more, if it ended in a process that had this folder before.
    pub(super) fn note(&mut self, ledger: &Ledger, began_ms: u64, head: &ParkedHead<&str>) -> Result<(), LedgerError> {
        if !ledger.is_recovered() || self.ids.contains(head.event_id) {
            return Ok(());
        }
        let known = match ledger.get(head.event_id) {
            Err(LedgerError::CorruptRecord { .. }) => return Ok(()),
            known => known?,
        };
        let is_before = |written: Option<u64>| written.is_none_or(|written| written < began_ms);
        let is_one = known.is_some_and(|known| {
            known.has_ended_in(head.rule, head.agent, head.generation) && is_before(known.written_ms())
        });
        if is_one && self.bytes >= MAX_BYTES {
            self.is_full = true;
        } else if is_one {
            self.bytes += ID + head.event_id.len();
            self.ids.insert(head.event_id.to_owned());
        }
        Ok(())
    }

    pub(in crate::pipeline) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether there are more than one scan keeps.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

impl SourcePartition {
    pub(in crate::pipeline) fn hold_commit(self: &Arc<Self>) -> CommitHold {
        self.unsent.fetch_add(1, Ordering::AcqRel);
        CommitHold(Arc::clone(self))
    }

    pub(super) fn is_commit_held(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }
}

impl Drop for CommitHold {
    fn drop(&mut self) {
        self.0.unsent.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Appends them to the ledger topic, and resolves when the broker has them, or the partition is given up.
pub(in crate::pipeline) async fn append(
    context: &PipelineContext,
    unsent: Unsent,
    held: CommitHold,
) -> Result<(), LedgerError> {
    let (ids, partition) = (unsent.ids.into_iter().collect::<Vec<_>>(), &held.0);
    for chunk in ids.chunks(CHUNK) {
        let mut records = Vec::with_capacity(chunk.len());
        for id in chunk {
            match context.ledger.get(id) {
                Ok(known) => records.extend(known.map(|known| (id.clone(), known))),
                Err(LedgerError::CorruptRecord { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let wait = |time| pause(stopped(&context.shutdown, &partition.ownership), time);
        loop {
            let mut rewrites = Rewrites::default();
            let is_all = rewrites.append(context, records.clone());
            while !rewrites.is_complete() {
                if !wait(LOOK).await {
                    return Ok(());
                }
                rewrites.note_written(context, Instant::now(), LOOK)?;
            }
            if is_all {
                break;
            }
            if !wait(FOR_ROOM).await {
                return Ok(());
            }
        }
    }
    info!(
        topic = %partition.topic, partition = partition.number, records = ids.len(),
        "ends of parked deliveries of an earlier run were written to the ledger topic once more: it may not have had them"
    );
    Ok(())
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
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            // A thread of the store may hold its lock for a moment.
            match Ledger::open(folder, &options) {
                Err(_) if std::time::Instant::now() < until => {}
                opened => return opened.unwrap().0,
            }
        }
    }

    fn ended(written_ms: u64, status: DeliveryStatus) -> Record {
        let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
        let mut record = Record::new(1, 1_000, &plan);
        record.finish("all", "audit", status, 2_000);
        record.record_written(written_ms);
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
    fn an_end_is_noted_when_a_former_process_of_this_folder_may_not_have_sent_it() {
        const BEGAN: u64 = 5_000;
        let folder = tempfile::tempdir().unwrap();
        let noted = |ledger: &Ledger| {
            let mut unsent = Unsent::default();
            for id in ["before", "since", "parked", "unknown", "before"] {
                unsent.note(ledger, BEGAN, &head(id)).unwrap();
            }
            (unsent.ids.into_iter().collect::<Vec<_>>(), unsent.is_full)
        };
        let ledger = open(folder.path());
        for (id, written_ms, status) in [
            ("before", BEGAN - 1, DeliveryStatus::Delivered),
            ("since", BEGAN, DeliveryStatus::Delivered),
            ("parked", BEGAN - 1, DeliveryStatus::Parked),
        ] {
            ledger.merge(id, &ended(written_ms, status)).unwrap();
        }
        assert_eq!(noted(&ledger), (vec![], false), "the folder is new: its records are from the topic");
        ledger.spoil("unreadable");
        drop(ledger);
        let ledger = open(folder.path());
        assert_eq!(noted(&ledger), (vec!["before".to_owned()], false));

        let mut unsent = Unsent { bytes: MAX_BYTES, ..Unsent::default() };
        for id in ["unreadable", "since"] {
            unsent.note(&ledger, BEGAN, &head(id)).unwrap();
        }
        assert!(!unsent.is_full());
        unsent.note(&ledger, BEGAN, &head("before")).unwrap();
        assert!(unsent.is_full() && unsent.is_empty(), "what it keeps is bounded");
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
        drop(first);
        assert_eq!(commits(), [0_i64; 0]);
        drop(second);
        assert_eq!(commits(), [3]);
    }
}
