//! What happens to each arrival, in order: look it up, queue its deliveries in their lanes, and end
//! it when the last of them has ended.
//!
//! One task owns the registry of events in flight and the lanes, so neither needs a lock. It never
//! waits on a delivery: deliveries run in tasks of their own and come back as messages.
//!
//! A lane is (topic, partition, key, agent): its deliveries are made one after the other, and the
//! next starts only when the one before has its end in the ledger.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::FutureExt;
use metrics::counter;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::{
    Outcome, PipelineError, Poisoned, Shared,
    deliver::{Ended, deliver, letter},
    expiry::Expiry,
    flight::{Arrival, Flight},
    now_ms,
};
use crate::{
    dedup::{Decision, InFlight, LedgerError, Planned, Record, decide},
    event::digest,
    telemetry,
};

/// What the receiver hands over.
pub(super) enum Message {
    Arrival(Box<Arrival>),
    Poison(Box<Poisoned>),
}

/// What a task reports when it is done.
enum Done {
    Delivery { lane: LaneKey, flight: Arc<Flight>, ended: Ended },
    Whole { flight: Arc<Flight>, buried: bool, reason: &'static str },
    Poison,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LaneKey {
    topic: Arc<str>,
    partition: i32,
    key: Arc<str>,
    agent: Arc<str>,
}

/// An event that waited for another with the same id, and is now the one in flight.
type Waiter = Option<Box<Arrival>>;

struct Queued {
    flight: Arc<Flight>,
    rule: Arc<str>,
}

pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    done: mpsc::Receiver<Result<Done, PipelineError>>,
    report: mpsc::Sender<Result<Done, PipelineError>>,
    in_flight: InFlight<Box<Arrival>>,
    lanes: HashMap<LaneKey, VecDeque<Queued>>,
    running: usize,
    /// Deliveries that were started, ever.
    started: u64,
    expiry: Expiry,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>, messages: mpsc::Receiver<Message>) -> Self {
        let (report, done) = mpsc::channel(1024);
        Self {
            shared,
            messages,
            done,
            report,
            in_flight: InFlight::default(),
            lanes: HashMap::new(),
            running: 0,
            started: 0,
            expiry: Expiry::new(Instant::now()),
        }
    }

