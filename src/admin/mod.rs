//! The admin pages of a running bridge, for people, Prometheus and orchestrators.
//!
//! Owns the HTTP endpoints `/metrics`, `/healthz`, `/readyz`, `/api/status` and `/api/events/ID`. It shows a [`View`] and changes nothing; it
//! does not know how delivery works.

mod metrics;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, spawn_blocking},
};
use tracing::info;

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
    recorder: Recorder,
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
    pub(crate) fn serve(self, recorder: Recorder, view: Arc<dyn View>) -> Admin {
        let Self { listener, addr } = self;
        let app = Router::new()
            .route("/metrics", get(exposition))
            .route("/healthz", get(|State(pages): State<Pages>| async move { answer(pages.view.health()) }))
            .route("/readyz", get(|State(pages): State<Pages>| async move { answer(pages.view.readiness()) }))
            .route("/api/status", get(|State(pages): State<Pages>| async move { Json(pages.view.status()) }))
            .route("/api/events/{id}", get(event))
            .with_state(Pages { view, recorder });
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
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, text)], pages.recorder.render()).into_response()
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

fn answer(probe: Probe) -> Response {
    let status = if probe.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(probe)).into_response()
}
