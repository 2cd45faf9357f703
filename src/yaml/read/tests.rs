use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read_all(text: &str) -> (Option<Node>, Vec<String>) {
    let mut faults: Vec<(Option<Position>, String)> = Vec::new();
    let node = read(text, &mut faults);
    faults.sort();
    let told = |(at, message): &(Option<Position>, String)| match at {
        Some(at) => format!("f:{at}: {message}"),
        None => format!("f: {message}"),
    };
    (node, faults.iter().map(told).collect())
}

fn value(text: &str) -> Value {
    let (node, problems) = read_all(text);
    assert!(problems.is_empty(), "{text}: {problems:?}");
    node.map_or(Value::Null, |node| node.to_json())
}

#[track_caller]
fn assert_problem(text: &str, expected: &[&str]) {
    let (_, problems) = read_all(text);
    let matching = problems.len() == expected.len() && problems.iter().zip(expected).all(|(p, e)| p.starts_with(e));
    assert!(matching, "{text}: {problems:#?}");
}

#[test]
fn plain_scalars_have_the_types_of_the_core_schema() {
    for (text, expected) in [
        ("[~, null, Null, NULL, ]", json!([null, null, null, null])),
        ("[true, True, FALSE, yes, on, y]", json!([true, true, false, "yes", "on", "y"])),
        ("[0, 12, -7, +5, 007, 0o17, 0xFf]", json!([0, 12, -7, 5, 7, 15, 255])),
        ("[1., .5, -1.5, 1e3, 1.5E-2, +.5]", json!([1.0, 0.5, -1.5, 1000.0, 0.015, 0.5])),
        ("[18446744073709551615, -9223372036854775808]", json!([u64::MAX, i64::MIN])),
        (
            "[1.0.0, 1-2, -x, ., 0x, 0b1, 12:30, 1_000, .e3, e3, +, 2026-01-31]",
            json!(["1.0.0", "1-2", "-x", ".", "0x", "0b1", "12:30", "1_000", ".e3", "e3", "+", "2026-01-31"]),
        ),
        ("['12', \"true\", 'null', '']", json!(["12", "true", "null", ""])),
        ("a: |\n  12\nb: >-\n  x\n  y\n", json!({"a": "12\n", "b": "x y"})),
        ("{409: a, true: b, 1.50: c}", json!({"409": "a", "true": "b", "1.50": "c"})),
        ("{a, b: }", json!({"a": null, "b": null})),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn what_json_cannot_hold_is_refused_at_its_place() {
    assert_problem(
        "a: .inf\nb: [-.INF, .nan, 1e999, 0xfffffffffffffffff]",
        &[
            "f:1:4: expected a value that JSON can hold, found .inf",
            "f:2:5:",
            "f:2:12:",
            "f:2:18:",
            "f:2:25: expected a value that JSON can hold, found a long number:",
        ],
    );
}

#[test]
fn keys_and_scalars_know_their_places() {
    let (node, _) = read_all("a:\n  - x\n  -   {b: 'y', ü: z}\n");
    let node = node.unwrap();
    let list = node.get("a").unwrap();
    let Data::List(items) = &list.data else { panic!("{list:?}") };
    let at = |line, column| Some(Position { line, column });
    assert_eq!(items[0].at, at(2, 5));
    let Data::Map(entries) = &items[1].data else { panic!("{items:?}") };
    assert_eq!((entries[0].at, entries[0].value.at), (at(3, 8), at(3, 11)));
    assert_eq!((entries[1].at, entries[1].value.at), (at(3, 16), at(3, 19)));
}

#[test]
fn what_routing_files_do_not_use_is_refused_plainly() {
    assert_problem(
        "a: 1\nb: 2\na: 3\n'b': 4",
        &[
            "f:3:1: the key \"a\" stands here for the second time, first in line 1",
            "f:4:1: the key \"b\" stands here for the second time, first in line 2",
        ],
    );

    assert_problem("a: !!str 1\n", &["f:1:4: tags are not supported"]);
    assert_problem("a: 1\n---\nb: 1\n", &["f:2:1: expected one YAML document in a file"]);
    assert_problem("{{a}}: 1\n", &["f:1:1: expected a plain key, found a map or a list"]);
    assert_problem("a: {{ x }}\n", &["f:1:5: expected a plain key, found a map or a list"]);
    assert_problem(": 1\n", &["f:1:1: expected a key, found nothing before the colon"]);
    assert_problem("a: b: c\n", &["f:1:5: expected YAML: mapping values are not allowed in this context (quote"]);
    assert_problem("a: \"\\q\"\n", &["f:1:"]);
}

#[test]
fn what_is_not_closed_is_reported_where_it_opens() {
    let end = "before the end of the file";
    for (text, expected) in [
        ("a: [1\n", format!("f:1:4: expected YAML: this `[` is not closed: expected `]` {end}")),
        ("a: {b: 1\n\n# c\n", format!("f:1:4: expected YAML: this `{{` is not closed: expected `}}` {end}")),
        ("{", format!("f:1:1: expected YAML: this `{{` is not closed: expected `}}` {end}")),
        ("a: [x\nb: 1\n", "f:1:4: expected YAML: this `[` is not closed: expected `]` before line 2, column 2".into()),
        (
            "a: {b: [1, 2}\n",
            "f:1:8: expected YAML: this `[` is not closed: expected `]` before line 1, column 13".into(),
        ),
        (
            "a: [b, {c: d]\n",
            "f:1:8: expected YAML: this `{` is not closed: expected `}` before line 1, column 13".into(),
        ),
        ("a: \"b\nc: 1\n", "f:1:4: expected YAML: this \" is not closed".into()),
        ("a:\n  b: \"c\n  d\"\n", "f:2:6: expected YAML: this \" is not closed, or its text goes on in a line".into()),
        ("a: ['b, d]\nc: 2\n", "f:1:5: expected YAML: this ' is not closed".into()),
        ("a: 'b", "f:1:4: expected YAML: this ' is not closed".into()),
        // Many lines above of where the parser gives up.
        (
            "rules:\n  - name: a\n    to: [audit\n  - name: b\n    to: [audit]\n",
            "f:3:9: expected YAML: this `[` is not closed: expected `]` before line 4, column 9".into(),
        ),
        (
            "a:\n  b: {c: 'x}', d: [1], e: {f: 2}\n  g: [h]\n",
            "f:2:6: expected YAML: this `{` is not closed: expected `}` before line 3, column 3".into(),
        ),
        // The parser has not reported what may still be a key.
        (
            "a:\n  - {b: [c], d: '{', e: {f: [x]}\n  - {b: [c]}\n",
            "f:2:5: expected YAML: this `{` is not closed: expected `}` before line 3, column 3".into(),
        ),
    ] {
        assert_problem(text, &[&expected]);
    }
    for (text, place) in [
        ("a: {b: c: d}\n", "f:1:9: expected YAML: while"),
        ("when: {\n  a: b: c\n}\n", "f:2:7: expected YAML: while"),
        ("a: [1, 2]]\n", "f:1:10: expected YAML: misplaced bracket"),
        ("a: {b: 'it's'}\n", "f:1:12: expected YAML: invalid trailing content"),
    ] {
        assert_problem(text, &[place]);
    }
}

#[test]
fn depth_has_a_limit_and_costs_no_stack() {
    for open in ["[", "{a: ", "- "] {
        let (_, problems) = read_all(&open.repeat(50_000));
        assert_eq!(problems.len(), 1, "{open}");
        assert!(problems[0].contains("expected at most 64 levels") || problems[0].contains("YAML"), "{problems:?}");
    }
    assert!(read_all(&format!("{}{}", "[".repeat(64), "]".repeat(64))).1.is_empty());
}

#[test]
fn aliases_and_merge_keys_are_replaced_by_what_they_stand_for() {
    for (text, expected) in [
        ("a: &x 1\nb: [*x, *x]\n", json!({"a": 1, "b": [1, 1]})),
        ("a: &x {b: [c]}\nd: *x\n", json!({"a": {"b": ["c"]}, "d": {"b": ["c"]}})),
        ("&k a: 1\nb: *k\n", json!({"a": 1, "b": "a"})),
        ("a: &x 1\nb: &x 2\nc: *x\n", json!({"a": 1, "b": 2, "c": 2})),
        ("a: &x\nb: *x\n", json!({"a": null, "b": null})),
        // Its own keys count, wherever they stand; then the first of several maps.
        (
            "a: &x {p: 1, q: 2}\nb: {q: 3, <<: *x}\nc: {<<: *x, q: 4}\n",
            json!({"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}, "c": {"q": 4, "p": 1}}),
        ),
        (
            "a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: [*x, *y]}\n",
            json!({"a": {"p": 1}, "b": {"p": 2, "q": 3}, "c": {"p": 1, "q": 3}}),
        ),
        (
            "a: &x {p: 1}\nb: &y {<<: *x, q: 2}\nc: {<<: *y}\n",
            json!({"a": {"p": 1}, "b": {"q": 2, "p": 1}, "c": {"q": 2, "p": 1}}),
        ),
        ("a: {<<: {p: 1}}\nb: {'<<': 2}\n", json!({"a": {"p": 1}, "b": {"<<": 2}})),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    let (node, _) = read_all("a: &x {b: 1}\nc: {<<: *x}\n");
    let at = node.unwrap().get("c").unwrap().get("b").unwrap().at;
    assert_eq!(at, Some(Position { line: 1, column: 11 }), "where it is written");
}

#[test]
fn an_alias_that_stands_for_nothing_is_refused_at_its_place() {
    assert_problem(
        "a: *star\n",
        &["f:1:4: expected YAML: while parsing node, found unknown anchor (`*name` stands for"],
    );
    assert_problem("a: &x [1, *x]\n", &["f:1:11: expected an alias of a value that ends before it"]);
    assert_problem("a: &x {b: *x}\n", &["f:1:11: expected an alias of a value that ends before it"]);
    assert_problem("a: &x b\n*x : 1\n", &["f:2:1: expected a key, found an alias"]);
    assert_problem("a: &x 1\nb: {<<: *x}\n", &["f:2:5: expected a map after `<<`, or a list of maps, found a number"]);
    assert_problem("a: &x {}\nb: {<<: [*x, 1]}\n", &["f:2:5: expected a map after `<<`"]);
    assert_problem("a: &x {}\nb:\n  <<: *x\n  <<: *x\n", &["f:4:3: the key `<<` stands here for the second time"]);
}

#[test]
fn what_aliases_add_is_bounded_in_values_bytes_and_levels() {
    let laughs = |first: &str| {
        let lines = (1..40).map(|n| format!("a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", ")));
        format!("a0: &a0 {first}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
    };
    let merges: Vec<_> = (1..40).map(|n| format!("a{n}: &a{n} {{b{n}: *a{m}, c{n}: *a{m}}}", m = n - 1)).collect();
    let merges = merges.join("\n");
    let long = format!("a0: &a0 {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a0"; 20].join(", "));
    for text in [laughs("[x]"), laughs("{b: c}"), laughs(&"x".repeat(100_000)), format!("a0: &a0 {{}}\n{merges}"), long]
    {
        let (node, problems) = read_all(&text);
        assert!(node.is_none() && problems.len() == 1, "{problems:?}");
        assert!(problems[0].contains("stand for at most 200000 values"), "{problems:?}");
    }
    let nested: Vec<_> = (1..70).map(|n| format!("a{n}: &a{n} [*a{}]", n - 1)).collect();
    assert_problem(&format!("a0: &a0 []\n{}\n", nested.join("\n")), &["f:64:12: expected at most 64 levels"]);
    // All texts together.
    let mut expansion = Expansion::default();
    let mut faults: Vec<(Option<Position>, String)> = Vec::new();
    let text = format!("a: &x [{}]\nb: *x\n", vec!["1"; 60_000].join(","));
    assert!(read_within(&text, &mut expansion, &mut faults).is_some() && faults.is_empty());
    assert!(read_within(&text, &mut expansion, &mut faults).is_none());
}

proptest! {
    #[test]
    fn any_text_with_aliases_is_read_or_refused(
        lines in proptest::collection::vec("[a-c]: (&[x-z] )?(\\*[x-z]|1|\\{<<: \\*[x-z], a: \\*[x-z]\\}|\\[\\*[x-z], 2\\])", 0..12),
    ) {
        let (_, problems) = read_all(&lines.join("\n"));
        prop_assert!(problems.len() < 100);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|[-a:{}\\[\\],'\"&*!|>#%@` \n?~.0-9]{0,60}") {
        let (node, problems) = read_all(&text);
        prop_assert!(node.is_none() || problems.len() < 1_000);
    }

    #[test]
    fn json_texts_are_kept_when_quoted(texts in proptest::collection::vec("[ -~éß]{0,12}", 0..6)) {
        let yaml = format!("[{}]", texts.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect::<Vec<_>>().join(","));
        prop_assert_eq!(value(&yaml), json!(texts));
    }
}
