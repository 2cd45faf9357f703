//! The ledger's record of one event.
//!
//! A record is pure data: time and names come in as arguments, and its state is derived from its
//! deliveries, so the two cannot disagree. Invariant: its deliveries are sorted by (rule, agent), and each
//! is there once, in one generation. How two records of an event become one is said in `merge`.

use std::{num::NonZeroU64, sync::Arc};

use super::detail::{FailureRecord, RunRecord, Source};
use crate::event::Generation;

/// The most deliveries that are planned of one event: whenever one of them ends, its record is written, with all of them.
pub(crate) const MAX_DELIVERIES: usize = 1_000;

/// A delivery that the current rules ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PlannedDelivery {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
}

/// The status of one delivery, in the order of knowledge: merging takes the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DeliveryStatus {
    /// No delivery of the event has ended yet: the plan still follows the rules.
    Planned,
    /// The plan is frozen, and this delivery has to end.
    Pending,
    /// It waits in the topic of parked deliveries. Not its end.
    Parked,
    /// It was dead-lettered.
    Dead,
    /// The agent accepted it.
    Delivered,
}

impl DeliveryStatus {
    /// A stable name for pages and reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Planned | Self::Pending => "pending",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
        }
    }

    /// Whether the delivery has ended for good.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Dead | Self::Delivered)
    }
}

/// The state of an event, derived from its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RecordState {
    /// No delivery is finished; the plan still follows the rules.
    Pending,
    /// Some deliveries are finished or parked, others are not; the plan is frozen, by names.
    Partial,
    /// Every delivery is finished or parked, and at least one is parked.
    Parked,
    /// The agents accepted every delivery.
    Done,
    /// Every delivery is finished, and at least one was dead-lettered.
    Dead,
}

impl RecordState {
    /// Whether every delivery is finished.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

/// One event to one agent for one rule, as the ledger records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRecord {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
    /// How often it was sent again and redriven: what follows is about this generation alone.
    pub generation: Generation,
    /// Whether it is finished, and how it ended.
    pub status: DeliveryStatus,
    /// Attempts that count towards `max_attempts`: those with an ambiguous answer.
    pub failed_attempts: u32,
    /// All attempts, whatever the answer.
    pub attempts: u32,
    /// When the first unsuccessful attempt ended, in ms since 1970.
    pub first_attempt_ms: Option<u64>,
    /// When it got its status (parked, dead-lettered or accepted), in ms since 1970.
    pub ended_ms: Option<u64>,
    /// The endpoint that may have it, by its number (`agents::EndpointId`): an answer of it was ambiguous.
    pub sent_to: Option<NonZeroU64>,
    /// The LangGraph run that accepted it.
    pub run: Option<Box<RunRecord>>,
    /// The last attempt that the agent did not accept.
    pub last_failure: Option<Box<FailureRecord>>,
}

impl DeliveryRecord {
    /// A delivery without attempts.
    pub(super) fn planned(rule: Arc<str>, agent: Arc<str>) -> Self {
        Self {
            rule,
            agent,
            generation: Generation::FIRST,
            status: DeliveryStatus::Planned,
            failed_attempts: 0,
            attempts: 0,
            first_attempt_ms: None,
            ended_ms: None,
            sent_to: None,
            run: None,
            last_failure: None,
        }
    }

    /// What tells it from the others of its record, and sorts them.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.rule, &self.agent)
    }

    fn is(&self, rule: &str, agent: &str) -> bool {
        *self.rule == *rule && *self.agent == *agent
    }
}

/// The ledger's record of one event. A record is one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(super) digest: u64,
    pub(super) first_seen_ms: u64,
    pub(super) source: Option<Source>,
    pub(super) written_ms: Option<u64>,
    pub(super) deliveries: Vec<DeliveryRecord>,
}

impl Record {
    /// A record without attempts. `first_seen_ms` is the local clock, in ms since 1970. A delivery
    /// that the plan names twice is one delivery.
    pub(crate) fn new(digest: u64, first_seen_ms: u64, plan: &[PlannedDelivery]) -> Self {
        let mut deliveries: Vec<DeliveryRecord> = plan
            .iter()
            .map(|planned| DeliveryRecord::planned(Arc::clone(&planned.rule), Arc::clone(&planned.agent)))
            .collect();
        deliveries.sort_by(|a, b| a.key().cmp(&b.key()));
        deliveries.dedup_by(|a, b| a.key() == b.key());
        Self { digest, first_seen_ms, source: None, written_ms: None, deliveries }
    }

