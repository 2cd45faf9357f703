use std::time::Duration;

use super::{
    super::super::{
        TtlStrategy,
        testing::{delivery, langgraph_spec},
    },
    *,
};

#[test]
fn the_url_keeps_its_path_and_its_query() {
    let with_path = |base: &str| url(&base.parse().unwrap(), &["threads", "a b"]).to_string();
    assert_eq!(with_path("http://h:8123"), "http://h:8123/threads/a%20b");
    assert_eq!(with_path("https://h/base?tenant=1"), "https://h/base/threads/a%20b?tenant=1");
    assert_eq!(with_path("https://h/base/"), "https://h/base/threads/a%20b");
}

#[test]
fn the_first_round_is_the_deliverys_own_thread_and_later_ones_are_derived() {
    let delivery = delivery("e1");
    assert_eq!(thread_id(&delivery, 0), delivery.id.as_uuid());
    let rounds: std::collections::BTreeSet<_> = (0..100).map(|round| thread_id(&delivery, round)).collect();
    assert_eq!(rounds.len(), 100);
}

#[test]
fn a_claim_carries_the_nonce_and_a_ttl_in_minutes() {
    let (delivery, nonce) = (delivery("e1"), Uuid::nil());
    let body = claim(&delivery, 0, nonce, Some(Ttl { after: Duration::from_secs(90), strategy: TtlStrategy::Delete }));
    assert_eq!(body["thread_id"], delivery.id.to_string());
    assert_eq!(body["if_exists"], "raise");
    assert_eq!(body["ttl"], json!({"strategy": "delete", "ttl": 1.5}));
    assert_eq!(body["metadata"]["nonce"], nonce.to_string());
    assert_eq!(body["metadata"]["event_id"], "e1");
    assert!(body["metadata"].get("round").is_none());
    let second = claim(&delivery, 1, nonce, None);
    assert!(second.get("ttl").is_none());
    assert_eq!(second["metadata"]["round_of"], delivery.id.to_string());
    assert_ne!(second["thread_id"], body["thread_id"]);
}

#[test]
fn context_and_tracer_are_sent_only_when_they_are_given_and_tags_always() {
    let (_, mut spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    let delivery = delivery("e1");
    let mark = delivery.id.to_string();
    let body = run(&delivery, &spec);
    assert!(body.get("context").is_none() && body.get("langsmith_tracer").is_none());
    assert_eq!(body["config"], json!({"tags": ["WORKFLOW_COMPLETED", "etl"], "metadata": {"delivery_id": mark}}));
    spec.config = Some(json!({"recursion_limit": 5, "tags": "not a list", "metadata": {"team": "x"}}));
    let expected = json!({"recursion_limit": 5, "tags": "not a list", "metadata": {"team": "x", "delivery_id": mark}});
    assert_eq!(run(&delivery, &spec)["config"], expected);
}

#[test]
fn no_text_of_an_event_is_sent_unbounded_beside_the_input() {
    let huge = format!("a\0{}", "x".repeat(100_000));
    let document = json!({
        "event_id": "e1", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-01T00:00:00Z",
        "source": "AIRFLOW", "workflow_id": huge, "workflow_run_id": huge, "payload": {"data": {}},
        "metadata": {"environment": "prod", "version": "1.0"},
    });
    let event = crate::event::decode(Some(document.to_string().as_bytes())).unwrap();
    let delivery = Delivery { event: event.into(), body: Some(json!({})), ..delivery("e1") };
    let (_, spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    for body in [run(&delivery, &spec), claim(&delivery, 0, Uuid::nil(), None)] {
        let text = body.to_string();
        assert!(text.len() < 3_000 && !text.contains("\\u0000"), "{}", text.len());
    }
}

#[test]
fn a_run_is_marked_and_no_thread_is() {
    let (_, spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    let delivery = delivery("e1");
    assert_eq!(run(&delivery, &spec)["metadata"][RUN_MARK], delivery.id.to_string());
    for round in 0..3 {
        let body = claim(&delivery, round, Uuid::nil(), None);
        assert!(body["metadata"].get(RUN_MARK).is_none(), "a run would inherit it: {body}");
    }
}

#[test]
fn metadata_of_the_routing_file_stands_beside_the_bridges_own_and_never_replaces_it() {
    let mut delivery = delivery("e1");
    delivery.settings.metadata =
        json!({"dag": "etl", "event_id": "x", "nonce": "x", "delivery_id": "x"}).as_object().unwrap().clone();
    let nonce = Uuid::new_v4();
    let (_, spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    let bodies = [claim(&delivery, 1, nonce, None), run(&delivery, &spec)];
    for body in &bodies {
        assert_eq!((&body["metadata"]["dag"], &body["metadata"]["event_id"]), (&json!("etl"), &json!("e1")));
    }
    assert_eq!(bodies[0]["metadata"]["nonce"], nonce.to_string());
    assert!(bodies[0]["metadata"].get(RUN_MARK).is_none(), "a run would inherit it");
    assert_eq!(bodies[1]["metadata"][RUN_MARK], delivery.id.to_string());
}

#[test]
fn what_a_template_filled_in_is_sent_instead_of_what_the_agent_has() {
    let mut delivery = delivery("e1");
    let (_, mut spec) = langgraph_spec("127.0.0.1:1".parse().unwrap());
    spec.config = Some(json!({"recursion_limit": 5}));
    delivery.settings.config = Some(json!({"recursion_limit": 9}));
    delivery.settings.context = Some(json!({"dag": "etl"}));
    let body = run(&delivery, &spec);
    assert_eq!((&body["config"]["recursion_limit"], &body["context"]), (&json!(9), &json!({"dag": "etl"})));
    assert_eq!(body["config"]["tags"], json!(["WORKFLOW_COMPLETED", "etl"]));
}
