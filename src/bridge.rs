//! The service: builds the rooms, joins them, and owns the order of start and stop.
//!
//! Start: rules, the admin address, ledger, dead letters, lanes, the consumer, and the spool's drain last. Stop: no new work,
//! attempts under way, the ledger's flush, the commit, and the admin pages last. Nothing is committed
//! that the ledger does not cover.

mod signals;
mod spool;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use self::spool::{SpoolDrain, SpoolStatus};
use crate::{
    admin::{self, BindError, Bound, MetricsError, Probe, View},
    agents::{ClaimPolicy, ConnectError},
    config::Config,
    dedup::{self, Ledger, LedgerError, OpenError},
    event::{Limits, Poison},
    kafka::{Consumer, ConsumerHandle, ConsumerStatus, DeadLetters, KafkaError, PartitionStatus, StatusView},
    pipeline::{self, AgentStatus, Observer, Parts, Pipeline, PipelineError, stop},
    publish::PublishError,
    routing::{LoadOptions, Problems, Routing},
    telemetry,
};

/// How long the consumer loop may take between two polls before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(15);
/// The share of the drain that is kept for the last commit and for leaving the group.
const CLOSING_SHARE: u32 = 4;
/// What closing the consumer is granted at least.
const CLOSE_AT_LEAST: Duration = Duration::from_secs(1);
/// How long the spool's thread has to put back what it took.
const SPOOL_STOP: Duration = Duration::from_secs(1);
/// Two writes of the ledger into one flush.
const FLUSH_DELAY: Duration = Duration::from_millis(3);

/// Why the bridge did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The routing folder has mistakes.
    #[error("the routing folder {folder} has mistakes:\n{problems}", folder = folder.display())]
    Routing {
        /// The folder.
        folder: PathBuf,
        /// All of them.
        problems: Problems,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An agent's client cannot be built.
    #[error(transparent)]
    Agent(#[from] ConnectError),
    /// The admin address is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The Kafka client ended.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The client for the spool's events cannot be made.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A defect.
    #[error("{0}")]
    Lost(String),
}

impl BridgeError {
    /// The exit code, by sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Routing { .. } | Self::Agent(_) | Self::Publish(_) => 78,
            Self::Open(_) | Self::Ledger(_) => 74,
            Self::Bind(_) | Self::Kafka(_) => 69,
            Self::Metrics(_) | Self::Lost(_) => 70,
        }
    }
}

impl From<PipelineError> for BridgeError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Ledger(error) => Self::Ledger(error),
            lost @ PipelineError::Lost(_) => Self::Lost(lost.to_string()),
        }
    }
}

/// What a caller may want to see of a running bridge.
#[derive(Default)]
pub struct Hooks {
    /// Told of every outcome.
    pub observer: Option<Observer>,
    /// Told the admin address once it is bound.
    pub listening: Option<tokio::sync::oneshot::Sender<SocketAddr>>,
    /// See [`Parts::claim_policy`].
    #[doc(hidden)]
    pub claim_policy: ClaimPolicy,
}

/// An environment that can be replaced in tests.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The environment of this process.
pub fn process_environment() -> Environment {
    Arc::new(|name| std::env::var(name).ok())
}

/// Loads the routing folder as `run` and `check` do.
pub fn load_routing(folder: &Path, window: Duration, environment: &Environment) -> Result<Routing, BridgeError> {
    let environment = Arc::clone(environment);
    let options = LoadOptions { env: Box::new(move |name| environment(name)), dedup_window: window };
    let loaded = Routing::load(folder, &options);
    let result = if loaded.is_ok() { "ok" } else { "error" };
    counter!(telemetry::ROUTING_LOADS, "result" => result).increment(1);
    loaded.map_err(|problems| BridgeError::Routing { folder: folder.to_owned(), problems })
}

