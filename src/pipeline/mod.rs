//! From a received record to its outcome: connects what plans deliveries, the ledger and the agents.
//!
//! Owns the lanes, the retries, each agent's limits and breaker, and the rule that an offset is
//! completed only when every delivery of its event has ended in the ledger. It knows records and
//! tickets, not how Kafka is read: the consumer loop calls [`Intake`].
//!
//! | file | subject |
//! |---|---|
//! | `intake` | decode and route a record |
//! | `dispatch`, `lanes`, `start_queue` | look an event up in the ledger, queue its deliveries, complete it |
//! | `deliver`, `attempts`, `attempt`, `wait` | one delivery: its attempts, and its end |
//! | `next_step` | what happens after an attempt (pure) |
//! | `retry` | backoff, `give_up_after` and `max_attempts` (pure) |
//! | `compose`, `late`, `render` | build the request of an attempt |
//! | `dead_letter`, `dead_letter_sink`, `cause` | write a dead letter, where to, and its texts |
//! | `outcome`, `outcome_log` | what became of an event: the labels, the log |
//! | `parking` | deliveries to an agent that is down wait in a topic of their own |
//! | `rules`, `runtime` | the rules in force, those that an event keeps, and their agents |
//! | `reload` | what the bridge does when the routing folder has changed |
//! | `limiter`, `breaker`, `probe_queue`, `rate`, `concurrency` | when an agent may be called |
//! | `under_way` | one attempt of a delivery at a time |
//! | `calls` | the calls of handlers that are under way |
//! | `known_event` | what is known of one event |
//! | `recent` | the newest outcomes, for a page |
//! | `replica` | the ledger topic: what is appended to it, and merged from it |
//! | `uncommitted`, `expiry` | when a ledger record may be removed |
//! | `rewrite` | records that the ledger topic gets again |

mod attempt;
mod attempts;
mod breaker;
mod calls;
mod cause;
mod clock;
mod compose;
mod concurrency;
mod context;
mod cost;
mod dead_letter;
mod dead_letter_sink;
mod deliver;
mod dispatch;
mod error;
mod event_state;
mod expiry;
mod instruments;
mod intake;
mod known_event;
mod lanes;
mod late;
mod limiter;
mod missing;
mod next_step;
mod outcome;
mod outcome_log;
mod parking;
mod probe_queue;
mod rate;
mod recent;
mod reload;
mod render;
mod replica;
#[cfg(test)]
mod replica_model;
mod retry;
mod rewrite;
mod rules;
mod runtime;
mod start_queue;
mod uncommitted;
mod under_way;
mod wait;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub(crate) use breaker::BreakerState;
pub(crate) use clock::now_ms;
pub(crate) use dead_letter_sink::{DeadLetterFunction, DeadLetterSink};
pub(crate) use error::PipelineError;
pub(crate) use intake::Intake;
pub(crate) use known_event::{KnownEvent, KnownEvents};
pub(crate) use missing::LONGEST_WAIT as LONGEST_ENDPOINT_WAIT;
pub(crate) use outcome::{CompletedEvent, DeadLetterReason, Observer, Outcome};
pub(crate) use outcome_log::OutcomeLog;
pub(crate) use recent::{MAX_EVENTS as MAX_RECENT_EVENTS, RecentEvent, RecentNames, RecentQuery};
pub(crate) use reload::{OpenDeliveries, RulesHandle};
pub(crate) use replica::{Replication, replicate};
pub(crate) use runtime::{AgentStatus, FormerEndpointStatus};
pub(crate) use tokio_util::sync::CancellationToken;

use crate::{
    agents::ConnectError,
    dedup::Ledger,
    event::Limits,
    kafka::{ConsumerView, ParkedTopics},
    plan::Plan,
};
use calls::HandlerCalls;
use context::PipelineContext;
use dispatch::Dispatcher;
use instruments::OutcomeCounters;
use parking::Parking;
use recent::Recent;
use render::Renderer;
use rules::RulesInForce;
use uncommitted::Uncommitted;
use under_way::UnderWay;

/// How long what is under way may take to end where it stands.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

/// What the pipeline is built from.
pub(crate) struct Parts {
    /// What plans deliveries, and their agents.
    pub plan: Arc<dyn Plan>,
    /// The dedup ledger.
    pub ledger: Ledger,
    /// Appends the ledger's records to the ledger topic. `None` when that is off.
    pub replication: Option<Replication>,
    /// Where what cannot be delivered goes.
    pub dead_letters: DeadLetterSink,
    /// The most events in flight: the size of the queue between the consumer loop and the lanes.
    pub max_events: usize,
    /// The most memory of events in flight, in bytes.
    pub max_bytes: u64,
    /// The largest record that is read as an event.
    pub limits: Limits,
    /// Which outcomes are logged.
    pub outcome_log: OutcomeLog,
    /// Called with every completed event, for the demo.
    pub observer: Option<Observer>,
    /// How far the consumer has read and committed: it decides what leaves the ledger.
    pub consumer: ConsumerView,
    /// Where deliveries are parked.
    pub parked_topics: ParkedTopics,
    /// How long the breaker of an agent is open before its deliveries are parked; never when absent.
    pub park_after: Option<Duration>,
    /// How long an attempt of a handler goes on when its partition was given up: as long as the consumer waits for it.
    pub drain_timeout: Duration,
}

