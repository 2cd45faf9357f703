//! The demo's agent: a server that speaks the LangGraph run API, and a plain endpoint for events.
//!
//! Owns threads and runs in memory, as faithfully as the bridge can tell: a claim is atomic, a busy thread refuses, run
//! creation is not idempotent, and a run inherits its thread's metadata. It counts the runs of each event, so that a
//! double shows. It knows nothing of the bridge.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, RawQuery, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use crate::sync::{Mutex, MutexGuard};

/// The largest body that is taken.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// The graph that it has. A UUID is taken for an assistant that it lacks.
const GRAPH: &str = "analyst";

/// How the agent behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgentOptions {
    /// It refuses this many requests that would change something with 503.
    pub(super) refuse_first: u32,
    /// How long a run keeps its thread busy.
    pub(super) run_time: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { refuse_first: 0, run_time: Duration::from_millis(20) }
    }
}

/// The running server. Dropping it stops it without waiting for requests under way.
#[derive(Debug)]
pub(super) struct DemoAgent {
    addr: SocketAddr,
    store: SharedStore,
    server: JoinHandle<io::Result<()>>,
}

impl DemoAgent {
    /// Listens on a free port of 127.0.0.1.
    pub(super) async fn start(options: AgentOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let store = SharedStore::new(options);
        let router = router(&store);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { addr, store, server })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many runs were created for each event, by its `event_id`.
    pub(super) fn runs(&self) -> BTreeMap<String, u32> {
        self.store.lock().runs.clone()
    }
}

/// The agent's endpoints.
pub(super) fn router(store: &SharedStore) -> Router {
    Router::new()
        .route("/ok", get(async || axum::Json(json!({"ok": true}))))
        .route("/threads", post(create_thread))
        .route("/threads/{id}", get(show_thread))
        .route("/threads/{id}/runs", post(create_run).get(list_runs))
        .route("/events", post(async || StatusCode::NO_CONTENT).put(async || StatusCode::NO_CONTENT))
        .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(store.clone(), refuse_first))
        .with_state(store.clone())
}

impl Drop for DemoAgent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The threads and runs that all requests share.
#[derive(Debug, Clone)]
pub(super) struct SharedStore {
    store: Arc<Mutex<Store>>,
    options: AgentOptions,
}

impl SharedStore {
    pub(super) fn new(options: AgentOptions) -> Self {
        Self { store: Arc::default(), options }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock()
    }
}

#[derive(Debug, Default)]
struct Store {
    threads: HashMap<Uuid, Thread>,
    runs: BTreeMap<String, u32>,
    refused: u32,
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

pub(super) fn detail(status: StatusCode, text: impl fmt::Display) -> Response {
    (status, axum::Json(json!({"detail": text.to_string()}))).into_response()
}

async fn refuse_first(State(store): State<SharedStore>, request: Request<Body>, next: Next) -> Response {
    if request.method() != Method::GET {
        let mut locked = store.lock();
        if locked.refused < store.options.refuse_first {
            locked.refused += 1;
            return detail(StatusCode::SERVICE_UNAVAILABLE, "Not ready yet");
        }
    }
    next.run(request).await
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

async fn create_thread(State(store): State<SharedStore>, body: Bytes) -> Response {
    let body = match object(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let id = match body.get("thread_id").map(|id| id.as_str().and_then(|id| id.parse().ok())) {
        None => Uuid::new_v4(),
        Some(Some(id)) => id,
        Some(None) => return detail(StatusCode::UNPROCESSABLE_ENTITY, "Invalid thread ID: must be a UUID"),
    };
    let mut store = store.lock();
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

async fn show_thread(State(store): State<SharedStore>, Path(id): Path<String>) -> Response {
    match id.parse().ok().and_then(|id| Some(store.lock().threads.get(&id)?.show(id))) {
        Some(thread) => axum::Json(thread).into_response(),
        None => no_thread(&id),
    }
}

fn no_thread(id: &str) -> Response {
    detail(StatusCode::NOT_FOUND, format_args!("Thread with ID {id} not found"))
}

async fn create_run(State(store): State<SharedStore>, Path(thread_id): Path<String>, body: Bytes) -> Response {
    let body = match object(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let run_time = store.options.run_time;
    let assistant = body.get("assistant_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut store = store.lock();
    if assistant != GRAPH {
        if assistant.parse::<Uuid>().is_ok() {
            return detail(StatusCode::NOT_FOUND, "Thread or assistant not found.");
        }
        let text = format!(
            "Invalid assistant: '{assistant}'. Must be either:\n- A valid assistant UUID, or\n\
             - One of the registered graphs: {GRAPH}"
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
        ends: now + run_time,
    };
    let mut shown = run.show(id, now);
    shown["status"] = "pending".into();
    let location = format!("/threads/{id}/runs/{}", run.id);
    let event_id = run.metadata.get("event_id").and_then(Value::as_str).map(str::to_owned);
    thread.runs.push(run);
    if let Some(event_id) = event_id {
        *store.runs.entry(event_id).or_default() += 1;
    }
    let mut response = axum::Json(shown).into_response();
    if let Ok(location) = location.parse() {
        response.headers_mut().insert("content-location", location);
    }
    response
}

async fn list_runs(State(store): State<SharedStore>, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let number = |name: &str, default: usize| {
        let pairs = query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
    };
    let (limit, offset) = (number("limit", 10), number("offset", 0));
    let store = store.lock();
    let Some((id, thread)) = id.parse().ok().and_then(|id| Some((id, store.threads.get(&id)?))) else {
        return no_thread(&id);
    };
    let now = Instant::now();
    let newest = thread.runs.iter().rev().skip(offset).take(limit);
    axum::Json(newest.map(|run| run.show(id, now)).collect::<Vec<_>>()).into_response()
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
