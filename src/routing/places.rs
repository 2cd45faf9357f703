//! What a pattern probably means, where it stands in another place or another spelling than in events. Each is a warning:
//! an event of somebody may have exactly that.

use std::fmt::Write as _;

use serde_json::Value;

use super::{pattern, problem::Report};
use crate::{
    event::Event,
    yaml::{Data, Entry, Node, quoted, visible},
};

/// Names of Airflow and of other event formats, and where events have their values.
const ELSEWHERE: [(&str, &str); 11] = [
    ("dag_id", "workflow_id"),
    ("run_id", "workflow_run_id"),
    ("dag_run_id", "workflow_run_id"),
    ("task_id", "metadata.task_id"),
    ("map_index", "metadata.map_index"),
    ("try_number", "metadata.try_number"),
    ("environment", "metadata.environment"),
    ("data", "payload.data"),
    ("type", "event_type"),
    ("id", "event_id"),
    ("time", "timestamp"),
];

/// What publishers write below `payload.data`, and nobody beside it.
const OF_DATA: [&str; 9] = ["status", "state", "result", "results", "error", "errors", "message", "rows", "output"];

/// Warns of what is probably meant otherwise. `what` is the pattern's name in messages.
pub(super) fn check(what: &str, when: &Node, report: &mut Report) {
    fields(what, when, report);
    values(what, when, report);
}

fn fields(what: &str, when: &Node, report: &mut Report) {
    let Data::Map(entries) = &when.data else { return };
    for entry in entries {
        if let Some(branches) = alternatives(entry) {
            for branch in branches {
                fields(what, branch, report);
            }
        } else {
            field(what, entry, report);
        }
    }
}

/// The branches of `$or`.
fn alternatives(entry: &Entry) -> Option<&[Node]> {
    match &entry.value.data {
        Data::List(branches) if entry.key == pattern::OR => Some(branches),
        _ => None,
    }
}

fn field(what: &str, entry: &Entry, report: &mut Report) {
    let key = entry.key.as_str();
    if let Some((first, rest)) = key.split_once('.')
        && (Event::FIELDS.contains(&first) || ELSEWHERE.iter().any(|(name, _)| *name == first))
    {
        let shown = visible(key);
        let message = format!("`{shown}` is one name with dots in it, and no path: write {}", nested(first, rest));
        report.warn(entry.at, format!("{what}: {message}"));
    } else if let Some((_, place)) = ELSEWHERE.iter().find(|(name, _)| *name == key) {
        let message = format!("events have no field `{key}` of their own, they have this as `{place}`: write it so");
        report.warn(entry.at, format!("{what}: {message}"));
    } else if key == "payload"
        && let Data::Map(fields) = &entry.value.data
    {
        for field in fields {
            let key = &field.key;
            let message = match key.split_once('.') {
                Some(("data", rest)) => {
                    let shown = visible(key);
                    format!("`{shown}` is one name with dots in it, and no path: write {}", nested("data", rest))
                }
                None if OF_DATA.contains(&key.as_str()) => format!(
                    "publishers write an event's data below `payload.data`: write `payload: {{data: {{{key}: …}}}}`"
                ),
                _ => continue,
            };
            report.warn(field.at, format!("{what}.payload: {message}"));
        }
    }
}

/// A path as nested maps.
fn nested(first: &str, rest: &str) -> String {
    let mut text = format!("`{first}: ");
    let names: Vec<_> = rest.split('.').collect();
    for name in &names {
        let _ = write!(text, "{{{name}: ");
    }
    text.push('…');
    text.extend(names.iter().map(|_| '}'));
    text.push('`');
    visible(&text)
}

/// Warns of exact strings that look like wildcards, wherever they stand.
fn values(what: &str, node: &Node, report: &mut Report) {
    let Data::Map(entries) = &node.data else { return };
    for entry in entries {
        if let Some(branches) = alternatives(entry) {
            for branch in branches {
                values(what, branch, report);
            }
            continue;
        }
        let what = format!("{what}.{}", visible(&entry.key));
        let Data::List(items) = &entry.value.data else {
            values(&what, &entry.value, report);
            continue;
        };
        for item in items {
            if let Some(text) = item.text().filter(|text| text.contains('*')) {
                let text = quoted(text);
                let message = format!(
                    "{text} is an exact string, in which * means itself: write {{wildcard: {text}}}, or {{exactly: {text}}}"
                );
                report.warn(item.at, format!("{what}: {message}"));
            }
        }
    }
}

/// What a rule sends, as a text that is the same for each order of the fields: its pattern and its templates.
pub(super) fn canonical(parts: [Option<&Entry>; 3]) -> String {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Value::Object(fields.into_iter().collect())
            }
            other => other,
        }
    }
    parts
        .map(|part| part.map_or(Value::Null, |entry| sorted(entry.value.to_json())))
        .into_iter()
        .collect::<Value>()
        .to_string()
}

