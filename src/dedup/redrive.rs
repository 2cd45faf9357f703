//! What to do with a record that asks for a delivery to be made again. Pure.
//!
//! A redrive names one delivery and the generation that it is to get. Its invariant: only a delivery that the ledger calls
//! dead, in the generation before, gets that generation. So however often a redrive is read, and whoever publishes it, a
//! delivery is made once in each generation, one that was accepted is never made again, and no other delivery of the
//! event changes.

use std::sync::Arc;

use super::{
    decide::{Decision, decide},
    record::{DeliveryRecord, DeliveryStatus, PlannedDelivery, Record},
};

/// Which delivery is to be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redrive<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The agent's name.
    pub agent: &'a str,
    /// The generation that the delivery is to get: one more than it had when it was dead-lettered.
    pub generation: u32,
    /// Also when the ledger does not know the event.
    pub is_forced: bool,
}

/// Why a delivery is not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedriveRefusal {
    /// The ledger has no record of the event.
    UnknownEvent,
    /// The ledger's record of the event has no such delivery.
    UnknownDelivery,
    /// The rules of today do not ask for it.
    NotPlanned,
    /// The ledger has it in an earlier generation than the one that was dead-lettered.
    Generation {
        /// The ledger's.
        found: u32,
    },
}

/// Decides on an event whose record asks for a redrive; the other arguments are those of [`decide`]. A delivery that is
/// open in the generation before, or has the generation already, needs no decision of its own: then the record is one of
/// a known event.
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
    let Some(record) = record else {
        return match planned {
            _ if !asked.is_forced => Err(RedriveRefusal::UnknownEvent),
            None => Err(RedriveRefusal::NotPlanned),
            Some(planned) => {
                let mut record = Record::new(digest, now_ms, std::slice::from_ref(planned));
                record.raise(asked.rule, asked.agent, asked.generation);
                Ok(Decision::Fresh(record))
            }
        };
    };
    if record.digest() != digest {
        return Ok(Decision::Conflict);
    }
    let known = record.find(asked.rule, asked.agent).ok_or(RedriveRefusal::UnknownDelivery)?;
    let is_next = known.generation.checked_add(1) == Some(asked.generation);
    match known.status {
        _ if known.generation >= asked.generation => Ok(decide(Some(record), digest, plan, now_ms)),
        _ if !is_next => Err(RedriveRefusal::Generation { found: known.generation }),
        DeliveryStatus::Dead if planned.is_none() => Err(RedriveRefusal::NotPlanned),
        DeliveryStatus::Dead => {
            let mut record = record.frozen();
            record.raise(asked.rule, asked.agent, asked.generation);
            Ok(Decision::Resume(record))
        }
        _ => Ok(decide(Some(record), digest, plan, now_ms)),
    }
}

impl Record {
    /// Gives a delivery a new generation, in which nothing was tried yet. The plan is frozen with that.
    pub(crate) fn raise(&mut self, rule: &str, agent: &str, generation: u32) {
        for delivery in &mut self.deliveries {
            if *delivery.rule == *rule && *delivery.agent == *agent && delivery.generation < generation {
                let planned = DeliveryRecord::planned(Arc::clone(&delivery.rule), Arc::clone(&delivery.agent));
                *delivery = DeliveryRecord { generation, status: DeliveryStatus::Pending, ..planned };
            }
        }
    }

    /// As [`is_open`](Self::is_open), for one generation of the delivery.
    pub(crate) fn is_open_in(&self, rule: &str, agent: &str, generation: u32) -> bool {
        self.generation(rule, agent) == generation && self.is_open(rule, agent)
    }

    /// The generation of a delivery; 0 for one that the plan does not name.
    pub(crate) fn generation(&self, rule: &str, agent: &str) -> u32 {
        self.find(rule, agent).map_or(0, |delivery| delivery.generation)
    }
}
