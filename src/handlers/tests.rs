use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    agents::Handling,
    event::{EventType, Generation, Limits, Raw, RedriveRequest},
    plan::{Plan, Reading},
    routing::{LoadOptions, Routing},
};

fn registration(name: &str, event_type: EventType) -> Registration {
    let function = Arc::new(|_| -> Handling { Box::pin(async { Ok(()) }) });
    Registration { name: name.to_owned(), event_type, function, options: HandlerOptions::default() }
}

fn handlers(registrations: Vec<Registration>) -> Arc<Handlers> {
    Arc::new(Handlers::new(registrations).unwrap())
}

fn routing() -> Arc<dyn Plan> {
    let folder = tempfile::tempdir().unwrap();
    let rules = "agents:\n  audit: {http: {url: 'http://127.0.0.1:1/events'}}\nrules:\n  - {name: all, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit]}\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
    Arc::new(Routing::load(folder.path(), &options).unwrap())
}

/// The deliveries of an event of a type.
fn planned(plan: &dyn Plan, event_type: &str) -> Vec<String> {
    let event = json!({
        "event_id": "1", "event_type": event_type, "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": "run",
    });
    let value = event.to_string();
    let reading = plan.read(&Limits::default(), &Raw::from(value.as_bytes())).unwrap();
    let (Reading::Projected(_, plan) | Reading::Decoded(_, plan)) = reading;
    plan.iter().map(|(rule, agent)| format!("{rule} -> {agent}")).collect()
}

#[test]
fn an_event_goes_to_each_handler_of_its_type_in_the_order_of_registration() {
    let own = EventType::Other("ORDER_PLACED".into());
    let handlers = handlers(vec![
        registration("store", EventType::Completed),
        registration("mail", EventType::Other("workflow.completed".into())),
        registration("alarm", EventType::Failed),
        registration("order", own),
    ]);
    let plan = handlers.beside(None).unwrap();
    let completed = ["WORKFLOW_COMPLETED -> store", "WORKFLOW_COMPLETED -> mail"];
    assert_eq!(planned(&*plan, "WORKFLOW_COMPLETED"), completed);
    assert_eq!(planned(&*plan, "workflow.failed"), ["WORKFLOW_FAILED -> alarm"]);
    assert_eq!(planned(&*plan, "ORDER_PLACED"), ["ORDER_PLACED -> order"]);
    assert_eq!(planned(&*plan, "WORKFLOW_TRIGGERED"), [""; 0]);
    assert!(plan.rule("WORKFLOW_COMPLETED", "mail").is_some());
    assert!(plan.rule("WORKFLOW_COMPLETED", "alarm").is_none());
    assert!(plan.rule("workflow.completed", "mail").is_none(), "a rule has one spelling");
}

#[test]
fn handlers_stand_beside_the_rules_of_a_folder() {
    let plan = handlers(vec![registration("store", EventType::Completed)]).beside(Some(routing())).unwrap();
    assert_eq!(planned(&*plan, "WORKFLOW_COMPLETED"), ["all -> audit", "WORKFLOW_COMPLETED -> store"]);
    assert_eq!(planned(&*plan, "WORKFLOW_FAILED"), [""; 0]);
    assert!(plan.rule("all", "audit").is_some() && plan.rule("WORKFLOW_COMPLETED", "store").is_some());
    assert!(plan.rule("all", "store").is_none());
    let names: Vec<_> = plan.agents().map(|agent| agent.name.to_string()).collect();
    assert_eq!(names, ["audit", "store"]);
}

#[test]
fn without_handlers_the_rules_are_asked_themselves() {
    let rules = routing();
    let plan = Arc::new(Handlers::default()).beside(Some(Arc::clone(&rules))).unwrap();
    assert!(Arc::ptr_eq(&plan, &rules));
}

#[test]
fn a_name_is_one_handlers_and_no_agents() {
    let taken = handlers(vec![registration("audit", EventType::Failed)]).beside(Some(routing()));
    let problems = taken.err().unwrap();
    assert!(problems.len() == 1 && problems[0].contains("handler `audit`: an agent"), "{problems:?}");

    let wrong = Handlers::new(vec![
        registration("twice", EventType::Completed),
        registration("twice", EventType::Failed),
        registration(" ", EventType::Failed),
        registration("a\nb", EventType::Failed),
        registration(&"x".repeat(65), EventType::Failed),
        registration("empty", EventType::Other("".into())),
        registration("long", EventType::Other("x".repeat(65).into())),
        registration("lines", EventType::Other("a\nb".into())),
    ]);
    let problems = wrong.unwrap_err();
    let expected = [
        "handler `twice`: two have this name",
        "is empty",
        "handler `a\\nb`: expected",
        "found 65 bytes",
        "handler `empty`: event type ``: expected 1 to 64 bytes",
        "handler `long`: event type `xxx",
        "handler `lines`: event type `a\\nb`",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problems:#?}");
    }
    // A redrive can name them.
    let longest = "x".repeat(64);
    let request = RedriveRequest {
        rule: longest.as_str().into(),
        agent: longest.as_str().into(),
        generation: Generation { again: 0, number: 1 },
        is_forced: false,
    };
    let headers = request.headers();
    let read = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    assert_eq!(RedriveRequest::read(read), Some(Ok(request.clone())));
    handlers(vec![registration(&longest, EventType::Other(longest.as_str().into()))]);
}

#[test]
fn every_wrong_option_is_reported() {
    let options = HandlerOptions::default()
        .concurrency(0)
        .timeout(Duration::ZERO)
        .backoff(Duration::from_secs(2), Duration::from_secs(1))
        .give_up_after(Duration::MAX);
    let wrong = Registration { options, ..registration("store", EventType::Completed) };
    let too_many = HandlerOptions::default().concurrency(usize::MAX);
    let too_many = Registration { options: too_many, ..registration("mail", EventType::Completed) };
    let found = Handlers::new(vec![too_many]).unwrap_err();
    assert!(found.len() == 1 && found[0].contains("concurrency: expected 1 to 10000, found"), "{found:?}");
    let problems = Handlers::new(vec![wrong]).unwrap_err();
    for (problem, option) in problems.iter().zip(["concurrency", "timeout", "backoff", "give_up_after"]) {
        assert!(problem.starts_with(&format!("handler `store`: {option}: expected")), "{problems:#?}");
    }
    assert_eq!(problems.len(), 4);
}