    /// The same event under another plan. Deliveries with the same names keep their attempts.
    pub(super) fn replanned(&self, plan: &[PlannedDelivery]) -> Self {
        let fresh = Self::new(self.digest, self.first_seen_ms, plan);
        let mut record = Self { source: self.source.clone(), written_ms: self.written_ms, ..fresh };
        for delivery in &mut record.deliveries {
            if let Some(known) = self.find(&delivery.rule, &delivery.agent) {
                delivery.clone_from(known);
            }
        }
        record
    }

    /// The frozen plan alone: without what was only planned, which the rules no longer asked for when
    /// the plan was frozen.
    pub(super) fn frozen(&self) -> Self {
        let mut record = self.clone();
        record.deliveries.retain(|delivery| delivery.status != DeliveryStatus::Planned);
        record
    }

    /// Takes over the ledger's merged record of the same event, except deliveries that are only planned
    /// there: those of another plan are not made here.
    pub(crate) fn adopt(&mut self, mut merged: Self) {
        if merged.digest != self.digest {
            return;
        }
        let own = &self.deliveries;
        merged.deliveries.retain(|delivery| {
            delivery.status != DeliveryStatus::Planned
                || own.binary_search_by(|own| own.key().cmp(&delivery.key())).is_ok()
        });
        *self = merged;
    }

    /// Tells the event from another one with the same id (`event::digest`).
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// When the event was first seen, in ms since 1970.
    pub(crate) fn first_seen_ms(&self) -> u64 {
        self.first_seen_ms
    }

    /// Where the event was read; `None` for one that is in the ledger since format 1.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// When all that the ledger knows of its deliveries was last written to the ledger topic, or is about to be, in ms since
    /// 1970; `None` if no single write had all of it.
    pub(crate) fn written_ms(&self) -> Option<u64> {
        self.written_ms
    }

    /// Every delivery, by rule and agent.
    pub(crate) fn deliveries(&self) -> &[DeliveryRecord] {
        &self.deliveries
    }

    /// The event's state. A record without deliveries is done.
    pub(crate) fn state(&self) -> RecordState {
        let statuses = || self.deliveries.iter().map(|delivery| delivery.status);
        if !self.deliveries.is_empty() && !self.is_frozen() {
            return RecordState::Pending;
        }
        let has = |wanted| statuses().any(|status| status == wanted);
        if has(DeliveryStatus::Pending) {
            RecordState::Partial
        } else if has(DeliveryStatus::Parked) {
            RecordState::Parked
        } else if has(DeliveryStatus::Dead) {
            RecordState::Dead
        } else {
            RecordState::Done
        }
    }

    /// The deliveries that have to be made, as (rule, agent): in the order of the plan, then those of a
    /// frozen plan that it does not name.
    pub(crate) fn remaining(&self, plan: &[PlannedDelivery]) -> Vec<(Arc<str>, Arc<str>)> {
        let open = if self.is_frozen() { DeliveryStatus::Pending } else { DeliveryStatus::Planned };
        let mut remaining: Vec<&DeliveryRecord> =
            self.deliveries.iter().filter(|delivery| delivery.status == open).collect();
        // Stable: what the plan does not name keeps its order, at the end.
        remaining.sort_by_key(|delivery| {
            let at = plan.iter().position(|planned| delivery.is(&planned.rule, &planned.agent));
            at.unwrap_or(plan.len())
        });
        remaining.into_iter().map(|delivery| (Arc::clone(&delivery.rule), Arc::clone(&delivery.agent))).collect()
    }

