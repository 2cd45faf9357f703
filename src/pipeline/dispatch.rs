//! What happens to each received event, in order: look it up, queue its deliveries in their lanes, and complete
//! it when the last of them has ended.
//!
//! One task owns the registry of events in flight and the lanes, so neither needs a lock. It never
//! waits for a delivery: deliveries run in tasks of their own and report back in messages.

mod parked;
mod redrive;
mod start;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{
    cause::Cause,
    context::PipelineContext,
    dead_letter::dead_letter,
    deliver::DeliveryEnd,
    error::PipelineError,
    event_state::{Arrival, EventState, Message, Poisoned, Received},
    expiry::Expiry,
    lanes::{LaneKey, Lanes, Queued},
    outcome::{CompletedEvent, Outcome},
    outcome_log::Subject,
    parking::follow::{Follower, ParkingDone, commit},
    recent::Ended,
    start_queue::StartQueue,
    wait::begin_attempt,
};
use crate::{
    dedup::{Decision, InFlightRegistry, LedgerError, PlannedDelivery, Record},
    event::{Event, RedriveRequest},
    kafka::{Acks, AttemptGuard, Ticket},
};

/// What a task reports when it is done.
enum Done {
    Delivery {
        lane: LaneKey,
        state: Arc<EventState>,
        end: DeliveryEnd,
    },
    Parking(ParkingDone),
    /// A dead letter for a whole record.
    DeadLetter {
        record: WholeRecord,
        reason: &'static str,
        /// It was written, and is under way until the record is completed. `None` when the pipeline shut down, or the
        /// partition was given up, before.
        written: Option<AttemptGuard>,
    },
}

/// A record of which nothing is delivered.
struct WholeRecord {
    /// `None` for poison.
    event: Option<Arc<Event>>,
    received: Received,
    ticket: Ticket,
    /// The redrive that it asked for.
    redrive: Option<RedriveRequest>,
    /// What the ledger topic has to have first.
    acks: Option<Acks>,
}

/// An event that waited for another with the same id, and is now the one in flight.
type Waiter = Option<Box<Arrival>>;

pub(super) struct Dispatcher {
    context: Arc<PipelineContext>,
    messages: mpsc::Receiver<Message>,
    done: mpsc::Receiver<Result<Done, PipelineError>>,
    report: mpsc::Sender<Result<Done, PipelineError>>,
    in_flight: InFlightRegistry<Box<Arrival>>,
    lanes: Lanes,
    /// Deliveries that have not begun: the first of their lanes.
    starts: StartQueue<(LaneKey, Queued)>,
    running: usize,
    expiry: Expiry,
    follower: Follower,
}

impl Dispatcher {
    pub(super) fn new(context: Arc<PipelineContext>, messages: mpsc::Receiver<Message>) -> Self {
        let (report, done) = mpsc::channel(1024);
        Self {
            context,
            messages,
            done,
            report,
            in_flight: InFlightRegistry::default(),
            lanes: Lanes::default(),
            starts: StartQueue::default(),
            running: 0,
            expiry: Expiry::new(Instant::now()),
            follower: Follower::new(Instant::now()),
        }
    }

