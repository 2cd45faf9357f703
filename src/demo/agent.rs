//! A sample agent: a server that speaks the LangGraph run API, and a plain endpoint for events.
//!
//! Owns threads and runs in memory, as faithfully as the bridge can tell: a claim is atomic, a
//! thread that is busy refuses, run creation is not idempotent, and a run inherits its thread's
//! metadata. It counts what was executed, so that a double shows. It knows nothing of the bridge.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, RawQuery, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use uuid::Uuid;

/// The largest body that is taken.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// How the sample agent behaves.
#[derive(Clone)]
pub struct SampleOptions {
    /// The graphs that it has. A UUID is taken for an assistant that it lacks.
    pub assistants: Vec<String>,
    /// It refuses this many run creations and plain events with 503 before it takes any.
    pub fail_first: u32,
    /// It refuses this many requests that would change something with 503, whatever they are.
    pub refuse_first: u32,
    /// It accepts this many runs and answers 502 all the same, after the failures.
    pub lose_first: u32,
    /// Requests without this `x-api-key` are refused with 401. `None`: all are welcome.
    pub api_key: Option<String>,
    /// How long a run keeps its thread busy.
    pub run_time: Duration,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            assistants: vec!["analyst".into()],
            fail_first: 0,
            refuse_first: 0,
            lose_first: 0,
            api_key: None,
            run_time: Duration::from_millis(20),
        }
    }
}

impl fmt::Debug for SampleOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleOptions")
            .field("assistants", &self.assistants)
            .field("fail_first", &self.fail_first)
            .field("refuse_first", &self.refuse_first)
            .field("lose_first", &self.lose_first)
            .field("api_key", &self.api_key.as_ref().map(|_| "set"))
            .field("run_time", &self.run_time)
            .finish()
    }
}

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// POST, GET, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What it was answered.
    pub status: u16,
}

