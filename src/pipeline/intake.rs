//! The consumer loop's end of the pipeline: decode, route, and complete at once what no rule matches.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    watch,
};
use tracing::{error, warn};

use super::{
    clock::now_ms,
    context::PipelineContext,
    cost::{self, EventCost},
    event_state::{Arrival, Message, Poisoned, Received},
    outcome::{CompletedEvent, Outcome},
    outcome_log::{EventNames, excerpt},
    recent::Ended,
    rules::InForce,
};
use crate::{
    dedup::MAX_DELIVERIES,
    event::{BadRedrive, Event, EventType, Limits, Origin, Poison, Projected, Raw, RedriveRequest},
    kafka::{Incoming, Receive, Ticket},
    plan::Reading,
    throttle::Throttle,
};

/// Receives records on the consumer's thread. Never blocks.
pub(crate) struct Intake {
    context: Arc<PipelineContext>,
    sender: mpsc::Sender<Message>,
    limits: Limits,
    /// The rules in force as of the last record, and whether others are.
    rules: InForce,
    in_force: watch::Receiver<InForce>,
    unknown_types: Throttle<String>,
}

/// What a record is.
enum Read<'r> {
    /// An event that no rule matches, and that the ledger does not know.
    Unmatched(Projected<'r>),
    /// An event that may have deliveries.
    Event(Content<'r>, Planned),
}

/// What is to be made of an event: see [`Arrival`].
struct Planned {
    plan: Vec<(Arc<str>, Arc<str>)>,
    excess: Option<NonZeroUsize>,
    redrive: Option<Result<RedriveRequest, BadRedrive>>,
}

impl Planned {
    /// Of more than [`MAX_DELIVERIES`] it keeps what a redrive asks for: before anything is charged or built for the others.
    fn new(mut plan: Vec<(Arc<str>, Arc<str>)>, redrive: Option<Result<RedriveRequest, BadRedrive>>) -> Self {
        let excess = NonZeroUsize::new(plan.len()).filter(|found| found.get() > MAX_DELIVERIES);
        if excess.is_some() {
            let asked = redrive.as_ref().and_then(|redrive| redrive.as_ref().ok());
            plan.retain(|(rule, agent)| asked.is_some_and(|asked| (&asked.rule, &asked.agent) == (rule, agent)));
            plan.shrink_to_fit();
        }
        Self { plan, excess, redrive }
    }

    /// Whether the rules ask for nothing.
    fn is_nothing(&self) -> bool {
        self.plan.is_empty() && self.excess.is_none() && self.redrive.is_none()
    }
}

/// An event as far as its deliveries need it.
enum Content<'r> {
    Envelope(Projected<'r>),
    Decoded(Event),
}

/// Unknown event types that are logged, once each.
const MAX_UNKNOWN_TYPES: usize = 100;

impl Intake {
    pub(super) fn new(context: Arc<PipelineContext>, sender: mpsc::Sender<Message>, limits: Limits) -> Self {
        let mut in_force = context.rules.subscribe();
        let rules = in_force.borrow_and_update().clone();
        Self { context, sender, limits, rules, in_force, unknown_types: Throttle::once(MAX_UNKNOWN_TYPES) }
    }

    /// Logs an event that no rule matches. A misspelt type matches no rule, and its events would vanish silently.
    fn log_unmatched(&mut self, event: &EventNames<'_>, origin: &Origin) {
        self.context.outcome_log.unmatched(event, origin, false);
        let is_listed = self.rules.rules.plan.lists_event_type(event.event_type.as_str());
        if is_listed || !matches!(event.event_type, EventType::Other(_)) {
            return;
        }
        let name = excerpt(event.event_type.as_str());
        if self.unknown_types.admit(&*name, Instant::now()).is_some() {
            let known = EventType::NAMES;
            warn!(
                event_type = %name, ?known, topic = %origin.topic, partition = origin.partition, offset = origin.offset,
                "no rule matched an event whose event_type this version does not know (logged once for each type)"
            );
        }
    }

    /// Reads a record whose size was checked. What no rule matches, and what is sent as it was published, is not decoded as a
    /// whole.
    fn read<'r>(&self, record: &Incoming<'r>, headers: &'r [(&'r str, Option<&'r [u8]>)]) -> Result<Read<'r>, Poison> {
        let raw = Raw { key: record.key, value: record.value, headers, timestamp_ms: record.timestamp_ms };
        let redrive = RedriveRequest::read(headers.iter().copied());
        let (projected, event, plan) = match self.rules.rules.plan.read(&self.limits, &raw)? {
            Reading::Projected(projected, plan) => (Some(projected), None, plan),
            Reading::Decoded(event, plan) => (None, Some(event), plan),
        };
        let planned = Planned::new(plan, redrive);
        match projected {
            Some(projected) if planned.is_nothing() && !self.is_known(projected.id()) => Ok(Read::Unmatched(projected)),
            Some(projected) if planned.redrive.is_none() && self.is_sent_as_published(&planned.plan) => {
                Ok(Read::Event(Content::Envelope(projected), planned))
            }
            _ => Ok(Read::Event(Content::Decoded(event.map_or_else(|| self.limits.decode(raw), Ok)?), planned)),
        }
    }

    /// Whether no delivery needs more than the envelope and the text.
    fn is_sent_as_published(&self, plan: &[(Arc<str>, Arc<str>)]) -> bool {
        !plan.is_empty() && !plan.iter().any(|(rule, agent)| self.rules.rules.plan.reads_document(rule, agent))
    }

    /// An event that no rule matches may still be partly delivered by rules that are gone.
    fn is_known(&self, event_id: &str) -> bool {
        !matches!(self.context.ledger.get(event_id), Ok(None))
    }

    fn unmatched(&mut self, event: &EventNames<'_>, origin: &Origin, ticket: Ticket) {
        self.log_unmatched(event, origin);
        let event_id = event.id;
        let ended = Ended { outcome: Outcome::Unmatched, event: Some(*event), origin, reason: None };
        self.context.complete(Some(ticket), None, &ended, |outcome| CompletedEvent {
            event_id: Some(event_id.to_owned()),
            origin: origin.clone(),
            outcome,
            deliveries: Vec::new(),
            reason: None,
        });
    }

    fn send(&self, message: Message) {
        match self.sender.try_send(message) {
            // Shutdown: the ticket is dropped, and the record is read again by the next start.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(Message::Arrival(arrival))) => log_full(&arrival.received),
            Err(TrySendError::Full(Message::Poison(poisoned))) => log_full(&poisoned.received),
        }
    }
}

impl Receive for Intake {
    fn receive(&mut self, mut record: Incoming<'_>) {
        // The sender lives in the context.
        if self.in_force.has_changed().unwrap_or_default() {
            self.rules = self.in_force.borrow_and_update().clone();
        }
        if let Some(ms) = record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()) {
            // A time in the future must not disable the guard of the expiry.
            self.context.newest_record_ms.fetch_max(ms.min(now_ms()), Ordering::Relaxed);
        }
        // The size comes first: before a header is collected, and anything copied or parsed.
        let checked = self.limits.check(&record.size());
        let headers: Vec<_> = checked.iter().flat_map(|()| record.headers.iter()).collect();
        let (content, planned) = match checked.and_then(|()| self.read(&record, &headers)) {
            Ok(Read::Event(content, planned)) => (content, planned),
            Ok(Read::Unmatched(event)) => {
                return self.unmatched(&(&event).into(), &record.origin, record.ticket);
            }
            Err(poison) => {
                record.ticket.charge(cost::poison(record.copy_cost()));
                let (received, ticket) = into_owned(record);
                return self.send(Message::Poison(Box::new(Poisoned { received, ticket, poison })));
            }
        };
        if let Content::Decoded(event) = &content
            && planned.is_nothing()
            && !self.is_known(event.id())
        {
            return self.unmatched(&event.into(), &record.origin, record.ticket);
        }
        let copy = record.copy_cost();
        let (received, mut ticket) = into_owned(record);
        let event = match content {
            Content::Envelope(projected) => projected.into_event(received.text()),
            Content::Decoded(event) => event,
        };
        let cost = EventCost::of(&event, received.value.as_deref(), copy);
        let (plans, Planned { plan, excess, redrive }) = (&self.rules.rules.plan, planned);
        let deliveries: u64 = plan.iter().map(|(rule, agent)| cost.delivery(plans.builds_body(rule, agent))).sum();
        // Of an event with too many there is a dead letter.
        let letter = excess.map_or(0, |_| cost.delivery(false));
        ticket.charge(cost.event() + deliveries + letter);

        // Before anything is decided: its ledger record must stay until the event is committed.
        self.context.uncommitted.received(&received.origin, event.id());
        let (event, version) = (Arc::new(event), Arc::clone(&self.rules.version));
        self.send(Message::Arrival(Box::new(Arrival { event, received, ticket, version, plan, excess, redrive })));
    }
}

/// A defect: every message is charged to the budget, and the queue has that length.
fn log_full(received: &Received) {
    let origin = &received.origin;
    error!(
        topic = %origin.topic, partition = origin.partition, offset = origin.offset,
        "the queue to the lanes is full: this record is read again after a restart; this is a defect, please report it"
    );
}

fn into_owned(record: Incoming<'_>) -> (Received, Ticket) {
    let received = Received {
        key: record.key.map(Bytes::copy_from_slice),
        value: record.value.map(Bytes::copy_from_slice),
        headers: record.headers.to_owned_list().into(),
        timestamp_ms: record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()),
        origin: record.origin,
    };
    (received, record.ticket)
}
