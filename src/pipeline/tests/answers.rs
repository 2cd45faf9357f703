//! What happens to deliveries over time, depending on the answers of the agent.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::*;
use crate::kafka::testing::Held;

/// A request as the agent sees it.
pub(super) struct Asked {
    method: Method,
    path: String,
    key: Option<String>,
    body: Bytes,
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// `Idempotency-Key`.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn event_id(&self) -> String {
        self.json()["event_id"].as_str().unwrap_or_default().to_owned()
    }

    fn creates_a_run(&self) -> bool {
        self.method == Method::POST && self.path.ends_with("/runs")
    }
}

pub(super) fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

fn with_body(code: u16, body: impl Into<Bytes>) -> Response {
    (StatusCode::from_u16(code).unwrap(), body.into()).into_response()
}

/// An agent that answers as `answer` says, for as long as the test's runtime lives.
pub(super) async fn agent_that(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let answer = Arc::clone(&answer);
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        // An answer may wait: on a worker it would hold up the runtime, with its timers.
        let answered = spawn_blocking(move || answer(&Asked { method, path: uri.path().to_owned(), key, body }));
        async move { answered.await.unwrap() }
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn give_up_after_ends_a_langgraph_delivery_whose_search_fails() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posts);
    let addr = agent_that(move |asked| match (&asked.method, asked.creates_a_run()) {
        (&Method::POST, true) => {
            count.fetch_add(1, Ordering::SeqCst);
            status(500)
        }
        (&Method::POST, false) => with_body(200, asked.body.clone()),
        _ => status(503),
    })
    .await;
    let agent = |name: &str, more: &str| {
        format!(
            "  {name}:
    langgraph: {{url: 'http://{addr}', assistant: analyst, max_request_lifetime: 600ms}}
    timeout: 300ms
    retry: {{initial: 5ms, max: 50ms, max_attempts: 2, give_up_after: 1s}}{more}
"
        )
    };
    // The second agent classifies a failed search as ambiguous: no search may keep a delivery open.
    let mut fixture = PipelineFixture::start(&format!(
        "agents:
{}{}rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [plain, classified]}}
",
        agent("plain", ""),
        agent("classified", "\n    classify: {503: ambiguous}"),
    ));
    fixture.publish("first", "run");
    let started = Instant::now();
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    println!("given up after {:?}, with give_up_after: 1s and max_request_lifetime: 600ms", started.elapsed());
    assert_eq!(fixture.count(Outcome::DeadLettered), 1);
    assert!(posts.load(Ordering::SeqCst) <= 4, "two agents, two attempts each");
    let record = fixture.ledger.get("first").unwrap().unwrap();
    for agent in ["plain", "classified"] {
        assert!(
            record.attempts("all", agent) > record.failed_attempts("all", agent).min(2),
            "searches are attempts too: {record:?}"
        );
    }
}

