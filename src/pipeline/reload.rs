//! What the bridge does when the routing folder has changed: it counts what the change concerns, and puts the rules in force.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{context::PipelineContext, rules::ReplaceError};
use crate::{
    dedup::{DeliveryStatus, LedgerError, Record},
    plan::Plan,
};

/// Records that are looked at without a look at the clock.
const STEP: usize = 1_000;

/// The rules of a running pipeline. It does not keep the pipeline alive: with it the ledger would stay open.
#[derive(Clone)]
pub(crate) struct RulesHandle(Weak<PipelineContext>);

/// Deliveries without an end whose rule sends to their agent no longer, as far as the ledger of this replica knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenDeliveries {
    /// They are parked, and end as dead letters (`plan_gone`) when they are read back.
    pub parked: u64,
    /// Other deliveries of their events have ended or are parked: they go on, and end as dead letters (`plan_gone`) after a restart, or when their
    /// partition moves to another replica.
    pub partial: u64,
    /// They were attempted: they go on, and after a restart the rules of that time decide. Where only a name was changed, the agent may
    /// get the event again, under the new name.
    pub attempted: u64,
    /// Not every record was looked at: there may be more.
    pub is_partial_count: bool,
}

impl RulesHandle {
    pub(super) fn new(context: &Arc<PipelineContext>) -> Self {
        Self(Arc::downgrade(context))
    }

    /// Puts rules in force; `None` after the end of the pipeline.
    pub(crate) fn replace(&self, plan: Arc<dyn Plan>) -> Option<Result<(), ReplaceError>> {
        let context = self.0.upgrade()?;
        let agents: Vec<_> = plan.agents().map(|agent| Arc::clone(&agent.name)).collect();
        let add_agents = || context.parking.add_agents(agents);
        Some(context.rules.replace(plan, add_agents, |agent| context.parking.may_have_parked(agent)))
    }

    /// Says whether rules could be put in force, as far as it can be known before; `None` after the end of the pipeline.
    pub(crate) fn check(&self, plan: &dyn Plan) -> Option<Result<(), ReplaceError>> {
        Some(self.0.upgrade()?.rules.prepare(plan).map(drop))
    }

    /// How many versions before the one in force are still used by deliveries that wait.
    pub(crate) fn former(&self) -> usize {
        self.0.upgrade().map_or(0, |context| context.rules.former().len())
    }

    /// The deliveries of these rules to these agents that have no end. Blocks: it reads the ledger, for at most this time.
    pub(crate) fn open_deliveries(
        &self,
        gone: &BTreeSet<(Arc<str>, Arc<str>)>,
        at_most: Duration,
    ) -> Result<OpenDeliveries, LedgerError> {
        let mut open = OpenDeliveries::default();
        let Some(context) = self.0.upgrade().filter(|_| !gone.is_empty()) else { return Ok(open) };
        let until = Instant::now() + at_most;
        let mut cursor = None;
        loop {
            cursor = context.ledger.read_step(cursor, STEP, &mut |record| open.add(record, gone))?;
            if cursor.is_none() {
                return Ok(open);
            }
            if Instant::now() >= until {
                return Ok(OpenDeliveries { is_partial_count: true, ..open });
            }
        }
    }
}

impl OpenDeliveries {
    fn add(&mut self, record: &Record, gone: &BTreeSet<(Arc<str>, Arc<str>)>) {
        if record.state().is_final() {
            return;
        }
        for delivery in record.deliveries() {
            let count = match delivery.status {
                DeliveryStatus::Parked => &mut self.parked,
                DeliveryStatus::Pending => &mut self.partial,
                DeliveryStatus::Planned if delivery.attempts > 0 => &mut self.attempted,
                DeliveryStatus::Planned | DeliveryStatus::Dead | DeliveryStatus::Delivered => continue,
            };
            if gone.contains(&(Arc::clone(&delivery.rule), Arc::clone(&delivery.agent))) {
                *count += 1;
            }
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.parked + self.partial + self.attempted
    }
}
