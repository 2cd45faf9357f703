//! The `rules:` of a routing file, and what a rule is.

use crate::yaml::{Data, Entry, Node, Position, one_line, quoted, suggestion};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use minijinja::Environment;
use serde_json::Value;

use super::{
    agent::{Kind, check_name},
    envelope,
    fields::Fields,
    pattern::{self, Pattern},
    problem::{ProblemKind, Report},
    template::{Compiler, Template, TemplateError},
};
use crate::event::Event;

/// The fields that every event has.
const FIELDS: &[&str] =
    &["event_id", "event_type", "timestamp", "source", "workflow_id", "workflow_run_id", "payload", "metadata"];

/// A rule: which events, and where to send them.
pub struct Rule {
    name: Arc<str>,
    /// As messages name it.
    label: String,
    description: Option<String>,
    agents: Box<[Arc<str>]>,
    pattern: Pattern,
    input: Option<Template>,
    body: Option<Template>,
    engine: Arc<Environment<'static>>,
}

impl Rule {
    /// Unique over the folder; part of every delivery's identity.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its author says that it is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The names of the agents that it sends to, at least one, in the order of the file.
    pub fn agents(&self) -> &[Arc<str>] {
        &self.agents
    }

    /// The events that it takes.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The input for the rule's LangGraph agents; `None` when the rule has no template for it.
    ///
    /// # Errors
    /// The event lacks what the template names, or the result is too large: with this rule it can
    /// never be delivered.
    pub fn render_input(&self, event: &Arc<Event>) -> Result<Option<Value>, TemplateError> {
        self.input.as_ref().map(|template| template.render(&self.label, event, &self.engine)).transpose()
    }

    /// Whether the input depends on the event.
    pub fn has_input_template(&self) -> bool {
        self.input.as_ref().is_some_and(|template| template.literal().is_none())
    }

    /// Whether the body depends on the event.
    pub fn has_body_template(&self) -> bool {
        self.body.as_ref().is_some_and(|template| template.literal().is_none())
    }

