//! An event in flight: what was received, and the progress of each of its deliveries.
//!
//! Owns the event's one ledger record while the event is in flight: every change is merged into the ledger, in the
//! order of the changes, and what the ledger knows beyond them comes back with each.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{clock::now_ms, context::PipelineContext, cost, rules::RulesVersion};
use crate::{
    dedup::{DeliveryRecord, DeliveryStatus, FailureRecord, LedgerError, Record, RunRecord, Source},
    event::{BYTE_ORDER_MARK, BadRedrive, Event, Generation, Origin, Poison, RedriveRequest},
    kafka::{Acks, OwnedHeader, Ownership, Ticket},
    sync::Mutex,
};

/// What the intake hands to the dispatcher.
pub(super) enum Message {
    Arrival(Box<Arrival>),
    Poison(Box<Poisoned>),
}

/// A record that is no event, and goes to the dead-letter topic.
pub(super) struct Poisoned {
    pub(super) received: Received,
    pub(super) ticket: Ticket,
    pub(super) poison: Poison,
}

/// A record as it came from Kafka, kept whole until its outcome: a dead letter needs all of it.
pub(super) struct Received {
    pub(super) origin: Origin,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Arc<[OwnedHeader]>,
    /// When the broker appended it (or its producer made it), in ms since 1970.
    pub(super) timestamp_ms: Option<u64>,
}

impl Received {
    /// The headers, name and value.
    pub(super) fn header_list(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The value as an agent gets it: without the byte order mark that some publishers write.
    pub(super) fn text(&self) -> Bytes {
        let value = self.value.clone().unwrap_or_default();
        if value.starts_with(BYTE_ORDER_MARK) { value.slice(BYTE_ORDER_MARK.len()..) } else { value }
    }
}

/// An event that has been received and has no outcome yet.
pub(super) struct Arrival {
    pub(super) event: Arc<Event>,
    pub(super) received: Received,
    pub(super) ticket: Ticket,
    /// The rules that planned it.
    pub(super) version: Arc<RulesVersion>,
    /// The deliveries that these rules ask for: (rule, agent).
    pub(super) plan: Vec<(Arc<str>, Arc<str>)>,
    /// How many these rules ask for, if that is more than [`MAX_DELIVERIES`](crate::dedup::MAX_DELIVERIES): then the plan has none but what a redrive asks for.
    pub(super) excess: Option<NonZeroUsize>,
    /// The redrive that its headers ask for.
    pub(super) redrive: Option<Result<RedriveRequest, BadRedrive>>,
}

/// What this process knows of an event.
struct Known {
    record: Record,
    /// `PipelineContext::merged` from before the record was last compared with the ledger.
    merged: u64,
}

/// A delivery that was redriven or sent again.
struct Redriven {
    rule: Arc<str>,
    agent: Arc<str>,
    generation: Generation,
}

/// An event with deliveries.
pub(super) struct EventState {
    pub(super) event: Arc<Event>,
    pub(super) received: Received,
    /// The rules that planned its deliveries.
    pub(super) version: Arc<RulesVersion>,
    known: Mutex<Known>,
    /// Those of its deliveries that were redriven or sent again. It makes no other generation of them, which is another event in flight.
    generations: Box<[Redriven]>,
    ticket: Mutex<Option<Ticket>>,
    ownership: Arc<Ownership>,
    /// What was written of it to the ledger topic.
    acks: Acks,
    /// Deliveries without an end.
    open: AtomicUsize,
    /// One of them ended without its end in the ledger.
    abandoned: AtomicBool,
    /// See [`charge_late_body`](Self::charge_late_body).
    has_late_body: AtomicBool,
    /// When its delivery was parked, ms since 1970, if it was read back from a parked topic for this one.
    parked_ms: Option<u64>,
}

impl EventState {
    /// `merged` is `PipelineContext::merged` from before the record was read.
    /// `acks` are those of what was appended to the ledger topic already.
    pub(super) fn new(mut arrival: Arrival, mut record: Record, deliveries: usize, merged: u64, acks: Acks) -> Self {
        let Origin { topic, partition, offset } = arrival.received.origin.clone();
        record.record_source(Source { topic, partition, offset });
        // What an earlier process planned may be more than the rules ask for now.
        arrival.ticket.charge(deliveries.saturating_sub(arrival.plan.len()) as u64 * cost::DELIVERY);
        let redriven = record.deliveries().iter().filter(|delivery| delivery.generation != Generation::FIRST);
        let named = |one: &DeliveryRecord| Redriven {
            rule: Arc::clone(&one.rule),
            agent: Arc::clone(&one.agent),
            generation: one.generation,
        };
        Self {
            event: arrival.event,
            received: arrival.received,
            version: arrival.version,
            generations: redriven.map(named).collect(),
            known: Mutex::new(Known { record, merged }),
            ownership: Arc::clone(arrival.ticket.ownership()),
            ticket: Mutex::new(Some(arrival.ticket)),
            acks,
            open: AtomicUsize::new(deliveries),
            abandoned: AtomicBool::new(false),
            has_late_body: AtomicBool::new(false),
            parked_ms: None,
        }
    }

