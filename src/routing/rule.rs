//! The `rules:` of a routing file, and what a rule is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use minijinja::Environment;
use serde_json::Value;

use super::{
    agent::{EndpointKind, check_name},
    envelope,
    event_types::EventTypes,
    fields::Fields,
    pattern::{self, Pattern},
    places,
    problem::Report,
    template::{Compiler, Template, TemplateError},
};
use crate::{
    event::Event,
    yaml::{Data, Entry, Node, Position, misspelling, one_line, quoted, suggestion},
};

/// A rule: which events match, and which agents get them.
pub(crate) struct Rule {
    name: Arc<str>,
    /// Its name in messages.
    label: String,
    agents: Box<[Arc<str>]>,
    content: u64,
    pattern: Pattern,
    input: Option<Template>,
    body: Option<Template>,
    engine: Arc<Environment<'static>>,
}

impl Rule {
    /// Unique over the folder; part of every delivery's identity.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The names of the agents that it sends to, at least one, in the order of the file.
    pub(crate) fn agents(&self) -> &[Arc<str>] {
        &self.agents
    }

    /// Equal for rules with the same pattern and the same templates, in one process.
    pub(super) fn content(&self) -> u64 {
        self.content
    }

    /// The pattern of the events that it matches.
    pub(crate) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The input for the rule's LangGraph agents; `None` when the rule has no template for it.
    ///
    /// # Errors
    /// The event lacks what the template names, or the result is too large: with this rule it can
    /// never be delivered.
    pub(crate) fn render_input(&self, event: &Arc<Event>) -> Result<Option<Value>, TemplateError> {
        self.input.as_ref().map(|template| template.render(&self.label, event, &self.engine)).transpose()
    }

    /// Whether the input depends on the event.
    pub(crate) fn has_input_template(&self) -> bool {
        self.input.as_ref().is_some_and(|template| template.literal().is_none())
    }

    /// Whether the body depends on the event.
    pub(crate) fn has_body_template(&self) -> bool {
        self.body.as_ref().is_some_and(|template| template.literal().is_none())
    }

