use serde_json::json;

use super::*;

fn errors(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn scalars_follow_the_core_schema() {
    let text = "[1, -2, +3, 0x1f, 0o17, 1.5, 1e3, .5, '1', \"true\", true, ~, null, yes, 007, 1.2.3, a: b, 18446744073709551615]";
    let expected = json!([1, -2, 3, 31, 15, 1.5, 1000.0, 0.5, "1", "true", true, null, null, "yes", 7, "1.2.3", {"a": "b"}, u64::MAX]);
    assert_eq!(parse(text).unwrap().unwrap().to_json(), expected);
}

#[test]
fn every_value_knows_its_place() {
    let root = parse("a:\n  - b: 1\n    é: {c: x}\n").unwrap().unwrap();
    let Kind::Sequence(items) = &root.get("a").unwrap().kind else { panic!("{root:?}") };
    let inner = items[0].get("é").unwrap();
    assert_eq!(inner.place.to_string(), "3:8");
    assert_eq!(inner.get("c").unwrap().place.to_string(), "3:12");
}

#[test]
fn an_empty_file_has_no_value() {
    for text in ["", "\n", "# nothing\n", "---\n"] {
        assert_eq!(parse(text).unwrap(), None, "{text:?}");
    }
}

#[test]
fn what_would_be_read_otherwise_than_written_is_refused_with_its_place() {
    assert_eq!(errors("a: 1\nb: 2\na: 3\n"), ["3:1: `a` stands here twice, first at 1:1: keep one of them"]);
    assert!(errors("a: &x 1\nb: *x\n").iter().all(|error| error.contains("not supported here")));
    assert_eq!(errors("a: &x 1\nb: *x\n").len(), 2);
    assert!(errors("a: !!str 1\n")[0].contains("tags"));
    assert!(errors("a: 1\n---\nb: 2\n")[0].contains("one document"));
    assert!(errors("a: [1\n")[0].contains("no YAML"));
    assert!(errors("[a, b]: 1\n")[0].contains("expected a key, found a list"));
    assert_eq!(errors(&"[".repeat(1_000)).len(), 1);
}

#[test]
fn a_misspelt_word_finds_its_neighbour() {
    let words = ["langgraph", "http", "concurrency"];
    assert_eq!(nearest("langraph", words), Some("langgraph"));
    assert_eq!(nearest("concurency", words), Some("concurrency"));
    assert_eq!(nearest("htp", words), Some("http"));
    assert_eq!(nearest("rate", words), None);
}
