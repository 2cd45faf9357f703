//! What the ledger knows of one event.
//!
//! A record is pure data: time and names come in as arguments, and its state is derived from its
//! deliveries, so that the two can never disagree.

use std::{collections::HashSet, sync::Arc};

use super::Planned;

/// How far one delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has no end yet.
    Pending,
    /// The agent accepted it.
    Delivered,
    /// It was dead-lettered.
    Dead,
}

impl Status {
    /// A stable word for pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// How far an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No delivery has ended; the plan may still change with the rules.
    Pending,
    /// At least one delivery has ended and another has not; the plan is frozen, by names.
    Partial,
    /// Every delivery ended with the agent's acceptance.
    Done,
    /// Every delivery ended, at least one of them as a dead letter.
    Dead,
}

impl State {
    /// A stable word for labels and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Partial => "partial",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Nothing is left to do.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

/// One event to one agent for one rule, as far as the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
    /// 0 but for a replay on purpose.
    pub generation: u32,
    /// How far it is.
    pub status: Status,
    /// Attempts that count towards `max_attempts`: those with an ambiguous answer.
    pub attempts: u32,
    /// Attempts that were made, whatever the answer was.
    pub tried: u32,
    /// When the first of them failed, in ms since 1970.
    pub first_attempt_ms: Option<u64>,
}

impl Delivery {
    fn is(&self, rule: &str, agent: &str) -> bool {
        *self.rule == *rule && *self.agent == *agent
    }
}

/// What the ledger knows of one event: one record, one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    digest: u64,
    first_seen_ms: u64,
    deliveries: Vec<Delivery>,
}

impl Record {
    /// A record of an event on which nothing was tried. `first_seen_ms` is the local clock, ms since
    /// 1970. A delivery that the plan names twice is one delivery.
    pub fn new(digest: u64, first_seen_ms: u64, plan: &[Planned]) -> Self {
        let mut seen = HashSet::new();
        let deliveries = plan
            .iter()
            .filter(|planned| seen.insert((&planned.rule, &planned.agent)))
            .map(|planned| Delivery {
                rule: Arc::clone(&planned.rule),
                agent: Arc::clone(&planned.agent),
                generation: 0,
                status: Status::Pending,
                attempts: 0,
                tried: 0,
                first_attempt_ms: None,
            })
            .collect();
        Self { digest, first_seen_ms, deliveries }
    }

    /// A record from its parts, as the codec reads them.
    pub(super) fn from_parts(digest: u64, first_seen_ms: u64, deliveries: Vec<Delivery>) -> Self {
        Self { digest, first_seen_ms, deliveries }
    }

    /// The same event under another plan: what was tried under the same names is kept.
    pub(super) fn replanned(&self, plan: &[Planned]) -> Self {
        let mut record = Self::new(self.digest, self.first_seen_ms, plan);
        for delivery in &mut record.deliveries {
            if let Some(known) = self.find(&delivery.rule, &delivery.agent) {
                delivery.clone_from(known);
            }
        }
        record
    }

    /// What tells the event from another with the same id (`event::digest`).
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// When the event was first met, in ms since 1970.
    pub fn first_seen_ms(&self) -> u64 {
        self.first_seen_ms
    }

    /// Every delivery of the plan.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// How far the event is. A record without deliveries has nothing left to do.
    pub fn state(&self) -> State {
        let (mut pending, mut dead, mut ended) = (false, false, false);
        for delivery in &self.deliveries {
            match delivery.status {
                Status::Pending => pending = true,
                Status::Delivered => ended = true,
                Status::Dead => (ended, dead) = (true, true),
            }
        }
        match (pending, ended) {
            (true, false) => State::Pending,
            (true, true) => State::Partial,
            (false, _) if dead => State::Dead,
            (false, _) => State::Done,
        }
    }

    /// The deliveries that have no end yet: (rule, agent), in the order of the plan.
    pub fn remaining(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let open = self.deliveries.iter().filter(|delivery| delivery.status == Status::Pending);
        open.map(|delivery| (Arc::clone(&delivery.rule), Arc::clone(&delivery.agent))).collect()
    }

    /// At least one delivery was dead-lettered.
    pub fn any_dead(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.status == Status::Dead)
    }

    /// How many attempts of a delivery were made; 0 for one that the plan does not name.
    pub fn tried(&self, rule: &str, agent: &str) -> u32 {
        self.find(rule, agent).map_or(0, |delivery| delivery.tried)
    }

    /// How many attempts of a delivery were answered ambiguously; 0 for one that the plan does not name.
    pub fn attempts(&self, rule: &str, agent: &str) -> u32 {
        self.find(rule, agent).map_or(0, |delivery| delivery.attempts)
    }

    /// When the first attempt of a delivery failed, in ms since 1970.
    pub fn first_attempt_ms(&self, rule: &str, agent: &str) -> Option<u64> {
        self.find(rule, agent).and_then(|delivery| delivery.first_attempt_ms)
    }

    /// Counts an attempt that was made, whatever came of it.
    pub fn note_tried(&mut self, rule: &str, agent: &str) {
        if let Some(delivery) = self.open(rule, agent) {
            delivery.tried = delivery.tried.saturating_add(1);
        }
    }

    /// Counts a failed attempt at `now_ms` (ms since 1970). A delivery that has ended, or that the
    /// plan does not name, is left as it is.
    pub fn note_failure(&mut self, rule: &str, agent: &str, now_ms: u64) {
        if let Some(delivery) = self.open(rule, agent) {
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.first_attempt_ms.get_or_insert(now_ms);
        }
    }

    /// Notes the time of an attempt that does not count as a failure of the delivery; only the first
    /// is kept.
    pub fn note_attempt(&mut self, rule: &str, agent: &str, now_ms: u64) {
        if let Some(delivery) = self.open(rule, agent) {
            delivery.first_attempt_ms.get_or_insert(now_ms);
        }
    }

    /// Ends a delivery. The first end stands: it was told to somebody.
    pub fn finish(&mut self, rule: &str, agent: &str, status: Status) {
        if let Some(delivery) = self.open(rule, agent) {
            delivery.status = status;
        }
    }

    fn find(&self, rule: &str, agent: &str) -> Option<&Delivery> {
        self.deliveries.iter().find(|delivery| delivery.is(rule, agent))
    }

    fn open(&mut self, rule: &str, agent: &str) -> Option<&mut Delivery> {
        self.deliveries.iter_mut().find(|delivery| delivery.status == Status::Pending && delivery.is(rule, agent))
    }
}