/// The running pipeline. Dropping it ends what is under way where it stands: nothing of that is recorded, and its events are read
/// again.
pub(crate) struct Pipeline {
    context: Arc<PipelineContext>,
    task: JoinHandle<Result<(), PipelineError>>,
}

impl Pipeline {
    /// Connects the agents and starts the lanes. The [`Intake`] goes to the consumer loop. After `shutdown` is
    /// cancelled no new work starts.
    pub(crate) fn start(parts: Parts, shutdown: CancellationToken) -> Result<(Self, Intake), ConnectError> {
        let rules = RulesInForce::new(parts.plan)?;
        let budget = (parts.max_events, parts.max_bytes);
        let parking = Parking::new(parts.parked_topics, rules.names(), parts.park_after, budget);
        let context = Arc::new(PipelineContext {
            rules,
            renderer: Renderer::start().map_err(|error| ConnectError::Threads { error })?,
            ledger: parts.ledger,
            replication: parts.replication,
            dead_letters: parts.dead_letters,
            parking,
            limits: parts.limits,
            shutdown,
            aborted: CancellationToken::new(),
            drain_timeout: parts.drain_timeout,
            newest_record_ms: AtomicU64::new(0),
            uncommitted: Uncommitted::default(),
            under_way: UnderWay::default(),
            calls: HandlerCalls::default(),
            fed_writes: AtomicU64::new(0),
            outcomes: OutcomeCounters::new(),
            recent: Recent::new(),
            outcome_log: parts.outcome_log,
            observer: parts.observer,
            consumer: parts.consumer,
        });
        // Every message is charged to the budget, so a queue of the budget's size is never full.
        let (sender, receiver) = mpsc::channel(parts.max_events + 1);
        let task = tokio::spawn(Dispatcher::new(Arc::clone(&context), receiver).run());
        let intake = Intake::new(Arc::clone(&context), sender, parts.limits);
        Ok((Self { context, task }, intake))
    }

    /// The current status of each agent, for the tests.
    #[cfg(test)]
    pub(crate) fn agents(&self) -> Vec<AgentStatus> {
        self.context.rules.now().rules.agents.status(&self.context.parking)
    }

    /// A view for the status API that outlives the pipeline.
    pub(crate) fn agents_view(&self) -> impl Fn() -> Vec<AgentStatus> + Send + Sync + 'static {
        let context = Arc::clone(&self.context);
        move || context.rules.now().rules.agents.status(&context.parking)
    }

    /// The same for the endpoints that are not in force and that deliveries wait for.
    pub(crate) fn former_endpoints_view(&self) -> impl Fn() -> Vec<FormerEndpointStatus> + Send + Sync + 'static {
        let context = Arc::clone(&self.context);
        move || context.rules.former_endpoints()
    }

    /// Puts other rules in force. It does not keep the pipeline alive.
    pub(crate) fn rules(&self) -> RulesHandle {
        RulesHandle::new(&self.context)
    }

    /// The rules in force, for the status API; outlives the pipeline.
    pub(crate) fn rules_view(&self) -> impl Fn() -> Arc<dyn Plan> + Send + Sync + 'static {
        let context = Arc::clone(&self.context);
        move || Arc::clone(&context.rules.now().rules.plan)
    }

    /// Answers questions about single events, after the end of the pipeline too.
    pub(crate) fn known_events(&self) -> KnownEvents {
        KnownEvents::new(Arc::clone(&self.context))
    }

    /// Drops the calls of handlers that are under way, and resolves when there are none: one that blocks its thread is dropped
    /// later. Nothing is recorded of them. Requests to agents go on.
    pub(crate) async fn stop_calls(&self) {
        self.context.calls.stop();
        self.context.calls.ended().await;
    }

    /// Drops it, and resolves when it uses the ledger no more, or could not be ended in time: a handler blocks its thread, for
    /// example.
    pub(crate) async fn abort(self) {
        let context = Arc::downgrade(&self.context);
        drop(self);
        let until = Instant::now() + ABORT_WITHIN;
        while context.strong_count() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Resolves when nothing is in flight after a shutdown, or with the error that ended the pipeline.
    pub(crate) async fn ended(&mut self) -> Result<(), PipelineError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(PipelineError::Lost(error.to_string())),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.context.aborted.cancel();
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
