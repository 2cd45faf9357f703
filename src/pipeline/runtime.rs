//! The agents of one load of the routing folder, connected: each with its limiter.
//!
//! Owns what an agent takes over from one of its name, in force or waited for: everything when nothing of it has changed; the limiter
//! and the last failure when its endpoint is the same. So an endpoint of an agent has one limiter, however often it comes and goes.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    breaker::BreakerState,
    calls::{HandlerCalls, LongCalls},
    cause::LastFailure,
    instruments::AgentInstruments,
    limiter::AgentLimiter,
    parking::Parking,
};
use crate::{
    agents::{Agent, AgentSpec, Answer, ConnectError, Delivery, EndpointId, Failure, Session},
    sync::Mutex,
};

pub(super) struct AgentRuntime {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) agent: Agent,
    pub(super) endpoint: EndpointId,
    pub(super) limiter: Arc<AgentLimiter>,
    /// Its address, without credentials, query and fragment.
    pub(super) url: String,
    /// Locked while a template is rendered or an event decoded: one at a time for each agent, so that none fills the queue.
    pub(super) rendering: tokio::sync::Mutex<()>,
    pub(super) instruments: Arc<AgentInstruments>,
    long_calls: LongCalls,
    last_failure: Arc<Mutex<Option<LastFailure>>>,
}

/// An agent whose client is built, before anything is changed.
pub(super) enum PreparedAgent {
    /// There is one with these settings.
    Same(Arc<AgentRuntime>),
    /// `known` is one of its name at the same endpoint.
    New { spec: Arc<AgentSpec>, agent: Agent, known: Option<Arc<AgentRuntime>> },
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
    /// Calls of a handler that take longer than five minutes.
    pub long_calls: usize,
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

/// An endpoint that an agent had before, with deliveries that stay with it, as the status API shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FormerEndpointStatus {
    /// The agent's name.
    pub agent: String,
    /// The address of the endpoint, without credentials, query and fragment; `None` for one that no loaded rules have.
    pub url: Option<String>,
    /// As of an agent.
    pub breaker: BreakerState,
    /// When the next attempt may start, if that is not now.
    pub next_attempt_in_ms: Option<u64>,
    /// Deliveries that wait for it or are in flight: the first of each key.
    pub deliveries: usize,
    /// Its last answer, if that was no acceptance.
    pub last_failure: Option<String>,
}

impl AgentRuntime {
    /// Whether both are of one endpoint, with one limiter.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }

    /// Whether it is a function of this process.
    pub(super) fn is_handler(&self) -> bool {
        self.spec.endpoint.is_handler()
    }

    /// One attempt. `None` when a handler was stopped before it returned, by `released` for example: a function of this process
    /// need not run beside that of the next owner of the partition.
    pub(super) async fn attempt(
        &self,
        session: &mut Session,
        delivery: &Delivery,
        calls: &HandlerCalls,
        released: impl Future<Output = ()>,
    ) -> Option<Answer> {
        if !self.is_handler() {
            return Some(self.agent.attempt(session, delivery).await);
        }
        // Boxed, so that it takes no room in the deliveries to other agents.
        let call = Box::pin(self.agent.attempt(session, delivery));
        Box::pin(calls.make(call, released, (&self.spec.name, delivery.event.id()), &self.long_calls)).await
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

    /// As an endpoint that is not in force. `None` when nothing waits for it.
    pub(super) fn former_status(&self) -> Option<FormerEndpointStatus> {
        let deliveries = self.limiter.deliveries();
        (deliveries > 0).then(|| FormerEndpointStatus {
            agent: self.spec.name.to_string(),
            url: Some(self.url.clone()),
            breaker: self.limiter.breaker_state(),
            next_attempt_in_ms: self.limiter.next_attempt_in_ms(),
            deliveries,
            last_failure: self.last_failure().map(|last| last.reason),
        })
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
            long_calls: self.long_calls.count(),
            parked: parked.is_parked,
            parked_deliveries: parked.deliveries,
            parked_in_flight: parked.fed,
            parked_oldest_seconds: parked.oldest.map(|oldest| oldest.as_secs()),
            last_failure,
            last_failure_status,
        }
    }
}

impl PreparedAgent {
    /// Builds the client. `known` are the agents that there are of its name.
    pub(super) fn prepare(
        spec: &Arc<AgentSpec>,
        mut known: impl Iterator<Item = Arc<AgentRuntime>>,
    ) -> Result<Self, ConnectError> {
        let endpoint = EndpointId::of(&spec.endpoint);
        let known = known.find(|known| known.endpoint == endpoint);
        match known {
            Some(same) if same.spec == *spec => Ok(Self::Same(same)),
            known => Ok(Self::New { spec: Arc::clone(spec), agent: Agent::connect(spec)?, known }),
        }
    }

    fn into_runtime(self, instruments: impl FnOnce(&Arc<str>) -> Arc<AgentInstruments>) -> Arc<AgentRuntime> {
        let (spec, agent, known) = match self {
            Self::Same(same) => return same,
            Self::New { spec, agent, known } => (spec, agent, known),
        };
        let (limiter, last_failure) = known.map_or_else(
            || (Arc::new(AgentLimiter::new(&spec)), Arc::default()),
            |known| (Arc::clone(&known.limiter), Arc::clone(&known.last_failure)),
        );
        Arc::new(AgentRuntime {
            agent,
            endpoint: EndpointId::of(&spec.endpoint),
            limiter,
            url: spec.endpoint.address(),
            rendering: tokio::sync::Mutex::default(),
            instruments: instruments(&spec.name),
            long_calls: LongCalls::default(),
            last_failure,
            spec,
        })
    }
}

/// Every agent of the routing folder, by name.
pub(super) struct ConnectedAgents(BTreeMap<Arc<str>, Arc<AgentRuntime>>);

impl ConnectedAgents {
    pub(super) fn new(
        prepared: Vec<PreparedAgent>,
        mut instruments: impl FnMut(&Arc<str>) -> Arc<AgentInstruments>,
    ) -> Self {
        let runtimes = prepared.into_iter().map(|agent| agent.into_runtime(&mut instruments));
        Self(runtimes.map(|runtime| (Arc::clone(&runtime.spec.name), runtime)).collect())
    }

    /// Takes the place of those before.
    pub(super) fn succeed(&self, before: Option<&Self>) {
        for former in before.into_iter().flat_map(|before| before.0.values()) {
            if !self.get(&former.spec.name).is_some_and(|now| now.is_at(former)) {
                former.limiter.retire();
            }
        }
        for runtime in self.0.values() {
            runtime.limiter.follow(&runtime.spec);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<AgentRuntime>> {
        self.0.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<AgentRuntime>> {
        self.0.values()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    pub(super) fn status(&self, parking: &Parking) -> Vec<AgentStatus> {
        self.0.values().map(|agent| agent.status(parking)).collect()
    }
}
