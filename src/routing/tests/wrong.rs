//! Fifty wrong folders: every problem with its place, and no other.

use super::{assert_problems, load_with, problems};

/// An agent, on the first line.
const AGENT: &str = "agents: {a: {http: {url: 'http://h/'}}}\n";

/// Errors and warnings, each as `file:line:column: message`.
fn found(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let (folder, routing) = load_with(files, &[("KEY", "k")]);
    let prefix = format!("{}/", folder.path().display());
    let shown = |problem: &crate::routing::Problem| problem.to_string().replace(&prefix, "");
    match routing {
        Ok(routing) => (Vec::new(), routing.warnings().iter().map(shown).collect()),
        Err(problems) => (problems.iter().map(shown).collect(), problems.warnings().iter().map(shown).collect()),
    }
}

/// What stands after `- {name: r, ` on line 3, with the agent `a` above it.
fn of_rule(rest: &str) -> String {
    format!("{AGENT}rules:\n  - {{name: r, {rest}}}\n")
}

/// The agent `x`, on line 2, with a rule that uses it.
fn of_agent(agent: &str) -> String {
    format!("agents:\n  x: {agent}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n")
}

#[test]
fn every_problem_of_a_wrong_rule_is_reported_with_its_place() {
    let mut differences = Vec::new();
    for (rest, expected) in [
        (
            "when: {event_type: WORKFLOW_FAILED}, to: [a]",
            &["a.yaml:3:34: rule `r`, when.event_type: expected a list"][..],
        ),
        ("when: {event_type: [WORKFLOW_FAILD]}, to: [a]", &["a.yaml:3:35: warning: rule `r`, when.event_type: "]),
        (
            "when: {event_type: [workflow_failed]}, to: [a]",
            &["a.yaml:3:35: rule `r`, when.event_type: events spell it `WORKFLOW_FAILED`"],
        ),
        ("when: {event_type: []}, to: [a]", &["a.yaml:3:34: rule `r`, when.event_type"]),
        ("when: {source: [AIRFLOW]}, to: [a]", &["a.yaml:3:15: rule `r`, when"]),
        (
            "when: {event_type: [WORKFLOW_FAILED], source: [airflow]}, to: [a]",
            &["a.yaml:3:62: rule `r`, when.source: "],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_run_id: [20240131]}, to: [a]",
            &["a.yaml:3:71: rule `r`, when.workflow_run_id"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_id: [{exists: false}]}, to: [a]",
            &["a.yaml:3:67: rule `r`, when.workflow_id"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_id: [{numeric: ['>', 1]}]}, to: [a]",
            &["a.yaml:3:67: rule `r`, when.workflow_id"],
        ),
        ("when: {event_type: [WORKFLOW_FAILED], dag_id: [x]}, to: [a]", &["a.yaml:3:53: warning: rule `r`, when"]),
        (
            "when: {event_type: [WORKFLOW_FAILED], payload: {status: [x]}}, to: [a]",
            &["a.yaml:3:63: warning: rule `r`, when"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], payload.data.status: [x]}, to: [a]",
            &["a.yaml:3:53: warning: rule `r`, when"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_id: ['etl_*']}, to: [a]",
            &["a.yaml:3:67: warning: rule `r`, when.workflow_id: \"etl_*\" is an exact string"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], metadata: {version: [1.0]}}, to: [a]",
            &["a.yaml:3:74: warning: rule `r`, when.metadata.version"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_id: [{prefx: x}]}, to: [a]",
            &["a.yaml:3:68: rule `r`, when.workflow_id"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], workflow_id: [{wildcard: 'a**b'}]}, to: [a]",
            &["a.yaml:3:78: rule `r`, when.workflow_id"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], payload: {n: [{numeric: ['>', x]}]}}, to: [a]",
            &["a.yaml:3:77: rule `r`, when.payload.n"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], payload: {n: [{numeric: ['<', 5, '>', 1]}]}}, to: [a]",
            &["a.yaml:3:77: rule `r`, when.payload.n"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], payload: {ip: [{cidr: 10.0.0.0/99}]}}, to: [a]",
            &["a.yaml:3:75: rule `r`, when.payload.ip"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED], $or: [{source: [AIRFLOW]}]}, to: [a]",
            &["a.yaml:3:58: rule `r`, when.$or"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, to: [b]",
            &[
                "a.yaml:3:59: rule `r`, to: there is no agent \"b\"",
                "a.yaml:1:10: warning: no rule sends to the agent `a`",
            ],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, to: a",
            &["a.yaml:3:58: rule `r`, to: expected a list of agents", "a.yaml:1:10: warning"],
        ),
        ("when: {event_type: [WORKFLOW_FAILED]}, to: []", &["a.yaml:3:58: rule `r`, to", "a.yaml:1:10: warning"]),
        ("when: {event_type: [WORKFLOW_FAILED]}, to: [a, a]", &["a.yaml:3:62: rule `r`, to"]),
        (
            "when: {event_type: [WORKFLOW_FAILED]}",
            &["a.yaml:3:5: rule `r`: expected the key `to`", "a.yaml:1:10: warning"],
        ),
        ("to: [a]", &["a.yaml:3:5: rule `r`: expected the key `when`"]),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, too: [a], to: [a]",
            &["a.yaml:3:54: rule `r`: unknown key \"too\": did you mean `to`?"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, to: [a], body: '{{ nope }}'",
            &["a.yaml:3:69: rule `r`, body: unknown name `nope`"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, to: [a], body: '{{ event_id | nope }}'",
            &["a.yaml:3:69: rule `r`, body: unknown filter"],
        ),
        (
            "when: {event_type: [WORKFLOW_FAILED]}, to: [a], body: '{% if x %}'",
            &["a.yaml:3:69: rule `r`, body: expected a template"],
        ),
        ("when: {event_type: [WORKFLOW_FAILED]}, to: [a], input: {x: 1}", &["a.yaml:3:63: rule `r`"]),
    ] {
        differences.extend(difference(&[("a.yaml", &of_rule(rest))], expected));
    }
    assert_none(&differences);
}

