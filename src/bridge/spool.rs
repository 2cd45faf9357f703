//! The bridge drains a spool folder: events that publishers on this host could not deliver to Kafka in time.
//!
//! Owns a thread and a publish client of its own, so that a slow disk or an absent broker delays nothing else. Its
//! invariant: it can be stopped at any moment, and puts back what it had claimed by then. A folder that cannot be used is
//! logged and tried again: it never ends the bridge.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use serde::Serialize;
use tracing::{error, info, warn};

use crate::{
    kafka::KafkaSettings,
    publish::{
        Budget, Drained, PublishError, Publisher, drain,
        spool::{Spool, SpoolError, SpoolSettings, SpoolStats},
    },
    sync::{Mutex, MutexGuard},
    telemetry,
};

/// How long Kafka has for one batch of spooled events.
pub(crate) const BATCH_TIME: Duration = Duration::from_secs(10);
/// How long librdkafka tries to deliver one event: less, so that what is put back is not also in flight.
const DELIVERY_TIME: Duration = Duration::from_secs(8);
/// How long librdkafka waits for an unknown topic: less again, so that it reports it.
const TOPIC_TIME: &str = "5000";
/// Between two passes.
const PAUSE: Duration = Duration::from_secs(3);
/// And at most, if Kafka took nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A publish client for spooled events, with the bridge's settings. It has no spool of its own.
pub(crate) fn publisher(kafka: &KafkaSettings) -> Result<Publisher, PublishError> {
    let builder = Publisher::builder()
        .bootstrap_servers(&kafka.bootstrap_servers)
        .client_id(&kafka.client_id)
        .security(kafka.security.clone())
        .delivery_timeout_ms(DELIVERY_TIME)
        .request_timeout_ms(DELIVERY_TIME)
        .property("topic.metadata.propagation.max.ms", TOPIC_TIME);
    kafka.properties.iter().fold(builder, |builder, (name, value)| builder.property(name, value)).build()
}

/// The spool on the status page.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct SpoolStatus {
    folder: String,
    waiting: u64,
    oldest_seconds: Option<u64>,
    quarantined: u64,
    published: u64,
    last_error: Option<String>,
}

/// The running drain.
pub(super) struct SpoolDrain {
    worker: Arc<DrainWorker>,
    wake: mpsc::SyncSender<()>,
    ended: mpsc::Receiver<()>,
}

struct DrainWorker {
    spool: Spool,
    publisher: Publisher,
    is_stopped: AtomicBool,
    status: Mutex<SpoolStatus>,
}

impl SpoolDrain {
    /// Starts the thread.
    pub(super) fn start(folder: &Path, publisher: Publisher) -> Self {
        for outcome in ["published", "put_back", "quarantined"] {
            counter!(telemetry::SPOOL_EVENTS, "outcome" => outcome).increment(0);
        }
        let spool = Spool::new(SpoolSettings::new(folder));
        let status = SpoolStatus { folder: spool.folder().display().to_string(), ..SpoolStatus::default() };
        info!(folder = status.folder, "draining a spool");
        let worker =
            Arc::new(DrainWorker { spool, publisher, is_stopped: AtomicBool::new(false), status: Mutex::new(status) });
        let (wake, woken) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel(1);
        let running = Arc::clone(&worker);
        let started = thread::Builder::new().name("spool".into()).spawn(move || {
            running.run(&woken);
            // An error means that nobody waits.
            let _ = end.send(());
        });
        if let Err(error) = started {
            error!(%error, "the spool is not drained: its thread cannot be started");
        }
        Self { worker, wake, ended }
    }

    /// Reads the status for the page.
    pub(super) fn view(&self) -> impl Fn() -> SpoolStatus + Send + Sync + use<> {
        let worker = Arc::clone(&self.worker);
        move || worker.status().clone()
    }

