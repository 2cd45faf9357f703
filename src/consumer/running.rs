//! The threads of a consumer, from their start to their end.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Runtime, sync::watch};

use super::{calls::Calls, error::ConsumerError, passed, settings::DataDir, slot::Slot};
use crate::{
    handlers::Handlers,
    running::{self, run_handlers},
};

/// Of the runtime. Handlers are called elsewhere, and Kafka is polled on a thread of its own.
const THREADS: usize = 2;
/// How long what is left of the runtime may take to end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);

/// What is checked, and not started.
pub(super) struct Prepared {
    pub(super) settings: running::Settings,
    pub(super) data_dir: DataDir,
    pub(super) handlers: Arc<Handlers>,
    /// What would be a dead letter is passed over.
    pub(super) passes_dead_letters: bool,
}

/// How it ended: with an error, or as it was asked to.
#[derive(Debug)]
pub(super) struct Ended(pub(super) Option<(&'static str, String)>);

/// What is known of a consumer's threads.
#[derive(Debug)]
pub(super) struct Life {
    is_assigned: AtomicBool,
    ended: OnceLock<Ended>,
    /// The time that the stop may take.
    stopped: watch::Sender<Option<Duration>>,
}

impl Default for Life {
    fn default() -> Self {
        Self { is_assigned: AtomicBool::new(false), ended: OnceLock::new(), stopped: watch::Sender::new(None) }
    }
}

impl Life {
    pub(super) fn is_assigned(&self) -> bool {
        self.is_assigned.load(Ordering::Acquire)
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// The first end counts.
    pub(super) fn end(&self, error: Option<(&'static str, String)>) {
        let _ = self.ended.set(Ended(error));
    }

    pub(super) fn stop(&self, within: Duration) {
        self.stopped.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert(within);
            is_first
        });
    }

    /// Resolves when it is to stop.
    async fn until_stopped(&self) -> Duration {
        let mut stopped = self.stopped.subscribe();
        // The sender lives here.
        let within = stopped.wait_for(Option::is_some).await;
        within.ok().and_then(|within| *within).unwrap_or_default()
    }
}

impl Prepared {
    /// Takes the folder of this process.
    pub(super) fn slot(&self) -> Result<Slot, ConsumerError> {
        match &self.data_dir {
            DataDir::Chosen(folder) => Ok(Slot::chosen(folder.clone())),
            DataDir::Below(root) => Slot::first_free(root)
                .map_err(|error| ConsumerError::Data { folder: root.display().to_string(), reason: error.to_string() }),
        }
    }
}

/// Starts the threads.
pub(super) fn start(prepared: Prepared, slot: Slot, calls: Arc<Calls>, life: Arc<Life>) -> Result<(), ConsumerError> {
    let failed = |error: std::io::Error| ConsumerError::System(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("workflow-consumer")
        .enable_all()
        .build()
        .map_err(failed)?;
    let ending = Ending { calls, life };
    let run = move || {
        let error = run(&prepared, &slot, runtime, &ending);
        // Free before anybody knows of the end.
        drop(slot);
        ending.life.end(error);
    };
    thread::Builder::new().name("workflow-consumer".into()).spawn(run).map(drop).map_err(failed)
}

/// Says that the threads have ended, also when they panicked.
struct Ending {
    calls: Arc<Calls>,
    life: Arc<Life>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let defect = "the consumer's thread panicked: this is a defect, please report it with the log".to_owned();
        self.life.end(Some(("defect", defect)));
        self.calls.signal();
    }
}

fn run(prepared: &Prepared, slot: &Slot, runtime: Runtime, ending: &Ending) -> Option<(&'static str, String)> {
    let settings = running::Settings { data_dir: slot.folder.clone(), ..prepared.settings.clone() };
    let assigned = || {
        ending.life.is_assigned.store(true, Ordering::Release);
        ending.calls.signal();
    };
    let letters = prepared.passes_dead_letters.then(|| passed::function(&ending.calls));
    let until = ending.life.until_stopped();
    let result = runtime.block_on(run_handlers(&settings, Arc::clone(&prepared.handlers), letters, assigned, until));
    runtime.shutdown_timeout(SHUTDOWN_WITHIN);
    result.err().map(|error| (error.part(), error.to_string()))
}
