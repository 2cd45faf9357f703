//! From a received record to its outcome: what ties routing, the ledger and the agents together.
//!
//! Owns the lanes, the retries, each agent's limits and breaker, and the rule that an offset is
//! settled only when every delivery of its event has its end in the ledger. It knows records and
//! tickets, not how Kafka is read: [`Intake`] is what the consumer loop calls.

mod breaker;
mod cost;
mod deliver;
mod dispatch;
mod door;
mod expiry;
mod flight;
mod intake;
mod rate;
mod render;
mod retry;
mod runtime;
mod stop;
mod turns;
mod uncommitted;
mod verdict;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinHandle};

pub use intake::Intake;
pub use runtime::AgentStatus;
pub use stop::{Stop, Stopper, stop};

use crate::{
    agents::{ClaimPolicy, ConnectError},
    dedup::{Delivery, Ledger, LedgerError, ledger_now},
    event::{Limits, Origin, Poison},
    kafka::{DeadLetters, ReadProgress, StatusView, Ticket},
    routing::Routing,
};
use dispatch::Dispatcher;
use flight::Received;
use render::Renderer;
use runtime::Agents;
use uncommitted::Uncommitted;

/// Why an event or a delivery is a dead letter, beside the kinds of poison.
pub const REASONS: &[&str] =
    &["refused", "gave_up", "max_attempts", "template", "plan_gone", "id_conflict", "ledger_record"];

/// What became of one event, for whoever asked to be told.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The event's id; `None` for poison.
    pub event_id: Option<String>,
    /// Where its record stands.
    pub origin: Origin,
    /// `delivered`, `duplicate`, `unmatched` or `dead_lettered`.
    pub outcome: &'static str,
    /// Each delivery, as the ledger has it.
    pub deliveries: Vec<Delivery>,
    /// Why the whole record is a dead letter, if it is.
    pub reason: Option<&'static str>,
}

/// Told of every outcome.
pub type Observer = Arc<dyn Fn(Outcome) + Send + Sync>;

/// What the pipeline is built from.
pub struct Parts {
    /// The rules and agents in force.
    pub routing: Arc<Routing>,
    /// The dedup ledger.
    pub ledger: Ledger,
    /// Where dead letters go.
    pub dead_letters: DeadLetters,
    /// The most events in flight: the size of the queue between the consumer loop and the lanes.
    pub max_events: usize,
    /// How large a record may be that is read as an event.
    pub limits: Limits,
    /// Told of outcomes, for the demo.
    pub observer: Option<Observer>,
    /// The rules of claim-then-look; all of them hold but in tests that prove that they are needed.
    #[doc(hidden)]
    pub claim_policy: ClaimPolicy,
    /// The consumer, once it is started: how far it has read and committed decides what leaves the ledger.
    pub consumer: Arc<OnceLock<StatusView>>,
}

/// A record that is no event, on its way to the dead-letter topic.
struct Poisoned {
    received: Received,
    ticket: Ticket,
    poison: Poison,
}

/// What every task of the pipeline shares.
struct Shared {
    routing: Arc<Routing>,
    agents: Agents,
    renderer: Renderer,
    ledger: Ledger,
    dead_letters: DeadLetters,
    stop: Stop,
    newest_record_ms: AtomicU64,
    uncommitted: Uncommitted,
    observer: Option<Observer>,
    consumer: Arc<OnceLock<StatusView>>,
}

/// The local clock, ms since 1970.
fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// For a log: JSON has no numbers of 128 bits.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// The clock that ages ledger records: the moment through which every assigned partition has been
    /// read, and no later than the local clock or the newest record, so that a clock that jumps ahead
    /// expires nothing. `None` while records wait to be read. Takes in what is committed by then.
    fn ledger_now_ms(&self) -> Option<u64> {
        let progress = self.take_in_commits()?;
        let newest = self.newest_record_ms.load(Ordering::Relaxed);
        ledger_now(now_ms().min(progress.through_ms?), (newest > 0).then_some(newest))
    }

    /// Forgets the records that are committed by now: no restart reads them again.
    fn take_in_commits(&self) -> Option<ReadProgress> {
        let progress = self.consumer.get()?.read_progress();
        for (topic, partition, offset) in &progress.committed {
            self.uncommitted.committed(topic, *partition, *offset);
        }
        Some(progress)
    }

    fn observe(&self, outcome: impl FnOnce() -> Outcome) {
        if let Some(observer) = &self.observer {
            observer(outcome());
        }
    }
}

/// The running pipeline.
pub struct Pipeline {
    shared: Arc<Shared>,
    task: JoinHandle<Result<(), PipelineError>>,
}

impl Pipeline {
    /// Connects the agents and starts the lanes. The [`Intake`] goes to the consumer loop.
    pub fn start(parts: Parts, stop: Stop) -> Result<(Self, Intake), ConnectError> {
        let shared = Arc::new(Shared {
            agents: Agents::connect(parts.routing.agents(), parts.claim_policy)?,
            renderer: Renderer::start().map_err(|error| ConnectError::Threads { error })?,
            routing: parts.routing,
            ledger: parts.ledger,
            dead_letters: parts.dead_letters,
            stop,
            newest_record_ms: AtomicU64::new(0),
            uncommitted: Uncommitted::default(),
            observer: parts.observer,
            consumer: parts.consumer,
        });
        // Every message holds a place in the budget, so a queue of the budget's size is never full.
        let (sender, receiver) = mpsc::channel(parts.max_events + 1);
        let task = tokio::spawn(Dispatcher::new(Arc::clone(&shared), receiver).run());
        let intake = Intake::new(Arc::clone(&shared), sender, parts.limits);
        Ok((Self { shared, task }, intake))
    }

    /// Each agent as it is now.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.shared.agents.status()
    }

    /// A view for the status API that outlives the pipeline.
    pub fn agents_view(&self) -> impl Fn() -> Vec<AgentStatus> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.agents.status()
    }

    /// Resolves when nothing is under way after a stop, or with the error that ended it.
    pub async fn ended(&mut self) -> Result<(), PipelineError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(PipelineError::Lost(error.to_string())),
        }
    }
}

/// Why the pipeline ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The ledger cannot be written: going on could run an agent twice.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A defect of the bridge.
    #[error(
        "{0}: this is a defect of the bridge: start it again (nothing unfinished is committed) and report it with the log"
    )]
    Lost(String),
}

#[cfg(test)]
mod tests;
