//! What to do with a record that asks for a delivery to be made again. Pure.
//!
//! A redrive names one delivery and the generation that it is to get. Its invariant: within one [`again`](Generation::again)
//! only a delivery that the ledger calls dead, in the generation before, gets that generation; with force also one that the
//! ledger has forgotten. So however often a redrive is read, and whoever publishes it, a delivery is made once in each
//! generation, one that was accepted is made again only under a greater `again`, and no other delivery of the event changes.
//!
//! Generation 0 is asked for by a delivery that was never planned: the rules did not ask for it when the event was read. It is
//! made if the ledger surely would know of it and does not, and is what it would have been then: the same thread, the same
//! key. So asking again, or asking for what was delivered in its time, makes nothing.
//!
//! A delivery is sent again on purpose by a greater `again` than the ledger has: then it is made whatever its end was, once
//! for each number, if the ledger surely has not forgotten a greater one. What asks for a smaller one comes too late and
//! changes nothing.
//!
//! Whatever is decided, the delivery has an end or a letter when the record has its outcome: so a letter that is marked
//! as redriven hides no delivery that nobody makes.

use std::{sync::Arc, time::Duration};

use super::{
    decide::{Decision, decide},
    record::{DeliveryRecord, DeliveryStatus, MAX_DELIVERIES, PlannedDelivery, Record, RecordState},
};
use crate::event::Generation;

/// Which delivery is to be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redrive<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The agent's name.
    pub agent: &'a str,
    /// The generation that the delivery is to get: one more than it had when it was dead-lettered, or the number 0 when it was
    /// never planned or is sent again.
    pub generation: Generation,
    /// The event is so young that the ledger has forgotten nothing of it: [`is_remembered`].
    pub is_remembered: bool,
    /// Also when the ledger does not know the event, or knows it without the delivery.
    pub is_forced: bool,
}

/// Why a delivery is not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedriveRefusal {
    /// The ledger has no record of the event.
    UnknownEvent,
    /// The ledger's record of the event has no such delivery, or not under this `again`.
    UnknownDelivery,
    /// It would be the first time, as a whole or under its `again`, and the ledger may have forgotten one before.
    TooOld,
    /// The rules of today do not ask for it.
    NotPlanned,
    /// The ledger has as many others of the event as it takes.
    TooMany,
    /// It is parked in a generation before: it has not ended, and is made from there.
    Parked,
    /// The ledger has it in an earlier generation than the one that was dead-lettered.
    Generation {
        /// The ledger's.
        found: Generation,
    },
}

/// Decides on an event whose record asks for a redrive; the other arguments are those of [`decide`]. A delivery that is
/// open in the generation before, has the generation already or was accepted in this `again` needs no decision of its own:
/// then the record is one of a known event.
///
/// # Errors
/// The delivery is not made: the record is a dead letter (`redrive_refused`).
pub(crate) fn redrive(
    record: Option<&Record>,
    digest: u64,
    plan: &[PlannedDelivery],
    asked: &Redrive<'_>,
    now_ms: u64,
) -> Result<Decision, RedriveRefusal> {
    let planned = plan.iter().find(|planned| *planned.rule == *asked.rule && *planned.agent == *asked.agent);
    let is_first = asked.generation.number == 0;
    // What the ledger does not know is made only by force, or for the first time, and when the rules ask for it.
    let forgotten = |refusal| match planned {
        _ if is_first && !asked.is_remembered && !asked.is_forced => Err(RedriveRefusal::TooOld),
        _ if !is_first && !asked.is_forced => Err(refusal),
        None => Err(RedriveRefusal::NotPlanned),
        Some(planned) => Ok(planned),
    };
    let Some(record) = record else {
        let planned = forgotten(RedriveRefusal::UnknownEvent)?;
        let mut record = Record::new(digest, now_ms, std::slice::from_ref(planned));
        record.raise(asked.rule, asked.agent, asked.generation);
        // It is made alone, after a crash too, whatever else the rules ask for.
        record.freeze();
        return Ok(Decision::Fresh(record));
    };
    if record.digest() != digest {
        return Ok(Decision::Conflict);
    }
    let follows_the_rules = record.state() == RecordState::Pending;
    // What was only planned when the plan was frozen is no part of it.
    let is_of_the_plan = |known: &&DeliveryRecord| follows_the_rules || known.status != DeliveryStatus::Planned;
    let Some(known) = record.find(asked.rule, asked.agent).filter(is_of_the_plan) else {
        let planned = forgotten(RedriveRefusal::UnknownDelivery)?;
        if follows_the_rules && asked.generation.again == 0 {
            // Nothing of the event has ended: all that the rules ask for is made anyway.
            return Ok(decide(Some(record), digest, plan, now_ms));
        }
        has_room(record)?;
        return Ok(Decision::Resume(raised(record, plan, planned, asked)));
    };
    if asked.generation.again > known.generation.again {
        let planned = sent_again(known, planned, asked)?;
        return Ok(Decision::Resume(raised(record, plan, planned, asked)));
    }
    let is_next = known.generation.next() == Some(asked.generation);
    match known.status {
        DeliveryStatus::Delivered => Ok(decide(Some(record), digest, plan, now_ms)),
        _ if known.generation >= asked.generation => Ok(decide(Some(record), digest, plan, now_ms)),
        _ if !is_next => Err(RedriveRefusal::Generation { found: known.generation }),
        DeliveryStatus::Parked => Err(RedriveRefusal::Parked),
        DeliveryStatus::Planned if planned.is_none() => Err(RedriveRefusal::NotPlanned),
        DeliveryStatus::Dead => {
            let planned = planned.ok_or(RedriveRefusal::NotPlanned)?;
            Ok(Decision::Resume(raised(record, plan, planned, asked)))
        }
        DeliveryStatus::Planned | DeliveryStatus::Pending => Ok(decide(Some(record), digest, plan, now_ms)),
    }
}

