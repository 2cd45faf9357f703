//! What holds for any routing file, pattern and template, however hostile: each function fails by a panic.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    index::Index,
    loaded::{LoadOptions, Routing},
    pattern::{Pattern, naive},
    problem::{Problem, Report},
    template::{Compiler, TemplateError},
};
use crate::{
    event::{Event, Limits, Raw, decode},
    yaml::{self, Data, Node},
};

/// The line between the two parts of an input.
const SEPARATOR: &str = "\n---\n";

/// What the naive evaluator may take: a few milliseconds.
const STEPS: u64 = 20_000;

/// The longest input whose pattern is put into an index many times.
const MOST_REPEATED: usize = 2_000;

/// The value of every variable whose name begins with `SECRET`.
const SECRET: &str = "5ecr3t-v4lue";

/// The longest message of one problem. It may name a value of the file, but not repeat a long one.
const MAX_MESSAGE: usize = 4_000;

/// A template renders to at most 4 MiB, and JSON escapes six bytes for one.
const MAX_RENDERED: usize = 25 << 20;

/// A pattern as YAML, the separator, an event as JSON: the compiled pattern agrees with the definition.
pub(crate) fn patterns(input: &str) {
    let Some((pattern, event)) = input.split_once(SEPARATOR) else { return };
    let mut faults: Vec<(_, String)> = Vec::new();
    let node = yaml::read(pattern, &mut faults);
    let (Some(node), true, Ok(event)) = (node, faults.is_empty(), serde_json::from_str::<Value>(event)) else { return };
    match Pattern::compile(&node) {
        Err(error) => {
            assert!(!error.faults().is_empty(), "refused without a fault");
            assert!(error.faults().iter().all(|fault| !fault.to_string().is_empty()));
        }
        Ok(pattern) => {
            let found = pattern.matches(&event);
            let is_candidate = Index::new([&pattern].into_iter()).candidates(&event) == [0];
            assert!(is_candidate || !found, "the index does not find a pattern that matches");
            if input.len() < MOST_REPEATED {
                let index = Index::new(std::iter::repeat_n(&pattern, 40));
                let all = index.candidates(&event).len() == 40;
                assert!(all || !found, "the index does not find a pattern that matches among many that are alike");
            }
            if let Some(expected) = naive::matches(&node.to_json(), &event, STEPS) {
                assert_eq!(found, expected, "the compiled pattern, and its definition");
            }
        }
    }
}

/// A routing file: it is refused with problems that say where and show no secret, or it routes and renders.
pub(crate) fn files(input: &str) {
    let env = |name: &str| match name {
        name if name.starts_with("SECRET") => Some(SECRET.to_owned()),
        "EMPTY" => Some(String::new()),
        "URL" => Some("http://agent.example:8080".to_owned()),
        _ => None,
    };
    let options = LoadOptions { env: Box::new(env), dedup_window: Duration::from_secs(7 * 86_400) };
    let routing = match Routing::from_text(input, &options) {
        Ok(routing) => routing,
        Err(problems) => {
            assert!(problems.iter().next().is_some(), "refused without a problem");
            check_problems(problems.iter().chain(problems.warnings()), input);
            return;
        }
    };
    check_problems(routing.warnings().iter(), input);
    assert!(routing.rules().next().is_some(), "loaded without a rule");
    for event in samples() {
        let document = event.document();
        let found: Vec<_> = routing.router().matches(document).iter().map(|rule| Arc::clone(rule.name())).collect();
        let expected = routing.rules().filter(|rule| rule.pattern().matches(document));
        let expected: Vec<_> = expected.map(|rule| Arc::clone(rule.name())).collect();
        assert_eq!(found, expected, "the router, and each rule by itself");
        let (encoded, fields) = (event.encode(), routing.router().fields());
        let projected = Limits::default().project(&Raw::from(encoded.as_slice()), fields);
        let rules = projected.as_ref().map(|(_, document)| routing.router().matches(document));
        let found = rules.map(|rules| rules.iter().map(|rule| Arc::clone(rule.name())).collect());
        let later = projected.map(|(projected, _)| projected.into_event(encoded.clone().into()));
        assert_eq!(later.as_ref(), Some(&*event), "decoded later, and at once");
        assert_eq!(found, Some(expected), "the fields that are read, and the whole event");
        for rule in routing.rules().take(3) {
            check_rendered(rule.render_input(&event));
            check_rendered(rule.render_body(&event));
            for agent in rule.agents().iter().take(3) {
                assert!(routing.agents().any(|spec| spec.name == *agent), "a rule names an agent that is not there");
                let _ = routing.render_settings(rule.name(), agent, &event);
            }
        }
    }
}

/// The text of a template, the separator, the data of an event as JSON: it is refused with problems, or rendered within
/// the bounds.
pub(crate) fn templates(input: &str) {
    let (template, data) = input.split_once(SEPARATOR).unwrap_or((input, "{}"));
    let Ok(data) = serde_json::from_str::<Value>(data) else { return };
    let Some(event) = sample(&data) else { return };
    let node = Node { at: None, data: Data::Text(template.to_owned()) };
    let mut report = Report::new("routing/rules.yaml".into());
    let mut compiler = Compiler::new();
    let template = compiler.template("rule `r`", "input", &node, &BTreeSet::from(["tenant"]), None, &mut report);
    check_problems(report.problems.iter(), input);
    if report.problems.is_empty() {
        check_rendered(template.render("rule `r`", &event, &compiler.finish()).map(Some));
    }
}

#[track_caller]
fn check_problems<'a>(problems: impl Iterator<Item = &'a Problem>, input: &str) {
    let lines = input.split(['\n', '\r']).count();
    for problem in problems {
        let text = problem.to_string();
        assert!(!problem.message.is_empty(), "a problem without a message");
        assert!(!text.contains(SECRET), "a problem shows the value of a variable: {text}");
        assert!(text.len() <= MAX_MESSAGE, "a message of {} bytes: {text}", text.len());
        if let Some(position) = problem.position {
            assert!((1..=lines + 1).contains(&position.line), "line {} of {lines}: {text}", position.line);
        }
    }
}

#[track_caller]
fn check_rendered(rendered: Result<Option<Value>, TemplateError>) {
    match rendered {
        Ok(Some(value)) => {
            let bytes = value.to_string().len();
            assert!(bytes <= MAX_RENDERED, "rendered to {bytes} bytes");
        }
        Ok(None) => {}
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(SECRET), "an error shows the value of a variable: {text}");
            assert!(text.len() <= MAX_MESSAGE, "a message of {} bytes: {text}", text.len());
        }
    }
}

fn samples() -> impl Iterator<Item = Arc<Event>> {
    [
        json!({}),
        json!({"rows": 7, "files": [{"name": "a", "rows": 1}, {"name": "b"}], "text": "x", "deep": [[{"k": null}]]}),
    ]
    .into_iter()
    .filter_map(|data| sample(&data))
}

fn sample(data: &Value) -> Option<Arc<Event>> {
    let event = json!({
        "event_id": "etl_daily/manual__1", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl_daily", "workflow_run_id": "manual__1", "tenant": "acme",
        "payload": {"data": data}, "metadata": {"conf": {"priority": 3}}
    });
    decode(event.to_string().as_bytes()).ok().map(Arc::new)
}
