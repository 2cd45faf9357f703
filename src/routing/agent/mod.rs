//! The `agents:` of a routing file: read, checked, and with their secrets found.

mod context;
mod endpoint;
mod headers;
mod run;
mod scalar;
mod secret;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use super::fields::Fields;
use crate::{
    agents::{AgentSpec, Class, RetrySpec},
    yaml::{Data, Node, Position, one_line, quoted, suggestion},
};
use context::{DAY, HOUR, MILLISECOND, SECOND};

pub(super) use context::{Context, check_name};
pub(super) use endpoint::EndpointKind;
pub(super) use run::{Draft, RunTemplates};
#[cfg(test)]
pub(super) use {
    headers::{RESERVED as RESERVED_HEADERS, SECRET as SECRET_HEADERS},
    run::RESERVED as RESERVED_METADATA,
};

const CONCURRENCY: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: RetrySpec = RetrySpec {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(60),
    give_up_after: DAY,
    max_attempts: None,
};

/// An agent that a file declares, its mistakes reported.
pub(super) struct Declared {
    pub(super) name: Arc<str>,
    pub(super) at: Option<Position>,
    /// The kind of its endpoint, where that can be told.
    pub(super) kind: Option<EndpointKind>,
    /// `None` when it has mistakes.
    pub(super) spec: Option<AgentSpec>,
    /// The templates of its runs.
    pub(super) templates: Draft,
}

/// Reads the map of agents.
pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Vec<Declared> {
    let Data::Map(entries) = &node.data else {
        let found = node.found_type();
        context.report.error(node.at, format!("agents: expected a map from names to agents, found {found}"));
        return Vec::new();
    };
    let mut agents = Vec::with_capacity(entries.len());
    for entry in entries {
        check_name("agent", &entry.key, entry.at, context.report);
        let before = context.report.problems.len();
        let name: Arc<str> = entry.key.as_str().into();
        let mut templates = Draft::default();
        let (kind, spec) = agent(&name, &entry.value, &mut templates, context);
        let spec = spec.filter(|_| context.report.problems.len() == before);
        agents.push(Declared { name, at: entry.at, kind, spec, templates });
    }
    agents
}

fn agent(
    name: &Arc<str>,
    node: &Node,
    templates: &mut Draft,
    context: &mut Context<'_>,
) -> (Option<EndpointKind>, Option<AgentSpec>) {
    let what = format!("agent `{}`", one_line(name));
    let Some(mut fields) = Fields::open(node, &*what, context.report) else { return (None, None) };

    let langgraph = fields.take("langgraph");
    let http = fields.take("http");
    let concurrency = fields.take("concurrency").map(|entry| context.count(&entry.value, &what, 1..=10_000));
    let rate = fields.take("rate").map(|entry| context.rate(&entry.value, &what));
    let timeout = fields
        .take("timeout")
        .map(|entry| context.duration(&entry.value, &format!("{what}, timeout"), 10 * MILLISECOND..=HOUR, "10s"));
    let timeout = timeout.map_or(Some(TIMEOUT), |timeout| timeout);
    let retry = fields.take("retry").map_or(Some(RETRY), |entry| retry(&what, &entry.value, context));
    let classify =
        fields.take("classify").map_or(Some(BTreeMap::new()), |entry| classify(&what, &entry.value, context));

    let (kind, endpoint) = match (langgraph, http) {
        (Some(entry), None) => {
            let what = format!("{what}, langgraph");
            let endpoint = endpoint::langgraph(&what, &entry.value, timeout, templates, context);
            (Some(EndpointKind::LangGraph), endpoint)
        }
        (None, Some(entry)) => {
            (Some(EndpointKind::Http), endpoint::http(&format!("{what}, http"), &entry.value, context))
        }
        (Some(_), Some(both)) => {
            context.report.error(both.at, format!("{what}: expected langgraph or http, found both: keep one"));
            (None, None)
        }
        (None, None) => {
            let advice = "say where it is, as in `langgraph: {url: ..., assistant: ...}`";
            context.report.error(fields.at, format!("{what}: expected langgraph or http, found neither: {advice}"));
            (None, None)
        }
    };
    fields.finish(context.report);

    let spec = || {
        Some(AgentSpec {
            name: Arc::clone(name),
            endpoint: endpoint?,
            concurrency: concurrency.map_or(Some(CONCURRENCY), |count| count?.try_into().ok())?,
            rate: rate.flatten(),
            timeout: timeout?,
            retry: retry?,
            classify: classify?,
        })
    };
    (kind, spec())
}

fn retry(what: &str, node: &Node, context: &mut Context<'_>) -> Option<RetrySpec> {
    let what = format!("{what}, retry");
    let mut fields = Fields::open(node, &*what, context.report)?;
    let mut duration = |key: &'static str, default: Duration, range: RangeInclusive<Duration>, example: &str| {
        fields
            .take(key)
            .map_or(Some(default), |entry| context.duration(&entry.value, &format!("{what}, {key}"), range, example))
    };
    let initial = duration("initial", RETRY.initial, MILLISECOND..=HOUR, "500ms");
    let max = duration("max", RETRY.max, MILLISECOND..=DAY, "60s");
    let give_up_after = duration("give_up_after", RETRY.give_up_after, SECOND..=365 * DAY, "24h");
    let max_attempts = fields
        .take("max_attempts")
        .map(|entry| context.count(&entry.value, &format!("{what}, max_attempts"), 1..=1_000_000));
    if let (Some(initial), Some(max)) = (initial, max)
        && initial > max
    {
        let message = format!("{what}: expected initial <= max, found {initial:?} > {max:?}: raise max");
        context.report.error(fields.at, message);
    }
    fields.finish(context.report);
    Some(RetrySpec {
        initial: initial?,
        max: max?,
        give_up_after: give_up_after?,
        max_attempts: match max_attempts {
            None => None,
            Some(count) => Some(count?),
        },
    })
}

fn classify(what: &str, node: &Node, context: &mut Context<'_>) -> Option<BTreeMap<u16, Class>> {
    let Data::Map(entries) = &node.data else {
        let message = format!("expected a map from statuses to classes, found {}", node.found_type());
        context.report.error(node.at, format!("{what}, classify: {message}: write it as in `{{409: accepted}}`"));
        return None;
    };
    let words = Class::NAMED.map(Class::as_str);
    let mut classes = BTreeMap::new();
    for entry in entries {
        let status = entry.key.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        if status.is_none() {
            let message = format!("expected an HTTP status, 100 to 599, found {}", quoted(&entry.key));
            context.report.error(entry.at, format!("{what}, classify: {message}"));
        }
        let class = Class::NAMED.into_iter().find(|class| entry.value.text() == Some(class.as_str()));
        if class.is_none() {
            let close = entry.value.text().map(|text| suggestion(text, words)).unwrap_or_default();
            let message = format!("expected one of {}, found {}{close}", words.join(", "), entry.value.found());
            context.report.error(entry.value.at, format!("{what}, classify: {message}"));
        }
        classes.extend(status.zip(class));
    }
    Some(classes)
}
