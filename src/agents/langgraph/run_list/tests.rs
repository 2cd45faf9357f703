use serde_json::{Value, json};

use super::{super::lenient::MAX_ID, *};

const THREAD: Uuid = Uuid::from_u128(7);

fn read(list: &Value) -> RunPage {
    page(list.to_string().as_bytes(), THREAD, "e1").unwrap()
}

fn mark() -> Value {
    json!({"delivery_id": THREAD.to_string()})
}

#[test]
fn a_run_is_ours_by_its_mark_or_its_event_wherever_a_server_shows_them() {
    for shown in [
        json!({"metadata": mark()}),
        json!({"config": {"metadata": mark()}, "metadata": null}),
        json!({"kwargs": {"config": {"metadata": mark()}}, "metadata": {}}),
        json!({"input": {"event": {"event_id": "e1"}}}),
        json!({"kwargs": {"input": {"event": {"event_id": "e1"}}}}),
    ] {
        let mut run = shown.clone();
        run["run_id"] = "b".into();
        run["thread_id"] = THREAD.to_string().into();
        let page = read(&json!([{"run_id": "a"}, run]));
        assert_eq!((page.ours, page.count), (Some("b".into()), 2), "{shown}");
    }
}

#[test]
fn what_a_run_inherits_from_its_thread_does_not_make_it_ours() {
    for metadata in [
        json!({"event_id": "e1", "rule": "rule", "agent": "agent", "nonce": "x"}),
        json!({"delivery_id": Uuid::from_u128(8).to_string()}),
        json!({"delivery_id": ["no text"]}),
        json!("no object"),
    ] {
        assert_eq!(read(&json!([{"run_id": "a", "metadata": metadata}])).ours, None, "{metadata}");
    }
    let elsewhere = json!([{"run_id": "a", "thread_id": Uuid::from_u128(8).to_string(), "metadata": mark()}]);
    assert_eq!(read(&elsewhere).ours, None);
}

#[test]
fn another_run_may_be_ours_unless_it_lacks_the_mark_where_marks_are_seen() {
    let marked = read(&json!([{"run_id": "x", "metadata": {"delivery_id": "of another delivery"}}])).mark_fields;
    assert!(!marked.is_empty());
    let maybe =
        |run: Value| read(&json!([run])).others.maybe_ours(marked).map(|(fields, id)| (fields.bits(), id.to_owned()));
    assert_eq!(maybe(json!({"run_id": "a", "metadata": {"event_id": "e1"}})), None);
    assert_eq!(maybe(json!({"run_id": "a", "metadata": null})), Some((0, "a".into())));
    assert_eq!(maybe(json!({"run_id": "a"})), Some((0, "a".into())));
    assert_eq!(maybe(json!({"run_id": "a", "config": {}})), Some((2, "a".into())));
    let unproved = read(&json!([{"run_id": "a", "metadata": {}}]));
    assert!(unproved.others.maybe_ours(unproved.mark_fields).is_some(), "a server that shows no run's own metadata");
}

#[test]
fn of_several_other_runs_the_one_that_may_be_ours_counts() {
    let marked = MarkFields::from_bits(1);
    let mut others = read(&json!([{"run_id": "a", "metadata": {}}, {"run_id": "b"}])).others;
    assert_eq!(others.maybe_ours(marked).map(|(_, id)| id), Some("b"));
    others.extend(read(&json!([{"run_id": "c"}, {"run_id": "d", "metadata": {}}])).others);
    assert_eq!(others.maybe_ours(marked).map(|(_, id)| id), Some("c"));
}

#[test]
fn only_a_list_of_runs_is_a_page() {
    assert_eq!(read(&json!([])), RunPage::default());
    let long = format!(r#"[{{"run_id": "{}"}}]"#, "x".repeat(MAX_ID + 1));
    for not in ["", "<html>", "{}", "null", "[1]", "[{\"metadata\": {}}]", "[{\"run_id\": 1}]", "[] []", &long] {
        assert_eq!(page(not.as_bytes(), THREAD, "e1"), None, "{not}");
    }
}
