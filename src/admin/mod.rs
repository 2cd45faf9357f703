//! What a person, Prometheus and an orchestrator may ask of a running bridge.
//!
//! Owns the HTTP surface: `/metrics`, `/healthz`, `/readyz` and `/api/status`. It shows what it is
//! given and changes nothing; it does not know how delivery works.

mod metrics;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tracing::info;

pub use metrics::{MetricsError, Recorder, install};

/// Whether the process does its work, and what it says of it.
#[derive(Debug, Clone, Serialize)]
pub struct Probe {
    /// The verdict.
    pub ok: bool,
    /// What keeps it from being well, or what else is worth knowing.
    pub notes: Vec<String>,
}

/// What the pages show, asked for at each request.
pub trait View: Send + Sync + 'static {
    /// The loop makes progress. Not well means: restart the process.
    fn health(&self) -> Probe;
    /// Partitions are assigned and the ledger is open.
    fn readiness(&self) -> Probe;
    /// The whole state, as JSON.
    fn status(&self) -> Value;
}

/// The HTTP listener could not be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr} for metrics and health: {error}: choose another address with --admin or BRIDGE_ADMIN_ADDR"
)]
pub struct BindError {
    addr: String,
    error: io::Error,
}

/// The running server.
pub struct Admin {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Pages {
    view: Arc<dyn View>,
    recorder: Recorder,
}

/// The address is ours; nothing is served yet.
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Bound {
    /// Binds `addr`; port 0 is any free one.
    pub async fn bind(addr: &str) -> Result<Self, BindError> {
        let failed = |error| BindError { addr: addr.to_owned(), error };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }

    /// Serves the pages until the [`Admin`] is dropped.
    pub fn serve(self, recorder: Recorder, view: Arc<dyn View>) -> Admin {
        let Self { listener, addr } = self;
        let app = Router::new()
            .route("/metrics", get(exposition))
            .route("/healthz", get(|State(pages): State<Pages>| async move { answer(pages.view.health()) }))
            .route("/readyz", get(|State(pages): State<Pages>| async move { answer(pages.view.readiness()) }))
            .route("/api/status", get(|State(pages): State<Pages>| async move { Json(pages.view.status()) }))
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

fn answer(probe: Probe) -> Response {
    let status = if probe.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(probe)).into_response()
}
