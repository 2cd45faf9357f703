//! The service: builds the parts, joins them, and owns the order of start and stop.
//!
//! Start: rules, the admin address, ledger, dead letters, lanes, the consumer, and the spool's drain last. Stop: no new
//! work, attempts under way, the ledger's flush, the commit, and the admin pages last. Its invariant: nothing is committed
//! that the ledger does not cover.

mod connect;
mod drain;
mod error;
mod event_page;
mod events_page;
mod exit;
mod ledger_lookup;
mod redrive_check;
mod reload;
mod setup;
mod signals;
mod spool;
mod status;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::DropGuard;
use tracing::error;

pub(crate) use self::{
    connect::connect,
    error::BridgeError,
    exit::Exit,
    ledger_lookup::LedgerLookup,
    redrive_check::{Hindrance, RedriveCheck},
    setup::{Environment, load_routing, process_environment},
    signals::{SAME_SIGNAL, signals},
    spool::{BATCH_TIME as SPOOL_BATCH_TIME, publisher as spool_publisher},
};
use self::{
    reload::{Reloader, Watched},
    spool::SpoolDrain,
    status::Overview,
};
use crate::{
    admin::{self, Admin, Bound, Recorder},
    config::Config,
    dedup::Ledger,
    event::Limits,
    kafka::{ConsumerHandle, DeadLetters, LedgerAppender, ParkedTopics},
    pipeline::{CancellationToken, Observer, Parts, Pipeline},
    routing::{Fingerprint, Routing},
};
pub(crate) use crate::{dedup::remembered_ms, pipeline::CompletedEvent};

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

/// Runs the bridge until `until` resolves, and then stops in order.
///
/// # Errors
/// [`BridgeError`] when a part cannot start, or ends by itself. What was received and has no outcome
/// by then stays uncommitted and is read again by the next start.
pub(crate) async fn run(
    config: Config,
    environment: &Environment,
    hooks: Hooks,
    until: impl Future<Output = ()>,
) -> Result<(), BridgeError> {
    let recorder = admin::install()?;
    let (routing, fingerprint) = setup::load_snapshot(&config.routing_dir, config.dedup_window, environment)?;
    setup::register_series(&config, &routing);
    setup::log_start(&config, &routing);
    let loaded = (Arc::new(routing), fingerprint);
    let mut bridge = Bridge::start(&config, environment, loaded, recorder, hooks).await?;
    let ended = bridge.wait(until).await;
    bridge.stop(ended, config.drain_timeout).await
}

/// The running parts.
struct Bridge {
    pipeline: Pipeline,
    /// Dropped, it stops the pipeline.
    shutdown: DropGuard,
    ledger: Ledger,
    /// Appends to the ledger topic; `None` when that is off.
    appender: Option<LedgerAppender>,
    consumer: ConsumerHandle,
    spool: Option<SpoolDrain>,
    pages: Admin,
    background: [JoinHandle<()>; 2],
}

impl Bridge {
    /// Opens what can fail first, and starts the consumer when its records have somewhere to go.
    async fn start(
        config: &Config,
        environment: &Environment,
        (routing, fingerprint): (Arc<Routing>, Fingerprint),
        recorder: Recorder,
        hooks: Hooks,
    ) -> Result<Self, BridgeError> {
        let bound = Bound::bind(&config.admin_addr).await?;
        let spool_client = match &config.spool_dir {
            Some(folder) => Some((folder, spool_publisher(&config.kafka)?)),
            None => None,
        };
        let ledger = setup::open_ledger(config)?;
        let (consumer, replication, appender) = setup::consumer(config, &ledger)?;
        let shutdown = CancellationToken::new();
        let parts = Parts {
            routing: Arc::clone(&routing),
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
        };
        let (pipeline, intake) = Pipeline::start(parts, shutdown.clone())?;
        let shutdown = shutdown.drop_guard();
        let bound_ledger = ledger.clone();
        let on_cluster =
            move |cluster_id: &str| bound_ledger.bind_cluster(cluster_id).map_err(|error| Arc::new(error) as _);
        let consumer = consumer.start(Box::new(intake), Box::new(on_cluster))?;
        let spool = spool_client.map(|(folder, client)| SpoolDrain::start(folder, client));

        let reloader = Reloader::start(Watched::new(config, environment), pipeline.rules(), (routing, fingerprint));
        let view = Arc::new(Overview {
            consumer: consumer.view(),
            events: pipeline.known_events(),
            agents: Box::new(pipeline.agents_view()),
            former_endpoints: Box::new(pipeline.former_endpoints_view()),
            ledger: ledger.clone(),
            appender: appender.clone(),
            routing: Box::new(pipeline.rules_view()),
            reloader: reloader.clone(),
            group: config.kafka.group_id.clone(),
            spool: spool.as_ref().map(|spool| Box::new(spool.view()) as _),
        });
        let pages = bound.serve(recorder.clone(), view);
        let upkeep = tokio::spawn(recorder.upkeep());
        if let Some(listening) = hooks.listening {
            // The receiver may be gone.
            let _ = listening.send(pages.addr);
        }
        let reloads = tokio::spawn(forward(hooks.reloads, reloader));
        Ok(Self { pipeline, shutdown, ledger, appender, consumer, spool, pages, background: [upkeep, reloads] })
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
        self.background.iter().for_each(JoinHandle::abort);
        drop(self.pages);
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
