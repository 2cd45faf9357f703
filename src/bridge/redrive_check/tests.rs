use std::{net::Ipv4Addr, time::Duration};

use super::*;
use crate::{
    agents::Answer,
    demo::testing::{SampleAgent, SampleOptions},
    event::decode,
    routing::LoadOptions,
};

fn event() -> Event {
    let value = br#"{"event_id": "e", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": "r"}"#;
    decode(Some(&value[..])).unwrap()
}

fn origin() -> Origin {
    Origin { topic: "events".into(), partition: 0, offset: 0 }
}

async fn check() -> (RedriveCheck, SampleAgent) {
    let server = SampleAgent::start((Ipv4Addr::LOCALHOST, 0).into(), SampleOptions::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rules = format!(
        "agents:
  analyst: {{langgraph: {{url: 'http://{0}', assistant: analyst, max_request_lifetime: 20m}}, timeout: 10m}}
  audit: {{http: {{url: 'http://{0}/events'}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [analyst, audit]}}
  - {{name: others, when: {{event_type: [WORKFLOW_FAILED]}}, to: [analyst]}}
  - {{name: order, when: {{event_type: [order]}}, to: [audit]}}
",
        server.addr()
    );
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
    (RedriveCheck::new(Routing::load(folder.path(), &options).unwrap()).unwrap(), server)
}

#[tokio::test]
async fn a_delivery_whose_thread_has_a_run_may_run_twice() {
    let (check, server) = check().await;
    let analyst = ("all", "analyst");
    assert_eq!(check.check(event(), origin(), analyst, (Generation::FIRST, None)).await, Ok(()));
    let delivery = check.delivery(event(), origin(), analyst, Generation::FIRST).unwrap();
    let agent = &check.agents["analyst"];
    let answer = agent.attempt(&mut agent.session(), &delivery).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    let posts = || server.requests().iter().filter(|request| request.method == "POST").count();
    let posted = posts();
    let found = check.check(event(), origin(), analyst, (Generation::FIRST, None)).await;
    let Err(Hindrance::MayRunTwice(text)) = found else { panic!("{found:?}") };
    assert!(text.contains(&delivery.id.to_string()) && text.contains("has the run"), "{text}");
    assert_eq!(
        check.check(event(), origin(), analyst, (1.into(), None)).await,
        Ok(()),
        "another generation has another thread"
    );
    assert_eq!(check.check(event(), origin(), analyst, (Generation { again: 1, number: 0 }, None)).await, Ok(()));
    assert_eq!(
        check.check(event(), origin(), ("all", "audit"), (Generation::FIRST, None)).await,
        Ok(()),
        "HTTP has no runs"
    );
    assert_eq!(posts(), posted, "the look changes nothing");
}

#[tokio::test]
async fn what_the_rules_do_not_ask_for_is_not_redriven() {
    let (check, _server) = check().await;
    for delivery in [("others", "analyst"), ("all", "nobody"), ("nothing", "analyst")] {
        assert_eq!(
            check.check(event(), origin(), delivery, (Generation::FIRST, None)).await,
            Err(Hindrance::NotPlanned),
            "{delivery:?}"
        );
    }
}

#[tokio::test]
async fn what_may_have_run_on_another_server_may_run_twice() {
    let (other, _other_server) = check().await;
    let (check, _server) = check().await;
    let endpoint = |of: &RedriveCheck, agent: &str| {
        let spec = of.routing.agents().find(|spec| *spec.name == *agent).unwrap();
        Some(EndpointId::of(&spec.endpoint).number())
    };
    let (analyst, audit) = (("all", "analyst"), ("all", "audit"));
    let checked = check.check(event(), origin(), analyst, (Generation::FIRST, endpoint(&other, "analyst"))).await;
    assert!(matches!(&checked, Err(Hindrance::MayRunTwice(text)) if text.contains("another server")), "{checked:?}");
    for (delivery, sent_to) in [
        (analyst, endpoint(&check, "analyst")),
        (analyst, endpoint(&other, "audit")),
        (audit, endpoint(&other, "audit")),
    ] {
        assert_eq!(
            check.check(event(), origin(), delivery, (Generation::FIRST, sent_to)).await,
            Ok(()),
            "{delivery:?} {sent_to:?}"
        );
    }
}

#[tokio::test]
async fn whether_a_handler_gets_an_event_again_is_for_its_bridge_to_say() {
    let (check, _server) = check().await;
    assert_eq!(
        check.check(event(), origin(), ("WORKFLOW_COMPLETED", "store"), (Generation::FIRST, None)).await,
        Ok(())
    );
    let other = check.check(event(), origin(), ("WORKFLOW_FAILED", "store"), (Generation::FIRST, None)).await;
    assert_eq!(other, Err(Hindrance::NotPlanned), "the event has another type");
    let order = br#"{"event_id": "e", "event_type": "order", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": "r"}"#;
    for (agent, expected) in [("store", Ok(())), ("audit", Ok(())), ("analyst", Err(Hindrance::NotPlanned))] {
        let checked =
            check.check(decode(Some(&order[..])).unwrap(), origin(), ("order", agent), (Generation::FIRST, None)).await;
        assert_eq!(checked, expected, "{agent}: a rule has the name of the event type");
    }
}
