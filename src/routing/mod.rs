//! Where an event goes: a folder of YAML files becomes agents, rules and a router.
//!
//! Owns the language of routing files: patterns, templates, and the checks that make a folder safe
//! to run. Its invariant: a [`Routing`] is whole and checked, and a folder with a single mistake
//! gives none, but all of its mistakes at once. Matching and rendering are functions of the event,
//! bounded in time whatever it holds. It reads files and knows nothing of Kafka, HTTP or the ledger.

mod agent;
mod envelope;
mod fields;
mod folder;
mod pattern;
mod problem;
mod router;
mod rule;
mod template;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use crate::{
    agents::{AgentSpec, RunSettings},
    event::Event,
};
use agent::RunTemplates;

pub use crate::yaml::Position;
pub use pattern::{Pattern, PatternError, PatternFault, PatternReason};
pub use problem::{Problem, ProblemKind, Problems};
pub use router::{Matches, Router};
pub use rule::Rule;
pub use template::TemplateError;

/// Looks up an environment variable.
pub type EnvLookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What loading a folder depends on besides its files.
pub struct LoadOptions {
    /// The environment that `${VAR}` and `{env: VAR}` are taken from.
    pub env: EnvLookup,
    /// How long the ledger remembers an event: a LangGraph agent's `ttl` has to outlast it.
    pub dedup_window: Duration,
}

impl LoadOptions {
    /// The environment of this process.
    pub fn from_process_env(dedup_window: Duration) -> Self {
        Self { env: Box::new(|name| std::env::var(name).ok()), dedup_window }
    }
}

/// A routing folder, whole and checked.
#[derive(Debug)]
pub struct Routing {
    agents: BTreeMap<Arc<str>, Arc<AgentSpec>>,
    /// The templates of those agents that have some, by the agent's name.
    templates: BTreeMap<Arc<str>, RunTemplates>,
    router: Router,
    warnings: Vec<Problem>,
}

impl Routing {
    /// Loads a folder.
    ///
    /// # Errors
    /// Every mistake of every file at once.
    pub fn load(folder: &Path, options: &LoadOptions) -> Result<Self, Problems> {
        folder::load(folder, options)
    }

    /// The agents, by name.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<AgentSpec>> {
        self.agents.values()
    }

    /// The agent of that name.
    pub fn agent(&self, name: &str) -> Option<&Arc<AgentSpec>> {
        self.agents.get(name)
    }

    /// The settings of a run of an agent for an event of a rule.
    ///
    /// # Errors
    /// As [`Rule::render_input`].
    pub fn render_settings(&self, rule: &str, agent: &str, event: &Arc<Event>) -> Result<RunSettings, TemplateError> {
        let Some(templates) = self.templates.get(agent) else { return Ok(RunSettings::default()) };
        templates.render(rule, agent, event)
    }

    /// Whether the settings of an agent's runs depend on the event.
    pub fn has_templates(&self, agent: &str) -> bool {
        self.templates.get(agent).is_some_and(|templates| !templates.is_literal())
    }

    /// The rules, by name.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.router.rules().iter()
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&Arc<Rule>> {
        let rules = self.router.rules();
        rules.binary_search_by(|rule| rule.name().as_ref().cmp(name)).ok().and_then(|at| rules.get(at))
    }

    /// What is probably a mistake, and harmless.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Which rules an event goes by.
    pub fn router(&self) -> &Router {
        &self.router
    }
}
