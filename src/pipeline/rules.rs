//! The rules in force, and the rules that each event keeps.
//!
//! Owns the swap: rules and agents are replaced together, and whoever asks sees all of the old or all of the new ones. An event
//! keeps the version that planned it until it has its outcome. Invariant: of more than [`MAX_FORMER`] versions beside the one in
//! force, the oldest is withdrawn, and what waits under it goes on under the rules in force, by names. One with names that the
//! rules in force do not have is kept, because what waits under it could not go on; of those there are at most [`MAX_KEPT`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    instruments::{AgentInstruments, PendingDelivery},
    runtime::{AgentRuntime, ConnectedAgents},
};
use crate::{
    agents::ConnectError,
    routing::{Routing, Rule},
    sync::Mutex,
};

/// The versions that are kept beside the one in force: each may take as much memory as the folder allows.
const MAX_FORMER: usize = 4;

/// The same for those that cannot be withdrawn.
const MAX_KEPT: usize = 16;

/// The most names of agents in the life of a process: each has its metrics, which stay.
const MAX_NAMES: usize = 10_000;

/// The rules and the agents of one load of the routing folder.
pub(super) struct Rules {
    pub(super) routing: Arc<Routing>,
    pub(super) agents: ConnectedAgents,
}

/// One load of the routing folder, as long as an event needs it.
pub(super) struct RulesVersion {
    /// `None` once it was withdrawn.
    rules: Mutex<Option<Arc<Rules>>>,
    withdrawn: CancellationToken,
}

/// What planned a delivery: a rule and its agent, of one version.
pub(super) struct Planned {
    version: Arc<RulesVersion>,
    pub(super) routing: Arc<Routing>,
    pub(super) rule: Arc<Rule>,
    pub(super) runtime: Arc<AgentRuntime>,
    /// The rules in force have nothing of these names.
    stays: bool,
}

/// A version, with its rules.
#[derive(Clone)]
pub(super) struct InForce {
    pub(super) version: Arc<RulesVersion>,
    pub(super) rules: Arc<Rules>,
}

/// The rules in force.
pub(super) struct RulesInForce {
    now: watch::Sender<InForce>,
    /// The versions before, oldest first.
    former: Mutex<Vec<Weak<RulesVersion>>>,
    /// Of every agent that there has been in this process.
    instruments: Mutex<BTreeMap<Arc<str>, Arc<AgentInstruments>>>,
}

/// Why rules were not put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// An agent's client cannot be built.
    #[error(transparent)]
    Agent(#[from] ConnectError),
    /// Too many names of agents.
    #[error(
        "more than {MAX_NAMES} different names of agents were loaded since the start, and each keeps its metrics: restart the bridge"
    )]
    Names,
    /// Deliveries wait under too many versions.
    #[error(
        "deliveries wait under {MAX_KEPT} former versions of the routing folder, with rules or agents that it has no more: wait until \
         their agents work, name these rules and agents again, or restart the bridge"
    )]
    Former,
}

impl RulesInForce {
    pub(super) fn new(routing: Arc<Routing>) -> Result<Self, ConnectError> {
        let mut instruments = BTreeMap::new();
        let agents = ConnectedAgents::connect(routing.agents(), None, |name| instruments_of(&mut instruments, name))?;
        agents.succeed(None);
        let (now, _) = watch::channel(InForce::new(Rules { routing, agents }));
        Ok(Self { now, former: Mutex::default(), instruments: Mutex::new(instruments) })
    }

    /// The rules in force.
    pub(super) fn now(&self) -> InForce {
        self.now.borrow().clone()
    }

    /// The same, for whoever looks often.
    pub(super) fn subscribe(&self) -> watch::Receiver<InForce> {
        self.now.subscribe()
    }