    /// Whether the rule has a template for the body of its HTTP agents.
    pub(crate) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// The body for the rule's HTTP agents; `None` when the rule has no template for it.
    ///
    /// # Errors
    /// As [`render_input`](Self::render_input).
    pub(crate) fn render_body(&self, event: &Arc<Event>) -> Result<Option<Value>, TemplateError> {
        self.body.as_ref().map(|template| template.render(&self.label, event, &self.engine)).transpose()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// A rule without the template engine, which is complete only after the last rule was read.
pub(super) struct Draft {
    pub(super) name: Arc<str>,
    pub(super) at: Option<Position>,
    /// The agents that the rule names, whether they exist or not.
    pub(super) uses: Box<[Arc<str>]>,
    /// Its pattern and its templates, as a text that is the same for each order of the fields.
    pub(super) sends: Option<String>,
    parts: Option<Parts>,
}

struct Parts {
    agents: Box<[Arc<str>]>,
    pattern: Pattern,
    input: Option<Template>,
    body: Option<Template>,
}

impl Draft {
    /// The rule, when it had no mistakes.
    pub(super) fn finish(self, engine: &Arc<Environment<'static>>) -> Option<Rule> {
        let Parts { agents, pattern, input, body } = self.parts?;
        let label = format!("rule `{}`", self.name);
        let mut hasher = DefaultHasher::new();
        self.sends.hash(&mut hasher);
        let (content, engine) = (hasher.finish(), Arc::clone(engine));
        Some(Rule { name: self.name, label, agents, content, pattern, input, body, engine })
    }
}

/// The agents of the whole folder, with their kinds if known.
pub(super) type AgentKinds = BTreeMap<Arc<str>, Option<EndpointKind>>;

/// What rules may name.
pub(super) struct Names<'f> {
    pub(super) agents: &'f AgentKinds,
    pub(super) event_types: &'f EventTypes,
}

/// Reads the list of rules. Each item is freed when its rule is read: together they take as much memory as the rules.
pub(super) fn read(node: Node, names: &Names<'_>, templates: &mut Compiler, report: &mut Report) -> Vec<Draft> {
    let Data::List(items) = node.data else {
        report.error(
            node.at,
            format!("rules: expected a list of rules, found {}: begin with `- name: ...`", node.found_type()),
        );
        return Vec::new();
    };
    items.into_iter().filter_map(|item| rule(&item, names, templates, report)).collect()
}

fn rule(node: &Node, known: &Names<'_>, templates: &mut Compiler, report: &mut Report) -> Option<Draft> {
    let agents = known.agents;
    let before = report.problems.len();
    let mut fields = Fields::open(node, "rule", report)?;
    let name = fields.require("name", "give the rule a name that says what it is for", report);
    let label = one_line(name.and_then(|entry| entry.value.text()).unwrap_or("?"));
    if let Some(entry) = name {
        match entry.value.text() {
            Some(text) => check_name("rule", text, entry.value.at, report),
            None => {
                report.error(entry.value.at, format!("rule name: expected a string, found {}", entry.value.found()));
            }
        }
    }
    fields.what = format!("rule `{label}`");
    if let Some(entry) = fields.take("description") {
        check_description(&label, entry, report);
    }
    let when = fields.require("when", "say which events it takes, event_type at least", report);
    let to = fields.require("to", "name the agents, as in `to: [analyst]`", report);
    let input = fields.take("input");
    let body = fields.take("body");
    fields.finish(report);

    let targets = to.map(|entry| targets(&label, &entry.value, agents, report));
    refuse_unused_templates(
        &label,
        [(input, EndpointKind::LangGraph, "LangGraph"), (body, EndpointKind::Http, "http")],
        targets.as_deref(),
        agents,
        report,
    );
    let pattern = when.and_then(|entry| pattern(&label, entry, known.event_types, report));
    let names = when.map(|entry| top_level_names(&entry.value)).unwrap_or_default();
    let sends = when.map(|when| places::canonical([Some(when), input, body]));
    let mut template = |entry: Option<&Entry>| {
        let entry = entry?;
        if matches!(entry.value.data, Data::Null) {
            report.error(
                entry.at,
                format!("rule `{label}`, {}: expected a template, found nothing: fill it in", entry.key),
            );
            return None;
        }
        Some(templates.template(&format!("rule `{label}`"), &entry.key, &entry.value, &names, None, report))
    };
    let (input, body) = (template(input), template(body));

    let uses: Box<[_]> = targets.unwrap_or_default().into();
    let correct = pattern.filter(|_| report.problems.len() == before);
    let parts = correct.map(|pattern| Parts { agents: uses.clone(), pattern, input, body });
    // A rule without a name was reported above.
    let name = name.filter(|entry| entry.value.text().is_some())?;
    Some(Draft { name: label.into(), at: name.value.at, uses, sends, parts })
}

/// Refuses a template for a kind of agent that the rule does not send to.
fn refuse_unused_templates(
    rule: &str,
    templates: [(Option<&Entry>, EndpointKind, &str); 2],
    targets: Option<&[Arc<str>]>,
    agents: &AgentKinds,
    report: &mut Report,
) {
    for (entry, kind, kind_name) in templates {
        let (Some(entry), Some(targets)) = (entry, targets) else { continue };
        let mut kinds = targets.iter().map(|name| agents.get(name).copied().flatten());
        if !targets.is_empty() && kinds.all(|other| other.is_some_and(|other| other != kind)) {
            let message = format!("`{}` is for {kind_name} agents, and the rule sends to none", entry.key);
            report.error(entry.at, format!("rule `{rule}`: {message}: take it out, or use the other key"));
        }
    }
}

/// Warns of top-level fields that no event has of its own, if the name is close to one that it has.
fn warn_of_misspelt_fields(rule: &str, when: &Node, report: &mut Report) {
    let Data::Map(entries) = &when.data else { return };
    for entry in entries.iter().filter(|entry| !Event::FIELDS.contains(&entry.key.as_str()) && entry.key != pattern::OR)
    {
        let close = misspelling(&entry.key, Event::FIELDS.iter().copied());
        if !close.is_empty() {
            let message = format!("rule `{rule}`, when: events have no field `{}` of their own{close}", entry.key);
            report.warn(entry.at, message);
        }
    }
}

/// A description is documentation in the file: it is checked and not kept.
fn check_description(rule: &str, entry: &Entry, report: &mut Report) {
    if entry.value.text().is_none() {
        let message = format!("expected a string, found {}", entry.value.found_type());
        report.error(entry.value.at, format!("rule `{rule}`, description: {message}"));
    }
}

fn targets(rule: &str, node: &Node, agents: &AgentKinds, report: &mut Report) -> Vec<Arc<str>> {
    let what = format!("rule `{rule}`, to");
    let items = match &node.data {
        Data::List(items) if !items.is_empty() => items,
        _ => {
            report.error(
                node.at,
                format!("{what}: expected a list of agents, found {}: as in `to: [analyst]`", node.found()),
            );
            return Vec::new();
        }
    };
    let mut targets: Vec<Arc<str>> = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = item.text() else {
            report.error(item.at, format!("{what}: expected the name of an agent, found {}", item.found()));
            continue;
        };
        if targets.iter().any(|other| **other == *name) {
            report.error(item.at, format!("{what}: the agent `{name}` stands here twice: keep one"));
            continue;
        }
        let known = agents.get_key_value(name).map(|(name, _)| Arc::clone(name));
        if known.is_none() {
            let close = suggestion(name, agents.keys().map(AsRef::as_ref));
            let stop = if close.is_empty() { "." } else { "" };
            let message = format!("there is no agent {}{close}", quoted(name));
            report.error(
                item.at,
                format!("{what}: {message}{stop} Declare it under `agents:` in any file of the folder"),
            );
        }
        targets.push(known.unwrap_or_else(|| name.into()));
    }
    targets
}

fn pattern(rule: &str, entry: &Entry, event_types: &EventTypes, report: &mut Report) -> Option<Pattern> {
    let what = format!("rule `{rule}`, when");
    let compiled = Pattern::compile(&entry.value);
    envelope::check(&what, &entry.value, compiled.is_ok(), event_types, report);
    warn_of_misspelt_fields(rule, &entry.value, report);
    places::check(&what, &entry.value, report);
    let pattern = match compiled {
        Ok(pattern) => pattern,
        Err(error) => {
            for fault in error.faults() {
                let path = if fault.path.is_empty() { String::new() } else { format!(".{}", fault.path) };
                report.error(fault.position.or(entry.at), format!("{what}{path}: {}", fault.reason));
            }
            return None;
        }
    };
    if !pattern.always_names("event_type") {
        let message = "expected event_type at its top level (or in every branch of its $or), found none";
        let advice = "a rule that would fire on everything is a mistake: add event_type: [WORKFLOW_COMPLETED]";
        report.error(entry.at, format!("{what}: {message}: {advice}"));
    }
    Some(pattern)
}

/// The top-level fields that a pattern names.
fn top_level_names(node: &Node) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    if let Data::Map(entries) = &node.data {
        for entry in entries {
            match &entry.value.data {
                Data::List(items) if entry.key == pattern::OR => names.extend(items.iter().flat_map(top_level_names)),
                _ => drop(names.insert(entry.key.as_str())),
            }
        }
    }
    names
}