    /// Runs until the pipeline is shut down and every attempt in flight has ended, or the ledger fails.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let context = Arc::clone(&self.context);
        let (shutdown, room) = (context.shutdown.clone(), self.starts.room());
        let mut open = true;
        loop {
            let running = !shutdown.is_cancelled();
            if !running && self.running == 0 {
                let _positions = commit(&self.context);
                return Ok(());
            }
            tokio::select! {
                biased;
                // First, because it is rare and short: an arm that is always ready must not starve it.
                () = sleep_until(self.expiry.due()), if running => self.expiry.step(&self.context, &self.in_flight)?,
                () = sleep_until(self.follower.due()), if running => self.follow(),
                Some(done) = self.done.recv() => self.done(done?)?,
                () = shutdown.cancelled(), if running => {}
                () = room.notified(), if running => self.start_ready(),
                () = context.parking.woken(), if running => self.follow(),
                message = self.messages.recv(), if open && running => match message {
                    Some(Message::Arrival(arrival)) => self.arrive(arrival)?,
                    Some(Message::Poison(poisoned)) => self.poison(*poisoned),
                    // Consumer gone: finish in-flight work until the shutdown.
                    None => open = false,
                },
            }
        }
    }

    fn arrive(&mut self, arrival: Box<Arrival>) -> Result<(), LedgerError> {
        self.follower.stir();
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
        if arrival.ticket.ownership().is_given_up() {
            // The next owner of its partition reads it.
            return Ok(self.in_flight.end(arrival.event.id()));
        }
        let merged = self.context.merged();
        let known = match self.context.ledger.get(arrival.event.id()) {
            Ok(known) => known,
            Err(error @ LedgerError::CorruptRecord { .. }) => {
                self.dead_letter_event(arrival, Cause::ledger_record(&error));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(cause) = Self::too_many(&arrival, known.as_ref()) {
            let acks = self.append_known(&arrival, known.as_ref());
            let record = WholeRecord { acks: Some(acks), ..arrival.into() };
            self.dead_letter_record(record, cause);
            return Ok(None);
        }
        let plan: Vec<PlannedDelivery> = arrival
            .plan
            .iter()
            .map(|(rule, agent)| PlannedDelivery { rule: Arc::clone(rule), agent: Arc::clone(agent) })
            .collect();
        let decision = match self.decide(&arrival, known.as_ref(), &plan) {
            Ok(Decision::Duplicate) => Self::with_parked(&arrival, known.as_ref()),
            Ok(decision) => decision,
            Err(cause) => {
                self.dead_letter_event(arrival, cause);
                return Ok(None);
            }
        };
        match decision {
            Decision::Fresh(record) => self.enqueue(arrival, record, &plan, merged, Acks::new()),
            Decision::Resume(record) => {
                let acks = self.append_known(&arrival, known.as_ref());
                self.enqueue(arrival, record, &plan, merged, acks);
            }
            Decision::Duplicate => {
                self.context.outcome_log.duplicate(&arrival.event, &arrival.received.origin, known.as_ref());
                let acks = self.append_known(&arrival, known.as_ref());
                return Ok(self.complete_record(arrival.into(), Some(&acks), Outcome::Duplicate, None));
            }
            Decision::Unmatched => {
                let (event, origin) = (&*arrival.event, &arrival.received.origin);
                self.context.outcome_log.unmatched(&event.into(), origin, known.is_some());
                return Ok(self.complete_record(arrival.into(), None, Outcome::Unmatched, None));
            }
            Decision::Conflict => {
                let cause = Cause::id_conflict(arrival.event.id());
                self.dead_letter_event(arrival, cause);
            }
        }
        Ok(None)
    }

    fn append_known(&self, arrival: &Arrival, known: Option<&Record>) -> Acks {
        self.context.append_known(arrival.received.origin.partition, arrival.event.id(), known)
    }

    fn spawn(&mut self, work: impl Future<Output = Result<Done, LedgerError>> + Send + 'static) {
        self.running += 1;
        let (report, aborted) = (self.report.clone(), self.context.aborted.clone());
        // A defect must end the bridge visibly, not leave one event stuck for ever. Boxed, because a future has room for each place
        // that it is moved to.
        let work = Box::pin(AssertUnwindSafe(work).catch_unwind());
        tokio::spawn(async move {
            let Some(ended) = aborted.run_until_cancelled_owned(work).await else { return };
            let done = match ended {
                Ok(done) => done.map_err(PipelineError::Ledger),
                Err(_) => Err(PipelineError::Lost("a delivery panicked (the log has where)".to_owned())),
            };
            // The dispatcher ends early only when the ledger failed: then the result is of no use.
            let _ = report.send(done).await;
        });
    }

    fn done(&mut self, done: Done) -> Result<(), LedgerError> {
        self.running -= 1;
        let next = match done {
            Done::Delivery { lane, state, end } => self.delivery_ended(lane, &state, end),
            Done::Parking(done) => {
                self.parking_done(done);
                None
            }
            Done::DeadLetter { record, written: None, .. } => self.abandoned(record.event.as_deref().map(Event::id)),
            Done::DeadLetter { mut record, reason, written: Some(under_way) } => {
                let acks = record.acks.take().unwrap_or_default();
                let waiter = self.complete_record(record, Some(&acks), Outcome::DeadLettered, Some(reason));
                // As after a delivery: the partition is released when its offset may be committed.
                acks.keep(under_way);
                waiter
            }
        };
        self.admit_all(next)
    }

    /// Starts the next delivery of the lane, and completes the event after its last delivery.
    ///
    /// The next one may belong to a later assignment of the partition; one that is given up too ends at once.
    fn delivery_ended(&mut self, lane: LaneKey, state: &Arc<EventState>, end: DeliveryEnd) -> Waiter {
        let under_way = match end {
            DeliveryEnd::Recorded(guard) => guard,
            DeliveryEnd::Abandoned => {
                state.abandon();
                None
            }
        };
        if let Some(next) = self.lanes.pop(&lane)
            && !self.context.shutdown.is_cancelled()
        {
            self.start(lane, next);
        }
        let waiter = match (state.end_delivery(), state.is_abandoned()) {
            (false, _) => None,
            (true, false) => {
                let rest = state.take_up_rest();
                if rest.is_empty() {
                    self.complete(state)
                } else {
                    self.queue(state, rest);
                    None
                }
            }
            (true, true) => {
                // Dropped, it refunds the budget and leaves the offset open.
                drop(state.take_ticket());
                if state.is_fed() { None } else { self.abandoned(Some(state.event.id())) }
            }
        };
        // After the ticket: the partition is released when its offset may be committed.
        if let Some(guard) = under_way {
            state.acks().keep(guard);
        }
        waiter
    }

    /// An event ended without an outcome. Another with its id, from a partition that is still owned, is looked up in the
    /// ledger now.
    fn abandoned(&mut self, event_id: Option<&str>) -> Waiter {
        if self.context.shutdown.is_cancelled() { None } else { self.in_flight.end(event_id?) }
    }

    /// Completes an event whose deliveries have all ended. Returns the event that waited for it.
    fn complete(&mut self, state: &EventState) -> Waiter {
        if state.is_fed() {
            // Its event had its outcome when it was parked.
            if let Some(ticket) = state.take_ticket() {
                ticket.complete_after(state.acks());
            }
            return None;
        }
        let outcome = if state.read(Record::any_dead) {
            Outcome::DeadLettered
        } else if state.read(Record::any_parked) {
            Outcome::Parked
        } else {
            Outcome::Delivered
        };
        let (event, origin) = (Some((&*state.event).into()), &state.received.origin);
        let ended = Ended { outcome, event, origin, reason: None };
        self.context.complete(state.take_ticket(), Some(state.acks()), &ended, |outcome| CompletedEvent {
            event_id: Some(state.event.id().to_owned()),
            origin: state.received.origin.clone(),
            outcome,
            deliveries: state.read(|record| record.deliveries().to_vec()),
            reason: None,
        });
        self.in_flight.end(state.event.id())
    }

    /// Completes a record of which nothing is to be delivered.
    fn complete_record(
        &mut self,
        record: WholeRecord,
        acks: Option<&Acks>,
        outcome: Outcome,
        reason: Option<&'static str>,
    ) -> Waiter {
        let WholeRecord { event, received, ticket, .. } = record;
        let ended = Ended { outcome, event: event.as_deref().map(Into::into), origin: &received.origin, reason };
        self.context.complete(Some(ticket), acks, &ended, |outcome| CompletedEvent {
            event_id: event.as_ref().map(|event| event.id().to_owned()),
            origin: received.origin.clone(),
            outcome,
            deliveries: Vec::new(),
            reason,
        });
        self.in_flight.end(event?.id())
    }

    /// Dead-letters an event before anything of it is delivered; the ledger keeps what it has.
    fn dead_letter_event(&mut self, arrival: Arrival, cause: Cause) {
        self.dead_letter_record(arrival.into(), cause);
    }

    fn poison(&mut self, poisoned: Poisoned) {
        let cause = Cause::poison(&poisoned.poison);
        let (received, ticket) = (poisoned.received, poisoned.ticket);
        let redrive = RedriveRequest::read(received.header_list()).and_then(Result::ok);
        let record = WholeRecord { event: None, received, ticket, redrive, acks: None };
        self.dead_letter_record(record, cause);
    }

    fn dead_letter_record(&mut self, record: WholeRecord, cause: Cause) {
        let context = Arc::clone(&self.context);
        self.spawn(async move {
            let ownership = record.ticket.ownership();
            let mut written = begin_attempt(&context.shutdown, ownership).await;
            let event = record.event.as_deref();
            let subject = Subject { event_id: event.map(Event::id), event, ..Self::asked(&record) };
            if written.is_some() && !dead_letter(&context, &record.received, ownership, &cause, subject).await {
                written = None;
            }
            Ok(Done::DeadLetter { record, reason: cause.reason(), written })
        });
    }
}

impl From<Arrival> for WholeRecord {
    fn from(arrival: Arrival) -> Self {
        let redrive = arrival.redrive.and_then(Result::ok);
        Self { event: Some(arrival.event), received: arrival.received, ticket: arrival.ticket, redrive, acks: None }
    }
}