#[cfg(test)]
mod tests {
    use crate::routing::tests::{assert_problems, load_with};

    fn warnings(rules: &str) -> Vec<String> {
        let file = format!(
            "agents: {{a: {{http: {{url: 'http://h/'}}}}, b: {{http: {{url: 'http://h/'}}}}}}\nrules:\n{rules}"
        );
        let (folder, routing) = load_with(&[("a.yaml", &file)], &[]);
        let routing = routing.unwrap_or_else(|problems| panic!("{rules}: {problems}"));
        let prefix = format!("{}/", folder.path().display());
        routing.warnings().iter().map(|warning| warning.to_string().replace(&prefix, "")).collect()
    }

    fn of(when: &str) -> Vec<String> {
        warnings(&format!("  - {{name: r, to: [a, b], when: {{event_type: [WORKFLOW_COMPLETED], {when}}}}}\n"))
    }

    #[test]
    fn a_field_that_events_have_elsewhere_is_named_with_its_place() {
        assert_problems(
            &of("dag_id: [etl]"),
            &[
                "a.yaml:3:68: rule `r`, when: events have no field `dag_id` of their own, they have this as `workflow_id`",
            ],
        );
        assert_problems(&of("$or: [{task_id: [x]}, {workflow_id: [y]}]"), &["they have this as `metadata.task_id`"]);
        assert_problems(
            &of("payload: {status: [success], data: {rows: [1]}}"),
            &[
                "when.payload: publishers write an event's data below `payload.data`: write `payload: {data: {status: …}}`",
            ],
        );
    }

    #[test]
    fn a_path_with_dots_is_a_name_and_the_nested_form_is_proposed() {
        assert_problems(
            &of("payload.data.status: [success]"),
            &[
                "a.yaml:3:68: rule `r`, when: `payload.data.status` is one name with dots in it, and no path: write `payload: {data: {status: …}}`",
            ],
        );
        assert_problems(&of("payload: {data.status: [success]}"), &["write `data: {status: …}`"]);
        assert_problems(&of("metadata.environment: [prod]"), &["write `metadata: {environment: …}`"]);
    }

    #[test]
    fn an_exact_string_with_an_asterisk_is_a_warning() {
        assert_problems(
            &of("workflow_id: ['etl_*']"),
            &[
                r#"a.yaml:3:82: rule `r`, when.workflow_id: "etl_*" is an exact string, in which * means itself: write {wildcard: "etl_*"}, or {exactly: "etl_*"}"#,
            ],
        );
        assert_problems(
            &of("$or: [{payload: {data: {file: ['*.csv', x]}}}, {workflow_id: [y]}]"),
            &[r#"when.payload.data.file: "*.csv""#],
        );
    }

    #[test]
    fn rules_with_one_pattern_that_send_to_one_agent_are_a_warning() {
        let rule = |name: &str, to: &str, when: &str| format!("  - {{name: {name}, to: [{to}], when: {{{when}}}}}\n");
        let (one, two) =
            ("event_type: [WORKFLOW_FAILED], source: [AIRFLOW]", "source: [AIRFLOW], event_type: [WORKFLOW_FAILED]");
        let found = warnings(&(rule("r", "'a', b", one) + &rule("s", "b", two)));
        assert_problems(
            &found,
            &[
                "a.yaml:4:12: rule `s` has the pattern of rule `r` (a.yaml:3:12), and both send to `b`: it gets each of these events twice",
            ],
        );
        let (a, b) = (rule("r", "a", one), rule("s", "b", two));
        let other = rule("t", "a", "event_type: [WORKFLOW_FAILED], source: [AIRFLOW, FASTAPI]");
        assert_eq!(warnings(&(a.clone() + &b + &other)), Vec::<String>::new());
        let body = rule("u", "a", one).replace("to: [a],", "to: [a], body: {x: 1},");
        assert_eq!(warnings(&(a + &b + &body)), Vec::<String>::new(), "it sends something else");
    }

    #[test]
    fn what_events_have_is_no_warning() {
        for when in [
            "payload: {data: {status: [success], 'a.b': [1], id: [x], type: [y]}}",
            "metadata: {task_id: [x], 'team.name': [y]}",
            "workflow_id: [{wildcard: 'etl_*'}, {exactly: 'a*'}, {prefix: '*'}]",
            "tenant: [acme], 'x.y': [z], cloudevent: {type: [a], id: [b]}",
            "$or: [{payload: {data: {rows: [1]}}}, {metadata: {version: ['1.0']}}]",
            "payload: {$or: [{data: {a: [1]}}, {data: {b: [1]}}]}",
            "payload: {data_base64: [{exists: true}], schema: [x]}, tenant_id: [x], agent_id: [y], event_name: [z]",
        ] {
            assert_eq!(of(when), Vec::<String>::new(), "{when}");
        }
    }
}
