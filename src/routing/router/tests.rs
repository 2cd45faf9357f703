use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    cases::cases,
    routing::{
        Routing,
        index::Index,
        pattern::{Pattern, compile_json},
        tests::{cpu_time, load},
    },
};

fn folder(patterns: &[Value]) -> Routing {
    let mut text = "agents: {a: {http: {url: 'http://h'}}}\nrules:\n".to_owned();
    for (index, pattern) in patterns.iter().enumerate() {
        writeln!(text, "  - {{name: r{index:03}, to: [a], when: {pattern}}}").unwrap();
    }
    load(&text)
}

fn found(routing: &Routing, document: &Value) -> Vec<String> {
    routing.router().matches(document).iter().map(|rule| rule.name().to_string()).collect()
}

fn scan(routing: &Routing, document: &Value) -> Vec<String> {
    routing.rules().filter(|rule| rule.pattern().matches(document)).map(|rule| rule.name().to_string()).collect()
}

#[test]
fn a_rule_is_found_by_its_rarest_string() {
    let patterns: Vec<_> = (0..100)
        .map(|index| json!({"event_type": ["WORKFLOW_COMPLETED"], "workflow_id": [format!("w{index}")]}))
        .chain([
            json!({"event_type": ["WORKFLOW_COMPLETED"], "workflow_id": [{"prefix": "w1"}]}),
            json!({"event_type": [{"prefix": "WORKFLOW"}]}),
        ])
        .collect();
    let routing = folder(&patterns);
    let document = json!({"event_type": "WORKFLOW_COMPLETED", "workflow_id": "w17"});
    assert_eq!(found(&routing, &document), ["r017", "r100", "r101"]);
    // The last one is found by its prefix.
    assert_eq!(routing.router().index.candidates(&document), [17, 100, 101]);
    assert_eq!(routing.rule("r017").unwrap().name().as_ref(), "r017");
    assert!(routing.rule("r999").is_none());
}

#[test]
fn an_array_of_one_string_a_million_times_looks_at_each_rule_once() {
    let patterns: Vec<_> = (0..200)
        .map(|index| json!({"event_type": ["WORKFLOW_FAILED"], "payload": {"tag": ["x"], "n": [index]}}))
        .collect();
    let routing = folder(&patterns);
    let tags: Vec<_> = std::iter::repeat_n("x", 1_000_000).collect();
    let document = json!({"event_type": ["WORKFLOW_FAILED"], "payload": {"n": 7, "tag": tags}});
    let started = cpu_time();
    assert_eq!(found(&routing, &document), ["r007"]);
    let took = cpu_time().saturating_sub(started);
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}

fn values() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![5 => "[xyXé]{0,4}", 1 => "[xy]{3,6}", 1 => "10\\.0\\.0\\.[0-3]"];
    let number = || prop_oneof![Just(json!(-1)), Just(json!(0)), Just(json!(1)), Just(json!(1.5)), Just(json!(2.0))];
    let range = (0..6, -2..3_i64, 1..4_i64).prop_map(|(shape, low, more)| match shape {
        0 => json!([">", low]),
        1 => json!(["<=", low]),
        2 => json!(["=", low]),
        3 => json!([">=", low, "<", low + more]),
        4 => json!([">", low, "<=", low + more]),
        _ => json!([">=", low, "<=", low + more]),
    });
    let wildcard = "\\*?[xyé]{0,4}\\*?[xy]{1,5}\\*?";
    let item = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => number(),
        1 => prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(false))],
        2 => text().prop_map(|text| json!({"prefix": text})),
        2 => text().prop_map(|text| json!({"suffix": text})),
        2 => wildcard.prop_map(|text| json!({"wildcard": text.replace("**", "*")})),
        2 => text().prop_map(|text| json!({"equals-ignore-case": text})),
        1 => text().prop_map(|text| json!({"prefix": {"equals-ignore-case": text}})),
        1 => text().prop_map(|text| json!({"suffix": {"equals-ignore-case": text}})),
        2 => range.prop_map(|range| json!({"numeric": range})),
        1 => (0..4, 24..33).prop_map(|(host, bits)| json!({"cidr": format!("10.0.0.{host}/{bits}")})),
        1 => any::<bool>().prop_map(|exists| json!({"exists": exists})),
        1 => proptest::collection::vec(text(), 1..3).prop_map(|texts| json!({"anything-but": texts})),
        1 => number().prop_map(|number| json!({"anything-but": [number, 2]})),
        1 => text().prop_map(|text| json!({"anything-but": {"prefix": format!("x{text}")}})),
    ];
    proptest::collection::vec(item, 1..3).prop_map(Value::Array)
}

