//! The agents of one load of the routing folder, connected: each with its limiter.
//!
//! Owns what an agent of the next load takes over: everything when nothing of it has changed; the limiter and the last failure
//! when its endpoint is the same.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

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
    pub(super) limiter: Arc<AgentLimiter>,
    /// Its address, without credentials, query and fragment.
    pub(super) url: String,
    /// Locked while a template is rendered: one at a time for each agent, so that none fills the queue.
    pub(super) rendering: tokio::sync::Mutex<()>,
    pub(super) instruments: Arc<AgentInstruments>,
    last_failure: Arc<Mutex<Option<LastFailure>>>,
    /// The agent of this name has another endpoint now.
    replaced: CancellationToken,
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
    /// `before`: the agent of this name in the rules that are replaced.
    fn connect(
        spec: &Arc<AgentSpec>,
        before: Option<&Arc<Self>>,
        instruments: Arc<AgentInstruments>,
    ) -> Result<Arc<Self>, ConnectError> {
        if let Some(same) = before.filter(|before| before.spec == *spec) {
            return Ok(Arc::clone(same));
        }
        let agent = Agent::connect(spec)?;
        let same = before.filter(|before| before.spec.endpoint == spec.endpoint);
        let (limiter, last_failure, replaced) = same.map_or_else(
            || (Arc::new(AgentLimiter::new(spec)), Arc::default(), CancellationToken::new()),
            |same| (Arc::clone(&same.limiter), Arc::clone(&same.last_failure), same.replaced.clone()),
        );
        Ok(Arc::new(Self {
            spec: Arc::clone(spec),
            agent,
            limiter,
            url: public_url(&spec.endpoint),
            rendering: tokio::sync::Mutex::default(),
            instruments,
            last_failure,
            replaced,
        }))
    }

    /// Takes the place of the agent of this name.
    fn succeed(&self, before: &Self) {
        if Arc::ptr_eq(&self.limiter, &before.limiter) {
            self.limiter.adjust(&before.spec, &self.spec);
        } else {
            before.limiter.retire();
            before.replaced.cancel();
        }
    }

    /// Resolves when the agent of this name has another endpoint, and this one does not work.
    pub(super) async fn given_way(&self) {
        self.replaced.cancelled().await;
        self.limiter.until_open().await;
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
            pending_deliveries: self.instruments.pending(),
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
    /// Changes nothing of those before.
    pub(super) fn connect<'a>(
        specs: impl Iterator<Item = &'a Arc<AgentSpec>>,
        before: Option<&Self>,
        mut instruments: impl FnMut(&Arc<str>) -> Arc<AgentInstruments>,
    ) -> Result<Self, ConnectError> {
        let connected = specs.map(|spec| {
            let before = before.and_then(|before| before.get(&spec.name));
            let runtime = AgentRuntime::connect(spec, before, instruments(&spec.name))?;
            Ok((Arc::clone(&spec.name), runtime))
        });
        connected.collect::<Result<_, _>>().map(Self)
    }

    /// Takes the place of those before.
    pub(super) fn succeed(&self, before: Option<&Self>) {
        for (name, runtime) in &self.0 {
            match before.and_then(|before| before.get(name)) {
                Some(former) => runtime.succeed(former),
                None => runtime.limiter.register(),
            }
        }
        let gone = before.into_iter().flat_map(|before| &before.0).filter(|(name, _)| self.get(name).is_none());
        gone.for_each(|(_, former)| former.limiter.retire());
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
