//! What may have arrived at an endpoint is made at no other one.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::IntoResponse as _;

use super::{
    super::{
        answers::{agent_that, status},
        given_up::Switched,
        replicated::digest_of,
    },
    *,
};
use crate::{
    agents::{Endpoint, EndpointId},
    kafka::testing::Held,
};

/// After the first failure the next attempt is an hour away.
fn patient(rules: &str) -> String {
    rules.replace("initial: 5ms, max: 20ms", "initial: 1h, max: 1h")
}

fn langgraph(addr: SocketAddr) -> String {
    rules(addr, "")
        .replace("http: {", "langgraph: {assistant: analyst, max_request_lifetime: 20m, ")
        .replace("/events", "")
}

impl PipelineFixture {
    fn endpoint(&self) -> Endpoint {
        self.pipeline.rules_view()().agents().next().unwrap().endpoint.clone()
    }

    fn is_open(&self) -> bool {
        self.pipeline.agents()[0].breaker != BreakerState::Closed
    }

    /// Another process had an ambiguous answer of this endpoint.
    async fn may_have_arrived(&self, id: &str, endpoint: &Endpoint) {
        let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
        let mut record = Record::new(digest_of(id, "run").await, 1, &plan);
        record.record_sent_to("all", "audit", EndpointId::of(endpoint).number());
        self.ledger.merge(id, &record).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_and_may_have_arrived_is_made_where_it_was_sent() {
    let down = Switched::default();
    let present = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(down.start().await, ""), Some(Duration::from_millis(300)));
    for n in 0..200 {
        fixture.publish(&format!("{n:03}"), &format!("run-{n}"));
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    // The newest are probed too, and at most 64 of the oldest are read back.
    let is_attempted = |n: usize, fixture: &PipelineFixture| fixture.failed_attempts(&format!("{n:03}")) > 0;
    assert!((100..200).any(|n| is_attempted(n, &fixture)), "one of those that were not read back was attempted");
    fixture.reload(&rules(present.addr(), ""));
    down.up.store(true, Ordering::SeqCst);
    fixture.until("all are delivered", |_| down.accepted().len() + present.received().len() >= 200).await;
    let mut all: Vec<_> = down.accepted().into_iter().chain(ids(&present)).collect();
    all.sort();
    assert_eq!(all, (0..200).map(|n| format!("{n:03}")).collect::<Vec<_>>(), "each once");
    for id in ids(&present) {
        assert_eq!(fixture.failed_attempts(&id), 0, "{id} may have arrived at the former address");
    }
    // The intake takes the rules in force with the next record.
    fixture.publish("last", "last");
    fixture.until("nothing is kept for it", |fixture| fixture.pipeline.rules().former() == 0).await;
}

/// The server was restarted at another address while the bridge was not running.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_exist_on_an_unknown_server_is_a_dead_letter_and_an_event_for_http_is_delivered() {
    let former = agent(SampleOptions::default()).await;
    let present = agent(SampleOptions::default()).await;
    for (kind, is_delivered) in [(langgraph as fn(SocketAddr) -> String, false), (|addr| rules(addr, ""), true)] {
        let endpoint = PipelineFixture::start(&kind(former.addr())).endpoint();
        let impatient = kind(present.addr()).replace("max: 20ms", "max: 20ms, give_up_after: 1s");
        let mut fixture = PipelineFixture::start(&impatient);
        fixture.may_have_arrived("old", &endpoint).await;
        fixture.may_have_arrived("known", &fixture.endpoint()).await;
        let requests = present.requests().len();
        fixture.publish("old", "run");
        fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
        assert_eq!(fixture.count(Outcome::Delivered) == 1, is_delivered);
        assert_eq!(fixture.dead_letters() == ["old"], !is_delivered);
        assert_eq!(present.requests().len() > requests, is_delivered);
        fixture.publish("known", "run");
        let delivered = if is_delivered { 2 } else { 1 };
        fixture.until("the other is delivered", |fixture| fixture.count(Outcome::Delivered) == delivered).await;
    }
    assert!(former.requests().is_empty());
}

/// The folder of this replica is older than that of the one that sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_exist_on_a_server_that_is_loaded_a_moment_later_is_looked_up_there() {
    let former = agent(SampleOptions::default()).await;
    let present = agent(SampleOptions::default()).await;
    let endpoint = PipelineFixture::start(&langgraph(present.addr())).endpoint();
    let mut fixture = PipelineFixture::start(&langgraph(former.addr()));
    fixture.may_have_arrived("old", &endpoint).await;
    fixture.publish("old", "run");
    let waiting = |fixture: &PipelineFixture| -> Vec<_> {
        let endpoints = fixture.pipeline.former_endpoints_view()();
        endpoints.into_iter().map(|of| (of.agent, of.url, of.deliveries)).collect()
    };
    let expected = [("audit".to_owned(), None, 1)];
    fixture.until("it waits for the endpoint", |fixture| waiting(fixture) == expected).await;
    fixture.reload(&langgraph(present.addr()));
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert!(former.requests().is_empty() && waiting(&fixture).is_empty());
}

