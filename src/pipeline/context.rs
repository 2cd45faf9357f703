//! What every task of the pipeline uses.
//!
//! Owns the clock that ages ledger records, the order in which a change of a record is written, and the one place where an
//! event is completed: its ticket is completed, its outcome is counted and the observer is called.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    calls::HandlerCalls,
    clock::now_ms,
    dead_letter_sink::DeadLetterSink,
    instruments::OutcomeCounters,
    outcome::{CompletedEvent, Observer, Outcome},
    outcome_log::OutcomeLog,
    parking::Parking,
    recent::{Ended, Recent},
    render::Renderer,
    replica::Replication,
    rules::RulesInForce,
    uncommitted::Uncommitted,
    under_way::UnderWay,
};
use crate::{
    dedup::{ExpiryClock, Ledger, LedgerError, Record, ledger_now},
    event::Limits,
    kafka::{Acks, ConsumerView, ReadProgress, Ticket},
};

pub(super) struct PipelineContext {
    pub(super) rules: RulesInForce,
    pub(super) renderer: Renderer,
    pub(super) ledger: Ledger,
    /// `None` when the ledger topic is off.
    pub(super) replication: Option<Replication>,
    pub(super) dead_letters: DeadLetterSink,
    pub(super) parking: Parking,
    /// The largest record that is read as an event.
    pub(super) limits: Limits,
    /// Cancelled when no new work may start.
    pub(super) shutdown: CancellationToken,
    /// Cancelled when what is under way is to end where it stands.
    pub(super) aborted: CancellationToken,
    /// How long an attempt of a handler goes on when its partition was given up.
    pub(super) drain_timeout: Duration,
    pub(super) newest_record_ms: AtomicU64,
    pub(super) uncommitted: Uncommitted,
    pub(super) under_way: UnderWay,
    pub(super) calls: HandlerCalls,
    /// See [`merged`](Self::merged).
    pub(super) fed_writes: AtomicU64,
    pub(super) outcomes: OutcomeCounters,
    pub(super) recent: Recent,
    pub(super) outcome_log: OutcomeLog,
    pub(super) observer: Option<Observer>,
    pub(super) consumer: ConsumerView,
}

impl PipelineContext {
    /// The clocks that age ledger records, with what is assigned now. For the records of assigned partitions it is the
    /// moment through which every assigned partition has been read, and no later than the local clock or the newest
    /// record, so that a clock that jumps ahead expires nothing, of other partitions either. `None` while records wait to be read,
    /// or it is not known what is parked.
    pub(super) fn expiry_clock(&self) -> Option<(ExpiryClock, ReadProgress)> {
        let progress = self.forget_committed();
        if !self.parking.knows(&self.consumer.owned()) {
            return None;
        }
        let newest = self.newest_record_ms.load(Ordering::Relaxed);
        // What was parked since the oldest parked delivery may be read again from there.
        let through = progress.through_ms?.min(self.parking.oldest_ms()?);
        let local_ms = now_ms();
        let newest = (newest > 0).then_some(newest);
        let owned_ms = ledger_now(local_ms.min(through), newest)?;
        Some((ExpiryClock { owned_ms, others_ms: ledger_now(local_ms, newest)?, local_ms }, progress))
    }

    /// Clocks by which nothing expires, to look for what the ledger topic lost.
    pub(super) fn refill_clock(&self) -> (ExpiryClock, ReadProgress) {
        (ExpiryClock { owned_ms: 0, others_ms: 0, local_ms: now_ms() }, self.forget_committed())
    }

    /// Forgets the records that are committed by now: no restart reads them again.
    pub(super) fn forget_committed(&self) -> ReadProgress {
        let progress = self.consumer.read_progress();
        for (topic, partition, offset) in &progress.committed {
            self.uncommitted.committed(topic, *partition, *offset);
        }
        progress
    }

    /// How often the ledger got what the event that is in flight with its id may not know: records of other processes, and what
    /// became of parked deliveries. A parked delivery and another record of its event may be made at once, if ledgers were lost.
    pub(super) fn merged(&self) -> u64 {
        self.replication.as_ref().map_or(0, Replication::merged) + self.fed_writes.load(Ordering::Acquire)
    }

    /// What became of a parked delivery is in the ledger.
    pub(super) fn fed_write(&self) {
        self.fed_writes.fetch_add(1, Ordering::AcqRel);
    }

    /// Writes what a record knows of an event: to the ledger first, then to the ledger topic. Returns what the ledger has then.
    pub(super) fn write(
        &self,
        (partition, event_id): (i32, &str),
        record: &Record,
        acks: &Acks,
    ) -> Result<Record, LedgerError> {
        let Some(replication) = &self.replication else { return self.ledger.merge(event_id, record) };
        let merged = self.ledger.merge_appended(event_id, record, now_ms())?;
        replication.append(partition, event_id, &merged, acks);
        Ok(merged)
    }

    /// Appends what the ledger knows of an event, and returns the acknowledgements to wait for before its offset may be
    /// committed. The ledger may know what the ledger topic has not got: the process ended, or the partition moved away
    /// and came back, while a record was on its way.
    pub(super) fn append_known(&self, partition: i32, event_id: &str, known: Option<&Record>) -> Acks {
        let acks = Acks::new();
        if let (Some(replication), Some(known)) = (&self.replication, known) {
            replication.append(partition, event_id, known, &acks);
        }
        acks
    }

    /// Completes an event: its offset may be committed, when the ledger topic has acknowledged what `acks` registered.
    pub(super) fn complete(
        &self,
        ticket: Option<Ticket>,
        acks: Option<&Acks>,
        ended: &Ended<'_>,
        describe: impl FnOnce(Outcome) -> CompletedEvent,
    ) {
        if let Some(ticket) = ticket {
            match acks {
                Some(acks) => ticket.complete_after(acks),
                None => ticket.complete(),
            }
        }
        self.outcomes.count(ended.outcome);
        self.recent.add(ended);
        if let Some(observer) = &self.observer {
            observer(describe(ended.outcome));
        }
    }
}
