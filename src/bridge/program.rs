//! A bridge of a process, from its start to its stop: the parts, and the order of both.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::DropGuard;
use tracing::error;

use super::{
    drain,
    error::BridgeError,
    reload::{Reloader, Watched},
    setup::{self, Environment, process_environment},
    spool::{SpoolDrain, publisher as spool_publisher},
    status::Overview,
};
use crate::{
    admin::{Admin, Bound, Recorder},
    config::Config,
    dedup::Ledger,
    event::Limits,
    handlers::Handlers,
    kafka::{ConsumerHandle, DeadLetters, LedgerAppender, ParkedTopics},
    pipeline::{CancellationToken, Observer, Parts, Pipeline},
    plan::Plan,
    routing::{Fingerprint, Routing},
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
        self.handlers.beside(routing).map_err(|problems| BridgeError::Handlers(problems.join("\n")))
    }
}

/// Runs a bridge until `until` resolves, and then stops in order.
pub(super) async fn run_program(
    config: Config,
    program: Program,
    until: impl Future<Output = ()>,
) -> Result<(), BridgeError> {
    let plan = program.plan()?;
    let routing = program.routing.as_ref().map(|(routing, _)| &**routing);
    setup::register_series(&config, routing);
    setup::log_start(&config, routing, &program.handlers);
    let mut bridge = Running::start(&config, program, plan).await?;
    let ended = bridge.wait(until).await;
    bridge.stop(ended, config.drain_timeout).await
}

/// The running parts. Dropped, all of them end without order.
struct Running {
    pipeline: Pipeline,
    /// Dropped, it stops the pipeline.
    shutdown: DropGuard,
    ledger: Ledger,
    /// Appends to the ledger topic; `None` when that is off.
    appender: Option<LedgerAppender>,
    consumer: ConsumerHandle,
    spool: Option<SpoolDrain>,
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

impl Running {
    /// Opens what can fail first, and starts the consumer when its records have somewhere to go.
    async fn start(config: &Config, program: Program, plan: Arc<dyn Plan>) -> Result<Self, BridgeError> {
        let Program { routing, handlers, environment, has_pages, recorder, hooks } = program;
        let bound = if has_pages { Some(Bound::bind(&config.admin_addr).await?) } else { None };
        let spool_client = match &config.spool_dir {
            Some(folder) => Some((folder, spool_publisher(&config.kafka)?)),
            None => None,
        };
        let ledger = setup::open_ledger(config)?;
        let (consumer, replication, appender) = setup::consumer(config, &ledger)?;
        let shutdown = CancellationToken::new();
        let parts = Parts {
            plan,
            ledger: ledger.clone(),
            replication,
            dead_letters: DeadLetters::connect(&config.kafka)?,
            max_events: usize::try_from(config.kafka.budget.max_events).unwrap_or(usize::MAX >> 4),
            max_bytes: config.kafka.budget.max_bytes,
            limits: Limits::new(config.kafka.budget.max_record_bytes, config.kafka.budget.max_bytes),
            observer: hooks.observer,
            consumer: consumer.view(),
            parked_topics: ParkedTopics::connect(&config.kafka)?,
            park_after: config.park_after,
            outcome_log: setup::outcome_log(config),
            drain_timeout: config.drain_timeout,
        };
        let (pipeline, intake) = Pipeline::start(parts, shutdown.clone())?;
        let shutdown = shutdown.drop_guard();
        let bound_ledger = ledger.clone();
        let on_cluster =
            move |cluster_id: &str| bound_ledger.bind_cluster(cluster_id).map_err(|error| Arc::new(error) as _);
        let consumer = consumer.start(Box::new(intake), Box::new(on_cluster))?;
        let spool = spool_client.map(|(folder, client)| SpoolDrain::start(folder, client));

        let watched = routing.map(|loaded| (Watched::new(config, &environment, handlers), loaded));
        let reloader = watched.map(|(watched, loaded)| Reloader::start(watched, pipeline.rules(), loaded));
        let view = Arc::new(Overview {
            consumer: consumer.view(),
            events: pipeline.known_events(),
            agents: Box::new(pipeline.agents_view()),
            former_endpoints: Box::new(pipeline.former_endpoints_view()),
            ledger: ledger.clone(),
            appender: appender.clone(),
            plan: Box::new(pipeline.rules_view()),
            reloader: reloader.clone(),
            group: config.kafka.group_id.clone(),
            spool: spool.as_ref().map(|spool| Box::new(spool.view()) as _),
        });
        let pages = bound.map(|bound| bound.serve(recorder.clone(), view));
        if let (Some(listening), Some(pages)) = (hooks.listening, &pages) {
            // The receiver may be gone.
            let _ = listening.send(pages.addr);
        }
        let mut background: Vec<_> = recorder.map(|recorder| tokio::spawn(recorder.upkeep())).into_iter().collect();
        background.extend(reloader.map(|reloader| tokio::spawn(forward(hooks.reloads, reloader))));
        Ok(Self { pipeline, shutdown, ledger, appender, consumer, spool, pages, background: Background(background) })
    }

    /// Resolves when the bridge is to stop, or with the error of a part that ended by itself.
    async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), BridgeError> {
        tokio::select! {
            () = until => Ok(()),
            ended = self.pipeline.ended() => ended.map_err(BridgeError::from).and(Err(BridgeError::Defect(
                "the lanes ended while the bridge ran: this is a defect, please report it with the log".to_owned(),
            ))),
            error = self.consumer.finished() => Err(error.into()),
        }
    }

    /// Stops every part: in order, or at once when one of them failed.
    async fn stop(mut self, ended: Result<(), BridgeError>, drain_timeout: Duration) -> Result<(), BridgeError> {
        drop(self.shutdown);
        let spool_stopped = self.spool.map(|spool| tokio::task::spawn_blocking(move || spool.stop(SPOOL_STOP)));
        let result = match ended {
            Ok(()) => drain::drain(drain_timeout, &mut self.pipeline, &self.ledger, self.appender, self.consumer).await,
            Err(error) => {
                drain::close_after_error(self.consumer).await;
                Err(error)
            }
        };
        if let Some(stopped) = spool_stopped
            && stopped.await.is_err()
        {
            error!("stopping the spool's thread failed");
        }
        drop(self.background);
        drop(self.pages);
        // What outlives the drain must not outlive the bridge: the process may go on, and open the ledger again.
        self.pipeline.abort().await;
        result
    }
}

/// Asks for a reload each time that a signal does.
async fn forward(reloads: Option<mpsc::Receiver<()>>, reloader: Reloader) {
    let Some(mut reloads) = reloads else { return };
    while reloads.recv().await.is_some() {
        reloader.reload_soon();
    }
}