    /// Whether the rule has a template for the body of its HTTP agents.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// The body for the rule's HTTP agents; `None` when the rule has no template for it.
    ///
    /// # Errors
    /// As [`render_input`](Self::render_input).
    pub fn render_body(&self, event: &Arc<Event>) -> Result<Option<Value>, TemplateError> {
        self.body.as_ref().map(|template| template.render(&self.label, event, &self.engine)).transpose()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// A rule without the engine that its templates need, which is complete only after the last rule.
pub(super) struct Draft {
    pub(super) name: Arc<str>,
    pub(super) at: Option<Position>,
    /// What the rule says to use, wrong or not.
    pub(super) uses: BTreeSet<String>,
    parts: Option<Parts>,
}

struct Parts {
    description: Option<String>,
    agents: Box<[Arc<str>]>,
    pattern: Pattern,
    input: Option<Template>,
    body: Option<Template>,
}

impl Draft {
    /// The rule, when it had no mistakes.
    pub(super) fn finish(self, engine: &Arc<Environment<'static>>) -> Option<Rule> {
        let Parts { description, agents, pattern, input, body } = self.parts?;
        let label = format!("rule `{}`", self.name);
        Some(Rule { name: self.name, label, description, agents, pattern, input, body, engine: Arc::clone(engine) })
    }
}

/// The agents of the whole folder, with their kinds where those could be told.
pub(super) type Agents = BTreeMap<Arc<str>, Option<Kind>>;

/// Reads the list of rules.
pub(super) fn read(node: &Node, agents: &Agents, templates: &mut Compiler, report: &mut Report) -> Vec<Draft> {
    report.part = ProblemKind::Rule;
    let Data::List(items) = &node.data else {
        report.error(
            node.at,
            format!("rules: expected a list of rules, found {}: begin with `- name: ...`", node.found_type()),
        );
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            report.part = ProblemKind::Rule;
            rule(item, agents, templates, report)
        })
        .collect()
}

fn rule(node: &Node, agents: &Agents, templates: &mut Compiler, report: &mut Report) -> Option<Draft> {
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
    let description = fields.take("description").and_then(|entry| description(&label, entry, report));
    let when = fields.require("when", "say which events it takes, event_type at least", report);
    let to = fields.require("to", "name the agents, as in `to: [analyst]`", report);
    let input = fields.take("input");
    let body = fields.take("body");
    fields.finish(report);

    let targets = to.map(|entry| targets(&label, &entry.value, agents, report));
    for (entry, kind, kind_name) in [(input, Kind::LangGraph, "LangGraph"), (body, Kind::Http, "http")] {
        let (Some(entry), Some(targets)) = (entry, &targets) else { continue };
        let mut kinds = targets.iter().map(|name| agents.get(name.as_str()).copied().flatten());
        if !targets.is_empty() && kinds.all(|other| other.is_some_and(|other| other != kind)) {
            let message = format!("`{}` is for {kind_name} agents, and the rule sends to none", entry.key);
            report.error(entry.at, format!("rule `{label}`: {message}: take it out, or use the other key"));
        }
    }
    let pattern = when.and_then(|entry| pattern(&label, entry, report));
    let names = when.map(|entry| top_level_names(&entry.value)).unwrap_or_default();
    if let Some(Data::Map(entries)) = when.map(|entry| &entry.value.data) {
        for entry in entries.iter().filter(|entry| !FIELDS.contains(&entry.key.as_str()) && entry.key != "$or") {
            let close = suggestion(&entry.key, FIELDS.iter().copied());
            if !close.is_empty() {
                let message = format!("rule `{label}`, when: events have no field `{}` of their own{close}", entry.key);
                report.warn(entry.at, message);
            }
        }
    }
    let mut template = |entry: Option<&Entry>| {
        let entry = entry?;
        if matches!(entry.value.data, Data::Null) {
            report.part = ProblemKind::Template;
            report.error(
                entry.at,
                format!("rule `{label}`, {}: expected a template, found nothing: fill it in", entry.key),
            );
            return None;
        }
        Some(templates.template(&format!("rule `{label}`"), &entry.key, &entry.value, &names, None, report))
    };
    let (input, body) = (template(input), template(body));

    let targets = targets.unwrap_or_default();
    let agents: Box<[_]> = targets
        .iter()
        .filter_map(|name| agents.get_key_value(name.as_str()).map(|(name, _)| Arc::clone(name)))
        .collect();
    let parts = pattern.filter(|_| report.problems.len() == before).map(|pattern| Parts {
        description,
        agents,
        pattern,
        input,
        body,
    });
    // A rule without a name is reported, and has none to be known by.
    let name = name.filter(|entry| entry.value.text().is_some())?;
    Some(Draft { name: label.into(), at: name.value.at, uses: targets.into_iter().collect(), parts })
}

fn description(rule: &str, entry: &Entry, report: &mut Report) -> Option<String> {
    let text = entry.value.text();
    if text.is_none() {
        let message = format!("expected a string, found {}", entry.value.found_type());
        report.error(entry.value.at, format!("rule `{rule}`, description: {message}"));
    }
    text.map(str::to_owned)
}

fn targets(rule: &str, node: &Node, agents: &Agents, report: &mut Report) -> Vec<String> {
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
    let mut targets: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = item.text() else {
            report.error(item.at, format!("{what}: expected the name of an agent, found {}", item.found()));
            continue;
        };
        if targets.iter().any(|other| other == name) {
            report.error(item.at, format!("{what}: the agent `{name}` stands here twice: keep one"));
            continue;
        }
        if !agents.contains_key(name) {
            let close = suggestion(name, agents.keys().map(AsRef::as_ref));
            let stop = if close.is_empty() { "." } else { "" };
            let message = format!("there is no agent {}{close}", quoted(name));
            report.error(
                item.at,
                format!("{what}: {message}{stop} Declare it under `agents:` in any file of the folder"),
            );
        }
        targets.push(name.to_owned());
    }
    targets
}

fn pattern(rule: &str, entry: &Entry, report: &mut Report) -> Option<Pattern> {
    report.part = ProblemKind::Pattern;
    let what = format!("rule `{rule}`, when");
    let compiled = Pattern::compile(&entry.value);
    envelope::check(&what, &entry.value, compiled.is_ok(), report);
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
