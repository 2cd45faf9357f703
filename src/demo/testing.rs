//! The demo's agent for tests of other rooms: it records every request, and fails on demand.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::{self, Next},
    response::Response,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::agent::{AgentOptions, SharedStore, detail, router};
use crate::sync::{Mutex, MutexGuard};

/// How the agent behaves.
#[derive(Clone)]
pub(crate) struct SampleOptions {
    /// It refuses this many run creations and plain events with 503 before it takes any.
    pub fail_first: u32,
    /// It refuses this many requests that would change something with 503, whatever they are.
    pub refuse_first: u32,
    /// It accepts this many runs and answers 502 all the same, after the failures.
    pub lose_first: u32,
    /// Requests without this `x-api-key` are refused with 401. `None`: all are accepted.
    pub api_key: Option<String>,
    /// How long a run keeps its thread busy.
    pub run_time: Duration,
}

impl Default for SampleOptions {
    fn default() -> Self {
        let AgentOptions { refuse_first, run_time } = AgentOptions::default();
        Self { fail_first: 0, refuse_first, lose_first: 0, api_key: None, run_time }
    }
}

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    /// POST, GET, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The answer.
    pub status: u16,
}

/// One plain event that `/events` took.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

/// The running server. Dropping it stops it without waiting for requests under way.
pub(crate) struct SampleAgent {
    addr: SocketAddr,
    recorder: Recorder,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl SampleAgent {
    /// Listens on `addr`; port 0 is a free port.
    pub(crate) async fn start(addr: SocketAddr, options: SampleOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let store = SharedStore::new(AgentOptions { refuse_first: options.refuse_first, run_time: options.run_time });
        let recorder = Recorder { records: Arc::default(), options: Arc::new(options) };
        let app = router(&store).layer(middleware::from_fn_with_state(recorder.clone(), record));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(async {
                    // A dropped sender means stop too.
                    let _ = stopped.await;
                })
                .await
        });
        Ok(Self { addr, recorder, stop: Some(stop), server })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How often each event was executed: by its `event_id`, for runs and plain events alike. A plain event counts once
    /// for each `Idempotency-Key`, as in an agent that honours it.
    pub(crate) fn executions(&self) -> BTreeMap<String, u32> {
        self.recorder.lock().executions.clone()
    }

    /// Every request that was answered, in that order.
    pub(crate) fn requests(&self) -> Vec<Answered> {
        self.recorder.lock().requests.clone()
    }

    /// Every plain event that was taken, repeats included.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.recorder.lock().received.clone()
    }

    /// The bodies of the runs that were created.
    pub(crate) fn runs(&self) -> Vec<Value> {
        self.recorder.lock().runs.clone()
    }

    /// Stops when every request under way is answered.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        match (&mut self.server).await {
            Ok(ended) => ended,
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Drop for SampleAgent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Recorder {
    records: Arc<Mutex<Records>>,
    options: Arc<SampleOptions>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock()
    }
}

#[derive(Default)]
struct Records {
    executions: BTreeMap<String, u32>,
    keys: HashSet<String>,
    requests: Vec<Answered>,
    received: Vec<Received>,
    runs: Vec<Value>,
    failed: u32,
    lost: u32,
}

impl Records {
    fn execute(&mut self, document: &Value) {
        if let Some(event_id) = document["event_id"].as_str() {
            *self.executions.entry(event_id.to_owned()).or_default() += 1;
        }
    }

    /// Records an accepted run; `true` when its answer gets lost.
    fn run(&mut self, body: &[u8], options: &SampleOptions) -> bool {
        let run: Value = serde_json::from_slice(body).unwrap();
        let event = &run["input"]["event"];
        self.execute(if event.is_object() { event } else { &run["metadata"] });
        self.runs.push(run);
        let lost = self.lost < options.lose_first;
        self.lost += u32::from(lost);
        lost
    }

    fn event(&mut self, headers: HeaderMap, body: Bytes) {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        if key.as_ref().is_none_or(|key| self.keys.insert(key.clone())) {
            self.execute(&serde_json::from_slice(&body).unwrap_or(Value::Null));
        }
        self.received.push(Received { key, headers, body });
    }
}

/// Refuses, fails and loses as the options say, and records what was answered.
async fn record(State(recorder): State<Recorder>, request: Request<Body>, next: Next) -> Response {
    let options = &recorder.options;
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let (is_event, is_run) = (
        path == "/events",
        request.method() == Method::POST && path.starts_with("/threads/") && path.ends_with("/runs"),
    );
    let is_known = options
        .api_key
        .as_ref()
        .is_none_or(|key| request.headers().get("x-api-key").map(HeaderValue::as_bytes) == Some(key.as_bytes()));
    let fails = is_known && (is_event || is_run) && {
        let mut records = recorder.lock();
        let fails = records.failed < options.fail_first;
        records.failed += u32::from(fails);
        fails
    };
    let response = match (is_known, fails) {
        (false, _) => detail(StatusCode::UNAUTHORIZED, "Invalid API key"),
        (true, true) => detail(StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        (true, false) => {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let headers = parts.headers.clone();
            let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
            let is_taken = response.status().is_success();
            if is_taken && is_event {
                recorder.lock().event(headers, body);
                response
            } else if is_taken && is_run && recorder.lock().run(&body, options) {
                detail(StatusCode::BAD_GATEWAY, "the answer got lost")
            } else {
                response
            }
        }
    };
    recorder.lock().requests.push(Answered { method, path, status: response.status().as_u16() });
    response
}

#[cfg(test)]
mod tests;
