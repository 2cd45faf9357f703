//! What matching costs with many rules: printed, and checked only for what does not depend on the machine. `ROUTING_RULES=100000`
//! asks for that many.

use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::{
    cases::cases,
    event::{Limits, Raw},
    routing::pattern::compile_json,
};

/// A kind of folder: its name, and the condition of each rule beside its event type.
type Kind = (&'static str, fn(usize) -> Value);

const KINDS: [Kind; 8] = [
    ("exact", |n| json!({"workflow_id": [format!("team-{n:06}-daily")]})),
    ("prefixes", |n| json!({"workflow_id": [{"prefix": format!("team-{n:06}")}]})),
    ("wildcards", |n| json!({"workflow_id": [{"wildcard": format!("team-*{n:06}-*")}]})),
    ("ranges", |n| json!({"payload": {"data": {"rows": [{"numeric": [">=", 10 * n, "<", 10 * n + 15]}]}}})),
    ("there", |n| json!({"payload": {"data": {format!("flag_{n:06}"): [{"exists": true}]}}})),
    (
        "absent",
        |n| json!({"payload": {"data": {"note": [{"exists": false}], "status": [{"anything-but": format!("s-{n}")}]}}}),
    ),
    ("anything but", |n| {
        let others: Vec<usize> = (0..64).filter(|bucket| *bucket != n % 64).collect();
        json!({"payload": {"data": {"bucket": [{"anything-but": others}]}}})
    }),
    ("ignore case", |n| json!({"workflow_id": [{"equals-ignore-case": format!("Team-{n:06}-Daily")}]})),
];

fn events(rules: usize) -> Vec<Vec<u8>> {
    let events = (0..1_000).map(|n| {
        let rule = n * 7_919 % rules;
        let data = json!({"rows": 10 * rule + 3, "status": "success", "note": "x".repeat(330), "bucket": rule % 64,
            format!("flag_{rule:06}"): true});
        let id = format!("team-{rule:06}-daily");
        let event = json!({"event_id": format!("e-{n}"), "event_type": "WORKFLOW_COMPLETED", "workflow_id": id, "source": "airflow",
            "workflow_run_id": format!("r-{n}"), "timestamp": "2026-01-01T00:00:00Z", "version": "1.0", "payload": {"data": data}});
        event.to_string().into_bytes()
    });
    events.collect()
}

#[test]
fn the_rules_that_do_not_match_cost_nothing() {
    let asked_for = std::env::var("ROUTING_RULES").ok().map(|rules| rules.parse().unwrap());
    let rules: usize = asked_for.unwrap_or_else(|| cases(2_000_u16).into());
    for (kind, condition) in KINDS {
        let pattern = |n: usize| {
            let mut pattern = condition(n);
            pattern["event_type"] = json!(["WORKFLOW_COMPLETED"]);
            compile_json(&pattern.to_string()).unwrap()
        };
        let patterns: Vec<Pattern> = (0..rules).map(pattern).collect();
        let began = Instant::now();
        let index = Index::new(patterns.iter());
        let built = began.elapsed();
        let mut fields = crate::event::FieldSet::default();
        for pattern in &patterns {
            pattern.add_fields(&mut fields);
        }
        let events = events(rules);
        let (mut candidates, mut matched) = (0, 0);
        let began = Instant::now();
        for event in &events {
            let (_, document) = Limits::default().project(&Raw::from(event.as_slice()), &fields).unwrap();
            let found = index.candidates(&document);
            candidates += found.len();
            matched += found.iter().filter(|rule| patterns[**rule].matches(&document)).count();
        }
        let rate = events.len() as f64 / began.elapsed().as_secs_f64();
        println!(
            "{rules} rules, {kind}: built in {built:?}, {rate:.0} events/s decoded and matched on one thread, {matched} matches"
        );
        let enough = if kind == "absent" { matched == 0 } else { matched >= events.len() };
        assert!(enough, "{kind}: {matched} matches of {} events", events.len());
        assert!(candidates <= matched + 2 * events.len(), "{kind}: {candidates} rules were tried, {matched} match");
    }
}
