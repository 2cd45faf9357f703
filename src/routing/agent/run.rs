//! What a LangGraph agent's runs get besides their input: `config`, `context` and `metadata`, with or
//! without templates in them.

use std::{collections::BTreeSet, sync::Arc};

use minijinja::Environment;
use serde_json::{Map, Value};

use super::{context::Context, scalar};
use crate::{
    agents::RunSettings,
    event::Event,
    routing::{
        problem::Report,
        template::{Template, TemplateError},
    },
    yaml::{Data, Entry, quoted},
};

/// Keys of the metadata that the bridge or the server sets, and what the bridge promises rests on some.
pub(in crate::routing) const RESERVED: [&str; 21] = [
    "event_id",
    "event_type",
    "workflow_id",
    "workflow_run_id",
    "delivery_id",
    "rule",
    "agent",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
    "nonce",
    "round",
    "round_of",
    "traceparent",
    "tracestate",
    "baggage",
    "assistant_id",
    "graph_id",
    "run_id",
    "thread_id",
    "created_by",
];

/// The templates of an agent, without the engine, which is complete only after the last rule.
#[derive(Default)]
pub(in crate::routing) struct Draft {
    config: Option<Template>,
    context: Option<Template>,
    metadata: Option<Template>,
}

impl Draft {
    /// Keeps what depends on the event, and gives back a config and a context that do not.
    pub(super) fn split(
        &mut self,
        config: Option<Template>,
        context: Option<Template>,
        metadata: Option<Template>,
    ) -> (Option<Value>, Option<Value>) {
        let literal = |template: Option<Template>, kept: &mut Option<Template>| {
            let value = template.as_ref().and_then(|template| template.literal().cloned());
            *kept = template.filter(|_| value.is_none());
            value
        };
        self.metadata = metadata;
        (literal(config, &mut self.config), literal(context, &mut self.context))
    }

    /// The templates, when there are any.
    pub(in crate::routing) fn finish(self, engine: &Arc<Environment<'static>>) -> Option<RunTemplates> {
        let Self { config, context, metadata } = self;
        if config.is_none() && context.is_none() && metadata.is_none() {
            return None;
        }
        Some(RunTemplates { config, context, metadata, engine: Arc::clone(engine) })
    }
}

/// The templates of an agent's runs.
#[derive(Debug)]
pub(in crate::routing) struct RunTemplates {
    config: Option<Template>,
    context: Option<Template>,
    metadata: Option<Template>,
    engine: Arc<Environment<'static>>,
}

impl RunTemplates {
    /// Whether nothing depends on the event.
    pub(in crate::routing) fn is_literal(&self) -> bool {
        [&self.config, &self.context, &self.metadata].into_iter().flatten().all(|template| template.literal().is_some())
    }

    pub(in crate::routing) fn render(
        &self,
        rule: &str,
        agent: &str,
        event: &Arc<Event>,
    ) -> Result<RunSettings, TemplateError> {
        let owner = format!("rule `{rule}`, agent `{agent}`");
        let render = |template: &Option<Template>| {
            template.as_ref().map(|template| template.render(&owner, event, &self.engine)).transpose()
        };
        Ok(RunSettings {
            config: render(&self.config)?,
            context: render(&self.context)?,
            metadata: match render(&self.metadata)? {
                Some(Value::Object(fields)) => fields,
                _ => Map::new(),
            },
        })
    }
}

/// A map that may have variables and templates in it. The value of a variable is never a template.
pub(super) fn setting(what: &str, entry: &Entry, context: &mut Context<'_>) -> Option<Template> {
    if !matches!(entry.value.data, Data::Map(_)) {
        let found = entry.value.found_type();
        context.report.error(entry.value.at, format!("{what}, {}: expected a map, found {found}", entry.key));
        return None;
    }
    let env = context.env;
    let parts = |text: &str, at, report: &mut Report| scalar::parts(text, at, env, report);
    let names = BTreeSet::new();
    let template = context.templates.template(what, &entry.key, &entry.value, &names, Some(&parts), context.report);
    Some(template)
}

/// Metadata of the runs and threads; the keys that the bridge sets are its own.
pub(super) fn metadata(what: &str, entry: &Entry, context: &mut Context<'_>) -> Option<Template> {
    if let Data::Map(entries) = &entry.value.data {
        for field in entries.iter().filter(|field| RESERVED.contains(&field.key.as_str())) {
            let key = quoted(&field.key);
            let message = format!("{what}, metadata: the key {key} is set by the bridge or the server: rename it");
            context.report.error(field.at, message);
        }
    }
    setting(what, entry, context)
}
