//! The rules in force, and the rules that each event keeps.
//!
//! Owns the swap: rules and agents are replaced together, and whoever asks sees all of the old or all of the new ones. An event
//! keeps the version that planned it until it has its outcome. Invariants:
//!
//! - What may have arrived at an endpoint is never sent to another one that could be asked for its run, by this process or the next:
//!   the ledger knows where it was sent.
//! - Of the versions beside the one in force whose rules, agents and endpoints are all in force, the newest [`MAX_FORMER`] are kept.
//!   Any other is withdrawn, and what waits under it goes on under those that are in force then.
//! - The rest is kept as long as something waits under it, because it could not go on: at most [`MAX_KEPT`] versions.

mod names;

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Weak},
};

use names::Names;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    instruments::{AgentInstruments, PendingDelivery},
    missing::MissingEndpoints,
    runtime::{AgentRuntime, ConnectedAgents, FormerEndpointStatus, PreparedAgent},
};
use crate::{
    agents::{ConnectError, EndpointId},
    plan::Plan,
    sync::Mutex,
};

/// The versions that are kept beside the one in force: each may take as much memory as the folder allows.
const MAX_FORMER: usize = 4;

/// The same for those that cannot be withdrawn.
const MAX_KEPT: usize = 16;

/// The most names of agents in the life of a process: each has its metrics, which stay.
const MAX_NAMES: usize = 10_000;

/// What plans deliveries, as of one load, and its agents.
pub(super) struct Rules {
    pub(super) plan: Arc<dyn Plan>,
    pub(super) agents: ConnectedAgents,
}

/// One load of the routing folder, as long as an event needs it.
pub(super) struct RulesVersion {
    state: Mutex<State>,
    withdrawn: CancellationToken,
}

enum State {
    Kept(Arc<Rules>),
    /// What waits under it goes on under this one, which had all its names when it was withdrawn and is kept for it.
    Withdrawn(Arc<RulesVersion>),
}

/// What planned a delivery: a rule and its agent, of one version.
pub(super) struct Planned {
    version: Arc<RulesVersion>,
    pub(super) plan: Arc<dyn Plan>,
    pub(super) rule: Arc<str>,
    pub(super) runtime: Arc<AgentRuntime>,
}

/// Why a delivery cannot be made.
pub(super) enum Gone {
    /// No rule of the name sends to an agent of the name.
    Plan,
    /// It may have arrived at an endpoint that nothing here knows, and has to be looked up there. With what would make it
    /// otherwise.
    Endpoint(Planned),
}

/// A version, with its rules.
#[derive(Clone)]
pub(super) struct InForce {
    pub(super) version: Arc<RulesVersion>,
    pub(super) rules: Arc<Rules>,
}

/// A version before the one in force, as long as somebody uses it.
struct Former {
    version: Weak<RulesVersion>,
    /// Kept for what is parked for these agents, and may have arrived at their endpoints.
    parked: Option<(Arc<RulesVersion>, Vec<Arc<str>>)>,
}

/// The rules in force.
pub(super) struct RulesInForce {
    now: watch::Sender<InForce>,
    /// Oldest first. Locked for a moment only: pages ask for it.
    former: Mutex<Vec<Former>>,
    /// Of every agent that there has been in this process.
    instruments: Mutex<BTreeMap<Arc<str>, Arc<AgentInstruments>>>,
    /// Locked throughout a replacement: one at a time.
    replacing: Mutex<()>,
    pub(super) missing: MissingEndpoints,
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
        "deliveries wait under {MAX_KEPT} former versions of the routing folder, with rules, agents or endpoints that it has no more: \
         wait until their agents work, or have the former rules, agents and endpoints again"
    )]
    Former,
}

