//! The threads of a consumer, from their start to their end.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{calls::Calls, error::ConsumerError, passed, settings::DataDir, slot::Slot};
use crate::{
    handlers::Handlers,
    running::{self, PartError, run_handlers},
};

/// Of the runtime. Handlers are called elsewhere, and Kafka is polled on a thread of its own.
const THREADS: usize = 2;
/// How many folders are tried whose ledger is still open.
const MAX_FOLDERS: usize = 16;
/// More than a stop ever takes, so that no time overflows.
const LONGEST_STOP: Duration = Duration::from_secs(86_400);
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
    stop: watch::Sender<Option<Stop>>,
}

/// A stop that has begun.
#[derive(Debug, Clone, Copy)]
struct Stop {
    /// The time that it may take.
    within: Duration,
    /// When it is over.
    at: Instant,
    /// Sooner than it began with: then it ends without order.
    is_shortened: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self { is_assigned: AtomicBool::new(false), ended: OnceLock::new(), stop: watch::Sender::new(None) }
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

    /// Begins the stop, or shortens it.
    pub(super) fn stop(&self, within: Duration) {
        let within = within.min(LONGEST_STOP);
        let at = Instant::now() + within;
        self.stop.send_if_modified(|stop| match stop {
            None => {
                *stop = Some(Stop { within, at, is_shortened: false });
                true
            }
            Some(stop) if at < stop.at => {
                (stop.at, stop.is_shortened) = (at, true);
                true
            }
            Some(_) => false,
        });
    }

    /// Resolves when it is to stop.
    async fn until_stopped(&self) -> Duration {
        let mut stop = self.stop.subscribe();
        // The sender lives here.
        let begun = stop.wait_for(Option::is_some).await;
        begun.ok().and_then(|stop| *stop).map(|stop| stop.within).unwrap_or_default()
    }

    /// Resolves when a stop that was shortened is over.
    async fn until_cut(&self) {
        let mut stop = self.stop.subscribe();
        loop {
            let shortened = stop.borrow_and_update().filter(|stop| stop.is_shortened);
            let over = async {
                match shortened {
                    Some(stop) => sleep_until(stop.at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender lives here.
                _ = stop.changed() => {}
            }
        }
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
        let mut slots = vec![slot];
        let error = run(&prepared, &mut slots, runtime, &ending);
        // Free before anybody knows of the end.
        drop(slots);
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
        let defect = "the consumer's thread panicked: this is a defect, please report it with the log";
        // It may be that there is no thread.
        self.life.end(thread::panicking().then(|| ("defect", defect.to_owned())));
        self.calls.signal();
    }
}

/// Takes further slots when the ledger of one is still open, and keeps them all: what ended before without order may need a moment to
/// leave Kafka, after its slot was free.
fn run(
    prepared: &Prepared,
    slots: &mut Vec<Slot>,
    runtime: Runtime,
    ending: &Ending,
) -> Option<(&'static str, String)> {
    let error = loop {
        let folder = slots.last().map(|slot| slot.folder.clone()).unwrap_or_default();
        let error = runtime.block_on(run_in(prepared, folder, ending)).err();
        let is_in_use = error.as_ref().is_some_and(PartError::is_of_ledger_in_use);
        match prepared.data_dir {
            DataDir::Below(_) if is_in_use && slots.len() < MAX_FOLDERS => match prepared.slot() {
                Ok(slot) => slots.push(slot),
                Err(_) => break error,
            },
            _ => break error,
        }
    };
    runtime.shutdown_timeout(SHUTDOWN_WITHIN);
    error.map(|error| (error.part(), error.to_string()))
}

async fn run_in(prepared: &Prepared, data_dir: PathBuf, ending: &Ending) -> Result<(), PartError> {
    let Ending { calls, life } = ending;
    let settings = running::Settings { data_dir, ..prepared.settings.clone() };
    let assigned = || {
        life.is_assigned.store(true, Ordering::Release);
        calls.signal();
    };
    let letters = prepared.passes_dead_letters.then(|| passed::function(calls));
    let handlers = Arc::clone(&prepared.handlers);
    tokio::select! {
        result = run_handlers(&settings, handlers, letters, assigned, life.until_stopped()) => result,
        // Dropped, it ends without order.
        () = life.until_cut() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_can_be_shortened_and_not_prolonged() {
        let seconds = Duration::from_secs;
        let life = Life::default();
        life.stop(seconds(60));
        life.stop(seconds(90));
        assert_eq!(life.until_stopped().await, seconds(60));
        let mut cut = Box::pin(life.until_cut());
        assert!(tokio::time::timeout(seconds(100), &mut cut).await.is_err(), "the stop itself has its own end");
        let life = Life::default();
        life.stop(Duration::MAX);
        let mut cut = Box::pin(life.until_cut());
        assert!(cut.as_mut().now_or_never().is_none());
        life.stop(seconds(5));
        assert!(cut.as_mut().now_or_never().is_none());
        life.stop(Duration::ZERO);
        tokio::time::timeout(seconds(1), cut).await.expect("at once");
    }

    #[test]
    fn a_start_without_a_thread_is_no_panic() {
        let life = Arc::new(Life::default());
        drop(Ending { calls: Arc::default(), life: Arc::clone(&life) });
        assert!(matches!(life.ended(), Some(Ended(None))));
    }
}
