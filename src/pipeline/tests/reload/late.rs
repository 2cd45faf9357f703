//! Events that were to be sent as they were published, under rules that need their documents.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_sent_as_it_was_published_is_decoded_for_a_template_that_came_into_force_since() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = withdrawn(&agent, "{version: N, whole: '{{ event }}'}").await;
    let agent = repair(&mut fixture, agent).await;
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::Delivered), 8, "none is a dead letter");
    let bodies = agent.received().into_iter().map(|request| serde_json::from_slice::<serde_json::Value>(&request.body));
    let bodies: Vec<_> = bodies.map(Result::unwrap).collect();
    for id in ["first", "behind"] {
        let body = bodies.iter().find(|body| body["whole"]["event_id"] == id);
        let body = body.unwrap_or_else(|| panic!("no body was built for `{id}`: {bodies:?}"));
        assert!(body["version"].is_u64() && body["whole"]["workflow_run_id"] == "run", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_for_rules_that_came_into_force_since_is_charged_once() {
    let down = agent(SampleOptions::default()).await;
    let nowhere = down.addr();
    drop(down);
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(nowhere, ""));
    let (budget, value) = (TestBudget::new(), event("first", "run").to_string());
    fixture.intake.receive(Incoming {
        origin: Origin { topic: "events".into(), partition: 0, offset: 0 },
        key: None,
        value: Some(value.as_bytes()),
        headers: Headers::default(),
        timestamp_ms: Some(1),
        ticket: budget.ticket(&fixture.ownership),
    });
    fixture.until("the breaker is open", |fixture| fixture.pipeline.agents()[0].breaker != BreakerState::Closed).await;
    let before = budget.bytes();
    fixture.reload(&rules(agent.addr(), "").replace("to: [audit]}", "body: {whole: '{{ event }}'}, to: [audit]}"));
    fixture.until("it was attempted again and again", |_| agent.requests().len() > 3).await;
    let document = crate::event::decode(value.as_bytes()).unwrap().document_bytes() as u64;
    assert_eq!(budget.bytes() - before, 2 * document + 3 * value.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_sent_as_it_was_published_is_the_input_of_a_run_by_rules_that_came_into_force_since() {
    let down = agent(SampleOptions::default()).await;
    let nowhere = down.addr();
    drop(down);
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(nowhere, ""));
    fixture.publish("first", "run");
    fixture.until("the breaker is open", |fixture| fixture.pipeline.agents()[0].breaker != BreakerState::Closed).await;
    let graph = format!(
        "langgraph: {{url: 'http://{}', assistant: analyst, max_request_lifetime: 2s}}, timeout: 1s",
        agent.addr()
    );
    let http = format!("http: {{url: 'http://{nowhere}/events'}}, timeout: 10m");
    fixture.reload(&rules(nowhere, "").replace(&http, &graph));
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    let input = agent.runs()[0]["input"].clone();
    let whole = crate::event::decode(event("first", "run").to_string().as_bytes()).unwrap();
    assert_eq!(&input["event"], whole.document(), "{input}");
    assert_eq!(input["messages"][0]["content"], whole.document().to_string());
}
