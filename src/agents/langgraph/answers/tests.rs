use serde_json::{Value, json};

use super::*;

#[test]
fn only_a_run_of_our_thread_is_a_created_run() {
    let thread = Uuid::from_u128(7);
    let created = |text: &str| created(text.as_bytes(), thread);
    assert_eq!(created(&json!({"run_id": "r", "thread_id": thread.to_string()}).to_string()), Some("r".into()));
    assert_eq!(created(r#"{"run_id": "r"}"#), Some("r".into()));
    for not in [
        "",
        "<html>",
        "null",
        "[]",
        "{}",
        r#"{"run_id": ""}"#,
        r#"{"run_id": 1}"#,
        r#"{"run_id": "r", "thread_id": "8"}"#,
    ] {
        assert_eq!(created(not), None, "{not}");
    }
}

const THREAD: Uuid = Uuid::from_u128(7);

fn look(list: &Value) -> Page {
    runs(list.to_string().as_bytes(), THREAD, "e1").unwrap()
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
        let page = look(&json!([{"run_id": "a"}, run]));
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
        assert_eq!(look(&json!([{"run_id": "a", "metadata": metadata}])).ours, None, "{metadata}");
    }
    let elsewhere = json!([{"run_id": "a", "thread_id": Uuid::from_u128(8).to_string(), "metadata": mark()}]);
    assert_eq!(look(&elsewhere).ours, None);
}

#[test]
fn a_stranger_may_be_ours_unless_it_lacks_the_mark_where_marks_are_seen() {
    let marked = look(&json!([{"run_id": "x", "metadata": {"delivery_id": "of another delivery"}}])).marked;
    assert!(!marked.is_empty());
    let maybe =
        |run: Value| look(&json!([run])).strangers.maybe_ours(marked).map(|(shows, id)| (shows.bits(), id.to_owned()));
    assert_eq!(maybe(json!({"run_id": "a", "metadata": {"event_id": "e1"}})), None);
    assert_eq!(maybe(json!({"run_id": "a", "metadata": null})), Some((0, "a".into())));
    assert_eq!(maybe(json!({"run_id": "a"})), Some((0, "a".into())));
    assert_eq!(maybe(json!({"run_id": "a", "config": {}})), Some((2, "a".into())));
    let unproved = look(&json!([{"run_id": "a", "metadata": {}}]));
    assert!(unproved.strangers.maybe_ours(unproved.marked).is_some(), "a server that shows no run's own metadata");
}

#[test]
fn of_several_strangers_the_one_that_may_be_ours_counts() {
    let marked = Places::from_bits(1);
    let mut strangers = look(&json!([{"run_id": "a", "metadata": {}}, {"run_id": "b"}])).strangers;
    assert_eq!(strangers.maybe_ours(marked).map(|(_, id)| id), Some("b"));
    strangers.extend(look(&json!([{"run_id": "c"}, {"run_id": "d", "metadata": {}}])).strangers);
    assert_eq!(strangers.maybe_ours(marked).map(|(_, id)| id), Some("c"));
}

#[test]
fn a_look_takes_only_a_list_of_runs() {
    assert_eq!(look(&json!([])), Page::default());
    let long = format!(r#"[{{"run_id": "{}"}}]"#, "x".repeat(MAX_ID + 1));
    for not in ["", "<html>", "{}", "null", "[1]", "[{\"metadata\": {}}]", "[{\"run_id\": 1}]", "[] []", &long] {
        assert_eq!(runs(not.as_bytes(), THREAD, "e1"), None, "{not}");
    }
}

#[test]
fn a_created_run_is_known_although_its_answer_is_cut_short() {
    let whole =
        json!({"run_id": "r", "thread_id": THREAD.to_string(), "kwargs": {"input": "x".repeat(100)}}).to_string();
    let cut = |at: usize| created(&whole.as_bytes()[..at], THREAD);
    assert_eq!(cut(whole.len() - 10), Some("r".into()));
    assert_eq!(cut(20), None, "the thread had not come yet");
    assert_eq!(created(&whole.as_bytes()[..whole.len() - 10], Uuid::from_u128(8)), None);
    assert_eq!(created(format!("{whole} {whole}").as_bytes(), THREAD), None);
}

#[test]
fn a_threads_answer_has_its_id_and_perhaps_a_nonce() {
    let id = Uuid::from_u128(7);
    let answer = |metadata: Value| json!({"thread_id": id.to_string(), "metadata": metadata}).to_string();
    let nonce = Uuid::from_u128(9);
    assert_eq!(thread(answer(json!({"nonce": nonce.to_string()})).as_bytes(), id), Some(Thread { nonce: Some(nonce) }));
    assert_eq!(thread(answer(json!({})).as_bytes(), id), Some(Thread { nonce: None }));
    assert_eq!(thread(answer(json!({})).as_bytes(), nonce), None);
    assert_eq!(thread(b"<html>", id), None);
}

#[test]
fn an_unknown_assistant_is_told_by_how_the_text_begins() {
    let measured = "Invalid assistant: 'nope'. Must be either:\n- A valid assistant UUID, or\n- One of the \
                    registered graphs: compute";
    for text in [
        measured,
        "Assistant 'x' not found",
        "Graph 'x' not found.",
        "No assistant found for \"x\".",
        "assistant not found",
    ] {
        assert!(is_unknown_assistant(text), "{text}");
    }
    for text in [
        "",
        "3 is not of type \"object\"\n\nOn instance[\"config\"]:\n    3",
        "\"Invalid assistant: x\" is not of type \"object\"",
        "Graph input is too large",
    ] {
        assert!(!is_unknown_assistant(text), "{text}");
    }
}

#[test]
fn the_text_of_an_error_is_its_detail() {
    assert_eq!(detail(br#"{"detail": "why"}"#), "why");
    assert_eq!(detail(br#"{"error": "x", "message": "why"}"#), "why");
    assert_eq!(detail(br#"{"detail": [{"loc": 1}]}"#), r#"{"detail": [{"loc": 1}]}"#);
    assert_eq!(detail(b"<html>"), "<html>");
}

#[test]
fn a_404_about_the_thread_is_told_from_a_proxys() {
    for text in [
        r#"{"detail": "Thread with ID 7 not found"}"#,
        "Thread with ID 7 not found",
        r#"{"error": "not_found", "message": "Thread '7' not found", "details": null}"#,
    ] {
        assert!(is_no_thread(text.as_bytes()), "{text}");
    }
    for text in ["", "404 page not found", "<html>Thread not found</html>", "no such thread"] {
        assert!(!is_no_thread(text.as_bytes()), "{text}");
    }
}

#[test]
fn busy_is_told_by_how_the_text_begins() {
    assert!(is_busy(
        "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
    ));
    for text in ["", "Invalid input: Thread is already running a task.", "busy"] {
        assert!(!is_busy(text), "{text}");
    }
}