#[test]
fn every_problem_of_a_wrong_agent_is_reported_with_its_place() {
    let mut differences = Vec::new();
    for (agent, expected) in [
        ("{}", &["a.yaml:2:6: agent `x`: expected langgraph or http, found neither"][..]),
        ("{http: {}}", &["a.yaml:2:13: agent `x`, http: expected the key `url`"]),
        ("{http: {url: 'ftp://h/'}}", &["a.yaml:2:19: agent `x`, http, url: expected a URL that begins with"]),
        ("{http: {url: 'http://h', method: GET}}", &["a.yaml:2:39: agent `x`, http, method: expected POST or PUT"]),
        ("{http: {url: 'http://h'}, timeout: 10}", &["a.yaml:2:41: agent `x`, timeout: expected a duration"]),
        ("{http: {url: 'http://h'}, rate: 5}", &["a.yaml:2:38: agent `x`, rate: expected a count per s, m or h"]),
        ("{http: {url: 'http://h'}, concurrency: 0}", &["a.yaml:2:45: agent `x`: expected a whole number from 1"]),
        ("{http: {url: 'http://h'}, retry: {max: 1ms}}", &["a.yaml:2:39: agent `x`, retry: expected initial <= max"]),
        (
            "{http: {url: 'http://h'}, classify: {99: busy}}",
            &["a.yaml:2:43: agent `x`, classify: expected an HTTP status"],
        ),
        (
            "{http: {url: 'http://h', auth: {bearer: secret}}}",
            &["a.yaml:2:46: agent `x`, http, auth, bearer: expected {env: NAME}"],
        ),
        (
            "{http: {url: 'http://h', auth: {bearer: {env: NOPE}}}}",
            &["a.yaml:2:52: agent `x`, http, auth, bearer: expected a secret in the environment variable NOPE"],
        ),
        (
            "{http: {url: 'http://h', headers: {host: x}}}",
            &["a.yaml:2:41: agent `x`, http, headers: the header `host` cannot be set here"],
        ),
        ("{http: {url: 'http://${NOPE}/'}}", &["a.yaml:2:19: expected the environment variable NOPE, found it unset"]),
        ("{langgraph: {url: 'http://h'}}", &["a.yaml:2:18: agent `x`, langgraph: expected the key `assistant`"]),
        (
            "{langgraph: {url: 'http://h', assistant: g, ttl: 30}}",
            &["a.yaml:2:55: agent `x`, langgraph, ttl: expected a duration"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: g, metadata: {run_id: x}}}",
            &["a.yaml:2:61: agent `x`, langgraph, metadata: the key \"run_id\""],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: g, max_request_lifetime: 1s}}",
            &["a.yaml:2:72: agent `x`, langgraph, max_request_lifetime: expected at least 20s"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: g, settle: 2m}}",
            &["a.yaml:2:50: warning: agent `x`, langgraph: the key `settle` is now called"],
        ),
    ] {
        differences.extend(difference(&[("a.yaml", &of_agent(agent))], expected));
    }
    assert_none(&differences);
}

