//! Deliveries that may have arrived at an endpoint that no version of the rules has which this process knows.
//!
//! Only that endpoint can be asked for their runs. The folder may be older than that of the replica that sent them, or wrong for a
//! moment, so they wait for rules with the endpoint. Not for as long as `give_up_after` allows: those behind them wait too, and a
//! dead letter can be redriven when the endpoint is back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{breaker::BreakerState, runtime::FormerEndpointStatus};
use crate::sync::Mutex;

/// How long they wait at most. `give_up_after` may end it sooner.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// How many of them there are, by agent.
#[derive(Default)]
pub(super) struct MissingEndpoints(Mutex<BTreeMap<Arc<str>, usize>>);

/// One of them, until it is dropped.
pub(super) struct WaitsForEndpoint<'a> {
    of: &'a MissingEndpoints,
    agent: Arc<str>,
}

impl MissingEndpoints {
    pub(super) fn count(&self, agent: &Arc<str>) -> WaitsForEndpoint<'_> {
        *self.0.lock().entry(Arc::clone(agent)).or_default() += 1;
        WaitsForEndpoint { of: self, agent: Arc::clone(agent) }
    }

    /// As endpoints without an address.
    pub(super) fn status(&self) -> Vec<FormerEndpointStatus> {
        let waiting = self.0.lock();
        let status = |(agent, deliveries): (&Arc<str>, &usize)| FormerEndpointStatus {
            agent: agent.to_string(),
            url: None,
            breaker: BreakerState::Open,
            next_attempt_in_ms: None,
            deliveries: *deliveries,
            last_failure: None,
        };
        waiting.iter().map(status).collect()
    }
}

impl Drop for WaitsForEndpoint<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.0.lock();
        if let Some(count) = waiting.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.agent);
            }
        }
    }
}
