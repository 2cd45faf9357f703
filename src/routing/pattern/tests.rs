use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{cases::cases, routing::tests::cpu_time};

fn matches(pattern: &Value, event: &Value) -> bool {
    compile(&pattern.to_string()).unwrap_or_else(|error| panic!("{pattern}: {error}")).matches(event)
}

/// Compiles a pattern that is written as JSON, in which a key may stand twice.
pub(in crate::routing) fn compile(json: &str) -> Result<Pattern, PatternError> {
    Pattern::compile(&serde_json::from_str::<Node>(json).unwrap_or_else(|error| panic!("{json}: {error}")))
}

fn faults(pattern: &str) -> Vec<String> {
    compile(pattern).unwrap_err().faults().iter().map(ToString::to_string).collect()
}

fn reason(error: &PatternError) -> &PatternReason {
    &error.faults()[0].reason
}

#[test]
fn fields_are_joined_by_and() {
    let pattern =
        compile(r#"{"workflow_id": [{"prefix": "etl_"}], "payload": {"rows": [{"numeric": [">", 0]}]}}"#).unwrap();
    assert!(pattern.matches(&json!({"workflow_id": "etl_daily", "payload": {"rows": 7}})));
    assert!(!pattern.matches(&json!({"workflow_id": "etl_daily"})));
}

#[test]
fn two_fields_are_found_in_the_same_element() {
    let pattern = json!({"e": {"f": ["Anna"], "l": ["Jones"]}});
    assert!(matches(&pattern, &json!({"e": [{"f": "P", "l": "Q"}, {"f": "Anna", "l": "Jones"}]})));
    assert!(matches(&pattern, &json!({"e": [[], [[{"f": "Anna", "l": ["X", "Jones"]}]]]})));
    assert!(!matches(&pattern, &json!({"e": [{"f": "Anna", "l": "Q"}, {"f": "P", "l": "Jones"}]})));
    assert!(!matches(&pattern, &json!({"e": [[{"f": "Anna"}, {"l": "Jones"}]]})));
}

#[test]
fn a_branch_and_its_surroundings_speak_of_the_same_element() {
    let pattern = json!({"e": {"f": ["Anna"]}, "$or": [{"e": {"l": ["Jones"]}}, {"x": [1]}]});
    assert!(matches(&pattern, &json!({"e": [{"f": "Anna", "l": "Jones"}]})));
    assert!(!matches(&pattern, &json!({"e": [{"f": "Anna"}, {"l": "Jones"}]})));
    assert!(matches(&pattern, &json!({"e": [{"f": "Anna"}, {"l": "Jones"}], "x": 1})));
}

#[test]
fn absence_is_of_the_element_that_the_other_fields_are_found_in() {
    // The order of the names does not matter.
    for (asked, missing) in [("a", "b"), ("b", "a")] {
        let pattern = json!({"e": {asked: ["x"], missing: [{"exists": false}]}});
        assert!(matches(&pattern, &json!({"e": [{asked: "x"}, {missing: 1}]})));
        assert!(!matches(&pattern, &json!({"e": [{asked: "x", missing: 1}, {}]})));
    }
    // Alone it is absence from every element.
    let alone = json!({"e": {"b": [{"exists": false}]}});
    assert!(!matches(&alone, &json!({"e": [{"b": 1}, {"c": 2}]})));
    assert!(!matches(&alone, &json!({"e": [{"b": 1}, 5]})));
    assert!(matches(&alone, &json!({"e": [{"c": 1}, 5, []]})));
    assert!(matches(&alone, &json!({})));
}

#[test]
fn operators_below_anything_but_take_lists() {
    for (operand, same, other) in [
        (json!({"prefix": ["x", "y"]}), "ya", "ay"),
        (json!({"suffix": ["x", "y"]}), "ay", "ya"),
        (json!({"wildcard": ["x*y", "z*"]}), "zq", "qz"),
        (json!({"equals-ignore-case": ["x", "straße"]}), "STRASSE", "y"),
        (json!({"equals-ignore-case": "x"}), "X", "y"),
    ] {
        let pattern = json!({"a": [{"anything-but": operand}]});
        assert!(!matches(&pattern, &json!({"a": same})), "{pattern}");
        assert!(matches(&pattern, &json!({"a": other})), "{pattern}");
        assert!(matches(&pattern, &json!({"a": 5})), "{pattern}");
        assert!(!matches(&pattern, &json!({})), "{pattern}");
    }
}

#[test]
fn addresses_are_compared_as_addresses() {
    assert!(matches(&json!({"ip": ["2001:db8::1"]}), &json!({"ip": ["x", "2001:0DB8:0:0::1"]})));
    assert!(!matches(&json!({"ip": [{"exactly": "2001:db8::1"}]}), &json!({"ip": "2001:0db8::1"})));
    for (network, inside, outside) in [
        ("10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
        ("0.0.0.0/0", "255.1.2.3", "::1"),
        ("::/0", "::1", "1.2.3.4"),
        ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ("10.1.2.3/9", "10.127.0.1", "10.128.0.1"),
    ] {
        let pattern = json!({"ip": [{"cidr": network}]});
        assert!(matches(&pattern, &json!({"ip": inside})), "{network}");
        assert!(!matches(&pattern, &json!({"ip": outside})), "{network}");
        assert!(!matches(&pattern, &json!({"ip": "no address"})), "{network}");
    }
}

#[test]
fn every_fault_is_named_with_its_path_and_what_to_do() {
    for (pattern, expected) in [
        ("[]", &["expected an object with fields, found an empty list: write fields"] as &[&str]),
        ("{}", &["expected an object with at least one field, found an empty one"]),
        (
            r#"{"a": "x", "b": {}, "c": [], "prefix": "x"}"#,
            &[
                "a: expected a list or an object, found the string \"x\": put the value into brackets",
                "b: expected an object with at least one field, found an empty one",
                "c: expected a list with at least one value, found an empty one",
                "prefix: expected a list or an object (operators stand in a list",
            ],
        ),
        (
            r#"{"a": [["x"], {}, {"prefix": "a", "suffix": "b"}, {"prefx": 1}]}"#,
            &[
                "a[0]: expected a value or an operator, found a list",
                "a[1]: expected an object with one operator, found none",
                "a[2]: expected an object with one operator, found 2 of them",
                "a[3].prefx: expected an operator, found \"prefx\": did you mean `prefix`?; the operators are prefix,",
            ],
        ),
        (
            r#"{"a": [{"prefix": 1}, {"wildcard": "a**"}, {"wildcard": "\\a"}, {"exists": 1}, {"exactly": null}]}"#,
            &[
                "a[0].prefix: expected a string, or an object with equals-ignore-case, found the number 1",
                "a[1].wildcard: `wildcard`: expected one star, found `**`",
                "a[2].wildcard: `wildcard`: expected `\\*` or `\\\\`",
                "a[3].exists: expected true or false, found the number 1",
                "a[4].exactly: expected a string, found null",
            ],
        ),
        (
            r#"{"a": [{"cidr": "10.0.0.1"}, {"cidr": "10.0.0.0/33"}, {"cidr": "x/1"}]}"#,
            &[
                "a[0].cidr: `cidr`: expected an address, a slash and a number of bits, found \"10.0.0.1\": add /32",
                "a[1].cidr: `cidr`: expected 0 to 32 bits",
                "a[2].cidr: `cidr`: expected an IPv4 or IPv6 address",
            ],
        ),
        (
            r#"{"a": [{"numeric": 3}, {"numeric": ["<", 5, ">", 0]}, {"numeric": [">", 5, "<", 5]}, {"numeric": ["!=", 1]},
            {"numeric": ["=", "1"]}, {"numeric": ["=", 1, "<", 2]}, {"numeric": []}, {"numeric": [1, 2]}]}"#,
            &[
                "a[0].numeric: `numeric`: expected a list, found the number 3: write it as in [\">\", 0, \"<=\", 5]",
                "a[1].numeric: `numeric`: expected the lower bound first",
                "a[2].numeric: `numeric`: the lower bound is not below the upper one",
                "a[3].numeric: `numeric`: expected one of = < <= > >=, found \"!=\"",
                "a[4].numeric: `numeric`: expected a number, found the string \"1\"",
                "a[5].numeric: `numeric`: expected = alone",
                "a[6].numeric: `numeric`: expected 2 or 4 items, found 0",
                "a[7].numeric: `numeric`: expected one of = < <= > >=, found the number 1",
            ],
        ),
        (
            r#"{"a": [{"anything-but": ["x", 1]}, {"anything-but": [true]}, {"anything-but": {"numeric": 1}},
            {"anything-but": {"prefix": ["x", ""]}}, {"anything-but": []}, {"anything-but": {"suffix": [1]}}]}"#,
            &[
                "a[0].anything-but: expected a list of strings or a list of numbers, found the number 1",
                "a[1].anything-but: expected a string or a number, found true",
                "a[2].anything-but: expected a string, a number, a list of either, or one of",
                "a[3].anything-but.prefix: expected a text that is not empty",
                "a[4].anything-but: expected a string, a number",
                "a[5].anything-but.suffix: expected a string or a list of strings, found the number 1",
            ],
        ),
        (
            r#"{"$or": [{"a": [1]}], "b": {"$or": ["x", {"c": [1]}]}, "d": {"$or": [{"prefix": [1]}, {"e": [1]}]}}"#,
            &[
                "$or: expected a list of two objects or more after $or, found 1 of them",
                "b.$or: expected a list of two objects or more after $or, found the string \"x\" in it",
                "d.$or[0]: expected a field of the event, found the operator `prefix`",
            ],
        ),
        (
            r#"{"a.b": ["x"], "a.b": ["y"], "c": {"d": [1], "d": [2]}}"#,
            &["[\"a.b\"]: the key \"a.b\" stands twice in one object", "c.d: the key \"d\" stands twice in one object"],
        ),
        (
            r#"{"a": {"b": [1]}, "$or": [{"a": {"b": [2]}}, {"c": [1], "$or": [{"c": [2]}, {"d": [1]}]}]}"#,
            &[
                "$or[1].$or[0].c: this field is constrained both inside and outside of a `$or`",
                "$or[0].a.b: this field is constrained both inside and outside of a `$or`",
            ],
        ),
    ] {
        let found = faults(pattern);
        let matching = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| f.starts_with(e));
        assert!(matching, "{pattern}: found\n{}\nexpected\n{}", found.join("\n"), expected.join("\n"));
    }
}