/// Runs the bridge until `until` resolves, and then stops in order.
///
/// # Errors
/// [`BridgeError`] when a part cannot start, or ends by itself. What was received and has no outcome
/// by then stays uncommitted and is read again by the next start.
pub async fn run(
    config: Config,
    environment: &Environment,
    hooks: Hooks,
    until: impl Future<Output = ()>,
) -> Result<(), BridgeError> {
    let recorder = admin::install()?;
    let routing = Arc::new(load_routing(&config.routing_dir, config.dedup_window, environment)?);
    for warning in routing.warnings() {
        warn!(%warning, "routing");
    }
    gauge!(telemetry::RULES_LOADED).set(routing.rules().count() as f64);
    announce(&config);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        brokers = config.kafka.bootstrap_servers,
        group = config.kafka.group_id,
        topics = config.kafka.topics.join(","),
        routing = %config.routing_dir.display(),
        rules = routing.rules().count(),
        agents = routing.agents().count(),
        "starting"
    );

    let bound = Bound::bind(&config.admin_addr).await?;
    let client = |folder| spool_publisher(&config.kafka).map(|client| (folder, client));
    let spool_client = config.spool_dir.as_deref().map(client).transpose()?;
    let ledger = open_ledger(&config)?;
    let dead_letters = DeadLetters::connect(&config.kafka)?;
    let (stopper, stop_signal) = stop();
    let reading = Arc::new(OnceLock::new());
    let parts = Parts {
        routing: Arc::clone(&routing),
        ledger: ledger.clone(),
        dead_letters,
        max_events: usize::try_from(config.kafka.budget.max_events).unwrap_or(usize::MAX >> 4),
        limits: Limits::new(config.kafka.budget.max_record_bytes, config.kafka.budget.max_bytes),
        observer: hooks.observer,
        claim_policy: hooks.claim_policy,
        consumer: Arc::clone(&reading),
    };
    let (mut pipeline, intake) = Pipeline::start(parts, stop_signal)?;

    let refused = Arc::new(Mutex::new(None));
    let on_cluster = {
        let (ledger, refused) = (ledger.clone(), Arc::clone(&refused));
        Box::new(move |cluster_id: &str| {
            ledger.bind_cluster(cluster_id).map_err(|error| {
                let text = error.to_string();
                *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                text
            })
        })
    };
    let consumer = Consumer::start(&config.kafka, Box::new(intake), on_cluster)?;
    reading.get_or_init(|| consumer.view());
    let spool = spool_client.map(|(folder, client)| SpoolDrain::start(folder, client));
    let view = Arc::new(Overview {
        consumer: consumer.view(),
        agents: Box::new(pipeline.agents_view()),
        ledger: ledger.clone(),
        routing,
        group: config.kafka.group_id.clone(),
        spool: spool.as_ref().map(|spool| Box::new(spool.view()) as _),
    });
    let pages = bound.serve(recorder.clone(), view);
    let upkeep = tokio::spawn(recorder.upkeep());
    if let Some(listening) = hooks.listening {
        // Nobody waits for it any more: nothing to tell.
        let _ = listening.send(pages.addr);
    }

    let ended = tokio::select! {
        () = until => Ok(()),
        ended = pipeline.ended() => ended.map_err(BridgeError::from).and(Err(BridgeError::Lost(
            "the lanes ended while the bridge ran: this is a defect, please report it with the log".to_owned(),
        ))),
        error = consumer.finished() => Err(match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => BridgeError::Open(error),
            None => BridgeError::Kafka(error),
        }),
    };
    stopper.stop();
    let spool_stopped = spool.map(|spool| tokio::task::spawn_blocking(move || spool.stop(SPOOL_STOP)));
    let result = match ended {
        Ok(()) => drain(&config, &mut pipeline, &ledger, consumer).await,
        Err(error) => {
            // What is committed by then is covered by the ledger, whatever ended the bridge.
            let closed = close(consumer, CLOSE_AT_LEAST).await;
            if let Err(closing) = closed {
                error!(error = %closing, "closing the consumer failed");
            }
            Err(error)
        }
    };
    if let Some(stopped) = spool_stopped
        && stopped.await.is_err()
    {
        error!("stopping the spool's thread failed");
    }
    upkeep.abort();
    drop(pages);
    result
}

/// Every series that an alert watches begins at 0: one that is born at 1 has not increased.
fn announce(config: &Config) {
    let poison = Poison::KINDS.iter().chain(pipeline::REASONS);
    for reason in poison {
        counter!(telemetry::DEAD_LETTERS, "reason" => *reason).increment(0);
    }
    for outcome in ["delivered", "duplicate", "unmatched", "dead_lettered"] {
        counter!(telemetry::EVENTS, "outcome" => outcome).increment(0);
    }
    gauge!(telemetry::KAFKA_REACHABLE).set(0.0);
    for topic in &config.kafka.topics {
        counter!(telemetry::RECORDS_LOST, "topic" => topic.clone()).increment(0);
        counter!(telemetry::RECORDS_CONSUMED, "topic" => topic.clone()).increment(0);
    }
}

fn open_ledger(config: &Config) -> Result<Ledger, OpenError> {
    let (ledger, opened) = Ledger::open(
        &config.data_dir,
        &dedup::Options {
            group: config.kafka.group_id.clone(),
            window: config.dedup_window,
            cache_bytes: config.dedup_cache_bytes,
            flush_delay: FLUSH_DELAY,
        },
    )?;
    info!(
        folder = %config.data_dir.display(), records = opened.records, existing = opened.recovered, "ledger opened"
    );
    Ok(ledger)
}

