//! Folders and events that would take an index over several fields much time or memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::routing::tests::cpu_time;

/// Far above what a slow machine takes, and far below what is quadratic.
const AT_MOST: Duration = Duration::from_secs(20);

/// How many indexes there are in this one, how many places, and how many values they exclude.
fn size(index: &Index) -> [usize; 3] {
    fn places(node: &Node) -> [usize; 2] {
        let own = [1, node.keyed.as_ref().map_or(0, |keyed| keyed.excluded())];
        node.fields.values().map(places).fold(own, |sum, more| [sum[0] + more[0], sum[1] + more[1]])
    }
    let [own, excluded] = places(&index.root);
    let further = index.indexes.iter().map(size);
    further.fold([1, own, excluded], |sum, more| [0, 1, 2].map(|n| sum[n] + more[n]))
}

fn fields(count: usize, condition: &Value) -> Value {
    json!((0..count).map(|n| (format!("f{n:04}"), condition.clone())).collect::<serde_json::Map<_, _>>())
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("text-{n:06}")).collect()
}

#[test]
fn rules_with_many_values_and_many_fields_make_few_indexes() {
    let there = || json!([{"exists": true}]);
    let or: Vec<Value> = (0..1_000).map(|n| json!({format!("f{n:04}"): there()})).collect();
    let mut wide = fields(4_000, &there());
    wide["a"] = json!(texts(20_000));
    let excluding = |n: usize| {
        let others: Vec<String> = (0..3_000).map(|other| format!("other-{n}-{other}")).collect();
        json!({"a": texts(3_000), "b": [{"anything-but": others}]})
    };
    let mut unasked = fields(4_000, &json!([{"anything-but": "x"}, {"anything-but": "y"}, {"anything-but": "z"}]));
    unasked["a"] = json!(texts(50_000));
    let alike: Vec<Value> = (0..50_000).map(|_| json!({"anything-but": {"prefix": "x"}})).collect();
    let mut repeated = fields(4_000, &there());
    repeated["a"] = json!(alike);
    let shared = json!({"b": [{"anything-but": texts(50_000)}], "$or": or});
    let common: Vec<Value> = (0..2_000)
        .map(|n| {
            let mut others = texts(65);
            others.push(format!("z-{n}"));
            json!({"a": ["x"], "b": [{"anything-but": others}]})
        })
        .collect();
    let nested = |n: usize| {
        let inner: Vec<Value> = (0..4).map(|other| json!({format!("g{other}"): there()})).collect();
        json!({format!("f{n:04}"): there(), "$or": inner})
    };
    let nested: Vec<Value> = (0..200).map(nested).collect();
    let folders: [(&str, Vec<Value>); 9] = [
        ("a thousand ids and alternatives", vec![json!({"a": texts(1_000), "$or": or})]),
        ("many ids and fields", vec![wide; 5]),
        ("many ids, and many that are excluded", (0..5).map(excluding).collect()),
        ("many ids, and fields that are not asked for", vec![unasked; 5]),
        ("one condition many times", vec![repeated]),
        ("one long list in a thousand alternatives", vec![shared.clone()]),
        ("the same in several rules", vec![shared; 5]),
        ("lists that have nearly all values in common", common),
        (
            "one long list in alternatives of alternatives",
            vec![json!({"b": [{"anything-but": texts(50_000)}], "$or": nested})],
        ),
    ];
    for (name, patterns) in folders {
        let patterns: Vec<Pattern> =
            patterns.iter().map(|pattern| compile_json(&pattern.to_string()).unwrap()).collect();
        let started = cpu_time();
        let index = Index::new(patterns.iter());
        let took = cpu_time().saturating_sub(started);
        let found = size(&index);
        println!("{name}: {found:?} indexes, places and excluded values, {took:?}");
        assert!(took < AT_MOST, "{name}: {took:?}");
        let [indexes, places, excluded] = found;
        assert!(indexes <= 64 && places <= 100_000 && excluded <= 2_000_000, "{name}: {found:?}");
    }
}

#[test]
fn a_large_array_is_looked_up_once_by_what_excludes_hardly_anything() {
    let pattern = |n: usize| json!({"event_type": ["WORKFLOW_COMPLETED"], "a": [{"anything-but": [n]}]});
    let index = index(&(0..5_000).map(pattern).collect::<Vec<_>>());
    let started = cpu_time();
    let values: Vec<usize> = (0..1_000_000).map(|n| n % 3).collect();
    let found = index.candidates(&json!({"event_type": "WORKFLOW_COMPLETED", "a": values}));
    assert_eq!(found.len(), 5_000);
    let took = cpu_time().saturating_sub(started);
    assert!(took < AT_MOST, "{took:?}");
    assert_eq!(index.candidates(&json!({"event_type": "WORKFLOW_COMPLETED", "a": [17]})).len(), 4_999);
}

#[test]
fn an_index_that_many_values_lead_to_is_asked_once() {
    let ids = texts(1_000);
    let rules = (0..12).map(|n| json!({"a": ids, "b": [{"wildcard": format!("*needle-{n}-*")}]}));
    let index = index(&rules.collect::<Vec<_>>());
    assert_eq!(index.indexes.len(), 1, "all lists have the same rules");
    let started = cpu_time();
    let found = index.candidates(&json!({"a": ids, "b": format!("{} needle-7-", "x".repeat(1_000_000))}));
    assert_eq!(found, [7]);
    let took = cpu_time().saturating_sub(started);
    assert!(took < Duration::from_secs(5), "{took:?}");
}