    /// The event of one parked delivery that was read back.
    pub(super) fn fed(
        event: Arc<Event>,
        received: Received,
        record: Record,
        (parked_ms, ticket, version): (u64, Ticket, Arc<RulesVersion>),
    ) -> Self {
        let arrival = Arrival { event, received, ticket, version, plan: Vec::new(), excess: None, redrive: None };
        Self { parked_ms: Some(parked_ms), ..Self::new(arrival, record, 1, 0, Acks::new()) }
    }

    pub(super) fn is_fed(&self) -> bool {
        self.parked_ms.is_some()
    }

    /// When its delivery was parked, ms since 1970.
    pub(super) fn parked_ms(&self) -> Option<u64> {
        self.parked_ms
    }

    /// Reads the ledger record.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.known.lock().record)
    }

    /// Which time a delivery is made.
    pub(super) fn generation(&self, rule: &str, agent: &str) -> Generation {
        let found = self.generations.iter().find(|one| *one.rule == *rule && *one.agent == *agent);
        found.map_or(Generation::FIRST, |one| one.generation)
    }

    /// Changes what is known of a delivery, unless it has a later generation by now.
    fn change(&self, record: &mut Record, (rule, agent): (&str, &str), change: impl FnOnce(&mut Record)) {
        if record.generation(rule, agent) == self.generation(rule, agent) {
            change(record);
        }
    }

    /// What the ledger has of a delivery: the attempts that count towards `max_attempts`, and when the first attempt
    /// that did not end it was recorded, ms since 1970.
    pub(super) fn progress(&self, rule: &str, agent: &str) -> (u32, Option<u64>) {
        self.read(|record| (record.failed_attempts(rule, agent), record.first_attempt_ms(rule, agent)))
    }

    /// The endpoint that may have a delivery, as far as any process knows.
    pub(super) fn sent_to(&self, rule: &str, agent: &str) -> Option<NonZeroU64> {
        self.read(|record| record.sent_to(rule, agent))
    }

    /// The attempts of a delivery that were made.
    pub(super) fn attempts(&self, rule: &str, agent: &str) -> u32 {
        self.read(|record| record.attempts(rule, agent))
    }

    /// Counts an attempt that was made, and returns its number: the first is 1. It is written with the next change,
    /// which follows every attempt.
    pub(super) fn count_attempt(&self, rule: &str, agent: &str) -> u32 {
        let record = &mut self.known.lock().record;
        self.change(record, (rule, agent), |record| record.record_attempt(rule, agent));
        record.attempts(rule, agent)
    }

    /// Keeps what the agent answered to an attempt that it did not accept. Like the attempt, it is written with the
    /// next change.
    pub(super) fn note_failure(&self, rule: &str, agent: &str, class: &str, status: Option<u16>) {
        let failure = FailureRecord::new(now_ms(), class, status);
        let record = &mut self.known.lock().record;
        self.change(record, (rule, agent), |record| record.record_failure(rule, agent, failure));
    }

    /// Keeps the run that accepted a delivery, to be written with its end.
    pub(super) fn note_run(&self, rule: &str, agent: &str, run: RunRecord) {
        let record = &mut self.known.lock().record;
        self.change(record, (rule, agent), |record| record.record_run(rule, agent, run));
    }

