use serde_json::{Value, json};

use super::*;

#[test]
fn only_a_run_of_our_thread_is_a_created_run() {
    let thread = Uuid::from_u128(7);
    let created = |text: &str| created_run(text.as_bytes(), thread);
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

#[test]
fn a_created_run_is_read_although_its_response_is_cut_off() {
    let whole =
        json!({"run_id": "r", "thread_id": THREAD.to_string(), "kwargs": {"input": "x".repeat(100)}}).to_string();
    let cut = |at: usize| created_run(&whole.as_bytes()[..at], THREAD);
    assert_eq!(cut(whole.len() - 10), Some("r".into()));
    assert_eq!(cut(20), None, "the thread had not come yet");
    assert_eq!(created_run(&whole.as_bytes()[..whole.len() - 10], Uuid::from_u128(8)), None);
    assert_eq!(created_run(format!("{whole} {whole}").as_bytes(), THREAD), None);
}

#[test]
fn a_threads_response_has_its_id_and_perhaps_a_nonce() {
    let id = Uuid::from_u128(7);
    let answer = |metadata: Value| json!({"thread_id": id.to_string(), "metadata": metadata}).to_string();
    let nonce = Uuid::from_u128(9);
    assert_eq!(thread(answer(json!({"nonce": nonce.to_string()})).as_bytes(), id), Some(Thread { nonce: Some(nonce) }));
    assert_eq!(thread(answer(json!({})).as_bytes(), id), Some(Thread { nonce: None }));
    assert_eq!(thread(answer(json!({})).as_bytes(), nonce), None);
    assert_eq!(thread(b"<html>", id), None);
}

#[test]
fn an_unknown_assistant_is_recognized_by_how_the_text_begins() {
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
fn a_404_about_the_thread_is_distinguished_from_a_proxys() {
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
fn busy_is_recognized_by_how_the_text_begins() {
    assert!(is_busy(
        "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
    ));
    for text in ["", "Invalid input: Thread is already running a task.", "busy"] {
        assert!(!is_busy(text), "{text}");
    }
}
