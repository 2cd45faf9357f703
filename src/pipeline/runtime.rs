//! The agents in force, connected: each with its limiter and its pending deliveries.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde::Serialize;

use super::{
    breaker::BreakerState, cause::LastFailure, instruments::AgentInstruments, limiter::AgentLimiter, parking::Parking,
};
use crate::{
    agents::{Agent, AgentSpec, ConnectError, Endpoint, Failure, HttpSpec, LangGraphSpec},
    sync::Mutex,
};

pub(super) struct AgentRuntime {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) agent: Agent,
    pub(super) limiter: AgentLimiter,
    /// Its address, without credentials, query and fragment.
    pub(super) url: String,
    /// Locked while a template is rendered: one at a time for each agent, so that none fills the queue.
    pub(super) rendering: tokio::sync::Mutex<()>,
    pub(super) instruments: AgentInstruments,
    pending: AtomicI64,
    last_failure: Mutex<Option<LastFailure>>,
}

/// One agent as the status API shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AgentStatus {
    /// The agent's name.
    pub agent: String,
    /// Its address, without credentials, query and fragment.
    pub url: String,
    /// `closed`, `open` or `half_open`: unless it is closed, only probes are sent.
    pub breaker: BreakerState,
    /// When the next attempt may start, if that is not now: a probe, or the end of a pause it asked for.
    pub next_attempt_in_ms: Option<u64>,
    /// Deliveries that wait for it or are in flight.
    pub pending_deliveries: i64,
    /// New deliveries to it are parked, or wait until the last of those that are parked have ended.
    pub parked: bool,
    /// Deliveries to it in the parked topic.
    pub parked_deliveries: u64,
    /// Those of them that were read back: they wait for it or are in flight.
    pub parked_in_flight: usize,
    /// How long the oldest of them has been parked.
    pub parked_oldest_seconds: Option<u64>,
    /// Its last answer, if that was no acceptance.
    pub last_failure: Option<String>,
    /// The status of that answer, if there was an answer.
    pub last_failure_status: Option<u16>,
}

impl AgentRuntime {
    fn connect(spec: &Arc<AgentSpec>) -> Result<Self, ConnectError> {
        let runtime = Self {
            spec: Arc::clone(spec),
            agent: Agent::connect(spec)?,
            limiter: AgentLimiter::new(spec),
            url: public_url(&spec.endpoint),
            rendering: tokio::sync::Mutex::default(),
            instruments: AgentInstruments::new(&spec.name),
            pending: AtomicI64::new(0),
            last_failure: Mutex::new(None),
        };
        runtime.add_pending(0);
        Ok(runtime)
    }

    /// Counts deliveries in (+1) and out (-1).
    pub(super) fn add_pending(&self, change: i64) {
        let now = self.pending.fetch_add(change, Ordering::Relaxed) + change;
        self.instruments.pending(now);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        *self.last_failure.lock() = Some(failure.into());
    }

    /// Its last answer, if that was no acceptance.
    pub(super) fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().clone()
    }

    pub(super) fn accepted(&self) {
        *self.last_failure.lock() = None;
    }

    pub(super) fn status(&self, parking: &Parking) -> AgentStatus {
        let parked = parking.status(&self.spec.name);
        let (last_failure, last_failure_status) =
            self.last_failure().map_or((None, None), |last| (Some(last.reason), last.status));
        AgentStatus {
            agent: self.spec.name.to_string(),
            url: self.url.clone(),
            breaker: self.limiter.breaker_state(),
            next_attempt_in_ms: self.limiter.next_attempt_in_ms(),
            pending_deliveries: self.pending.load(Ordering::Relaxed),
            parked: parked.is_parked,
            parked_deliveries: parked.deliveries,
            parked_in_flight: parked.fed,
            parked_oldest_seconds: parked.oldest.map(|oldest| oldest.as_secs()),
            last_failure,
            last_failure_status,
        }
    }
}

fn public_url(endpoint: &Endpoint) -> String {
    let (Endpoint::LangGraph(LangGraphSpec { url, .. }) | Endpoint::Http(HttpSpec { url, .. })) = endpoint;
    // These cannot fail on a URL that has a host.
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Every agent of the routing folder, by name.
pub(super) struct ConnectedAgents(BTreeMap<Arc<str>, Arc<AgentRuntime>>);

impl ConnectedAgents {
    pub(super) fn connect<'a>(specs: impl Iterator<Item = &'a Arc<AgentSpec>>) -> Result<Self, ConnectError> {
        specs
            .map(|spec| Ok((Arc::clone(&spec.name), Arc::new(AgentRuntime::connect(spec)?))))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<AgentRuntime>> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    pub(super) fn status(&self, parking: &Parking) -> Vec<AgentStatus> {
        self.0.values().map(|agent| agent.status(parking)).collect()
    }
}
