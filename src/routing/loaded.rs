//! A routing folder after it was loaded: its agents, their templates and its rules.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    agent::RunTemplates, event_types::EventTypes, inventory::Inventory, problem::Problem, router::Router, rule::Rule,
    template::TemplateError,
};
use crate::{
    agents::{AgentSpec, Endpoint, RunSettings},
    event::Event,
};

/// Looks up an environment variable.
pub(crate) type EnvLookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What loading a folder depends on besides its files.
pub(crate) struct LoadOptions {
    /// The environment that `${VAR}` and `{env: VAR}` are taken from.
    pub env: EnvLookup,
    /// How long the ledger remembers an event: a LangGraph agent's `ttl` has to outlast it.
    pub dedup_window: Duration,
}

/// A routing folder, complete and checked.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(super) agents: BTreeMap<Arc<str>, Arc<AgentSpec>>,
    /// The templates of those agents that have some, by the agent's name.
    pub(super) templates: BTreeMap<Arc<str>, RunTemplates>,
    pub(super) router: Router,
    pub(super) warnings: Vec<Problem>,
    pub(super) event_types: EventTypes,
    pub(super) inventory: Inventory,
}

impl Routing {
    /// The agents, by name.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &Arc<AgentSpec>> {
        self.agents.values()
    }

    /// The agent of that name.
    pub(crate) fn agent(&self, name: &str) -> Option<&Arc<AgentSpec>> {
        self.agents.get(name)
    }

    /// The settings of a run of an agent for an event of a rule.
    ///
    /// # Errors
    /// As [`Rule::render_input`].
    pub(crate) fn render_settings(
        &self,
        rule: &str,
        agent: &str,
        event: &Arc<Event>,
    ) -> Result<RunSettings, TemplateError> {
        let Some(templates) = self.templates.get(agent) else { return Ok(RunSettings::default()) };
        templates.render(rule, agent, event)
    }

    /// What an agent gets of a rule for an event: the rule's template for its kind, if there is one, and the settings of
    /// the run.
    ///
    /// # Errors
    /// As [`Rule::render_input`].
    pub(crate) fn render(
        &self,
        rule: &Rule,
        agent: &AgentSpec,
        event: &Arc<Event>,
    ) -> Result<(Option<Value>, RunSettings), TemplateError> {
        match &agent.endpoint {
            Endpoint::LangGraph(_) => {
                Ok((rule.render_input(event)?, self.render_settings(rule.name(), &agent.name, event)?))
            }
            Endpoint::Http(_) => Ok((rule.render_body(event)?, RunSettings::default())),
            Endpoint::Handler(_) => Ok((None, RunSettings::default())),
        }
    }

    /// Whether the settings of an agent's runs depend on the event.
    pub(crate) fn has_templates(&self, agent: &str) -> bool {
        self.templates.get(agent).is_some_and(|templates| !templates.is_literal())
    }

    /// The rules, by name.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.router.rules().iter()
    }

    /// The rule of that name.
    pub(crate) fn rule(&self, name: &str) -> Option<&Arc<Rule>> {
        let rules = self.router.rules();
        rules.binary_search_by(|rule| rule.name().as_ref().cmp(name)).ok().and_then(|at| rules.get(at))
    }

    /// The warnings: what is probably a mistake, but harmless.
    pub(crate) fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether the folder lists an event type, beside those of workflows.
    pub(crate) fn lists_event_type(&self, name: &str) -> bool {
        self.event_types.contains(name)
    }

    /// What the folder holds.
    pub(crate) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Which rules match an event.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}
