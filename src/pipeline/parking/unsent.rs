//! The ends of parked deliveries that the ledger topic may not have.
//!
//! A process that is killed after it wrote an end to its ledger, and before the ledger topic had it, passes the delivery's parked
//! record over after its restart. Another process, without this folder, would make the delivery again. So a scan takes note of
//! them, and `send` appends them once more.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use super::{super::context::PipelineContext, SourcePartition};
use crate::{
    dedup::{Ledger, LedgerError},
    kafka::ParkedHead,
};

/// The most memory of ids that are noted at once.
pub(in crate::pipeline) const MAX_BYTES: usize = 1 << 20;
/// What an id takes beside its text.
const ID: usize = 64;

/// Events with a parked delivery whose end may be known to this folder alone.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Unsent {
    pub(super) ids: BTreeSet<String>,
    bytes: usize,
    /// The offset of the first that did not fit.
    pub(super) rest: Option<i64>,
}

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
}

impl SourcePartition {
    /// Whether a scan is to take note of them: the first one of this process, if the folder was there before, and any while the
    /// broker has not acknowledged everything of the partition.
    pub(super) fn may_have_unsent(&self, context: &PipelineContext) -> bool {
        let Some(replication) = &context.replication else { return false };
        let is_first = !context.parking.sent.has(&self.topic, self.number) && context.ledger.is_recovered();
        is_first || replication.unacknowledged(self.number) > 0
    }

    /// Whether nothing may be committed of the parked partition yet.
    pub(super) fn is_commit_held(&self) -> bool {
        self.held.load(Ordering::Acquire) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dedup::{DeliveryStatus, LedgerOptions, PlannedDelivery, Record},
        event::Generation,
    };

    fn open(folder: &std::path::Path) -> Ledger {
        Ledger::open(folder, &LedgerOptions::sample()).unwrap().0
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
        assert_eq!(full.rest, Some(7), "where the next scan begins to take note");
    }
}