    /// Runs until the bridge stops and every attempt under way has ended, or the ledger fails.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.shared.stop.clone();
        let mut open = true;
        loop {
            if stop.is_stopping() && self.running == 0 {
                return Ok(());
            }
            tokio::select! {
                biased;
                // First, because it is rare and short by itself: nothing that is always ready starves it.
                () = sleep_until(self.expiry.due()), if !stop.is_stopping() => self.expiry.step(&self.shared, &self.in_flight)?,
                Some(done) = self.done.recv() => self.done(done?)?,
                () = stop.stopping(), if !stop.is_stopping() => {}
                message = self.messages.recv(), if open && !stop.is_stopping() => match message {
                    Some(Message::Arrival(arrival)) => self.arrive(arrival)?,
                    Some(Message::Poison(poisoned)) => self.poison(poisoned),
                    // The consumer is gone. Why, is for others to say; what is under way goes on until the stop.
                    None => open = false,
                },
            }
        }
    }

    fn arrive(&mut self, arrival: Box<Arrival>) -> Result<(), LedgerError> {
        let id = arrival.event.id().to_owned();
        let Some(arrival) = self.in_flight.begin(&id, arrival) else {
            debug!(event_id = id, "the same event is in flight: this one waits for it");
            return Ok(());
        };
        self.admit_all(Some(arrival))
    }

    /// Admits an event, and then each that waited for it, until one has deliveries to make.
    fn admit_all(&mut self, mut next: Waiter) -> Result<(), LedgerError> {
        while let Some(arrival) = next {
            next = self.admit(*arrival)?;
        }
        Ok(())
    }

    /// Decides on an event that is now the one in flight with its id.
    fn admit(&mut self, arrival: Arrival) -> Result<Waiter, LedgerError> {
        let digest = digest(&arrival.event);
        let known = match self.shared.ledger.get(arrival.event.id()) {
            Ok(known) => known,
            Err(error @ LedgerError::CorruptRecord { .. }) => {
                self.bury_whole(arrival, digest, "ledger_record", error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let plan: Vec<Planned> = arrival
            .plan
            .iter()
            .map(|(rule, agent)| Planned { rule: Arc::clone(rule), agent: Arc::clone(agent) })
            .collect();
        match decide(known.as_ref(), digest, &plan, now_ms()) {
            Decision::Fresh(record) | Decision::Resume(record) => self.take_off(arrival, record),
            Decision::Duplicate => {
                debug!(event_id = arrival.event.id(), origin = %arrival.received.origin, "duplicate");
                return Ok(self.land(&grounded(arrival, digest), "duplicate"));
            }
            Decision::Unmatched => return Ok(self.land(&grounded(arrival, digest), "unmatched")),
            Decision::Conflict => self.conflict(arrival, digest),
        }
        Ok(None)
    }

    /// Queues what remains of an event in its lanes.
    fn take_off(&mut self, arrival: Arrival, record: Record) {
        let remaining: Vec<(Arc<str>, Arc<str>)> = record.remaining();
        let key: Arc<str> = arrival.event.key().into();
        let flight = Arc::new(Flight::new(arrival, record, remaining.len()));
        let origin = &flight.received.origin;
        for (rule, agent) in remaining {
            if let Some(runtime) = self.shared.agents.get(&agent) {
                runtime.waiting(1);
            }
            let lane =
                LaneKey { topic: Arc::clone(&origin.topic), partition: origin.partition, key: Arc::clone(&key), agent };
            let queue = self.lanes.entry(lane.clone()).or_default();
            queue.push_back(Queued { flight: Arc::clone(&flight), rule });
            if queue.len() == 1 {
                self.start(lane);
            }
        }
    }

    /// Starts the delivery at the head of a lane.
    fn start(&mut self, lane: LaneKey) {
        let Some(head) = self.lanes.get(&lane).and_then(VecDeque::front) else { return };
        let (flight, rule) = (Arc::clone(&head.flight), Arc::clone(&head.rule));
        let shared = Arc::clone(&self.shared);
        // Taken here, because tasks begin in any order.
        let number = self.started;
        self.started += 1;
        self.spawn(async move {
            let ended = deliver(&shared, &flight, &rule, &lane.agent, number).await?;
            Ok(Done::Delivery { lane, flight, ended })
        });
    }

    fn spawn(&mut self, work: impl Future<Output = Result<Done, LedgerError>> + Send + 'static) {
        self.running += 1;
        let report = self.report.clone();
        tokio::spawn(async move {
            // A defect must end the bridge where it can be seen, not leave one event stuck for ever.
            let done = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(done) => done.map_err(PipelineError::Ledger),
                Err(_) => Err(PipelineError::Lost("a delivery panicked (the log has where)".to_owned())),
            };
            // The dispatcher ends early only when the ledger failed, and then nothing counts any more.
            let _ = report.send(done).await;
        });
    }

    fn done(&mut self, done: Done) -> Result<(), LedgerError> {
        self.running -= 1;
        let next = match done {
            Done::Delivery { lane, flight, ended } => {
                if ended == Ended::Abandoned {
                    return Ok(());
                }
                if let Some(runtime) = self.shared.agents.get(&lane.agent) {
                    runtime.waiting(-1);
                }
                let queue = self.lanes.get_mut(&lane);
                if queue.is_some_and(|queue| {
                    queue.pop_front();
                    queue.is_empty()
                }) {
                    self.lanes.remove(&lane);
                } else if !self.shared.stop.is_stopping() {
                    self.start(lane);
                }
                if !flight.delivery_ended() {
                    return Ok(());
                }
                let dead = flight.read(Record::any_dead);
                self.land(&flight, if dead { "dead_lettered" } else { "delivered" })
            }
            Done::Whole { flight, buried: true, reason } => self.land_for(&flight, "dead_lettered", Some(reason)),
            Done::Whole { buried: false, .. } | Done::Poison => None,
        };
        self.admit_all(next)
    }

    /// The event has its outcome: its offset may be committed. Returns the event that waited for it.
    fn land(&mut self, flight: &Flight, outcome: &'static str) -> Waiter {
        self.land_for(flight, outcome, None)
    }

    fn land_for(&mut self, flight: &Flight, outcome: &'static str, reason: Option<&'static str>) -> Waiter {
        if let Some(ticket) = flight.take_ticket() {
            ticket.settle();
        }
        counter!(telemetry::EVENTS, "outcome" => outcome).increment(1);
        self.shared.observe(|| Outcome {
            event_id: Some(flight.event.id().to_owned()),
            origin: flight.received.origin.clone(),
            outcome,
            deliveries: flight.read(|record| record.deliveries().to_vec()),
            reason,
        });
        self.in_flight.end(flight.event.id())
    }

    /// The same id with other content is never a duplicate.
    fn conflict(&mut self, arrival: Arrival, digest: u64) {
        let error = format!(
            "event_id `{}` was seen before with another type, source, workflow or run: \
             give every event an id of its own and publish this one again",
            arrival.event.id()
        );
        self.bury_whole(arrival, digest, "id_conflict", error);
    }

    /// Dead-letters an event before anything of it is delivered; the ledger keeps what it has.
    fn bury_whole(&mut self, arrival: Arrival, digest: u64, reason: &'static str, error: String) {
        let flight = Arc::new(grounded(arrival, digest));
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let letter = letter(&flight.received, reason, error);
            let buried = shared.dead_letters.deliver(&letter, shared.stop.stopping()).await.is_ok();
            if buried {
                warn!(event_id = flight.event.id(), origin = %letter.origin, reason, error = letter.error, "dead letter");
            }
            Ok(Done::Whole { flight, buried, reason })
        });
    }

    fn poison(&mut self, poisoned: Box<Poisoned>) {
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let Poisoned { received, ticket, poison } = *poisoned;
            let letter = letter(&received, poison.kind(), poison.to_string());
            if shared.dead_letters.deliver(&letter, shared.stop.stopping()).await.is_ok() {
                warn!(origin = %letter.origin, reason = letter.reason, error = letter.error, "dead letter");
                counter!(telemetry::EVENTS, "outcome" => "dead_lettered").increment(1);
                shared.observe(|| Outcome {
                    event_id: None,
                    origin: letter.origin.clone(),
                    outcome: "dead_lettered",
                    deliveries: Vec::new(),
                    reason: Some(letter.reason),
                });
                ticket.settle();
            }
            Ok(Done::Poison)
        });
    }
}

/// An event without deliveries.
fn grounded(arrival: Arrival, digest: u64) -> Flight {
    Flight::new(arrival, Record::new(digest, 0, &[]), 0)
}