#[test]
fn a_thousand_combinations_are_taken_and_no_more() {
    let or = |name: &str, count: usize| {
        let branches: Vec<_> = (0..count).map(|index| json!({ format!("{name}{index}"): [1] })).collect();
        json!({ "$or": branches })
    };
    let pattern = json!({"a": or("a", 10), "b": or("b", 10), "c": or("c", 10)});
    assert!(matches(&pattern, &json!({"a": {"a3": 1}, "b": {"b9": 1}, "c": {"c0": 1}})));
    assert!(!matches(&pattern, &json!({"a": {"a3": 1}, "b": {"b9": 1}, "c": {"c0": 2}})));
    let doubling = (0..30).fold(json!({"z": [1]}), |inner, level| {
        let mut pattern = or(&format!("k{level}_"), 2);
        pattern[format!("n{level}")] = inner;
        pattern
    });
    for pattern in [json!({"a": or("a", 11), "b": or("b", 10), "c": or("c", 10)}), or("a", 1_001), doubling] {
        let error = compile(&pattern.to_string()).unwrap_err();
        assert!(matches!(reason(&error), PatternReason::TooManyCombinations { .. }), "{error}");
    }
    let nested =
        (0..30).fold(json!({"x": [1]}), |inner, level| json!({"$or": [{format!("a{level}"): inner}, {"b": [1]}]}));
    assert!(matches(&nested, &json!({"b": 1})));
}

