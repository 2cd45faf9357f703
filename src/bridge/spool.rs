//! The bridge empties a spool folder: what publishers on this host could not hand to Kafka in time.
//!
//! Owns a thread and a publish client of its own, so that a slow disk or an absent broker holds up
//! nothing else. Its invariant: it can be stopped at any moment, and what it had taken by then is
//! back in the folder. A folder that cannot be used is told of and tried again: it never ends the
//! bridge.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
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
    telemetry,
};

/// How long Kafka has for some events of the spool.
pub(crate) const BATCH_TIME: Duration = Duration::from_secs(10);
/// How long librdkafka goes on with one event: less, so that what is put back is not also under way.
const DELIVERY_TIME: Duration = Duration::from_secs(8);
/// How long librdkafka waits for a topic that it does not know: less again, so that it says so.
const TOPIC_TIME: &str = "5000";
/// Between two looks into the folder.
const PAUSE: Duration = Duration::from_secs(3);
/// And when Kafka took nothing, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A publish client for what waits in a spool, with the bridge's settings. It has no spool of its own.
pub(crate) fn publisher(kafka: &KafkaSettings) -> Result<Publisher, PublishError> {
    let builder = Publisher::builder()
        .bootstrap_servers(&kafka.bootstrap_servers)
        .client_id(&kafka.client_id)
        .security(kafka.security.clone())
        .delivery_timeout(DELIVERY_TIME)
        .request_timeout(DELIVERY_TIME)
        .property("topic.metadata.propagation.max.ms", TOPIC_TIME);
    kafka.properties.iter().fold(builder, |builder, (name, value)| builder.property(name, value)).build()
}

/// What the status page says of the spool.
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
    shared: Arc<Shared>,
    wake: mpsc::SyncSender<()>,
    ended: mpsc::Receiver<()>,
}

struct Shared {
    spool: Spool,
    publisher: Publisher,
    stopped: AtomicBool,
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
        let shared = Arc::new(Shared { spool, publisher, stopped: AtomicBool::new(false), status: Mutex::new(status) });
        let (wake, woken) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel(1);
        let running = Arc::clone(&shared);
        let started = thread::Builder::new().name("spool".into()).spawn(move || {
            running.run(&woken);
            // Nobody waits for it any more: then nobody has to be told.
            let _ = end.send(());
        });
        if let Err(error) = started {
            error!(%error, "the spool is not drained: its thread cannot be started");
        }
        Self { shared, wake, ended }
    }

    /// What the status page shows.
    pub(super) fn view(&self) -> impl Fn() -> SpoolStatus + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.status().clone()
    }

    /// Ends it: what is under way is put back. Waits at most so long; a thread that takes longer ends
    /// with the process, and its claims with it.
    pub(super) fn stop(self, within: Duration) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The thread may have ended by itself.
        let _ = self.wake.try_send(());
        self.shared.publisher.close(Duration::ZERO);
        if self.ended.recv_timeout(within).is_err() {
            warn!("the spool's thread has not ended yet: what it took is taken over by the next drain");
        }
    }
}

impl Shared {
    fn status(&self) -> std::sync::MutexGuard<'_, SpoolStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, woken: &mpsc::Receiver<()>) {
        let mut pause = PAUSE;
        let mut told = Told::default();
        loop {
            let begin = Instant::now();
            let (drained, stats) = (self.pass(), self.spool.stats());
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let went_well = self.tell(&drained, &stats, &mut told);
            pause = if went_well { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            // A folder with very many files takes a while to list: it is not listed all the time.
            let pause = pause.max(begin.elapsed());
            if woken.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn pass(&self) -> Result<Drained, SpoolError> {
        drain(&self.spool, None, Budget::ALL, &mut |records| {
            if self.stopped.load(Ordering::SeqCst) {
                Vec::new()
            } else {
                self.publisher.send_unspooled(records, BATCH_TIME)
            }
        })
    }

    /// Metrics, status and log; whether the next pass may come soon.
    fn tell(
        &self,
        drained: &Result<Drained, SpoolError>,
        stats: &Result<SpoolStats, SpoolError>,
        told: &mut Told,
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
                told.problem(page.last_error.as_deref());
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
        told.destinations(drained, self.publisher.bootstrap_servers());
        told.problem(page.last_error.as_deref());
        drained.error.is_none() || drained.published > 0
    }
}

/// What the log says once and not at each pass.
#[derive(Default)]
struct Told {
    problem: Option<String>,
    destinations: BTreeSet<String>,
}

impl Told {
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