    /// Whether a delivery is parked.
    pub(crate) fn any_parked(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.status == DeliveryStatus::Parked)
    }

    /// The deliveries that are parked, as (rule, agent).
    pub(crate) fn parked(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let parked = self.deliveries.iter().filter(|delivery| delivery.status == DeliveryStatus::Parked);
        parked.map(|delivery| (Arc::clone(&delivery.rule), Arc::clone(&delivery.agent))).collect()
    }

    /// Whether the event was read from this place.
    pub(crate) fn is_from(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let place = (topic, partition, offset);
        self.source.as_ref().is_some_and(|source| (&*source.topic, source.partition, source.offset) == place)
    }

    /// Whether a delivery was dead-lettered.
    pub(crate) fn any_dead(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.status == DeliveryStatus::Dead)
    }

    /// How many attempts of a delivery were made; 0 for one that the plan does not name.
    pub(crate) fn attempts(&self, rule: &str, agent: &str) -> u32 {
        self.find(rule, agent).map_or(0, |delivery| delivery.attempts)
    }

    /// How many attempts of a delivery count towards `max_attempts`; 0 for one that the plan does not name.
    pub(crate) fn failed_attempts(&self, rule: &str, agent: &str) -> u32 {
        self.find(rule, agent).map_or(0, |delivery| delivery.failed_attempts)
    }

    /// When the first unsuccessful attempt of a delivery ended, in ms since 1970.
    pub(crate) fn first_attempt_ms(&self, rule: &str, agent: &str) -> Option<u64> {
        self.find(rule, agent).and_then(|delivery| delivery.first_attempt_ms)
    }

    /// The endpoint that may have a delivery.
    pub(crate) fn sent_to(&self, rule: &str, agent: &str) -> Option<NonZeroU64> {
        self.find(rule, agent).and_then(|delivery| delivery.sent_to)
    }

    /// Keeps where the event was read. The first known place stands, by topic, partition and offset.
    pub(crate) fn record_source(&mut self, source: Source) {
        if self.source.as_ref().is_none_or(|known| source < *known) {
            self.source = Some(source);
        }
    }

    /// Keeps when all of it was written to the ledger topic, in ms since 1970; true when that is later than before.
    pub(crate) fn record_written(&mut self, now_ms: u64) -> bool {
        let is_later = self.written_ms < Some(now_ms);
        self.written_ms = self.written_ms.max(Some(now_ms));
        is_later
    }

    /// Whether a delivery is still to be made: it has not ended, here or in another process, and it is part of the plan,
    /// which another process may have frozen without it. One that is parked has not ended.
    pub(crate) fn is_open(&self, rule: &str, agent: &str) -> bool {
        self.deliveries.iter().any(|delivery| {
            let is_planned = match delivery.status {
                DeliveryStatus::Planned => !self.is_frozen(),
                status => !status.is_final(),
            };
            is_planned && delivery.is(rule, agent)
        })
    }

    /// Counts an attempt, whatever its result. Like every change below, it ignores a delivery that is
    /// finished or that the plan does not name.
    pub(crate) fn record_attempt(&mut self, rule: &str, agent: &str) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.attempts = delivery.attempts.saturating_add(1);
        }
    }

    /// Counts an attempt that failed at `now_ms` (ms since 1970) towards `max_attempts`.
    pub(crate) fn record_failed_attempt(&mut self, rule: &str, agent: &str, now_ms: u64) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.failed_attempts = delivery.failed_attempts.saturating_add(1);
            delivery.first_attempt_ms.get_or_insert(now_ms);
        }
    }

    /// Keeps the time of an unsuccessful attempt that does not count towards `max_attempts`, if it is
    /// the first.
    pub(crate) fn record_attempt_time(&mut self, rule: &str, agent: &str, now_ms: u64) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.first_attempt_ms.get_or_insert(now_ms);
        }
    }

    /// Keeps which endpoint may have a delivery.
    pub(crate) fn record_sent_to(&mut self, rule: &str, agent: &str, endpoint: NonZeroU64) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.sent_to = delivery.sent_to.max(Some(endpoint));
        }
    }

    /// Keeps what the agent answered to the last attempt that it did not accept.
    pub(crate) fn record_failure(&mut self, rule: &str, agent: &str, failure: FailureRecord) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.last_failure = Some(Box::new(failure));
        }
    }

    /// Keeps the run that accepted a delivery. Written before [`finish`](Self::finish).
    pub(crate) fn record_run(&mut self, rule: &str, agent: &str, run: RunRecord) {
        if let Some(delivery) = self.open_mut(rule, agent) {
            delivery.run = Some(Box::new(run));
        }
    }

    /// Finishes or parks a delivery at `now_ms` (ms since 1970), and with it freezes the plan. The first end
    /// stands: it may have been reported already.
    pub(crate) fn finish(&mut self, rule: &str, agent: &str, status: DeliveryStatus, now_ms: u64) {
        let Some(delivery) = self.open_mut(rule, agent) else { return };
        if delivery.status >= status {
            return;
        }
        delivery.status = status;
        delivery.ended_ms = Some(now_ms);
        for delivery in &mut self.deliveries {
            delivery.status = delivery.status.max(DeliveryStatus::Pending);
        }
    }

    /// Whether a delivery has ended or was parked: the plan no longer follows the rules.
    fn is_frozen(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.status != DeliveryStatus::Planned)
    }

    pub(super) fn find(&self, rule: &str, agent: &str) -> Option<&DeliveryRecord> {
        self.deliveries.iter().find(|delivery| delivery.is(rule, agent))
    }

    fn open_mut(&mut self, rule: &str, agent: &str) -> Option<&mut DeliveryRecord> {
        let mut deliveries = self.deliveries.iter_mut();
        deliveries.find(|delivery| !delivery.status.is_final() && delivery.is(rule, agent))
    }
}