    /// Every name that an agent has had.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.instruments.lock().keys().cloned().collect()
    }

    /// Puts rules in force. Agents whose endpoint is as it was keep their limits, their breaker and what is under way; agents
    /// that are as they were keep their connections too. When an agent cannot be connected, nothing changes.
    pub(super) fn replace(&self, routing: Arc<Routing>) -> Result<(), ReplaceError> {
        // Locked throughout: one replacement at a time.
        let mut former = self.former.lock();
        former.retain(|version| version.strong_count() > 0);
        if former.len() >= MAX_KEPT {
            return Err(ReplaceError::Former);
        }
        let before = self.now();
        let mut instruments = self.instruments.lock().clone();
        let agents = ConnectedAgents::connect(routing.agents(), Some(&before.rules.agents), |name| {
            instruments_of(&mut instruments, name)
        })?;
        if instruments.len() > MAX_NAMES {
            return Err(ReplaceError::Names);
        }
        *self.instruments.lock() = instruments;
        let next = InForce::new(Rules { routing, agents });
        next.rules.agents.succeed(Some(&before.rules.agents));
        self.now.send_replace(next.clone());

        former.push(Arc::downgrade(&before.version));
        drop(before);
        former.retain(|version| version.strong_count() > 0);
        let mut excess = former.len().saturating_sub(MAX_FORMER);
        former.retain(|version| {
            let Some(version) = version.upgrade() else { return false };
            let withdraws = excess > 0 && version.rules().is_none_or(|of| next.has_names_of(&of));
            if withdraws {
                excess -= 1;
                version.withdraw();
            }
            !withdraws
        });
        Ok(())
    }

    /// How many versions beside the one in force are still used.
    pub(super) fn former(&self) -> usize {
        self.former.lock().iter().filter(|version| version.strong_count() > 0).count()
    }

    /// What makes a delivery: the version of its event, else the rules in force, which may have what a former owner of its
    /// partition planned. `None`: the plan is gone.
    pub(super) fn planned(&self, version: &Arc<RulesVersion>, rule: &str, agent: &str) -> Option<Planned> {
        let own = version.rules().and_then(|of| of.find(rule, agent));
        own.or_else(|| self.now().find(rule, agent))
    }

    /// The same for a delivery that is to be made as the rules in force say.
    pub(super) fn moved(&self, from: Planned, rule: &str, agent: &str) -> Option<Planned> {
        let own = from.version.rules().map(|_| Planned { stays: true, ..from });
        self.now().find(rule, agent).or(own)
    }

    /// Counts a delivery to an agent until the result is dropped. `None` for an agent that there never was.
    pub(super) fn pending(&self, agent: &str) -> Option<PendingDelivery> {
        self.instruments.lock().get(agent).map(|of| PendingDelivery::new(Arc::clone(of)))
    }
}

fn instruments_of(all: &mut BTreeMap<Arc<str>, Arc<AgentInstruments>>, name: &Arc<str>) -> Arc<AgentInstruments> {
    let new = || Arc::new(AgentInstruments::new(name));
    Arc::clone(all.entry(Arc::clone(name)).or_insert_with(new))
}

impl InForce {
    fn new(rules: Rules) -> Self {
        let rules = Arc::new(rules);
        let version = RulesVersion { rules: Mutex::new(Some(Arc::clone(&rules))), withdrawn: CancellationToken::new() };
        Self { version: Arc::new(version), rules }
    }

    /// Whether what the other rules plan can go on under these.
    fn has_names_of(&self, other: &Self) -> bool {
        let of_rule = |rule: &Rule| rule.agents().iter().all(|agent| self.sends(rule.name(), agent));
        other.rules.routing.rules().all(|rule| of_rule(rule))
    }

    fn sends(&self, rule: &str, agent: &str) -> bool {
        self.rules.routing.rule(rule).is_some_and(|rule| rule.agents().iter().any(|name| **name == *agent))
    }

    /// The rule and the agent of these names, if the rule sends to the agent.
    pub(super) fn find(&self, rule: &str, agent: &str) -> Option<Planned> {
        let rule = self.rules.routing.rule(rule)?;
        let runtime = self.rules.agents.get(agent)?;
        rule.agents().iter().any(|name| **name == *agent).then(|| Planned {
            version: Arc::clone(&self.version),
            routing: Arc::clone(&self.rules.routing),
            rule: Arc::clone(rule),
            runtime: Arc::clone(runtime),
            stays: false,
        })
    }
}

impl RulesVersion {
    /// The rules, unless the version was withdrawn.
    pub(super) fn rules(self: &Arc<Self>) -> Option<InForce> {
        let rules = self.rules.lock().clone()?;
        Some(InForce { version: Arc::clone(self), rules })
    }

    fn withdraw(&self) {
        *self.rules.lock() = None;
        self.withdrawn.cancel();
    }
}

impl Planned {
    /// Resolves when the delivery is to be made as the rules in force say: its version was withdrawn; or its agent has another
    /// endpoint now, the breaker of its own is open, and the delivery may be made there.
    pub(super) async fn moves(&self, may_be_elsewhere: bool) {
        tokio::select! {
            () = self.version.withdrawn.cancelled() => {}
            () = self.runtime.given_way(), if may_be_elsewhere && !self.stays => {}
        }
    }
}
