//! The agents in force, connected: each with its door and what is waiting before it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use metrics::gauge;
use serde::Serialize;

use super::door::Door;
use crate::{
    agents::{Agent, AgentSpec, ClaimPolicy, ConnectError, Endpoint, HttpSpec, LangGraphSpec},
    telemetry,
};

pub(super) struct AgentRuntime {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) agent: Agent,
    pub(super) door: Door,
    /// Where it is, without credentials, query and fragment.
    pub(super) url: String,
    /// Whoever holds it may render: an agent renders one template at a time, so none fills the queue.
    pub(super) rendering: tokio::sync::Mutex<()>,
    waiting: AtomicI64,
    last_failure: Mutex<Option<(String, Option<u16>)>>,
}

/// One agent as the status API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AgentStatus {
    /// The agent's name.
    pub agent: String,
    /// Where it is, without credentials, query and fragment.
    pub url: String,
    /// Whether only probes go out.
    pub held: bool,
    /// When the next attempt may start, if that is not now: a probe, or the end of a pause it asked for.
    pub next_attempt_in_ms: Option<u64>,
    /// Deliveries that wait for it or are under way.
    pub deliveries: i64,
    /// What it answered last, if that was no acceptance.
    pub last_failure: Option<String>,
    /// The status of that answer, if there was an answer.
    pub last_failure_status: Option<u16>,
}

impl AgentRuntime {
    fn connect(spec: &Arc<AgentSpec>, policy: ClaimPolicy) -> Result<Self, ConnectError> {
        let runtime = Self {
            spec: Arc::clone(spec),
            agent: Agent::connect_with_policy(spec, policy)?,
            door: Door::new(spec),
            url: url_to_show(&spec.endpoint),
            rendering: tokio::sync::Mutex::default(),
            waiting: AtomicI64::new(0),
            last_failure: Mutex::new(None),
        };
        runtime.waiting(0);
        Ok(runtime)
    }

    /// Counts deliveries in (+1) and out (-1).
    pub(super) fn waiting(&self, change: i64) {
        let now = self.waiting.fetch_add(change, Ordering::Relaxed) + change;
        gauge!(telemetry::HELD_DELIVERIES, "agent" => self.spec.name.to_string()).set(now as f64);
    }

    pub(super) fn failed(&self, reason: &str, status: Option<u16>) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason.to_owned(), status));
    }

    /// What it answered last, if that was no acceptance, and the status of it.
    pub(super) fn last_failure(&self) -> Option<(String, Option<u16>)> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn accepted(&self) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn status(&self) -> AgentStatus {
        let (last_failure, last_failure_status) =
            self.last_failure().map_or((None, None), |(reason, status)| (Some(reason), status));
        AgentStatus {
            agent: self.spec.name.to_string(),
            url: self.url.clone(),
            held: self.door.is_held(),
            next_attempt_in_ms: self.door.next_attempt_in_ms(),
            deliveries: self.waiting.load(Ordering::Relaxed),
            last_failure,
            last_failure_status,
        }
    }
}

fn url_to_show(endpoint: &Endpoint) -> String {
    let (Endpoint::LangGraph(LangGraphSpec { url, .. }) | Endpoint::Http(HttpSpec { url, .. })) = endpoint;
    // Neither can fail on a URL that has a host.
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Every agent of the routing folder, by name.
pub(super) struct Agents(BTreeMap<Arc<str>, Arc<AgentRuntime>>);

impl Agents {
    pub(super) fn connect<'a>(
        specs: impl Iterator<Item = &'a Arc<AgentSpec>>,
        policy: ClaimPolicy,
    ) -> Result<Self, ConnectError> {
        specs
            .map(|spec| Ok((Arc::clone(&spec.name), Arc::new(AgentRuntime::connect(spec, policy)?))))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<AgentRuntime>> {
        self.0.get(name)
    }

    pub(super) fn status(&self) -> Vec<AgentStatus> {
        self.0.values().map(|agent| agent.status()).collect()
    }
}