/// One plain event that `/events` took.
#[derive(Debug, Clone)]
pub struct Received {
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

/// The running server. Dropped, it stops without waiting for what is under way.
#[derive(Debug)]
pub struct SampleAgent {
    addr: SocketAddr,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl SampleAgent {
    /// Listens on `addr`; port 0 is a free port.
    pub async fn start(addr: SocketAddr, options: SampleOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Shared { state: Arc::default(), options: Arc::new(options) };
        let router = Router::new()
            .route("/ok", get(async || axum::Json(json!({"ok": true}))))
            .route("/threads", post(create_thread))
            .route("/threads/{id}", get(show_thread))
            .route("/threads/{id}/runs", post(create_run).get(list_runs))
            .route("/events", post(take_event).put(take_event))
            .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn_with_state(shared.clone(), watch))
            .with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(async {
                    // A sender that is gone says stop as well.
                    let _ = stopped.await;
                })
                .await
        });
        Ok(Self { addr, shared, stop: Some(stop), server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How often each event was executed: by its `event_id`, for runs and plain events alike. A plain
    /// event counts once for each `Idempotency-Key`, as an agent that honours it would.
    pub fn executions(&self) -> BTreeMap<String, u32> {
        self.shared.lock().executions.clone()
    }

    /// Every request that was answered, in that order.
    pub fn requests(&self) -> Vec<Answered> {
        self.shared.lock().requests.clone()
    }

    /// Every plain event that was taken, repeats included.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// The bodies of the runs that were created.
    pub fn runs(&self) -> Vec<Value> {
        self.shared.lock().bodies.clone()
    }

    /// Stops when every request under way is answered.
    pub async fn stop(mut self) -> io::Result<()> {
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

#[derive(Debug, Clone)]
struct Shared {
    state: Arc<Mutex<Store>>,
    options: Arc<SampleOptions>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Store {
    threads: HashMap<Uuid, Thread>,
    executions: BTreeMap<String, u32>,
    keys: HashSet<String>,
    requests: Vec<Answered>,
    received: Vec<Received>,
    bodies: Vec<Value>,
    failed: u32,
    refused: u32,
    lost: u32,
}

#[derive(Debug)]
struct Thread {
    created: String,
    metadata: Map<String, Value>,
    /// The oldest first.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    id: Uuid,
    assistant: String,
    created: String,
    metadata: Map<String, Value>,
    ends: Instant,
}

impl Store {
    /// Whether this request is one of those that fail first.
    fn fails(&mut self, options: &SampleOptions) -> bool {
        let fails = self.failed < options.fail_first;
        self.failed += u32::from(fails);
        fails
    }

    fn refuses(&mut self, options: &SampleOptions) -> bool {
        let refuses = self.refused < options.refuse_first;
        self.refused += u32::from(refuses);
        refuses
    }

    fn execute(&mut self, document: &Value) {
        if let Some(event_id) = document["event_id"].as_str() {
            *self.executions.entry(event_id.to_owned()).or_default() += 1;
        }
    }
}

fn detail(status: StatusCode, text: impl fmt::Display) -> Response {
    (status, axum::Json(json!({"detail": text.to_string()}))).into_response()
}

/// Keeps strangers out and records what was answered.
async fn watch(State(shared): State<Shared>, request: Request<Body>, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let known = shared
        .options
        .api_key
        .as_ref()
        .is_none_or(|key| request.headers().get("x-api-key").map(HeaderValue::as_bytes) == Some(key.as_bytes()));
    let refused = known && request.method() != Method::GET && shared.lock().refuses(&shared.options);
    let response = match (known, refused) {
        (false, _) => detail(StatusCode::UNAUTHORIZED, "Invalid API key"),
        (true, true) => detail(StatusCode::SERVICE_UNAVAILABLE, "Not ready yet"),
        (true, false) => next.run(request).await,
    };
    shared.lock().requests.push(Answered { method, path, status: response.status().as_u16() });
    response
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Box<Response>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Box::new(detail(StatusCode::UNPROCESSABLE_ENTITY, "Invalid JSON in request body"))),
    }
}

fn metadata(body: &Map<String, Value>) -> Map<String, Value> {
    body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default()
}

async fn create_thread(State(shared): State<Shared>, body: Bytes) -> Response {
    let body = match object(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let id = match body.get("thread_id").map(|id| id.as_str().and_then(|id| id.parse().ok())) {
        None => Uuid::new_v4(),
        Some(Some(id)) => id,
        Some(None) => return detail(StatusCode::UNPROCESSABLE_ENTITY, "Invalid thread ID: must be a UUID"),
    };
    let mut store = shared.lock();
    if store.threads.contains_key(&id) && body.get("if_exists").and_then(Value::as_str) != Some("do_nothing") {
        return detail(StatusCode::CONFLICT, format_args!("Thread with ID {id} already exists"));
    }
    let thread = store.threads.entry(id).or_insert_with(|| Thread {
        created: jiff::Timestamp::now().to_string(),
        metadata: metadata(&body),
        runs: Vec::new(),
    });
    axum::Json(thread.show(id)).into_response()
}

async fn show_thread(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    match id.parse().ok().and_then(|id| Some(shared.lock().threads.get(&id)?.show(id))) {
        Some(thread) => axum::Json(thread).into_response(),
        None => no_thread(&id),
    }
}

fn no_thread(id: &str) -> Response {
    detail(StatusCode::NOT_FOUND, format_args!("Thread with ID {id} not found"))
}

async fn create_run(State(shared): State<Shared>, Path(thread_id): Path<String>, body: Bytes) -> Response {
    let body = match object(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let options = Arc::clone(&shared.options);
    let assistant = body.get("assistant_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut store = shared.lock();
    if store.fails(&options) {
        return detail(StatusCode::SERVICE_UNAVAILABLE, "not yet");
    }
    if !options.assistants.contains(&assistant) {
        if assistant.parse::<Uuid>().is_ok() {
            return detail(StatusCode::NOT_FOUND, "Thread or assistant not found.");
        }
        let graphs = options.assistants.join(", ");
        let text = format!(
            "Invalid assistant: '{assistant}'. Must be either:\n- A valid assistant UUID, or\n\
             - One of the registered graphs: {graphs}"
        );
        return detail(StatusCode::UNPROCESSABLE_ENTITY, text);
    }
    let Some((id, thread)) = thread_id.parse().ok().and_then(|id| Some((id, store.threads.get_mut(&id)?))) else {
        return detail(StatusCode::NOT_FOUND, "Thread or assistant not found.");
    };
    let now = Instant::now();
    let rejects = body.get("multitask_strategy").and_then(Value::as_str) == Some("reject");
    if rejects && thread.runs.iter().any(|run| run.ends > now) {
        let text = "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.";
        return detail(StatusCode::CONFLICT, text);
    }
    let mut inherited = thread.metadata.clone();
    inherited.extend(metadata(&body));
    let run = Run {
        id: Uuid::new_v4(),
        assistant,
        created: jiff::Timestamp::now().to_string(),
        metadata: inherited,
        ends: now + options.run_time,
    };
    let mut shown = run.show(id, now);
    shown["status"] = "pending".into();
    let location = format!("/threads/{id}/runs/{}", run.id);
    let executed = match body.get("input").map(|input| &input["event"]) {
        Some(event @ Value::Object(_)) => event.clone(),
        _ => Value::Object(run.metadata.clone()),
    };
    thread.runs.push(run);
    store.execute(&executed);
    store.bodies.push(Value::Object(body));
    if store.lost < options.lose_first {
        store.lost += 1;
        return detail(StatusCode::BAD_GATEWAY, "the answer got lost");
    }
    let mut response = axum::Json(shown).into_response();
    if let Ok(location) = location.parse() {
        response.headers_mut().insert("content-location", location);
    }
    response
}

async fn list_runs(State(shared): State<Shared>, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let number = |name: &str, default: usize| {
        let pairs = query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
    };
    let (limit, offset) = (number("limit", 10), number("offset", 0));
    let store = shared.lock();
    let Some((id, thread)) = id.parse().ok().and_then(|id| Some((id, store.threads.get(&id)?))) else {
        return no_thread(&id);
    };
    let now = Instant::now();
    let newest = thread.runs.iter().rev().skip(offset).take(limit);
    axum::Json(newest.map(|run| run.show(id, now)).collect::<Vec<_>>()).into_response()
}

async fn take_event(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let document = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut store = shared.lock();
    if store.fails(&shared.options) {
        return detail(StatusCode::SERVICE_UNAVAILABLE, "not yet");
    }
    if key.as_ref().is_none_or(|key| store.keys.insert(key.clone())) {
        store.execute(&document);
    }
    store.received.push(Received { key, headers, body });
    StatusCode::NO_CONTENT.into_response()
}

impl Thread {
    fn show(&self, id: Uuid) -> Value {
        let busy = self.runs.iter().any(|run| run.ends > Instant::now());
        json!({
            "thread_id": id.to_string(), "created_at": self.created, "updated_at": self.created,
            "metadata": self.metadata, "status": if busy { "busy" } else { "idle" }, "config": {}, "values": null,
        })
    }
}

impl Run {
    fn show(&self, thread: Uuid, now: Instant) -> Value {
        json!({
            "run_id": self.id.to_string(), "thread_id": thread.to_string(), "assistant_id": self.assistant,
            "created_at": self.created, "metadata": self.metadata, "multitask_strategy": "reject",
            "status": if self.ends > now { "running" } else { "success" },
        })
    }
}

#[cfg(test)]
mod tests;
