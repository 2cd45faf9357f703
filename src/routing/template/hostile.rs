//! Templates and events made to take all time and memory: each ends within its bounds.
//!
//! The bounds are measured in a process of its own: the processor time of the thread that renders, and
//! the peak of the memory of the whole process.

use std::{fmt::Write, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::meter::{MEMORY, WORK};
use crate::{
    cases::is_quick,
    event::Event,
    routing::{
        template::TemplateError,
        tests::{
            child::{is_child, memory},
            event, load,
        },
    },
};

const NAME: &str = "routing::template::hostile::every_hostile_template_ends_within_its_bounds_of_time_and_memory";

/// Far above what was measured (0.9 s, with the optimisation of the tests), and far below what it was
/// without the bounds (minutes).
const MAX_CPU: Duration = Duration::from_secs(20);

/// Of the whole process, with the event itself.
const MAX_RESIDENT: u64 = 900 << 20;

/// Bytes of an event, about.
const SIZE: usize = 4 << 20;

/// An event of 4 MiB whose data is `data`.
fn large(data: &Value) -> Arc<Event> {
    Arc::new(event(&json!({"payload": {"data": data}})))
}

fn events() -> Vec<(&'static str, Arc<Event>)> {
    let zeros = vec![0u8; SIZE / 2];
    let map: serde_json::Map<String, Value> =
        (0..SIZE / 24).map(|n| (format!("key-{n:08}"), json!(n.to_string()))).collect();
    let n = 10_000_000u64;
    vec![
        ("zeros", large(&json!({"done": zeros, "text": ",", "n": n}))),
        ("map", large(&json!({"done": map, "text": "key", "n": n}))),
        ("text", large(&json!({"done": [1, 2, 3], "text": "a,\n<".repeat(SIZE / 5), "n": n}))),
    ]
}

/// What each does is plain; `D` stands for the list, the map or the nest of the event, `T` for its text, `N`
/// for its number.
const TEMPLATES: &[&str] = &[
    "{% for i in D %}{% if i not in D %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if 'zzz' in T %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if T in T %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if D == payload.data.done[0:] %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if 1 < 2 < D %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if loop.changed(D) %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if loop.changed(T) %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if T[-1] == 'q' %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% if payload.data[T] is defined %}x{% endif %}{% endfor %}",
    "{% for i in range(60000) %}{% set m = {T: 1} %}{% endfor %}",
    "{% for i in range(60000) %}{% set a, b = D %}{% endfor %}",
    "{% for a, b in D %}{% endfor %}",
    "{% for i in range(60000) %}{% for k in D %}{% endfor %}{% endfor %}",
    "{% for i in range(60000) %}{{ D | length }}{{ D | sort | first }}{% endfor %}",
    "{{ D | slice(N) | list | length }}",
    "{{ D | batch(N, 0) | length }}",
    "{{ D | batch(1) | length }}{{ D | batch(1) | batch(1) | length }}",
    "{{ D | map('string') | join(T) | length }}",
    "{{ T | replace('a', T) | length }}",
    "{{ T | replace('', T) | length }}",
    "{{ T | split('') | length }}{{ T | split(',') | length }}",
    "{{ T | lines | map('upper') | list | length }}",
    "{{ T | list | sort | unique | list | length }}",
    "{{ T | indent(64, true) | length }}",
    "{{ T | escape | escape | escape | escape | length }}",
    "{{ D | tojson(true) }}",
    "{{ event | tojson(8) }}",
    "{{ D | groupby('x') | length }}",
    "{{ D | unique | list | length }}",
    "{{ D | select('in', D) | list | length }}",
    "{{ D | reject('in', D) | list | length }}",
    "{{ D | map('replace', 'a', T) | list | length }}",
    "{{ [D] | sum(start=[]) }}",
    "{{ D | map('list') | sum(start=[]) | length }}",
    "{{ D | dictsort | length }}{{ D | items | list | length }}",
    "{{ D | zip(D, D, D, D) | list | length }}",
    "{{ D | chain(D, D) | list | length }}",
    "{{ '%s%s%s%s%s%s%s%s' | format(T, T, T, T, T, T, T, T) | length }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ '%(a)s%(a)s%(a)s%(a)s%(a)s%(a)s%(a)s%(a)s' | format(a=D) | length }}",
    "{{ T * N }}",
    "{{ [1] * N }}",
    "{{ (D * 1000) | length }}",
    "{{ [D, D, D, D] * 1000 == [D, D, D, D] * 1000 }}",
    "{% set a = T ~ T %}{% set b = a ~ a %}{% set c = b ~ b %}{% set d = c ~ c %}{% set e = d ~ d %}{% set f = e ~ e %}{{ f ~ f }}",
    "{% set a = D + D %}{% set b = a + a %}{% set c = b + b %}{% set d = c + c %}{% set e = d + d %}{% set f = e + e %}{{ (f + f) | length }}",
    "{% set a = [T] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}{{ c == c[:] }}{{ c }}",
    "{% set x %}{% for i in range(60000) %}0123456789012345678901234567890123456789{{ T }}{% endfor %}{% endset %}{{ x | length }}",
    "{% filter upper %}{% for i in range(60000) %}{{ T }}{% endfor %}{% endfilter %}",
    "{% for i in D recursive %}{{ loop([i]) }}{% endfor %}",
    "{% for i in range(30000) %}{{ D[i:] | length }}{% endfor %}",
    "{% for i in range(30000) %}{{ T[::-1] | length }}{% endfor %}",
    "{% for i in range(60000) %}{{ range(100000) | list | length }}{% endfor %}",
    "{% for i in range(60000) %}{% set d = dict(payload) %}{{ d | length }}{% endfor %}",
    "{{ D | reverse | list | length }}{{ D | string | length }}{{ D ~ D }}",
    "{{ T | title | capitalize | trim | upper | lower | length }}",
    "{{ D | map(attribute='a.b.c.d.e.f.g.h', default=1) | list | length }}",
    "{{ D | min }}{{ D | max }}{{ D | first }}{{ D | last }}",
    "{{ D is eq(D) }}{{ T is startingwith(T) }}{{ T is in(T) }}{{ D is sameas(D) }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 2 ** 126 * 2 }}{{ -2 ** 127 * 1000 }}",
];

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

fn rules(template: &str) -> String {
    let mut leaf = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let word = &rest[at..];
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        leaf.push_str(&rest[..at]);
        leaf.push_str(match &word[..end] {
            "D" => "payload.data.done",
            "T" => "payload.data.text",
            "N" => "payload.data.n",
            other => other,
        });
        rest = &word[end..];
    }
    leaf.push_str(rest);
    format!(
        "agents: {{a: {{langgraph: {{url: 'http://h', assistant: a}}}}}}
rules: [{{name: r, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [a], input: {{x: {}}}}}]
",
        Value::from(format!("{leaf} "))
    )
}

