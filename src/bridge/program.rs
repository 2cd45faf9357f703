//! The bridge of the command line, or of a program that builds it: the parts of every bridge, and what the service has beside them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::error;

use super::{
    error::BridgeError,
    reload::{Reloader, Watched},
    rules::{self, Environment, process_environment},
    spool::{SpoolDrain, publisher as spool_publisher},
    status::Overview,
};
use crate::{
    admin::{Admin, Bound, Recorder},
    config::Config,
    handlers::Handlers,
    pipeline::Observer,
    plan::Plan,
    routing::{Fingerprint, Routing},
    running::{Companions, PartError, Running, Settings, Work, register_series},
};

/// How long the spool's thread has to put back what it took.
const SPOOL_STOP: Duration = Duration::from_secs(1);

/// What a caller may observe of a running bridge.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Gets every outcome.
    pub observer: Option<Observer>,
    /// Gets the admin address once it is bound.
    pub listening: Option<oneshot::Sender<SocketAddr>>,
    /// Each asks for a reload of the routing folder.
    pub reloads: Option<mpsc::Receiver<()>>,
}

/// What a bridge is run with, beside its settings.
pub(super) struct Program {
    /// The routing folder, loaded.
    pub(super) routing: Option<(Arc<Routing>, Fingerprint)>,
    pub(super) handlers: Arc<Handlers>,
    /// What routing files read their variables from.
    pub(super) environment: Environment,
    /// Whether the admin pages are served.
    pub(super) has_pages: bool,
    /// What `/metrics` shows, when it is this process's recorder.
    pub(super) recorder: Option<Recorder>,
    pub(super) hooks: Hooks,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            routing: None,
            handlers: Arc::default(),
            environment: process_environment(),
            has_pages: false,
            recorder: None,
            hooks: Hooks::default(),
        }
    }
}

impl Program {
    /// What plans deliveries.
    fn plan(&self) -> Result<Arc<dyn Plan>, BridgeError> {
        let routing = self.routing.as_ref().map(|(routing, _)| Arc::clone(routing) as Arc<dyn Plan>);
        self.handlers.beside(routing).map_err(|problems| PartError::Handlers(problems.join("\n")).into())
    }
}

/// Runs a bridge until `until` resolves, and then stops in order within the time that it says, or within `drain_timeout`.
pub(super) async fn run_program(
    config: Config,
    program: Program,
    until: impl Future<Output = Option<Duration>>,
) -> Result<(), BridgeError> {
    let plan = program.plan()?;
    let routing = program.routing.as_ref().map(|(routing, _)| &**routing);
    let settings = Settings::from(&config);
    register_series(&settings.kafka, routing.map_or(0, |routing| routing.rules().count()));
    rules::log_start(&config, routing, &program.handlers);

    // What can fail comes first.
    let bound = if program.has_pages { Some(Bound::bind(&config.admin_addr).await?) } else { None };
    let spool_client = match &config.spool_dir {
        Some(folder) => Some((folder.clone(), spool_publisher(&config.kafka)?)),
        None => None,
    };
    let Program { routing, handlers, environment, recorder, hooks, .. } = program;
    let work = Work { plan, observer: hooks.observer, dead_letters: None };
    let mut bridge = Running::start(&settings, work)?;

    let spool = spool_client.map(|(folder, client)| SpoolDrain::start(&folder, client));
    let watched = routing.map(|loaded| (Watched::new(&config, &environment, handlers), loaded));
    let reloader = watched.map(|(watched, loaded)| Reloader::start(watched, bridge.pipeline.rules(), loaded));
    let view = Arc::new(overview(&bridge, reloader.clone(), spool.as_ref(), &settings));
    let pages = bound.map(|bound| bound.serve(recorder.clone(), view));
    if let (Some(listening), Some(pages)) = (hooks.listening, &pages) {
        // The receiver may be gone.
        let _ = listening.send(pages.addr);
    }
    let mut background: Vec<_> = recorder.map(|recorder| tokio::spawn(recorder.upkeep())).into_iter().collect();
    background.extend(reloader.map(|reloader| tokio::spawn(forward(hooks.reloads, reloader))));
    let service = Service { spool, spool_stopped: None, pages, background: Background(background) };

    let ended = bridge.wait(until).await;
    Ok(bridge.stop(ended.map(|within| within.unwrap_or(config.drain_timeout)), service).await?)
}

/// What the pages show.
fn overview(bridge: &Running, reloader: Option<Reloader>, spool: Option<&SpoolDrain>, settings: &Settings) -> Overview {
    let Running { pipeline, ledger, appender, consumer, .. } = bridge;
    Overview {
        consumer: consumer.view(),
        events: pipeline.known_events(),
        agents: Box::new(pipeline.agents_view()),
        former_endpoints: Box::new(pipeline.former_endpoints_view()),
        ledger: ledger.clone(),
        appender: appender.clone(),
        plan: Box::new(pipeline.rules_view()),
        reloader,
        group: settings.kafka.group_id.clone(),
        spool: spool.map(|spool| Box::new(spool.view()) as _),
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            kafka: config.kafka.clone(),
            data_dir: config.data_dir.clone(),
            dedup_window: config.dedup_window,
            dedup_cache_bytes: config.dedup_cache_bytes,
            ledger_topic: config.ledger_topic.clone(),
            park_after: config.park_after,
            drain_timeout: config.drain_timeout,
            outcome_log: rules::outcome_log(config),
        }
    }
}

/// What the service has beside the parts of every bridge.
struct Service {
    spool: Option<SpoolDrain>,
    spool_stopped: Option<JoinHandle<()>>,
    pages: Option<Admin>,
    background: Background,
}

/// Tasks that end when this is dropped.
struct Background(Vec<JoinHandle<()>>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Companions for Service {
    fn stopping(&mut self) {
        let spool = self.spool.take();
        self.spool_stopped = spool.map(|spool| tokio::task::spawn_blocking(move || spool.stop(SPOOL_STOP)));
    }

    async fn stopped(self) {
        if let Some(stopped) = self.spool_stopped
            && stopped.await.is_err()
        {
            error!("stopping the spool's thread failed");
        }
        drop(self.background);
        drop(self.pages);
    }
}

/// Asks for a reload each time that a signal does.
async fn forward(reloads: Option<mpsc::Receiver<()>>, reloader: Reloader) {
    let Some(mut reloads) = reloads else { return };
    while reloads.recv().await.is_some() {
        reloader.reload_soon();
    }
}
