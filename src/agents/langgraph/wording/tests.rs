use super::{
    super::super::testing::{delivery, langgraph_spec},
    *,
};

#[test]
fn the_url_keeps_its_path_and_its_query() {
    let url = |base: &str| at(&base.parse().unwrap(), &["threads", "a b"]).to_string();
    assert_eq!(url("http://h:8123"), "http://h:8123/threads/a%20b");
    assert_eq!(url("https://h/base?tenant=1"), "https://h/base/threads/a%20b?tenant=1");
    assert_eq!(url("https://h/base/"), "https://h/base/threads/a%20b");
}

#[test]
fn the_first_turn_is_the_deliverys_own_thread_and_later_ones_are_derived() {
    let delivery = delivery("e1");
    assert_eq!(thread_id(&delivery, 0), delivery.id.as_uuid());
    let turns: std::collections::BTreeSet<_> = (0..100).map(|turn| thread_id(&delivery, turn)).collect();
    assert_eq!(turns.len(), 100);
}

#[test]
fn a_claim_carries_the_nonce_and_a_ttl_in_minutes() {
    let (delivery, nonce) = (delivery("e1"), Uuid::nil());
    let body = claim(&delivery, 0, nonce, Some(Duration::from_secs(90)));
    assert_eq!(body["thread_id"], delivery.id.to_string());
    assert_eq!(body["if_exists"], "raise");
    assert_eq!(body["ttl"], json!({"strategy": "delete", "ttl": 1.5}));
    assert_eq!(body["metadata"]["nonce"], nonce.to_string());
    assert_eq!(body["metadata"]["event_id"], "e1");
    assert!(body["metadata"].get("turn").is_none());
    let second = claim(&delivery, 1, nonce, None);
    assert!(second.get("ttl").is_none());
    assert_eq!(second["metadata"]["turn_of"], delivery.id.to_string());
    assert_ne!(second["thread_id"], body["thread_id"]);
}

#[test]
fn config_and_context_are_sent_only_when_they_are_given() {
    let (_, mut spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    let body = run(&delivery("e1"), &spec);
    assert!(body.get("config").is_none() && body.get("context").is_none());
    spec.config = Some(json!({"recursion_limit": 5}));
    assert_eq!(run(&delivery("e1"), &spec)["config"], json!({"recursion_limit": 5}));
}

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

#[test]
fn a_look_takes_only_a_list_of_runs() {
    assert_eq!(look(b"[]", "e1"), Some((None, 0)));
    let ours = br#"[{"run_id": "a", "metadata": {}}, {"run_id": "b", "metadata": {"event_id": "e1"}}]"#;
    assert_eq!(look(ours, "e1"), Some((Some("b".into()), 2)));
    assert_eq!(look(ours, "e2"), Some((None, 2)));
    for not in ["", "<html>", "{}", "null", "[1]", r#"[{"metadata": {"event_id": "e1"}}]"#] {
        assert_eq!(look(not.as_bytes(), "e1"), None, "{not}");
    }
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
    for text in [measured, "Assistant 'x' not found", "Graph 'x' not found.", "assistant not found"] {
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
    assert_eq!(detail(br#"{"detail": [{"loc": 1}]}"#), r#"[{"loc":1}]"#);
    assert_eq!(detail(b"<html>"), "<html>");
}

#[test]
fn metadata_of_the_routing_file_stands_beside_the_bridges_own_and_never_replaces_it() {
    let mut delivery = delivery("e1");
    delivery.settings.metadata = json!({"dag": "etl", "event_id": "x", "nonce": "x"}).as_object().unwrap().clone();
    let nonce = Uuid::new_v4();
    let (_, spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    let bodies = [claim(&delivery, 1, nonce, None), run(&delivery, &spec)];
    for body in &bodies {
        assert_eq!((&body["metadata"]["dag"], &body["metadata"]["event_id"]), (&json!("etl"), &json!("e1")));
    }
    assert_eq!(bodies[0]["metadata"]["nonce"], nonce.to_string());
}

#[test]
fn what_a_template_filled_in_is_sent_instead_of_what_the_agent_has() {
    let mut delivery = delivery("e1");
    let (_, mut spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    spec.config = Some(json!({"recursion_limit": 5}));
    delivery.settings.config = Some(json!({"recursion_limit": 9}));
    delivery.settings.context = Some(json!({"dag": "etl"}));
    let body = run(&delivery, &spec);
    assert_eq!((&body["config"], &body["context"]), (&json!({"recursion_limit": 9}), &json!({"dag": "etl"})));
}
