mod hostile;
mod speed;

use serde_json::{Value, json};

use super::*;
use crate::routing::pattern::compile_json;

fn index(patterns: &[Value]) -> Index {
    let patterns: Vec<Pattern> =
        patterns.iter().map(|pattern| compile_json(&pattern.to_string()).expect("a pattern")).collect();
    Index::new(patterns.iter())
}

/// Which of a hundred rules, each with one of these conditions on its field `a`, are candidates for a value.
fn hundred(condition: impl Fn(usize) -> Value, value: &Value) -> Vec<usize> {
    let patterns: Vec<Value> =
        (0..100).map(|n| json!({"event_type": ["WORKFLOW_COMPLETED"], "a": [condition(n)]})).collect();
    index(&patterns).candidates(&json!({"event_type": "WORKFLOW_COMPLETED", "a": value}))
}

#[test]
fn only_rules_whose_condition_the_value_may_satisfy_are_candidates() {
    assert_eq!(hundred(|n| json!(format!("team-{n:02}")), &json!("team-17")), [17]);
    assert_eq!(hundred(|n| json!({"prefix": format!("team-{n:02}")}), &json!("team-17-daily")), [17]);
    assert_eq!(hundred(|n| json!({"suffix": format!("team-{n:02}")}), &json!("daily-team-17")), [17]);
    assert_eq!(hundred(|n| json!({"wildcard": format!("etl-{n:02}-*")}), &json!("etl-17-daily")), [17]);
    assert_eq!(hundred(|n| json!({"wildcard": format!("etl-*-{n:02}")}), &json!("etl-daily-17")), [17]);
    assert_eq!(hundred(|n| json!({"wildcard": format!("*-{n:02}-*")}), &json!("etl-17-daily")), [17]);
    assert_eq!(hundred(|n| json!({"wildcard": format!("etl-{n:02}")}), &json!("etl-17")), [17]);
    assert_eq!(hundred(|n| json!({"equals-ignore-case": format!("Team-{n:02}")}), &json!("tEAM-17")), [17]);
    assert_eq!(hundred(|n| json!({"prefix": {"equals-ignore-case": format!("T{n:02}é")}}), &json!("t17Éa")), [17]);
    assert_eq!(hundred(|n| json!({"suffix": {"equals-ignore-case": format!("é{n:02}T")}}), &json!("aÉ17t")), [17]);
    assert_eq!(hundred(|n| json!({"numeric": [">=", 10 * n, "<", 10 * (n + 1)]}), &json!(175)), [17]);
    assert_eq!(hundred(|n| json!({"numeric": ["=", n]}), &json!(17.0)), [17]);
    assert_eq!(hundred(|n| json!({"cidr": format!("10.{n}.0.0/16")}), &json!("10.17.3.4")), [17]);
    assert_eq!(hundred(|n| json!(format!("2001:db8::{n}")), &json!("2001:0db8:0:0::17")), [17]);
}

#[test]
fn a_beginning_within_another_is_found_too() {
    let prefixes = ["a", "ab", "abc", "abd", "b", "abcd"];
    let patterns: Vec<Value> = prefixes.iter().map(|prefix| json!({"a": [{"prefix": prefix}]})).collect();
    let index = index(&patterns);
    for (text, found) in
        [("abcx", vec![0, 1, 2]), ("abd", vec![0, 1, 3]), ("abe", vec![0, 1]), ("", vec![]), ("c", vec![])]
    {
        assert_eq!(index.candidates(&json!({"a": text})), found, "{text}");
    }
}

#[test]
fn a_network_is_found_however_its_host_bits_are_written() {
    let patterns = ["10.0.0.0/24", "10.0.0.7/24", "10.0.0.7/32", "10.0.0.7/0", "::/0"];
    let patterns: Vec<Value> = patterns.iter().map(|network| json!({"a": [{"cidr": network}]})).collect();
    let index = index(&patterns);
    assert_eq!(index.candidates(&json!({"a": "10.0.0.7"})), [0, 1, 2, 3]);
    assert_eq!(index.candidates(&json!({"a": "10.0.0.8"})), [0, 1, 3]);
    assert_eq!(index.candidates(&json!({"a": "::1"})), [4]);
}