fn measure() -> String {
    let mut table = String::new();
    for (name, event) in events() {
        for template in TEMPLATES.iter().step_by(if is_quick() { 10 } else { 1 }) {
            let routing = load(&rules(template));
            let rule = routing.rule("r").unwrap();
            let began = cpu();
            let result = rule.render_input(&event);
            let took = cpu().saturating_sub(began);
            let outcome = match &result {
                Ok(_) => "rendered".to_owned(),
                Err(error) => error.to_string().chars().take(230).collect(),
            };
            let _ = writeln!(table, "{:6} ms  {name:8} {template:.90}\n           {outcome}", took.as_millis());
            assert!(took < MAX_CPU, "{took:?} for {name}, {template}\n{table}");
        }
    }
    table
}

#[test]
fn every_hostile_template_ends_within_its_bounds_of_time_and_memory() {
    if !is_child(NAME, "peak ") {
        return;
    }
    // With the stack that the render threads of the service have.
    let table = std::thread::Builder::new().stack_size(16 << 20).spawn(measure).unwrap().join().unwrap();
    let peak = memory("VmHWM");
    println!("{table}peak {} MiB", peak >> 20);
    assert!(peak < MAX_RESIDENT, "{} MiB at the peak\n{table}", peak >> 20);
}

fn render(template: &str, event: &Arc<Event>) -> Result<Value, TemplateError> {
    let routing = load(&rules(template));
    routing.rule("r").unwrap().render_input(event).map(Option::unwrap)
}

#[test]
fn a_list_that_is_searched_for_each_of_its_items_is_too_much_work() {
    let done: Vec<_> = (0..40_000).map(|n| format!("task-{n:05}")).collect();
    let event = large(&json!({"done": done}));
    let error = render("{% for i in D %}{% if i not in D %}x{% endif %}{% endfor %}", &event).unwrap_err();
    assert!(matches!(error, TemplateError::TooCostly { .. }));
    let text = error.to_string();
    assert!(text.starts_with("rule `r`, input.x: cannot render \""), "{text}");
    assert!(text.contains("the template does too much work with this event"), "{text}");
}

#[test]
fn a_number_of_the_event_cannot_make_lists_without_end() {
    for filter in ["slice", "batch"] {
        let template = format!("{{{{ D | {filter}(N, 0) | length }}}}");
        let error = render(&template, &large(&json!({"done": [1, 2, 3], "n": 100_000_000}))).unwrap_err();
        assert!(matches!(error, TemplateError::TooCostly { .. }), "{filter}");
        assert!(error.to_string().contains("needs too much memory"), "{error}");
    }
}