#[test]
fn every_problem_of_a_wrong_file_is_reported_with_its_place() {
    let rule = "rules: [{name: r, when: {event_type: [WORKFLOW_FAILED]}, to: [a]}]\n";
    let twice = format!("{AGENT}{rule}");
    let mut differences = Vec::new();
    for (files, expected) in [
        (&[("a.yaml", "")][..], &["a.yaml: expected `agents:` or `rules:`, found an empty file"][..]),
        (&[("a.yaml", "- x\n")], &["a.yaml:1:1: file: expected a map, found a list"]),
        (&[("a.yaml", "agent: {}\n")], &["a.yaml:1:1: file: unknown key \"agent\": did you mean `agents`?"]),
        (&[("a.yaml", "rules: [\n")], &["a.yaml:1:8: expected YAML: this `[` is not closed"]),
        (&[("a.yaml", "rules: \"x\n")], &["a.yaml:1:8: expected YAML: this \" is not closed"]),
        (&[("a.yaml", "rules:\n\t- x\n")], &["a.yaml:2:1: expected YAML"]),
        (
            &[("a.yaml", "rules: []\nrules: []\n")],
            &["a.yaml:2:1: the key \"rules\" stands here for the second time, first in line 1"],
        ),
        (&[("a.yaml", "rules: *r\n")], &["a.yaml:1:8: expected YAML: while parsing node, found unknown anchor"]),
        (&[("a.yaml", "rules: !x []\n")], &["a.yaml:1:8: tags are not supported"]),
        (
            &[("a.yaml", &twice), ("b.yaml", rule)],
            &["b.yaml:1:16: names are unique over the folder, and the rule `r` is also in a.yaml:2:16"],
        ),
        (
            &[("a.yaml", &twice), ("b.yaml", AGENT)],
            &["b.yaml:1:10: names are unique over the folder, and the agent `a` is also in a.yaml:1:10"],
        ),
        (&[("a.yaml", &twice.replace("name: r", "name: R"))], &["a.yaml:2:16: rule name: expected 1 to 64 of a-z"]),
        // One of every kind, in two files: all of them at once.
        (
            &[("a.yaml", "agents: {a: {http: {}}}\n"), ("b.yaml", "rules: [{name: r, when: {}, to: [b]}]\n")],
            &[
                "a.yaml:1:20: agent `a`, http: expected the key `url`",
                "b.yaml:1:25: rule `r`, when",
                "b.yaml:1:34: rule `r`, to: there is no agent \"b\"",
                "a.yaml:1:10: warning: no rule sends to the agent `a`",
            ],
        ),
    ] {
        differences.extend(difference(files, expected));
    }
    assert_none(&differences);
}

/// What is found otherwise than expected: errors first, then warnings, which have the word after their place.
fn difference(files: &[(&str, &str)], expected: &[&str]) -> Option<String> {
    let (errors, warnings) = found(files);
    let warnings = warnings.iter().map(|line| {
        let at = line.find(": ").map_or(0, |at| at + 2);
        format!("{}warning: {}", &line[..at], &line[at..])
    });
    let all: Vec<_> = errors.into_iter().chain(warnings).collect();
    let begins =
        all.len() == expected.len() && all.iter().zip(expected).all(|(found, wanted)| found.starts_with(wanted));
    (!begins).then(|| format!("{files:?}\nfound\n{}\nexpected\n{}\n", all.join("\n"), expected.join("\n")))
}

#[track_caller]
fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "{} folders\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn a_template_that_two_rules_have_is_checked_for_each() {
    let rule = |name: &str, more: &str| {
        format!(
            "  - {{name: {name}, when: {{event_type: [WORKFLOW_COMPLETED]{more}}}, to: [a], body: {{x: '{{{{ team }}}}'}}}}\n"
        )
    };
    let text = format!(
        "agents: {{a: {{http: {{url: 'http://h/'}}}}}}\nrules:\n{}{}",
        rule("names-it", ", team: [data]"),
        rule("does-not", "")
    );
    let found = problems(&text);
    assert_problems(&found, &["a.yaml:4:83: rule `does-not`, body.x: unknown name `team`"]);
}
