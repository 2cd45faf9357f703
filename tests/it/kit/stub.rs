//! A LangGraph server in memory that lacks one thing or another which real ones have.
//!
//! It counts the runs that the bridge created, by event. Creating a thread is atomic, as on every server.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{Method, Response};
use serde_json::{Map, Value, json};

use super::{
    http::{self, Asked, Server},
    unique,
};

/// What a server lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// `metadata` of a run; it shows `config` and `input`, takes a run although another is running, and lists no
    /// runs for a thread that is not there instead of 404: as aegra does.
    RunMetadata,
    /// Everything of a run that tells who started it.
    RunOrigin,
    /// `metadata` of a thread.
    ThreadMetadata,
    /// The refusal of a run while another is running.
    Reject,
    /// JSON in its refusals, and 409 for a busy thread: as LangGraph.js.
    JsonErrors,
    /// `status`, `created_at`, `ttl`, `Content-Location` and whatever else the bridge does not rely on.
    Extras,
    /// `if_exists`: it answers 200 with the thread that was there.
    IfExists,
    /// `limit`, `offset` and `select`.
    Paging,
    /// Threads that only the bridge uses: somebody else starts a run on each as soon as it is made.
    Privacy,
}

impl Lack {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::RunMetadata,
        Self::RunOrigin,
        Self::ThreadMetadata,
        Self::Reject,
        Self::JsonErrors,
        Self::Extras,
        Self::IfExists,
        Self::Paging,
        Self::Privacy,
    ];
}

struct Thread {
    metadata: Map<String, Value>,
    /// The oldest first: as they are shown, and until when they run.
    runs: Vec<(Value, Instant)>,
}

#[derive(Default)]
struct State {
    threads: HashMap<String, Thread>,
    created: BTreeMap<String, usize>,
}

/// The server.
pub struct StubLangGraph {
    server: Server,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StubLangGraph {
    /// A server with no threads.
    pub fn start(lack: Lack) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request: Asked| {
            let answer = answer(lack, &mut lock(&shared), &request);
            async move { Some(answer) }
        });
        Self { server, state }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// How many runs the bridge created for each event.
    pub fn created(&self) -> BTreeMap<String, usize> {
        lock(&self.state).created.clone()
    }
}

fn answer(lack: Lack, state: &mut State, request: &Asked) -> Response<Bytes> {
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let query = request.uri().query().unwrap_or_default();
    match (request.method(), &path[..]) {
        (&Method::POST, ["threads"]) => state.create_thread(lack, &body),
        (&Method::POST, ["threads", id, "runs"]) => state.create_run(lack, id, &body),
        (&Method::GET, ["threads", id, rest @ ..]) => match (state.threads.get(*id), rest) {
            (None, ["runs"]) if lack == Lack::RunMetadata => http::json(200, &json!([])),
            (None, _) => error(lack, 404, &format!("Thread with ID {id} not found")),
            (Some(thread), []) => http::json(200, &thread.show(lack, id)),
            (Some(thread), ["runs"]) => http::json(200, &thread.list(lack, query)),
            (Some(thread), ["runs", run]) => match thread.runs.iter().find(|(shown, _)| shown["run_id"] == **run) {
                Some((shown, _)) => http::json(200, shown),
                None => error(lack, 404, "Run not found"),
            },
            (Some(_), _) => error(lack, 404, "Not Found"),
        },
        _ => error(lack, 404, "Not Found"),
    }
}

fn error(lack: Lack, status: u16, text: &str) -> Response<Bytes> {
    match lack {
        Lack::JsonErrors => Response::builder()
            .status(status)
            .header("content-type", "text/plain")
            .body(Bytes::from(text.to_owned()))
            .expect("a status and a body make a response"),
        Lack::RunMetadata => http::json(status, &json!({"error": "x", "message": text, "details": null})),
        _ => http::json(status, &json!({"detail": text})),
    }
}

impl State {
    fn create_thread(&mut self, lack: Lack, body: &Value) -> Response<Bytes> {
        let id = body["thread_id"].as_str().unwrap_or_default().to_owned();
        if let Some(thread) = self.threads.get(&id) {
            return match lack {
                Lack::IfExists => http::json(200, &thread.show(lack, &id)),
                _ => error(lack, 409, "Thread already exists"),
            };
        }
        let metadata = body["metadata"].as_object().cloned().unwrap_or_default();
        let mut thread = Thread { metadata, runs: Vec::new() };
        if lack == Lack::Privacy {
            let run = thread.run(lack, &id, &json!({"input": {"question": "what is this thread?"}}));
            thread.runs.push((run, Instant::now() + Duration::from_millis(300)));
        }
        let shown = thread.show(lack, &id);
        self.threads.insert(id, thread);
        http::json(200, &shown)
    }

    fn create_run(&mut self, lack: Lack, id: &str, body: &Value) -> Response<Bytes> {
        let Some(thread) = self.threads.get_mut(id) else { return error(lack, 404, "Thread not found") };
        let now = Instant::now();
        let refuses = !matches!(lack, Lack::Reject | Lack::RunMetadata);
        if refuses && thread.runs.iter().any(|(_, until)| *until > now) {
            let status = if lack == Lack::JsonErrors { 422 } else { 409 };
            return error(lack, status, "Thread is already running a task. Wait for it to finish.");
        }
        let run = thread.run(lack, id, body);
        thread.runs.push((run.clone(), now + Duration::from_millis(20)));
        let event_id = body["input"]["event"]["event_id"].as_str().unwrap_or_default().to_owned();
        *self.created.entry(event_id).or_default() += 1;
        http::json(200, &run)
    }
}

impl Thread {
    fn show(&self, lack: Lack, id: &str) -> Value {
        match lack {
            Lack::ThreadMetadata => json!({"thread_id": id, "status": "idle"}),
            _ => json!({"thread_id": id, "metadata": self.metadata}),
        }
    }

    /// A new run, which inherits the thread's metadata.
    fn run(&self, lack: Lack, thread_id: &str, body: &Value) -> Value {
        let mut metadata = self.metadata.clone();
        metadata.extend(body["metadata"].as_object().cloned().unwrap_or_default());
        let run_id = unique("run");
        match lack {
            Lack::RunMetadata => json!({
                "run_id": run_id, "thread_id": thread_id, "status": "pending", "input": body["input"],
                "config": body["config"],
            }),
            Lack::RunOrigin => json!({"run_id": run_id, "thread_id": thread_id, "status": "pending"}),
            Lack::Extras => json!({"run_id": run_id, "metadata": metadata}),
            _ => json!({
                "run_id": run_id, "thread_id": thread_id, "metadata": metadata, "status": "pending",
                "kwargs": {"input": body["input"]}, "created_at": "2026-01-01T00:00:00Z",
            }),
        }
    }

    fn list(&self, lack: Lack, query: &str) -> Value {
        let number = |name: &str, default: usize| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let (limit, offset) = match lack {
            Lack::Paging => (usize::MAX, 0),
            _ => (number("limit", 10), number("offset", 0)),
        };
        self.runs.iter().rev().skip(offset).take(limit).map(|(run, _)| run.clone()).collect()
    }
}