fn pattern() -> impl Strategy<Value = Value> {
    let types = prop_oneof![
        Just(json!(["WORKFLOW_COMPLETED"])),
        Just(json!(["WORKFLOW_FAILED", "WORKFLOW_COMPLETED"])),
        Just(json!([{"exists": true}])),
    ];
    let fields = || proptest::collection::btree_map("[ab]", values(), 1..3).prop_map(|fields| json!(fields));
    let or = proptest::option::of((fields(), fields()));
    (types, fields(), or).prop_map(|(types, fields, or)| {
        let mut pattern = json!({"event_type": types, "payload": fields});
        if let Some((one, other)) = or {
            pattern["$or"] = json!([{"metadata": one}, {"metadata": other}]);
        }
        pattern
    })
}

fn alike() -> impl Strategy<Value = Value> {
    let item = prop_oneof![
        3 => any::<bool>().prop_map(|exists| json!([{"exists": exists}])),
        2 => proptest::collection::vec("[xy]?", 1..3).prop_map(|texts| json!([{"anything-but": texts}])),
        1 => Just(json!([{"anything-but": [1, 2]}])),
        1 => Just(json!([{"anything-but": {"suffix": "y"}}])),
        1 => Just(json!([{"exists": false}, "x"])),
        1 => Just(json!(["x", 1, true])),
        1 => Just(json!([{"anything-but": ["10.0.0.1", "x"]}])),
        1 => values(),
        1 => proptest::collection::btree_map("[ab]", values(), 1..3).prop_map(|fields| json!(fields)),
    ];
    let fields = || proptest::collection::btree_map("[ab]", item.clone(), 1..3).prop_map(|fields| json!(fields));
    let types = prop_oneof![8 => Just(json!(["WORKFLOW_COMPLETED"])), 1 => Just(json!(["WORKFLOW_FAILED", "OTHER"]))];
    let more = proptest::option::of((fields(), proptest::option::of(fields())));
    (types, fields(), more).prop_map(|(types, payload, more)| {
        let mut pattern = json!({"event_type": types, "payload": payload});
        match more {
            None => {}
            Some((metadata, None)) => pattern["metadata"] = metadata,
            Some((one, Some(other))) => pattern["$or"] = json!([{"metadata": one}, {"metadata": other}, {"c": ["x"]}]),
        }
        pattern
    })
}

fn document() -> impl Strategy<Value = Value> {
    let scalar = || {
        prop_oneof![
            6 => "[xyXYéÉ]{0,5}".prop_map(Value::from),
            1 => "(::ffff:)?10\\.0\\.0\\.[0-3]".prop_map(Value::from),
            1 => prop_oneof![Just(json!(-2)), Just(json!(-1)), Just(json!(0.5)), Just(json!(1)), Just(json!(2)), Just(json!(1e3))],
            1 => prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(false)), Just(json!({}))],
        ]
    };
    let value = prop_oneof![
        3 => scalar(),
        1 => proptest::collection::vec(scalar(), 0..3).prop_map(Value::Array),
        1 => proptest::collection::vec(proptest::collection::vec(scalar(), 0..3), 0..3).prop_map(|lists| json!(lists)),
        1 => proptest::collection::btree_map("[ab]", scalar(), 0..3).prop_map(|fields| json!(fields)),
    ];
    let fields = move || proptest::collection::btree_map("[ab]", value.clone(), 0..3).prop_map(|fields| json!(fields));
    let payload = prop_oneof![fields(), proptest::collection::vec(fields(), 0..3).prop_map(Value::Array)];
    let types = prop_oneof![Just("WORKFLOW_COMPLETED"), Just("WORKFLOW_FAILED"), Just("OTHER")];
    (types, payload, fields())
        .prop_map(|(types, payload, metadata)| json!({"event_type": types, "payload": payload, "metadata": metadata}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(300)))]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        patterns in proptest::collection::vec(pattern(), 1..12),
        documents in proptest::collection::vec(document(), 1..20),
    ) {
        let routing = folder(&patterns);
        for document in &documents {
            prop_assert_eq!(found(&routing, document), scan(&routing, document), "{}", document);
        }
    }

    /// Many share their keys, so they are asked for several of their fields.
    #[test]
    fn the_index_of_many_alike_finds_what_a_scan_finds(
        patterns in proptest::collection::vec(alike(), 40..160),
        documents in proptest::collection::vec(document(), 1..20),
    ) {
        let patterns: Vec<Pattern> = patterns.iter().map(|pattern| compile_json(&pattern.to_string()).unwrap()).collect();
        let index = Index::new(patterns.iter());
        for document in &documents {
            let found = index.candidates(document).into_iter().filter(|rule| patterns[*rule].matches(document));
            let scanned = (0..patterns.len()).filter(|rule| patterns[*rule].matches(document));
            prop_assert_eq!(found.collect::<Vec<_>>(), scanned.collect::<Vec<_>>(), "{}", document);
        }
    }
}