/// Publishes an event, and looks when 4 s have passed and every case was asked. A case has its name, and how many requests
/// an attempt takes at most.
async fn assert_growing_waits(fixture: &mut PipelineFixture, asked: &Mutex<Vec<String>>, cases: &[(&str, usize)]) {
    let started = Instant::now();
    fixture.publish("first", "run");
    fixture
        .until("some time has passed, and each was asked", |_| {
            let asked = asked.lock().unwrap();
            started.elapsed() > Duration::from_secs(4)
                && cases.iter().all(|(case, _)| asked.iter().any(|seen| seen == case))
        })
        .await;
    let asked = asked.lock().unwrap().clone();
    let passed = started.elapsed();
    // Waits of 50 ms at least that double: 7 attempts in 4 s.
    let waits = (1..31).take_while(|waits| Duration::from_millis(50) * (2_u32.pow(*waits) - 1) <= passed).count();
    for (case, of_each) in cases {
        let requests = asked.iter().filter(|seen| *seen == case).count();
        println!("{case}: {requests} requests in {passed:?}");
        let most = (waits + 1) * of_each + 1;
        assert!((1..=most).contains(&requests), "{case}: {requests} requests in {passed:?}, at most {most}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_followed_by_requests_without_a_growing_wait() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let run = |asked: &Asked, code, look: Response| match (&asked.method, asked.creates_a_run()) {
        (&Method::POST, true) => status(code),
        (&Method::POST, false) => with_body(200, asked.body.clone()),
        _ => look,
    };
    let addr = agent_that(move |asked| {
        let case = asked.path.split('/').nth(1).unwrap_or_default().to_owned();
        let thread = || json!({"detail": "Thread not found"}).to_string();
        let response = match case.as_str() {
            "thread-500" => status(500),
            "run-500-look-503" => run(asked, 500, status(503)),
            "run-500-no-run" => run(asked, 500, with_body(200, "[]")),
            "run-409-no-run" => run(asked, 409, with_body(200, "[]")),
            "run-429" => run(asked, 429, with_body(200, "[]")),
            "taken-no-thread" if asked.method == Method::POST => status(409),
            "taken-no-thread" => with_body(404, thread()),
            "nonsense" => with_body(200, "<html>"),
            code => status(code.parse().unwrap_or(500)),
        };
        seen.lock().unwrap().push(case);
        response
    })
    .await;
    let langgraph = [
        "thread-500",
        "run-500-look-503",
        "run-500-no-run",
        "run-409-no-run",
        "run-429",
        "taken-no-thread",
        "nonsense",
    ];
    let http = ["401", "409", "423", "425", "429", "500", "503"];
    let retry = "retry: {initial: 100ms, max: 60s}, timeout: 1s";
    let agents: String = langgraph
        .iter()
        .map(|case| {
            format!("  {case}: {{langgraph: {{url: 'http://{addr}/{case}', assistant: a, max_request_lifetime: 2s}}, {retry}}}\n")
        })
        .chain(http.iter().map(|case| format!("  '{case}': {{http: {{url: 'http://{addr}/{case}'}}, {retry}}}\n")))
        .collect();
    let names: Vec<_> = langgraph.iter().chain(&http).map(|case| format!("'{case}'")).collect();
    let mut fixture = PipelineFixture::start(&format!(
        "agents:\n{agents}rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{}]}}\n",
        names.join(", ")
    ));
    let cases: Vec<_> = langgraph.map(|case| (case, 5)).into_iter().chain(http.map(|case| (case, 1))).collect();
    assert_growing_waits(&mut fixture, &asked, &cases).await;
}

/// Rules for an agent that is asked again after `initial`, and later after a minute. No attempt times out.
fn patient(addr: SocketAddr, initial: &str) -> String {
    format!(
        "agents:
  audit:
    http: {{url: 'http://{addr}/events'}}
    concurrency: 4
    timeout: 10m
    retry: {{initial: {initial}, max: 60s}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_event_behind_many_that_the_agent_rejects_is_delivered_soon() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let before_the_good_one = Arc::new(AtomicUsize::new(0));
    let before = Arc::clone(&before_the_good_one);
    let all_wait = Held::default();
    let held = all_wait.clone();
    let addr = agent_that(move |asked| {
        held.wait();
        let so_far = count.fetch_add(1, Ordering::SeqCst);
        let bad = asked.event_id().starts_with("bad");
        if asked.event_id() == "good-0" {
            before.store(so_far, Ordering::SeqCst);
        }
        status(if bad { 400 } else { 200 })
    })
    .await;
    // So long that a pause on the way of the good one is one of a few probes.
    let mut fixture = PipelineFixture::start(&patient(addr, "500ms"));
    for n in 0..220 {
        fixture.publish(&format!("bad-{n}"), &format!("run-{n}"));
    }
    fixture.publish("good-0", "good-0");
    fixture.until("all wait", |fixture| fixture.pending() == 221).await;
    let started = Instant::now();
    all_wait.release();
    fixture.until("the good one is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    let before = before_the_good_one.load(Ordering::SeqCst);
    println!("220 refused events, then a good one: delivered after {:?} and {before} refusals", started.elapsed());
    assert!(before < 60, "{before} refused requests before the good one: 20 open the breaker");
    // Each acceptance lets those go that it proves to be refused for their own sake.
    let is_enough = |fixture: &PipelineFixture| fixture.count(Outcome::DeadLettered) >= 60;
    for good in 1..20 {
        let is_open = |fixture: &PipelineFixture| fixture.pipeline.agents()[0].breaker != BreakerState::Closed;
        // An acceptance while it is closed lets nothing go.
        fixture.until("the breaker is open, or it is enough", |fixture| is_enough(fixture) || is_open(fixture)).await;
        if is_enough(&fixture) {
            break;
        }
        fixture.publish(&format!("good-{good}"), &format!("good-{good}"));
        fixture.until("the next good one is delivered", |fixture| fixture.count(Outcome::Delivered) == good + 1).await;
    }
    // The broker may take its time for the last ones.
    fixture.until("60 are dead letters after 20 good events at most", is_enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_event_behind_many_that_the_agent_fails_on_is_delivered_soon() {
    let failed: Mutex<BTreeSet<String>> = Mutex::default();
    let before_the_good_one = Arc::new(AtomicUsize::new(0));
    let before = Arc::clone(&before_the_good_one);
    let all_wait = Held::default();
    let held = all_wait.clone();
    let addr = agent_that(move |asked| {
        held.wait();
        let id = asked.event_id();
        let bad = id.starts_with("bad");
        let mut failed = failed.lock().unwrap();
        if bad {
            failed.insert(id);
        } else {
            before.store(failed.len(), Ordering::SeqCst);
        }
        status(if bad { 500 } else { 200 })
    })
    .await;
    // So long that a pause on the way of the good one is one of a few probes.
    let mut fixture = PipelineFixture::start(&patient(addr, "1s").replace("60s", "1s"));
    for n in 0..100 {
        fixture.publish(&format!("bad-{n}"), &format!("run-{n}"));
    }
    fixture.publish("good", "good");
    fixture.until("all wait", |fixture| fixture.pending() == 101).await;
    all_wait.release();
    fixture.until("the good one is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    let before = before_the_good_one.load(Ordering::SeqCst);
    assert!(before < 50, "{before} of 100 that the agent fails on were tried before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_rejects_everything_with_400_dead_letters_no_backlog() {
    let fixed = Arc::new(AtomicBool::new(false));
    let (takes, asked) = (Arc::clone(&fixed), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let addr = agent_that(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        status(if takes.load(Ordering::SeqCst) { 200 } else { 400 })
    })
    .await;
    let mut fixture = PipelineFixture::start(&patient(addr, "20ms").replace("60s", "200ms"));
    for n in 0..100 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("more probes were refused than there are events", |_| asked.load(Ordering::SeqCst) > 140).await;
    // Of an event whose first attempt is still under way, the refusal may come after the first acceptance, and stand.
    let is_recorded = |fixture: &PipelineFixture, n: i32| {
        fixture.ledger.get(&n.to_string()).unwrap().is_some_and(|record| record.attempts("all", "audit") > 0)
    };
    fixture.until("each was refused", |fixture| (0..100).all(|n| is_recorded(fixture, n))).await;
    fixture.until("the first are dead letters", |fixture| fixture.count(Outcome::DeadLettered) >= 19).await;
    assert_ne!(fixture.pipeline.agents()[0].breaker, BreakerState::Closed);
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::DeadLettered)), (0, 19));
    fixed.store(true, Ordering::SeqCst);
    fixture.until("the others are delivered", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::DeadLettered)), (81, 19));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_shown_with_its_status_and_the_address_of_the_agent() {
    let addr = agent_that(|_| with_body(403, "no such tenant")).await;
    let mut fixture = PipelineFixture::start(&format!(
        "agents:
  audit: {{http: {{url: 'http://{addr}/events?token=s3cret'}}, timeout: 10m, retry: {{initial: 5ms, max: 20ms}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
    ));
    fixture.publish("first", "run");
    fixture
        .until("it has failed three times", |fixture| {
            fixture.ledger.get("first").unwrap().is_some_and(|record| record.attempts("all", "audit") >= 3)
        })
        .await;
    let record = fixture.ledger.get("first").unwrap().unwrap();
    assert_eq!(record.failed_attempts("all", "audit"), 0, "none of them counts towards max_attempts");
    let shown = serde_json::to_value(&fixture.pipeline.agents()[0]).unwrap();
    assert_eq!(shown["url"], format!("http://{addr}/events"));
    assert_eq!(shown["last_failure_status"], 403);
    assert!(shown["last_failure"].as_str().unwrap().contains("no such tenant"), "{shown}");
    assert!(!shown.to_string().contains("s3cret"), "{shown}");
}