    /// Records the time of an attempt that did not end the delivery, with `is_ambiguous` that it counts towards
    /// `max_attempts`, and with `sent_to` the endpoint that may have it.
    pub(super) fn record_unfinished_attempt(
        &self,
        context: &PipelineContext,
        rule: &str,
        agent: &str,
        (is_ambiguous, sent_to): (bool, Option<NonZeroU64>),
    ) -> Result<(), LedgerError> {
        let now = now_ms();
        self.update(context, (rule, agent), |record| {
            if let Some(endpoint) = sent_to {
                record.record_sent_to(rule, agent, endpoint);
            }
            if is_ambiguous {
                record.record_failed_attempt(rule, agent, now);
            } else {
                record.record_attempt_time(rule, agent, now);
            }
        })
    }

    /// Records the end of a delivery.
    pub(super) fn finish(
        &self,
        context: &PipelineContext,
        rule: &str,
        agent: &str,
        status: DeliveryStatus,
    ) -> Result<(), LedgerError> {
        let now = now_ms();
        self.update(context, (rule, agent), |record| record.finish(rule, agent, status, now))
    }

    /// Writes a change.
    fn update(
        &self,
        context: &PipelineContext,
        of: (&str, &str),
        change: impl FnOnce(&mut Record),
    ) -> Result<(), LedgerError> {
        let record = &mut self.known.lock().record;
        self.change(record, of, change);
        let of = (self.received.origin.partition, self.event.id());
        let merged = context.write(of, record, &self.acks)?;
        record.adopt(merged);
        if self.is_fed() {
            context.fed_write();
        }
        Ok(())
    }

    /// Whether a delivery is still to be made, as far as the ledger knows by now: a former owner of the partition may
    /// write late what it delivered.
    pub(super) fn is_open(&self, context: &PipelineContext, rule: &str, agent: &str) -> Result<bool, LedgerError> {
        // Locked throughout, so that no delivery of the event takes the comparison for made before it is.
        let known = &mut *self.known.lock();
        let merged = context.merged();
        // Of an event with a parked delivery there may be another state in this process.
        if self.is_fed() || known.record.any_parked() || known.merged != merged {
            if let Some(stored) = context.ledger.get(self.event.id())? {
                let mut record = known.record.clone();
                record.merge(&stored);
                known.record.adopt(record);
            }
            known.merged = merged;
        }
        Ok(known.record.is_open_in(rule, agent, self.generation(rule, agent)))
    }

    /// Takes up the deliveries that the ledger turned out to have beyond those that were made here: the plan of a former
    /// owner, whose rules were others. Called when all that were made have ended.
    pub(super) fn take_up_rest(&self) -> Vec<(Arc<str>, Arc<str>)> {
        if self.is_fed() {
            // The event's other deliveries are not its own.
            return Vec::new();
        }
        let mut rest = self.read(|record| record.remaining(&[]));
        // A later generation belongs to the record that asked for it.
        rest.retain(|(rule, agent)| self.read(|record| record.generation(rule, agent)) == self.generation(rule, agent));
        if let Some(ticket) = &mut *self.ticket.lock() {
            ticket.charge(rest.len() as u64 * cost::DELIVERY);
        }
        self.open.store(rest.len(), Ordering::Release);
        rest
    }

    /// Charges a body that is built of a document of this size, for rules that came into force since: once, because an event that
    /// is attempted again is charged already.
    pub(super) fn charge_late_body(&self, document: u64) {
        if self.has_late_body.swap(true, Ordering::AcqRel) {
            return;
        }
        let cost = cost::body(document, self.received.value.as_ref().map_or(0, |value| value.len() as u64));
        if let Some(ticket) = &mut *self.ticket.lock() {
            ticket.charge(cost);
        }
    }

    /// The appends to the ledger topic that the event's offset waits for.
    pub(super) fn acks(&self) -> &Acks {
        &self.acks
    }

    /// The assignment that the event was received in.
    pub(super) fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    /// A delivery ended without its end in the ledger, so the event has no outcome here.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Counts the end of one delivery. True for the last.
    pub(super) fn end_delivery(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The ticket, once: the event has its outcome.
    pub(super) fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_gets_the_event_without_a_byte_order_mark() {
        for value in ["{}", "\u{feff}{}"] {
            let received = Received {
                origin: Origin { topic: "events".into(), partition: 0, offset: 0 },
                key: None,
                value: Some(value.into()),
                headers: [].into(),
                timestamp_ms: None,
            };
            assert_eq!(received.text(), "{}");
        }
    }
}