#[test]
fn a_rule_that_wants_a_field_absent_is_a_candidate_of_events_that_may_lack_it() {
    let patterns = [
        json!({"a": [{"exists": false}]}),
        json!({"a": ["x", {"exists": false}], "b": ["y"]}),
        json!({"c": {"d": [{"exists": false}, "z"]}}),
    ];
    let index = index(&patterns);
    for (event, found) in [
        (json!({}), vec![0, 2]),
        (json!({"b": "y"}), vec![0, 1, 2]),
        (json!({"a": "x", "c": {"d": 1}}), vec![]),
        (json!({"a": ["x", ["y"]], "c": {"d": "z"}}), vec![2]),
        (json!({"a": [], "c": {"d": "w"}}), vec![0]),
        (json!({"a": {"b": 1}, "c": [{"d": "w"}, {}]}), vec![0, 2]),
        (json!({"a": ["x", {}], "c": "d"}), vec![0, 2]),
    ] {
        assert_eq!(index.candidates(&event), found, "{event}");
    }
}

#[test]
fn many_rules_of_one_event_type_are_told_apart_by_what_else_they_name() {
    let absent = hundred(|_| json!({"exists": false}), &json!("x"));
    assert!(absent.is_empty(), "{absent:?}");
    let but = |n: usize| json!({"anything-but": [format!("team-{n:02}"), "team-x"]});
    let all_but_17: Vec<usize> = (0..100).filter(|n| *n != 17).collect();
    assert_eq!(hundred(but, &json!("team-17")), all_but_17);
    assert_eq!(hundred(but, &json!("team-x")), [0; 0]);
    assert_eq!(hundred(but, &json!(17)), (0..100).collect::<Vec<_>>());
    assert_eq!(hundred(|n| json!({"anything-but": [n, 200]}), &json!(17.0)), all_but_17);
    assert_eq!(hundred(|n| json!({"anything-but": [n, 200]}), &json!(2e2)), [0; 0]);
    assert_eq!(hundred(|n| json!({"anything-but": [n, 200]}), &json!([])), [0; 0]);
    assert_eq!(hundred(|n| json!({"anything-but": {"prefix": format!("{n}")}}), &json!({})), [0; 0]);
    let types = ["A", "B", "C", "D", "E", "F"];
    let many = |n: usize| json!({"event_type": types, "a": [{"exists": false}], "b": [{"anything-but": [n]}]});
    let patterns: Vec<Value> = (0..1_000).map(many).collect();
    let of_many = index(&patterns);
    for event_type in types {
        assert_eq!(of_many.candidates(&json!({"event_type": event_type, "a": 1, "b": 1})), [0; 0], "{event_type}");
        assert_eq!(of_many.candidates(&json!({"event_type": event_type, "b": 1})).len(), 999, "{event_type}");
    }
    let patterns: Vec<Value> = (0..1_000)
        .map(|n| {
            let field = format!("f{}", n % 10);
            json!({"event_type": ["WORKFLOW_COMPLETED"], "a": [{"exists": n % 2 == 0}], "b": {field: [{"exists": true}]}})
        })
        .collect();
    let index = index(&patterns);
    let event = |fields: Value| {
        let mut event = json!({"event_type": "WORKFLOW_COMPLETED"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        index.candidates(&event)
    };
    assert_eq!(event(json!({"a": 1})), [0; 0]);
    assert_eq!(event(json!({"a": 1, "b": {"f3": 1}})), [0; 0]);
    assert_eq!(event(json!({"b": {"f3": 1}})), (0..100).map(|n| 10 * n + 3).collect::<Vec<_>>());
    assert_eq!(event(json!({"a": 1, "b": [{"f3": 1}, {"f4": [1]}]})), (0..100).map(|n| 10 * n + 4).collect::<Vec<_>>());
    assert_eq!(index.candidates(&json!({"event_type": "OTHER", "b": {"f3": 1}})), [0; 0]);
}

#[test]
fn an_array_of_many_values_keeps_no_more_finds_than_there_are_lists() {
    let patterns: Vec<Value> = (0..10).map(|n| json!({"a": [{"prefix": "x".repeat(n + 1)}]})).collect();
    let index = index(&patterns);
    let values: Vec<String> = (0..10_000).map(|n| "x".repeat(n % 12)).collect();
    let mut found = Found::default();
    index.root.visit(&json!({"a": values}), Place::ALONE, &mut found);
    assert!(found.capacity() < 4_096, "{}", found.capacity());
    assert_eq!(found.into_lists(&[]).len(), 10);
}

#[test]
fn a_text_that_has_others_within_many_times_is_searched_once_for_each() {
    let patterns: Vec<Value> =
        (0..50).map(|n| json!({"a": [{"wildcard": format!("*{}*", "a".repeat(n + 3))}]})).collect();
    let index = index(&patterns);
    let started = crate::routing::tests::cpu_time();
    assert_eq!(index.candidates(&json!({"a": "a".repeat(1_000_000)})).len(), 50);
    let took = crate::routing::tests::cpu_time().saturating_sub(started);
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}
