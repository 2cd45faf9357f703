//! A network between the bridge and an agent that loses, closes and delays.
//!
//! Its invariant: a request that was forwarded is forwarded to its end and its answer read, whatever
//! the client does meanwhile. The faults are drawn from a seed in the order in which requests come.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use hyper::{Method, Response, header};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{
    http::{Answer, Asked, Server, client, json},
    runtime,
};

/// What goes wrong, each as a share of 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultPlan {
    /// Requests that never reach the server: the connection is closed.
    pub drop_requests: f64,
    /// Answers that never reach the client: the server has acted, the connection is closed.
    pub drop_responses: f64,
    /// Requests that the server has answered and the client is told 502 of.
    pub fail_responses: f64,
    /// Run posts (`POST /threads/*/runs`) that are held and only then delivered.
    pub hold_runs: f64,
    /// For how long: longer than the client's time-out, so that it has gone when they are delivered.
    pub hold_for: Duration,
    /// Lists of runs (`GET /threads/*/runs`) are answered as if there were none.
    pub hide_runs: bool,
}

impl FaultPlan {
    /// A bad network: 15 % of requests and of responses lost, 20 % of the run
    /// posts held.
    pub fn hostile(hold_for: Duration) -> Self {
        Self { drop_requests: 0.15, drop_responses: 0.15, hold_runs: 0.2, hold_for, ..Self::default() }
    }
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    requests_dropped: AtomicU64,
    responses_dropped: AtomicU64,
    responses_failed: AtomicU64,
    runs_held: AtomicU64,
    holding: AtomicU64,
    forwarded: AtomicU64,
    abandoned: AtomicU64,
    unreachable: AtomicU64,
}

/// What went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Requests that came.
    pub requests: u64,
    /// Requests that were not forwarded.
    pub requests_dropped: u64,
    /// Answers that were withheld.
    pub responses_dropped: u64,
    /// Answers that were replaced by a 502.
    pub responses_failed: u64,
    /// Run posts that were held.
    pub runs_held: u64,
    /// Run posts that are being held now.
    pub holding: u64,
    /// Requests that the server answered.
    pub forwarded: u64,
    /// Requests that were delivered to the server after their client had gone.
    pub abandoned: u64,
    /// Requests that the server did not take.
    pub unreachable: u64,
}

struct State {
    upstream: Mutex<String>,
    plan: Mutex<FaultPlan>,
    random: Mutex<StdRng>,
    counters: Counters,
}

/// The proxy.
pub struct FaultProxy {
    server: Server,
    state: Arc<State>,
}

impl FaultProxy {
    /// A proxy before the server at this base URL.
    pub fn start(upstream: &str, plan: FaultPlan, seed: u64) -> Self {
        let state = Arc::new(State {
            upstream: Mutex::new(upstream.trim_end_matches('/').to_owned()),
            plan: Mutex::new(plan),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            counters: Counters::default(),
        });
        let shared = Arc::clone(&state);
        Self { server: Server::start(move |request| handle(Arc::clone(&shared), request)), state }
    }

    /// Where clients go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Changes what goes wrong from now on.
    pub fn set_plan(&self, plan: FaultPlan) {
        *lock(&self.state.plan) = plan;
    }

    /// Changes the server behind it, from the next request on.
    pub fn set_upstream(&self, upstream: &str) {
        upstream.trim_end_matches('/').clone_into(&mut lock(&self.state.upstream));
    }

    /// Refuses connections and cuts those that stand; what was forwarded still arrives.
    pub fn close(&self) {
        self.server.close();
    }

    /// Listens again.
    pub fn open(&self) {
        self.server.open();
    }

    /// What went wrong so far.
    pub fn faults(&self) -> Faults {
        let counters = &self.state.counters;
        Faults {
            requests: counters.requests.load(SeqCst),
            requests_dropped: counters.requests_dropped.load(SeqCst),
            responses_dropped: counters.responses_dropped.load(SeqCst),
            responses_failed: counters.responses_failed.load(SeqCst),
            runs_held: counters.runs_held.load(SeqCst),
            holding: counters.holding.load(SeqCst),
            forwarded: counters.forwarded.load(SeqCst),
            abandoned: counters.abandoned.load(SeqCst),
            unreachable: counters.unreachable.load(SeqCst),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the dice say of one request.
struct Fate {
    drop_request: bool,
    drop_response: bool,
    fail_response: bool,
    hold: Option<Duration>,
}

impl State {
    fn draw(&self, is_run_post: bool) -> Fate {
        let plan = *lock(&self.plan);
        let mut random = lock(&self.random);
        // Always every draw, so that one fault's share does not move another's.
        let [request, response, hold, fail]: [f64; 4] =
            [random.random(), random.random(), random.random(), random.random()];
        Fate {
            drop_request: request < plan.drop_requests,
            drop_response: response < plan.drop_responses,
            fail_response: fail < plan.fail_responses,
            hold: (is_run_post && hold < plan.hold_runs).then_some(plan.hold_for),
        }
    }
}

/// Whether a request is for the runs of a thread: a `POST` starts one, a `GET` lists them.
fn is_for_runs(request: &Asked, method: &Method) -> bool {
    let path = request.uri().path();
    request.method() == method && path.starts_with("/threads/") && path.ends_with("/runs")
}

async fn handle(state: Arc<State>, request: Asked) -> Answer {
    let counters = &state.counters;
    counters.requests.fetch_add(1, SeqCst);
    let fate = state.draw(is_for_runs(&request, &Method::POST));
    if fate.drop_request {
        counters.requests_dropped.fetch_add(1, SeqCst);
        return None;
    }
    if lock(&state.plan).hide_runs && is_for_runs(&request, &Method::GET) {
        return Response::builder().header(header::CONTENT_TYPE, "application/json").body("[]".into()).ok();
    }
    let (gone, client_left) = tokio::sync::oneshot::channel::<()>();
    let sender = Arc::clone(&state);
    // A task of its own: it goes on when the client gives up and this future is dropped.
    let forward = runtime().spawn(async move {
        let counters = &sender.counters;
        if let Some(hold) = fate.hold {
            counters.runs_held.fetch_add(1, SeqCst);
            counters.holding.fetch_add(1, SeqCst);
            sleep(hold).await;
        }
        if gone.is_closed() {
            counters.abandoned.fetch_add(1, SeqCst);
        }
        let upstream = lock(&sender.upstream).clone();
        let answer = forward(&upstream, request).await;
        let counter = if answer.is_some() { &counters.forwarded } else { &counters.unreachable };
        counter.fetch_add(1, SeqCst);
        if fate.hold.is_some() {
            counters.holding.fetch_sub(1, SeqCst);
        }
        answer
    });
    let answer = forward.await.ok().flatten();
    drop(client_left);
    if fate.drop_response && answer.is_some() {
        counters.responses_dropped.fetch_add(1, SeqCst);
        return None;
    }
    if fate.fail_response && answer.is_some() {
        counters.responses_failed.fetch_add(1, SeqCst);
        return Some(json(502, &serde_json::json!({"detail": "the gateway lost the answer"})));
    }
    answer
}

async fn forward(upstream: &str, request: Asked) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = head.headers;
    for own in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(own);
    }
    let answer =
        client().request(head.method, format!("{upstream}{path}")).headers(headers).body(body).send().await.ok()?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if ![header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            response = response.header(name, value);
        }
    }
    response.body(answer.bytes().await.ok()?).ok()
}