/// The orderly stop: attempts under way come to their end, then the ledger, then the offsets.
async fn drain(
    config: &Config,
    pipeline: &mut Pipeline,
    ledger: &Ledger,
    consumer: ConsumerHandle,
) -> Result<(), BridgeError> {
    let timeout_ms = u64::try_from(config.drain_timeout.as_millis()).unwrap_or(u64::MAX);
    info!(timeout_ms, "stopping: waiting for the attempts under way");
    let until = Instant::now() + config.drain_timeout;
    let attempts_until = until - config.drain_timeout / CLOSING_SHARE;
    consumer.stop_fetching();
    let finished = if let Ok(ended) = timeout_at(attempts_until, pipeline.ended()).await {
        ended.map_err(BridgeError::from)
    } else {
        warn!(
            "attempts are still under way at the end of the drain: LangGraph agents settle them after the next start, \
                 HTTP agents may see them again with the same Idempotency-Key"
        );
        Ok(())
    };
    let flushed = ledger.durable().await;
    // The group is left in any case, so that another replica need not wait for the session to end.
    let left = until.saturating_duration_since(Instant::now()).max(CLOSE_AT_LEAST);
    if let Err(error) = close(consumer, left).await {
        warn!(%error, "the last offsets may be uncommitted: their events are read again, and the ledger knows them");
    }
    finished?;
    flushed?;
    info!("stopped");
    Ok(())
}

async fn close(consumer: ConsumerHandle, timeout: Duration) -> Result<(), BridgeError> {
    let closed = tokio::task::spawn_blocking(move || consumer.close(timeout)).await;
    match closed {
        Ok(closed) => Ok(closed?),
        Err(error) => Err(BridgeError::Lost(format!("closing the consumer: {error}"))),
    }
}

/// What the admin pages show.
struct Overview {
    consumer: StatusView,
    agents: Box<dyn Fn() -> Vec<AgentStatus> + Send + Sync>,
    ledger: Ledger,
    routing: Arc<Routing>,
    group: String,
    spool: Option<Box<dyn Fn() -> SpoolStatus + Send + Sync>>,
}

impl Overview {
    fn held(&self) -> impl Iterator<Item = AgentStatus> {
        (self.agents)().into_iter().filter(|agent| agent.held)
    }
}

impl View for Overview {
    fn health(&self) -> Probe {
        let since = self.consumer.status().last_poll.elapsed();
        let ok = since < STUCK_AFTER;
        let notes = if ok { Vec::new() } else { vec![format!("the consumer loop has not polled for {since:?}")] };
        Probe { ok, notes }
    }

    fn readiness(&self) -> Probe {
        let ConsumerStatus { assigned, last_error, reachable, .. } = self.consumer.status();
        let mut notes = Vec::new();
        let problem = match (reachable, assigned.is_empty()) {
            (false, _) => Some("no broker answers"),
            (true, true) => Some("no partition is assigned"),
            (true, false) => None,
        };
        match (problem, last_error) {
            (Some(problem), Some(error)) => notes.push(format!("{problem}: {error}")),
            (Some(problem), None) => notes.push(problem.to_owned()),
            (None, Some(error)) => notes.push(format!("Kafka complains: {error}")),
            (None, None) => {}
        }
        notes.extend(assigned.iter().filter_map(stuck_note));
        notes.extend(self.held().map(|agent| {
            let why = agent.last_failure.unwrap_or_default();
            format!("agent {} is held, {} deliveries wait: {why}", agent.agent, agent.deliveries)
        }));
        Probe { ok: problem.is_none(), notes }
    }

    fn status(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "group": self.group,
            "consumer": consumer_status(&self.consumer.status()),
            "agents": (self.agents)(),
            "spool": self.spool.as_ref().map(|spool| spool()),
            "ledger": {"records": self.ledger.len()},
            "rules": self.routing.rules().map(|rule| json!({
                "rule": &**rule.name(),
                "to": rule.agents().iter().map(|agent| &**agent).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn stuck_note(partition: &PartitionStatus) -> Option<String> {
    let stuck = partition.stuck.as_ref()?;
    Some(format!(
        "partition {}/{} is stuck at offset {} for {} s, its end is {}: {}: raise receive.message.max.bytes under \
         kafka.properties, or skip the offset (docs/kafka.md, \"A stuck partition\")",
        partition.topic,
        partition.partition,
        stuck.offset,
        stuck.seconds,
        partition.high_watermark.unwrap_or_default(),
        stuck.reason,
    ))
}

fn consumer_status(status: &ConsumerStatus) -> Value {
    let partitions: Vec<Value> = status
        .assigned
        .iter()
        .map(|partition| {
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "committed": partition.committed,
                "position": partition.position,
                "high_watermark": partition.high_watermark,
                "lag": partition.lag,
                "unread": partition.unread,
                "span": partition.span,
                "capped": partition.capped,
                "stuck": partition.stuck.as_ref().map(|stuck| json!({
                    "offset": stuck.offset,
                    "seconds": stuck.seconds,
                    "reason": stuck.reason,
                })),
            })
        })
        .collect();
    json!({
        "cluster_id": status.cluster_id,
        "assigned": partitions,
        "paused": status.paused,
        "last_poll_ms_ago": status.last_poll.elapsed().as_millis(),
        "last_error": status.last_error,
        "reachable": status.reachable,
        "in_flight_events": status.in_flight_events,
        "in_flight_bytes": status.in_flight_bytes,
    })
}

pub use pipeline::Outcome;
pub use signals::signals;
pub(crate) use spool::{BATCH_TIME as SPOOL_BATCH_TIME, publisher as spool_publisher};