/// A process that ended meanwhile has claimed the thread, and whether it has created the run cannot be seen yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_process_keeps_a_langgraph_delivery_at_its_server() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let former = agent_that(move |asked| match asked.path().strip_suffix("/runs") {
        None => status(409),
        Some(_) if !is_up.load(Ordering::SeqCst) => status(403),
        Some(thread) => {
            let thread = thread.rsplit('/').next().unwrap_or_default();
            let input = json!({"event": {"event_id": "old"}});
            json!([{"run_id": "run-1", "thread_id": thread, "metadata": {}, "kwargs": {"input": input}}])
                .to_string()
                .into_response()
        }
    })
    .await;
    let present = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&langgraph(former));
    fixture.publish("old", "run-1");
    fixture.until("the breaker is open", PipelineFixture::is_open).await;
    fixture.reload(&langgraph(present.addr()));
    fixture.publish("new", "run-2");
    fixture.until("a new event is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    up.store(true, Ordering::SeqCst);
    fixture.until("the run is found", |fixture| fixture.count(Outcome::Delivered) == 2).await;
    assert_eq!(ids(&present), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_may_have_sent_stays_over_a_reload() {
    let former = Switched::default();
    let present = agent(SampleOptions::default()).await;
    let mut fixture =
        PipelineFixture::start(&rules(former.start().await, "").replace("10m,", "10m, classify: {503: agent_fault},"));
    fixture.may_have_arrived("old", &fixture.endpoint()).await;
    fixture.publish("old", "run");
    fixture.until("the breaker is open", PipelineFixture::is_open).await;
    fixture.reload(&rules(present.addr(), ""));
    fixture.publish("new", "run-2");
    fixture.until("a new event is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    former.up.store(true, Ordering::SeqCst);
    fixture.until("the other is delivered", |fixture| fixture.count(Outcome::Delivered) == 2).await;
    assert_eq!((former.accepted(), ids(&present)), (vec!["old".to_owned()], vec!["new".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_key_reaches_what_may_have_arrived_at_the_same_address() {
    let agent = agent(SampleOptions { api_key: Some("right".into()), ..SampleOptions::default() }).await;
    let wrong = patient(&rules(agent.addr(), ""));
    let mut fixture = PipelineFixture::start(&wrong);
    fixture.may_have_arrived("old", &fixture.endpoint()).await;
    fixture.publish("old", "run");
    fixture.publish("behind", "run-2");
    fixture.until("the breaker is open", PipelineFixture::is_open).await;
    let key = fixture.folder.path().join("key");
    std::fs::write(&key, "right").unwrap();
    fixture.reload(&wrong.replace("/events'}", &format!("/events', auth: {{api_key: {{file: {}}}}}}}", key.display())));
    fixture.until("both are delivered", |fixture| fixture.count(Outcome::Delivered) == 2).await;
    assert_eq!(ids(&agent), ["behind", "old"]);
    assert!(fixture.pipeline.former_endpoints_view()().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_agent_that_was_removed_goes_to_the_one_that_is_added_again() {
    let gone = agent(SampleOptions::default()).await;
    let nowhere = gone.addr();
    gone.stop().await.unwrap();
    let present = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&patient(&rules(nowhere, "")));
    fixture.publish("old", "run");
    fixture.until("the breaker is open", PipelineFixture::is_open).await;
    fixture.reload(&rules(present.addr(), "").replace("audit", "other").replace("COMPLETED", "FAILED"));
    fixture
        .until("it is shown at its former endpoint", |fixture| {
            fixture.pipeline.former_endpoints_view()()
                .iter()
                .any(|former| former.agent == "audit" && former.deliveries == 1)
        })
        .await;
    fixture.reload(&rules(present.addr(), ""));
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(ids(&present), ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_still_waited_for_keeps_its_breaker_when_it_comes_back() {
    let former = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let present = agent(SampleOptions::default()).await;
    let (a, b) = (patient(&rules(former.addr(), "")), rules(present.addr(), ""));
    let mut fixture = PipelineFixture::start(&a);
    for n in 0..5 {
        fixture.publish(&format!("old-{n}"), &format!("run-{n}"));
    }
    fixture.until("the breaker is open", PipelineFixture::is_open).await;
    fixture.reload(&b);
    assert!(!fixture.is_open());
    let endpoints = fixture.pipeline.former_endpoints_view()();
    let found: Vec<_> = endpoints.iter().map(|of| (&*of.agent, of.breaker, of.deliveries)).collect();
    assert_eq!(found, [("audit", BreakerState::Open, 5)]);
    assert_eq!(endpoints[0].url, Some(format!("http://{}/events", former.addr())));
    assert!(endpoints[0].last_failure.as_ref().is_some_and(|failure| failure.contains("503")));
    fixture.reload(&a.replace("10m,", "11m,"));
    assert!(fixture.is_open(), "one breaker for one endpoint");
    assert!(fixture.pipeline.former_endpoints_view()().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_when_its_rules_were_withdrawn_goes_on_under_their_successor_although_its_rule_is_gone_since()
 {
    let bodies: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let (seen, first_waits) = (Arc::clone(&bodies), Held::default());
    let held = first_waits.clone();
    let former = agent_that(move |asked| {
        let body = asked.json();
        seen.lock().unwrap().push(body.clone());
        if body["version"] == 0 && body["event_id"] == "first" {
            held.wait();
        }
        status(503)
    })
    .await;
    let version = |n: u32| {
        let body = format!("body: {{event_id: '{{{{ event_id }}}}', version: {n}}}, to: [audit]}}");
        rules(former, "").replace("to: [audit]}", &body)
    };
    let has = |id: &str, version: u64| {
        let bodies = bodies.lock().unwrap();
        bodies.iter().any(|body| body["event_id"] == id && body["version"].as_u64() >= Some(version))
    };
    let mut fixture = PipelineFixture::start(&version(0));
    fixture.publish("first", "first");
    fixture.until("its request is under way", |_| has("first", 0)).await;
    for n in 1..7 {
        fixture.reload(&version(n));
        let id = n.to_string();
        fixture.publish(&id, &id);
        fixture.until("it was attempted", |fixture| fixture.failed_attempts(&id) >= 1).await;
    }
    // Its rules are withdrawn by now.
    fixture.reload(&version(7).replace("name: all", "name: other"));
    first_waits.release();
    fixture.until("it goes on under the successor", |_| has("first", 4)).await;
}