    /// Ends it, and puts back what is in flight. Waits at most so long; a thread that takes longer ends with the process,
    /// and so do its claims.
    pub(super) fn stop(self, within: Duration) {
        self.worker.is_stopped.store(true, Ordering::SeqCst);
        // The thread may have ended by itself.
        let _ = self.wake.try_send(());
        self.worker.publisher.close(Duration::ZERO);
        if self.ended.recv_timeout(within).is_err() {
            warn!("the spool's thread has not ended yet: the next drain takes over what it claimed");
        }
    }
}

impl DrainWorker {
    fn status(&self) -> MutexGuard<'_, SpoolStatus> {
        self.status.lock()
    }

    fn run(&self, woken: &mpsc::Receiver<()>) {
        let mut pause = PAUSE;
        let mut logged = Logged::default();
        loop {
            let begin = Instant::now();
            let (drained, stats) = (self.pass(), self.spool.stats());
            if self.is_stopped.load(Ordering::SeqCst) {
                return;
            }
            let is_healthy = self.report(&drained, &stats, &mut logged);
            pause = if is_healthy { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            // Listing a folder with very many files takes a while: do not list it all the time.
            let pause = pause.max(begin.elapsed());
            if woken.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn pass(&self) -> Result<Drained, SpoolError> {
        drain(&self.spool, None, Budget::ALL, &mut |records| {
            if self.is_stopped.load(Ordering::SeqCst) {
                Vec::new().into()
            } else {
                self.publisher.send_unspooled(records, BATCH_TIME)
            }
        })
    }

    /// Updates metrics, status and log. Returns whether the next pass may come soon.
    fn report(
        &self,
        drained: &Result<Drained, SpoolError>,
        stats: &Result<SpoolStats, SpoolError>,
        logged: &mut Logged,
    ) -> bool {
        let mut page = self.status();
        if let Ok(stats) = stats {
            page.waiting = stats.events;
            page.oldest_seconds = stats.oldest.map(|oldest| oldest.as_secs());
            page.quarantined = stats.quarantined;
            gauge!(telemetry::SPOOL_WAITING).set(stats.events as f64);
            gauge!(telemetry::SPOOL_OLDEST).set(stats.oldest.unwrap_or_default().as_secs_f64());
            gauge!(telemetry::SPOOL_QUARANTINED).set(stats.quarantined as f64);
        }
        let drained = match drained {
            Ok(drained) => drained,
            Err(error) => {
                page.last_error = Some(error.to_string());
                logged.problem(page.last_error.as_deref());
                return false;
            }
        };
        for (outcome, events) in
            [("published", drained.published), ("put_back", drained.put_back), ("quarantined", drained.quarantined)]
        {
            counter!(telemetry::SPOOL_EVENTS, "outcome" => outcome).increment(events);
        }
        page.published += drained.published;
        page.last_error = drained.error.clone().or_else(|| drained.note.clone());
        if drained.published > 0 {
            info!(published = drained.published, left = drained.left, "spooled events published");
        }
        logged.destinations(drained, self.publisher.bootstrap_servers());
        logged.problem(page.last_error.as_deref());
        drained.error.is_none() || drained.published > 0
    }
}

/// What the log has already, so that not every pass repeats it.
#[derive(Default)]
struct Logged {
    problem: Option<String>,
    destinations: BTreeSet<String>,
}

impl Logged {
    fn problem(&mut self, problem: Option<&str>) {
        if let Some(error) = problem
            && self.problem.as_deref() != problem
        {
            warn!(error, "not everything in the spool could be published");
        }
        self.problem = problem.map(str::to_owned);
    }

    fn destinations(&mut self, drained: &Drained, here: &str) {
        for (servers, events) in drained.elsewhere(here) {
            if self.destinations.insert(servers.to_owned()) {
                warn!(
                    events,
                    spooled_for = servers,
                    published_to = here,
                    "events that were spooled for other brokers were published to the bridge's"
                );
            }
        }
    }
}