#[test]
fn a_hostile_pattern_is_refused_quickly() {
    let started = cpu_time();
    let fields = |count| (0..count).map(|index| format!(r#""f{index}":[1]"#)).collect::<Vec<_>>().join(",");
    let error = compile(&format!("{{{}}}", fields(20_000))).unwrap_err();
    assert!(matches!(reason(&error), PatternReason::TooLarge { .. }), "{error}");
    let branches: Vec<_> = (0..900).map(|index| format!(r#"{{"b":[{index}]}}"#)).collect();
    let error = compile(&format!(r#"{{{},"$or":[{}]}}"#, fields(5_000), branches.join(","))).unwrap_err();
    assert!(matches!(reason(&error), PatternReason::TooManyCombinations { .. }), "{error}");
    let took = cpu_time().saturating_sub(started);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_hostile_event_is_matched_quickly() {
    let started = cpu_time();
    let nested = (0..120).fold(json!({"f": "x"}), |inner, _| json!([inner, [], {"f": "y"}]));
    assert!(!matches(&json!({"e": {"f": ["x"], "g": [{"exists": true}]}}), &json!({ "e": nested })));
    let many: Vec<_> =
        (0..100_000).map(|index| json!({"f": index, "g": [index, "y"], "h": {"i": [1, 2, 3]}})).collect();
    let event = json!({ "e": many });
    let pattern =
        json!({"e": {"f": [-1], "g": ["x"], "h": {"i": [{"exists": false}]}, "$or": [{"j": [1]}, {"k": [1]}]}});
    assert!(!matches(&pattern, &event));
    let words: Vec<_> = (0..50_000).map(|index| json!(format!("w{index}"))).collect();
    let texts: Vec<_> = (0..50_000).map(|index| json!(format!("v{index}"))).collect();
    assert!(!matches(&json!({ "a": words }), &json!({ "a": texts })));
    let took = cpu_time().saturating_sub(started);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[xy]{0,2}".prop_map(Value::from)
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::hash_map("[abc]", inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::hash_map("[abc]", tree(), 0..4).prop_map(|fields| json!(fields))
}

fn alternatives() -> impl Strategy<Value = Value> {
    let item = prop_oneof![
        3 => scalar(),
        1 => Just(json!({"prefix": "x"})),
        1 => Just(json!({"suffix": "y"})),
        1 => Just(json!({"wildcard": "x*y"})),
        1 => Just(json!({"numeric": [">", 0, "<", 2]})),
        1 => Just(json!({"anything-but": ["x", "xy"]})),
        1 => Just(json!({"equals-ignore-case": "XY"})),
        2 => any::<bool>().prop_map(|exists| json!({ "exists": exists })),
    ];
    proptest::collection::vec(item, 1..3).prop_map(Value::Array)
}

fn pattern() -> impl Strategy<Value = Value> {
    let field = alternatives().prop_recursive(3, 12, 3, |inner| {
        let fields = proptest::collection::hash_map("[abc]", inner, 1..3).prop_map(|fields| json!(fields));
        (fields.clone(), proptest::option::weighted(0.2, (fields.clone(), fields))).prop_map(|(mut pattern, or)| {
            if let Some((one, other)) = or {
                pattern["$or"] = json!([one, other]);
            }
            pattern
        })
    });
    proptest::collection::hash_map("[abc]", field, 1..4).prop_map(|fields| json!(fields))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(4_000)))]

    #[test]
    fn matching_agrees_with_the_definition(pattern in pattern(), event in object()) {
        if let Ok(compiled) = compile(&pattern.to_string()) {
            prop_assert_eq!(Some(compiled.matches(&event)), naive::matches(&pattern, &event, u64::MAX), "{} {}", pattern, event);
        }
    }

    #[test]
    fn any_json_is_a_pattern_or_an_error(value in tree()) {
        if let Err(error) = compile(&value.to_string()) {
            prop_assert!(!error.faults().is_empty());
        }
    }
}