/// Whether the record may have one more delivery. What was only planned when its plan was frozen is dropped.
fn has_room(record: &Record) -> Result<(), RedriveRefusal> {
    let kept = record.deliveries.iter().filter(|known| known.status != DeliveryStatus::Planned).count();
    if kept < MAX_DELIVERIES { Ok(()) } else { Err(RedriveRefusal::TooMany) }
}

/// Whether a delivery that the ledger has is made under a greater `again`, as the rules plan it.
fn sent_again<'p>(
    known: &DeliveryRecord,
    planned: Option<&'p PlannedDelivery>,
    asked: &Redrive<'_>,
) -> Result<&'p PlannedDelivery, RedriveRefusal> {
    if known.status == DeliveryStatus::Parked {
        return Err(RedriveRefusal::Parked);
    }
    // The redrive of a request that was refused has the number 1: no other one follows what the ledger does not have.
    if asked.generation.number > 1 && !asked.is_forced {
        return Err(RedriveRefusal::UnknownDelivery);
    }
    if !asked.is_remembered && !asked.is_forced {
        return Err(RedriveRefusal::TooOld);
    }
    planned.ok_or(RedriveRefusal::NotPlanned)
}

/// The record with the delivery that is asked for, to be made in its generation. What else is to be made of the event still is.
fn raised(record: &Record, plan: &[PlannedDelivery], planned: &PlannedDelivery, asked: &Redrive<'_>) -> Record {
    let follows_the_rules = record.state() == RecordState::Pending;
    let mut record = if follows_the_rules { record.replanned(plan) } else { record.frozen() };
    record.add(planned);
    record.raise(asked.rule, asked.agent, asked.generation);
    record.freeze();
    record
}

/// For how many ms after an event was published the ledger surely knows what was delivered of it: a tenth of the window is left
/// for clocks that differ.
pub(crate) fn remembered_ms(window: Duration) -> u64 {
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    window_ms - window_ms / 10
}

/// Whether the ledger surely knows at this moment what was delivered of an event that was published then, in ms since 1970.
pub(crate) fn is_remembered(published_ms: u64, now_ms: u64, window: Duration) -> bool {
    published_ms.saturating_add(remembered_ms(window)) > now_ms
}

impl Record {
    /// The plan no longer follows the rules.
    fn freeze(&mut self) {
        for delivery in &mut self.deliveries {
            delivery.status = delivery.status.max(DeliveryStatus::Pending);
        }
    }

    /// Adds a delivery to the plan.
    fn add(&mut self, planned: &PlannedDelivery) {
        let added = DeliveryRecord::planned(Arc::clone(&planned.rule), Arc::clone(&planned.agent));
        if let Err(at) = self.deliveries.binary_search_by(|known| known.key().cmp(&added.key())) {
            self.deliveries.insert(at, added);
        }
    }

    /// Gives a delivery a later generation, in which nothing was tried yet, unless it was accepted in this `again`. The plan is
    /// frozen with that.
    pub(crate) fn raise(&mut self, rule: &str, agent: &str, generation: Generation) {
        for delivery in &mut self.deliveries {
            let is_accepted =
                delivery.status == DeliveryStatus::Delivered && delivery.generation.again == generation.again;
            if delivery.generation < generation && !is_accepted && delivery.key() == (rule, agent) {
                let planned = DeliveryRecord::planned(Arc::clone(&delivery.rule), Arc::clone(&delivery.agent));
                *delivery = DeliveryRecord { generation, status: DeliveryStatus::Pending, ..planned };
            }
        }
    }

    /// As [`is_open`](Self::is_open), for one generation of the delivery.
    pub(crate) fn is_open_in(&self, rule: &str, agent: &str, generation: Generation) -> bool {
        self.generation(rule, agent) == generation && self.is_open(rule, agent)
    }

    /// Whether a generation of a delivery needs nothing more: it has ended, a later one has begun since, or the agent
    /// accepted another one and it was not sent again since.
    pub(crate) fn has_ended_in(&self, rule: &str, agent: &str, generation: Generation) -> bool {
        self.find(rule, agent).is_some_and(|known| match known.status {
            DeliveryStatus::Delivered => known.generation.again >= generation.again,
            DeliveryStatus::Dead => known.generation >= generation,
            DeliveryStatus::Planned | DeliveryStatus::Pending | DeliveryStatus::Parked => known.generation > generation,
        })
    }

    /// The generation of a delivery; the first for one that the plan does not name.
    pub(crate) fn generation(&self, rule: &str, agent: &str) -> Generation {
        self.find(rule, agent).map_or(Generation::FIRST, |delivery| delivery.generation)
    }
}