#[test]
fn a_template_of_many_leaves_has_one_budget() {
    let leaf = "{% for i in range(60000) %}{% endfor %}x";
    let leaves = vec![leaf; 200];
    let text = rules("x").replace("\"x \"", &json!(leaves).to_string());
    let error = load(&text).rule("r").unwrap().render_input(&large(&json!({}))).unwrap_err();
    assert!(matches!(error, TemplateError::TooCostly { .. }), "{error}");
}

#[test]
fn a_large_event_can_be_passed_on_and_looped_over() {
    let files: Vec<_> = (0..8_000).map(|n| json!({"name": format!("s3://bucket/{n}"), "rows": n})).collect();
    let event = large(&json!({"done": files, "text": "x".repeat(3 << 20)}));
    let rendered = render(
        "{{ D | tojson }}{% for file in D %}- {{ file.name }}: {{ file.rows }}\n{% endfor %}{{ D | map(attribute='name') | join(', ') }}{{ D | length }}{{ T[:20] }}{{ D | sum(attribute='rows') }}{% if 's3://bucket/7' in (D | map(attribute='name')) %}!{% endif %}",
        &event,
    );
    let text = rendered.unwrap()["x"].as_str().unwrap().to_owned();
    assert!(text.contains("- s3://bucket/7999: 7999\n") && text.ends_with("! "), "{}", &text[text.len() - 100..]);
    assert!(WORK > 100 * SIZE as u64 && MEMORY > 16 * SIZE as u64);
}

#[test]
fn an_ordinary_template_costs_little_more_than_without_the_guards() {
    let template = "DAG {{ workflow_id }} finished: {{ D | tojson }} {% for f in D %}- {{ f.name }} ({{ f.rows + 1 }}){% if f.rows > 3 %}!{% endif %} {% endfor %}{{ T ~ '.' }}";
    let files: Vec<_> = (0..10).map(|n| json!({"name": format!("s3://bucket/{n}"), "rows": n})).collect();
    let event = large(&json!({"done": files, "text": "short"}));
    let routing = load(&rules(template));
    let rule = routing.rule("r").unwrap();
    let mut plain = minijinja::Environment::new();
    plain.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    plain.set_fuel(Some(super::engine::FUEL));
    let source = template.replace("D ", "payload.data.done ").replace("T ", "payload.data.text ");
    plain.add_template("t", &source).unwrap();
    let expected = rule.render_input(&event).unwrap().unwrap();
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..20 {
        let began = cpu();
        for _ in 0..50 {
            assert_eq!(rule.render_input(&event).unwrap().as_ref(), Some(&expected));
        }
        let guarded = cpu();
        for _ in 0..50 {
            let context = minijinja::Value::from(minijinja::value::Serde(event.document()));
            assert!(!plain.get_template("t").unwrap().render(context).unwrap().is_empty());
        }
        fastest = [fastest[0].min(guarded.saturating_sub(began)), fastest[1].min(cpu().saturating_sub(guarded))];
    }
    let [guarded, plain] = fastest.map(|took| took / 50);
    println!("an ordinary template: {guarded:?} guarded, {plain:?} by the engine alone");
    assert!(guarded < plain * 20, "{guarded:?}, {plain:?}");
}

#[test]
fn what_a_list_prints_is_charged_with_its_escapes() {
    let event = large(&json!({"text": "\u{7f}".repeat(SIZE)}));
    for template in [
        "{{ [T * 8] | string | length }}",
        "{{ ([T * 8] ~ 1) | length }}",
        "{{ (1 ~ [T * 8] ~ 2) | length }}",
        "{{ '%s' | format([T * 8]) | length }}",
        "{{ {1: T * 8} | upper | length }}",
        "{{ [T * 8] }}",
    ] {
        let error = render(template, &event).unwrap_err();
        assert!(matches!(error, TemplateError::TooCostly { .. }), "{template}: {error}");
        assert!(error.to_string().contains("needs too much memory"), "{template}: {error}");
    }
}

#[test]
fn a_long_concatenation_is_charged_for_all_its_copies() {
    let event = large(&json!({"text": "x".repeat(100 << 10)}));
    assert!(render(&format!("{{{{ (T{}) | length }}}}", " ~ T".repeat(10)), &event).is_ok());
    // 100 texts of 100 KiB are 10 MiB, and 500 MiB with the copies.
    let error = render(&format!("{{{{ (T{}) | length }}}}", " ~ T".repeat(99)), &event).unwrap_err();
    assert!(matches!(error, TemplateError::TooCostly { .. }), "{error}");
}
