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
    agents::{Agent, AgentSpec, ClaimPolicy, ConnectError},
    telemetry,
};

pub(super) struct AgentRuntime {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) agent: Agent,
    pub(super) door: Door,
    /// Whoever holds it may render: an agent renders one template at a time, so none fills the queue.
    pub(super) rendering: tokio::sync::Mutex<()>,
    waiting: AtomicI64,
    last_failure: Mutex<Option<String>>,
}

/// One agent as the status API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AgentStatus {
    /// The agent's name.
    pub agent: String,
    /// Whether only probes go out.
    pub held: bool,
    /// When the next attempt may start, if that is not now: a probe, or the end of a pause it asked for.
    pub next_attempt_in_ms: Option<u64>,
    /// Deliveries that wait for it or are under way.
    pub deliveries: i64,
    /// What it answered last, if that was no acceptance.
    pub last_failure: Option<String>,
}

impl AgentRuntime {
    fn connect(spec: &Arc<AgentSpec>, policy: ClaimPolicy) -> Result<Self, ConnectError> {
        let runtime = Self {
            spec: Arc::clone(spec),
            agent: Agent::connect_with_policy(spec, policy)?,
            door: Door::new(spec),
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

    pub(super) fn failed(&self, reason: &str) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub(super) fn accepted(&self) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn status(&self) -> AgentStatus {
        AgentStatus {
            agent: self.spec.name.to_string(),
            held: self.door.is_held(),
            next_attempt_in_ms: self.door.next_attempt_in_ms(),
            deliveries: self.waiting.load(Ordering::Relaxed),
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
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
