//! The admin pages of a running bridge, for people, Prometheus and orchestrators.
//!
//! Owns the HTTP endpoints `/metrics`, `/healthz`, `/readyz`, `/api/status`, `/api/events`, `/api/events/ID` and `/api/reload`, and who may
//! ask for the last, which is the only one that changes anything. It shows a [`View`]; it does not know how delivery works.

mod caller;
mod events;
mod metrics;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, spawn_blocking},
};
use tracing::info;

pub(crate) use events::EventsQuery;
pub(crate) use metrics::{MetricsError, Recorder, install};

/// The answer of a health or readiness probe.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Probe {
    /// The verdict.
    pub ok: bool,
    /// What is wrong, or worth knowing.
    pub notes: Vec<String>,
}

/// The content of the pages, read at each request.
pub(crate) trait View: Send + Sync + 'static {
    /// The loop makes progress. If not: restart the process.
    fn health(&self) -> Probe;
    /// Partitions are assigned and the ledger is open.
    fn readiness(&self) -> Probe;
    /// The whole state, as JSON.
    fn status(&self) -> Value;
    /// What became of an event. Blocks: it reads the disk.
    fn event(&self, event_id: &str) -> EventPage;
    /// The newest outcomes. Blocks: it reads the disk.
    ///
    /// # Errors
    /// What is wrong with the query.
    fn events(&self, query: &EventsQuery) -> Result<Value, String>;
    /// Loads the routing folder, or says what that would change. Blocks.
    fn reload(&self, is_trial: bool) -> ReloadPage;
}

/// How a reload of the routing folder ended, as JSON.
#[derive(Debug)]
pub(crate) enum ReloadPage {
    /// It is in force, or would be.
    Done(Value),
    /// It has mistakes.
    Refused(Value),
    /// It cannot be loaded now.
    Unavailable(Value),
}

/// What became of an event, as JSON.
#[derive(Debug)]
pub(crate) enum EventPage {
    /// It was read.
    Known(Value),
    /// Nothing is known of it.
    Unknown(Value),
    /// It cannot be looked up.
    Failed(Value),
}

/// The HTTP listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr} for metrics and health: {error}: choose another address with --admin or BRIDGE_ADMIN_ADDR"
)]
pub(crate) struct BindError {
    addr: String,
    error: io::Error,
}

/// The running server.
pub(crate) struct Admin {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Pages {
    view: Arc<dyn View>,
    /// `None`: the metrics are somebody else's.
    recorder: Option<Recorder>,
    /// Only this host can ask.
    is_loopback: bool,
}

/// A bound address that does not serve yet.
pub(crate) struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Bound {
    /// Binds `addr`; port 0 is any free one.
    pub(crate) async fn bind(addr: &str) -> Result<Self, BindError> {
        let failed = |error| BindError { addr: addr.to_owned(), error };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }

    /// Serves the pages until the [`Admin`] is dropped.
    pub(crate) fn serve(self, recorder: Option<Recorder>, view: Arc<dyn View>) -> Admin {
        let Self { listener, addr } = self;
        let app = Router::new()
            .route("/metrics", get(exposition))
            .route("/healthz", get(|State(pages): State<Pages>| async move { answer(pages.view.health()) }))
            .route("/readyz", get(|State(pages): State<Pages>| async move { answer(pages.view.readiness()) }))
            .route("/api/status", get(|State(pages): State<Pages>| async move { Json(pages.view.status()) }))
            .route("/api/events", get(newest_events))
            .route("/api/events/{id}", get(event))
            .route("/api/reload", post(reload))
            .with_state(Pages { view, recorder, is_loopback: addr.ip().is_loopback() });
        info!(%addr, "admin listening");
        let task = tokio::spawn(async move {
            // `serve` ends only with its task: accept errors are retried inside.
            let _ = axum::serve(listener, app).await;
        });
        Admin { addr, task }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn exposition(State(pages): State<Pages>) -> Response {
    let Some(recorder) = &pages.recorder else {
        let problem = "metrics go to the recorder that this program has installed\n";
        return (StatusCode::NOT_FOUND, problem).into_response();
    };
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, text)], recorder.render()).into_response()
}

async fn event(State(pages): State<Pages>, Path(id): Path<String>) -> Response {
    match spawn_blocking(move || pages.view.event(&id)).await {
        Ok(EventPage::Known(page)) => Json(page).into_response(),
        Ok(EventPage::Unknown(page)) => (StatusCode::NOT_FOUND, Json(page)).into_response(),
        Ok(EventPage::Failed(page)) => (StatusCode::INTERNAL_SERVER_ERROR, Json(page)).into_response(),
        // It panicked: the log has where.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn newest_events(State(pages): State<Pages>, uri: Uri) -> Response {
    let wrong = |problem: String| (StatusCode::BAD_REQUEST, Json(json!({"error": problem}))).into_response();
    let query = match events::read(uri.query()) {
        Ok(query) => query,
        Err(problem) => return wrong(problem),
    };
    match spawn_blocking(move || pages.view.events(&query)).await {
        Ok(Ok(page)) => Json(page).into_response(),
        Ok(Err(problem)) => wrong(problem),
        // It panicked: the log has where.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn reload(State(pages): State<Pages>, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(problem) = caller::refusal(&headers, pages.is_loopback) {
        return (StatusCode::FORBIDDEN, Json(json!({"result": "forbidden", "problems": [problem]}))).into_response();
    }
    let is_trial = match uri.query() {
        None | Some("") => false,
        Some("dry_run=true") => true,
        Some(_) => {
            let problem = "expected no query, or dry_run=true";
            return (StatusCode::BAD_REQUEST, Json(json!({"result": "wrong", "problems": [problem]}))).into_response();
        }
    };
    match spawn_blocking(move || pages.view.reload(is_trial)).await {
        Ok(ReloadPage::Done(page)) => Json(page).into_response(),
        Ok(ReloadPage::Refused(page)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(page)).into_response(),
        Ok(ReloadPage::Unavailable(page)) => (StatusCode::SERVICE_UNAVAILABLE, Json(page)).into_response(),
        // It panicked: the log has where.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(probe: Probe) -> Response {
    let status = if probe.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(probe)).into_response()
}