impl RulesInForce {
    pub(super) fn new(plan: Arc<dyn Plan>) -> Result<Self, ConnectError> {
        let prepared = plan.agents().map(|spec| PreparedAgent::prepare(spec, std::iter::empty()));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        let mut instruments = BTreeMap::new();
        let agents = ConnectedAgents::new(prepared, |name| instruments_of(&mut instruments, name));
        agents.succeed(None);
        let (now, _) = watch::channel(InForce::new(Rules { plan, agents }));
        Ok(Self {
            now,
            former: Mutex::default(),
            instruments: Mutex::new(instruments),
            replacing: Mutex::default(),
            missing: MissingEndpoints::default(),
        })
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

    /// Builds what these rules need, and changes nothing. `Err` says why they cannot be put in force.
    pub(super) fn prepare(&self, plan: &dyn Plan) -> Result<Vec<PreparedAgent>, ReplaceError> {
        let known: Vec<_> = std::iter::once(self.now()).chain(self.former()).collect();
        let next = Names::of(plan);
        if known.iter().filter(|version| !next.take_over(&*version.rules.plan, &version.rules.agents)).count()
            > MAX_KEPT
        {
            return Err(ReplaceError::Former);
        }
        let names = {
            let known = self.instruments.lock();
            known.len() + plan.agents().filter(|agent| !known.contains_key(&agent.name)).count()
        };
        if names > MAX_NAMES {
            return Err(ReplaceError::Names);
        }
        let prepared = plan.agents().map(|spec| {
            let of_name = known.iter().filter_map(|version| version.rules.agents.get(&spec.name).cloned());
            PreparedAgent::prepare(spec, of_name)
        });
        Ok(prepared.collect::<Result<_, _>>()?)
    }

    /// Puts rules in force. Agents whose endpoint is as it was, or is still waited for, keep their limits, their breaker and what is
    /// under way; agents that are as they were keep their connections too. When an agent cannot be connected, nothing changes.
    /// `add_agents` is called before the swap: what is parked for an agent has to be found by its name. `is_parked`: there may be
    /// parked deliveries to the agent.
    pub(super) fn replace(
        &self,
        plan: Arc<dyn Plan>,
        add_agents: impl FnOnce(),
        is_parked: impl Fn(&str) -> bool,
    ) -> Result<(), ReplaceError> {
        let _one = self.replacing.lock();
        let prepared = self.prepare(&*plan)?;
        add_agents();
        let before = self.now();
        let agents = {
            let mut instruments = self.instruments.lock();
            ConnectedAgents::new(prepared, |name| instruments_of(&mut instruments, name))
        };
        let next = InForce::new(Rules { plan, agents });
        let elsewhere = before.rules.agents.all().filter(|runtime| {
            let now = next.rules.agents.get(&runtime.spec.name);
            now.is_some_and(|now| !now.is_at(runtime)) && is_parked(&runtime.spec.name)
        });
        let parked: Vec<_> = elsewhere.map(|runtime| Arc::clone(&runtime.spec.name)).collect();
        let parked = (!parked.is_empty()).then(|| (Arc::clone(&before.version), parked));
        // First, so that the former version is found by whoever does not find it in force.
        self.former.lock().push(Former { version: Arc::downgrade(&before.version), parked });
        next.rules.agents.succeed(Some(&before.rules.agents));
        self.now.send_replace(next.clone());
        drop(before);
        self.forget();
        self.withdraw_excess(&next);
        Ok(())
    }

    fn withdraw_excess(&self, next: &InForce) {
        let names = Names::of(&*next.rules.plan);
        let former = self.former();
        let excess = former
            .iter()
            .filter(|version| names.take_over(&*version.rules.plan, &version.rules.agents))
            .skip(MAX_FORMER);
        excess.for_each(|version| version.version.withdraw(&next.version));
        self.forget();
    }

    /// Forgets versions that nobody uses any more.
    fn forget(&self) {
        let mut unused = Vec::new();
        let mut former = self.former.lock();
        former.retain_mut(|former| {
            let Some(version) = former.version.upgrade() else { return false };
            if version.withdrawn.is_cancelled() {
                unused.extend(former.parked.take());
                version.shorten();
            }
            true
        });
        // What is unused is dropped when the lock is released.
        drop(former);
    }

    /// Keeps no version any more for parked deliveries to agents that have none. `is_parked` as in [`replace`](Self::replace).
    pub(super) fn release_parked(&self, is_parked: impl Fn(&str) -> bool) {
        let mut unused = Vec::new();
        for former in &mut *self.former.lock() {
            if former.parked.as_ref().is_some_and(|(_, agents)| !agents.iter().any(|agent| is_parked(agent))) {
                unused.extend(former.parked.take());
            }
        }
    }

    /// The versions beside the one in force that are still used, newest first.
    pub(super) fn former(&self) -> Vec<InForce> {
        let former = self.former.lock();
        let versions: Vec<_> = former.iter().rev().filter_map(|former| former.version.upgrade()).collect();
        drop(former);
        versions.iter().filter(|version| !version.withdrawn.is_cancelled()).map(RulesVersion::rules).collect()
    }

    /// The endpoints that are not in force and that deliveries wait for, newest first.
    pub(super) fn former_endpoints(&self) -> Vec<FormerEndpointStatus> {
        let (now, former) = (self.now(), self.former());
        let mut endpoints: Vec<&Arc<AgentRuntime>> = Vec::new();
        for runtime in former.iter().flat_map(|version| version.rules.agents.all()) {
            // One limiter for each, in however many versions.
            let is_known = endpoints.iter().any(|known| Arc::ptr_eq(&known.limiter, &runtime.limiter));
            if !is_known && !now.has_endpoint_of(runtime) {
                endpoints.push(runtime);
            }
        }
        let known = endpoints.into_iter().filter_map(|runtime| runtime.former_status());
        known.chain(self.missing.status()).collect()
    }

    /// What makes a delivery: the version of its event, else the rules in force, which may have what a former owner of its
    /// partition planned. With `sent_to` it is one that is still there with this endpoint. If none is, an endpoint that gets deliveries
    /// at least once may be repeated at another one; a run has to be looked up where it may be.
    pub(super) fn planned(
        &self,
        version: &Arc<RulesVersion>,
        (rule, agent): (&str, &str),
        sent_to: Option<NonZeroU64>,
    ) -> Result<Planned, Gone> {
        let own = version.rules().find(rule, agent).or_else(|| self.now().find(rule, agent));
        let own = own.ok_or(Gone::Plan)?;
        let Some(sent_to) = sent_to.filter(|sent_to| own.runtime.endpoint.number() != *sent_to) else {
            return Ok(own);
        };
        let others = std::iter::once(self.now()).chain(self.former());
        let mut others = others.filter_map(|version| version.find(rule, agent));
        match others.find(|planned| planned.runtime.endpoint.number() == sent_to) {
            Some(there) => Ok(there),
            None if EndpointId::has_runs(sent_to) => Err(Gone::Endpoint(own)),
            None => Ok(own),
        }
    }

    /// Resolves when a delivery is to be made as the rules in force say, with what makes it then: its version was withdrawn; or they
    /// have another agent of the name, and the breaker of its own is open, or it failed (`has_failed`) with settings that its
    /// endpoint no longer has. `is_bound`: it may have arrived at its endpoint, and goes to no other.
    pub(super) async fn moves(&self, planned: &Planned, is_bound: bool, has_failed: bool) -> Planned {
        let mut in_force = self.now.subscribe();
        let withdrawn = &planned.version.withdrawn;
        loop {
            let now = in_force.borrow_and_update().clone();
            // Before its successor is looked up.
            let is_withdrawn = withdrawn.is_cancelled();
            // Rules in force may lack names that were there when the version was withdrawn, and its successor is kept for them.
            let versions = [now, planned.version.rules()].into_iter();
            let mut nexts = versions.filter_map(|next| next.find(&planned.rule, &planned.runtime.spec.name));
            let next = nexts.find(|next| {
                !Arc::ptr_eq(&next.version, &planned.version) && (!is_bound || next.runtime.is_at(&planned.runtime))
            });
            let Some(next) = next else {
                tokio::select! {
                    // The sender lives here.
                    _ = in_force.changed() => {}
                    () = withdrawn.cancelled(), if !is_withdrawn => {}
                }
                continue;
            };
            let is_same = Arc::ptr_eq(&next.runtime, &planned.runtime);
            let is_outdated = has_failed && !planned.runtime.limiter.follows(&planned.runtime.spec);
            tokio::select! {
                biased;
                // First: a version is withdrawn when others are in force already.
                _ = in_force.changed() => {}
                () = withdrawn.cancelled() => return next,
                () = std::future::ready(()), if is_outdated => return next,
                () = planned.runtime.limiter.until_open(), if !is_same => return next,
            }
        }
    }

    /// Whether the agent of the name has this endpoint in force.
    pub(super) fn has_endpoint_of(&self, runtime: &AgentRuntime) -> bool {
        self.now.borrow().has_endpoint_of(runtime)
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
        let state = Mutex::new(State::Kept(Arc::clone(&rules)));
        let version = RulesVersion { state, withdrawn: CancellationToken::new() };
        Self { version: Arc::new(version), rules }
    }

    fn has_endpoint_of(&self, runtime: &AgentRuntime) -> bool {
        self.rules.agents.get(&runtime.spec.name).is_some_and(|own| own.is_at(runtime))
    }

    /// The rule and the agent of these names, if the rule sends to the agent.
    pub(super) fn find(&self, rule: &str, agent: &str) -> Option<Planned> {
        Some(Planned {
            version: Arc::clone(&self.version),
            plan: Arc::clone(&self.rules.plan),
            rule: self.rules.plan.rule(rule, agent)?,
            runtime: Arc::clone(self.rules.agents.get(agent)?),
        })
    }
}

impl RulesVersion {
    /// The rules, or those that have taken their place.
    pub(super) fn rules(self: &Arc<Self>) -> InForce {
        let mut version = Arc::clone(self);
        loop {
            let next = match &*version.state.lock() {
                State::Kept(rules) => return InForce { version: Arc::clone(&version), rules: Arc::clone(rules) },
                State::Withdrawn(next) => Arc::clone(next),
            };
            version = next;
        }
    }

    fn withdraw(&self, successor: &Arc<Self>) {
        *self.state.lock() = State::Withdrawn(Arc::clone(successor));
        self.withdrawn.cancel();
    }

    /// Leaves out the versions between a withdrawn one and the rules that have taken its place.
    fn shorten(self: &Arc<Self>) {
        let last = self.rules().version;
        *self.state.lock() = State::Withdrawn(last);
    }
}
