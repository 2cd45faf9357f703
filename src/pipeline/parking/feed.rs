//! Reads parked deliveries back.
//!
//! Owns the step from a record of the parked topic to a delivery in its lane. What is read is bounded in number and bytes,
//! and charged to the budget.

use std::sync::Arc;

use bytes::Bytes;
use tracing::error;

use super::{
    super::{
        cause::Cause,
        clock::now_ms,
        context::PipelineContext,
        cost::EventCost,
        dead_letter::dead_letter,
        event_state::{EventState, Received},
        outcome_log::Subject,
        wait::{begin_attempt, stopped},
    },
    FedBytes, ReadRange, SourcePartition,
    scan::log_forgotten,
    standing::{Standing, standing},
    turn::count,
};
use crate::{
    dedup::{DeliveryStatus, LedgerError, PlannedDelivery, Record},
    event::{Event, Origin, Raw, RecordSize, digest},
    kafka::{Acks, ParkedDelivery, ParkedHead, ParkedHeaders, ReadEnd, ReadError, ReadFrom, Ticket, Visit, Visited},
    sync::Mutex,
};

/// What a read brought.
pub(in crate::pipeline) struct Fed {
    /// Which log the offsets are of.
    pub(in crate::pipeline) epoch: u32,
    pub(in crate::pipeline) next: i64,
    pub(in crate::pipeline) deliveries: Vec<FedDelivery>,
}

/// A parked delivery that was read back.
pub(in crate::pipeline) struct FedDelivery {
    pub(in crate::pipeline) offset: i64,
    pub(in crate::pipeline) parked_ms: u64,
    pub(in crate::pipeline) rule: Arc<str>,
    pub(in crate::pipeline) agent: Arc<str>,
    pub(in crate::pipeline) event: FedEvent,
}

/// Its event.
pub(in crate::pipeline) enum FedEvent {
    Readable(Arc<EventState>),
    /// It was an event when it was parked; the limits may have changed since.
    Unreadable(Box<Unreadable>),
}

pub(in crate::pipeline) struct Unreadable {
    received: Received,
    head: ParkedHead<Arc<str>>,
    cause: Cause,
    ticket: Ticket,
}

/// The visitor's own, while the reader's thread has it.
#[derive(Default)]
struct Seen {
    deliveries: Vec<(i64, ParkedDelivery)>,
    bytes: usize,
    forgotten: u64,
    error: Option<LedgerError>,
}

/// What a delivery takes in memory when it was read back, as a multiple of its record, for an ordinary event.
const TAKES: usize = 8;

/// Reads deliveries of a line: at most as many as there is room for, and about so many bytes, but at least one. `None` when
/// the partition was given up meanwhile.
pub(in crate::pipeline) async fn read(
    context: &PipelineContext,
    partition: &Arc<SourcePartition>,
    line: &Arc<str>,
    range: ReadRange,
    room: (usize, usize),
) -> Result<Option<Result<Fed, ReadError>>, LedgerError> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let visitor = visitor(context, partition, line, room, Arc::clone(&seen));
    let place = (&*partition.topic, partition.number);
    let read = tokio::select! {
        biased;
        () = stopped(&context.shutdown, &partition.ownership) => return Ok(None),
        read = context.parking.topics.read(place, ReadFrom::Offset(range.from), Some(range.until), visitor) => read,
    };
    let seen = std::mem::take(&mut *seen.lock());
    if let Some(error) = seen.error {
        return Err(error);
    }
    let read = match read {
        Ok(read) => read,
        Err(error) => return Ok(Some(Err(error))),
    };
    if is_short(read, range) {
        let reason = "it ends before what was parked there. If it was removed, what was parked there is lost: restart \
                      this replica to go on without";
        return Ok(Some(Err(context.parking.topics.unreadable(place, reason))));
    }
    if read.missing > 0 {
        error!(
            topic = context.parking.topics.name(&partition.topic),
            partition = partition.number,
            missing = read.missing,
            advice = "set the topic's retention.ms and retention.bytes to -1, and do not remove its records",
            "parked deliveries were removed from their topic before they were delivered: they are lost"
        );
    }
    log_forgotten(context, partition, seen.forgotten);
    let mut deliveries = Vec::with_capacity(seen.deliveries.len());
    for (offset, delivery) in seen.deliveries {
        deliveries.extend(fed(context, partition, line, (range.epoch, offset), delivery)?);
    }
    Ok(Some(Ok(Fed { epoch: range.epoch, next: read.next, deliveries })))
}

/// Whether the topic ends before what is known to be there: its broker may not know it yet, or it was created again. Nothing
/// of the range is passed over for that.
fn is_short(read: ReadEnd, range: ReadRange) -> bool {
    read.next >= read.end && read.end < range.until
}

fn visitor(
    context: &PipelineContext,
    partition: &SourcePartition,
    line: &Arc<str>,
    (room, max_bytes): (usize, usize),
    seen: Arc<Mutex<Seen>>,
) -> Box<dyn FnMut(Visited<'_>) -> Visit + Send> {
    let committed = partition.committed(&context.consumer);
    let (ledger, agents, line) = (context.ledger.clone(), context.parking.names(), Arc::clone(line));
    let (topic, number) = (Arc::clone(&partition.topic), partition.number);
    Box::new(move |record: Visited<'_>| {
        let headers: Vec<_> = record.headers.iter().collect();
        let Ok(read) = ParkedHeaders::read(&headers) else { return Visit::Continue };
        let head = &read.head;
        if agents.line(head.agent) != &*line || read.topic != &*topic || read.partition != number {
            return Visit::Continue;
        }
        let mut seen = seen.lock();
        match standing(&ledger, &read, committed) {
            Ok(Standing::Parked) => {}
            Ok(Standing::Ended) => return Visit::Continue,
            Ok(Standing::Forgotten) => {
                seen.forgotten += 1;
                return Visit::Continue;
            }
            Err(error) => {
                seen.error = Some(error);
                return Visit::Stop;
            }
        }
        let original = &headers[..read.original];
        let delivery = ParkedDelivery {
            origin: Origin { topic: Arc::clone(&topic), partition: number, offset: read.offset },
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: original.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect(),
            timestamp_ms: read.timestamp_ms,
            head: head.to_owned_head(),
        };
        seen.bytes += TAKES * delivery.size().bytes();
        seen.deliveries.push((record.offset, delivery));
        if seen.deliveries.len() >= room || seen.bytes >= max_bytes { Visit::Stop } else { Visit::Continue }
    })
}

/// Makes a delivery of it again. `None` for a record that was not written for the event that its headers name: it must not
/// take the place of the one that was.
fn fed(
    context: &PipelineContext,
    partition: &Arc<SourcePartition>,
    line: &Arc<str>,
    (epoch, offset): (u32, i64),
    delivery: ParkedDelivery,
) -> Result<Option<FedDelivery>, LedgerError> {
    let size = delivery.size();
    let ParkedDelivery { origin, key, value, headers, timestamp_ms, head } = delivery;
    let (ended, line) = (Arc::downgrade(partition), Arc::clone(line));
    let waker = Arc::clone(&context.parking.wake);
    let taken = Arc::new(context.parking.count_fed());
    taken.add(size.bytes() as u64);
    let owned = Arc::clone(&taken);
    let mut ticket = context.consumer.fed_ticket(&partition.ownership, offset, &size, move |offset| {
        // Owned, so that it is dropped with the ticket.
        let _taken: &FedBytes = &owned;
        if let Some(partition) = ended.upgrade() {
            partition.ended(&line, (epoch, offset));
            waker.notify_one();
        }
    });
    let received = Received { origin, key, value, headers, timestamp_ms };
    let (parked_ms, rule, agent) = (head.parked_ms, Arc::clone(&head.rule), Arc::clone(&head.agent));
    let event = match decode(context, &received, &size) {
        Ok(event) => {
            let cost = EventCost::of(&event, received.value.as_deref(), size.bytes() as u64);
            // By the rules in force: those that planned it were forgotten when its event had its outcome.
            let in_force = context.rules.now();
            let planned = in_force.find(&rule, &head.agent);
            let delivery = planned.map_or(0, |of| cost.delivery(of.plan.builds_body(&of.rule, &head.agent)));
            ticket.charge(cost.event() + delivery);
            taken.add(cost.event() + delivery);
            match context.ledger.get(event.id()) {
                Ok(known) if has_ended(known.as_ref(), &head) || !is_of(&event, &head, known.as_ref()) => {
                    return Ok(None);
                }
                Ok(known) => {
                    let record = record(known, &event, &head);
                    let fed = (parked_ms, ticket, in_force.version);
                    FedEvent::Readable(Arc::new(EventState::fed(event, received, record, fed)))
                }
                Err(error @ LedgerError::CorruptRecord { .. }) => {
                    let cause = Cause::ledger_record(&error);
                    FedEvent::Unreadable(Box::new(Unreadable { received, head, cause, ticket }))
                }
                Err(error) => return Err(error),
            }
        }
        Err(cause) => FedEvent::Unreadable(Box::new(Unreadable { received, head, cause, ticket })),
    };
    Ok(Some(FedDelivery { offset, parked_ms, rule, agent, event }))
}

/// Whether it needs nothing more: another record of the same delivery came before.
fn has_ended(known: Option<&Record>, head: &ParkedHead<Arc<str>>) -> bool {
    known.is_some_and(|known| known.has_ended_in(&head.rule, &head.agent, head.generation))
}

/// Whether it is the event that was parked.
fn is_of(event: &Event, head: &ParkedHead<Arc<str>>, known: Option<&Record>) -> bool {
    let is_same = event.id() == &*head.event_id && known.is_none_or(|known| known.digest() == digest(event));
    if !is_same {
        error!(
            event_id = %head.event_id, rule = %head.rule, agent = %head.agent, found = event.id(),
            "a record of the topic for parked deliveries has another event than its headers name: it is skipped"
        );
    }
    is_same
}

fn decode(context: &PipelineContext, received: &Received, size: &RecordSize) -> Result<Arc<Event>, Cause> {
    context.limits.check(size).map_err(|poison| Cause::poison(&poison))?;
    let headers: Vec<_> = received.header_list().collect();
    let raw = Raw {
        key: received.key.as_deref(),
        value: received.value.as_deref(),
        headers: &headers,
        timestamp_ms: received.timestamp_ms.and_then(|ms| i64::try_from(ms).ok()),
    };
    context.limits.decode(raw).map(Arc::new).map_err(|poison| Cause::poison(&poison))
}

/// The ledger's record of the event. One that is lost is made again of what the parked record says.
fn record(known: Option<Record>, event: &Event, head: &ParkedHead<Arc<str>>) -> Record {
    let (rule, agent) = (&head.rule, &head.agent);
    let names = |record: &Record| {
        let mut deliveries = record.deliveries().iter().filter(|one| one.rule == *rule && one.agent == *agent);
        deliveries.any(|delivery| delivery.generation >= head.generation)
    };
    if let Some(known) = known.filter(names) {
        return known;
    }
    let planned = PlannedDelivery { rule: Arc::clone(rule), agent: Arc::clone(agent) };
    let mut record = Record::new(digest(event), head.parked_ms.min(now_ms()), &[planned]);
    record.raise(rule, agent, head.generation);
    if let Some(first) = head.first_attempt_ms {
        record.record_attempt_time(rule, agent, first);
    }
    for _ in 0..head.failed_attempts.min(MAX_RESTORED_ATTEMPTS) {
        record.record_failed_attempt(rule, agent, head.first_attempt_ms.unwrap_or(head.parked_ms));
    }
    for _ in 0..head.attempts.min(MAX_RESTORED_ATTEMPTS) {
        record.record_attempt(rule, agent);
    }
    record.finish(rule, agent, DeliveryStatus::Parked, head.parked_ms);
    record
}

/// More attempts than any setting allows.
const MAX_RESTORED_ATTEMPTS: u32 = 100_000;

/// Dead-letters a parked delivery whose event cannot be read any more.
pub(in crate::pipeline) async fn dead_letter_unreadable(
    context: &PipelineContext,
    unreadable: Unreadable,
) -> Result<(), LedgerError> {
    let Unreadable { received, head, cause, ticket } = unreadable;
    let ownership = Arc::clone(ticket.ownership());
    let Some(_under_way) = begin_attempt(&context.shutdown, &ownership).await else { return Ok(()) };
    let (rule, agent) = (&head.rule, &head.agent);
    // One that the ledger does not know, or knows in an earlier generation, has no end either.
    let known = context.ledger.get(&head.event_id);
    if let Ok(known) = &known
        && has_ended(known.as_ref(), &head)
    {
        ticket.complete();
        return Ok(());
    }
    let subject = Subject {
        event_id: Some(&head.event_id),
        event: None,
        delivery: Some((rule, agent)),
        generation: head.generation,
        sent_to: known.ok().flatten().and_then(|record| record.sent_to(rule, agent)),
        attempts: head.attempts,
    };
    if !dead_letter(context, &received, &ownership, &cause, subject).await {
        return Ok(());
    }
    // A record that cannot be read is left as it is.
    let acks = Acks::new();
    if let Ok(Some(mut record)) = context.ledger.get(&head.event_id) {
        record.raise(rule, agent, head.generation);
        record.finish(rule, agent, DeliveryStatus::Dead, now_ms());
        context.write((received.origin.partition, &head.event_id), &record, &acks)?;
        context.fed_write();
        context.ledger.durable().await?;
    }
    count(context.parking.line(agent), "dead_lettered");
    ticket.complete_after(&acks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_over_because_the_topic_is_said_to_end_early() {
        let range = ReadRange { from: 3, until: 9, epoch: 0 };
        let is_short =
            |next, end| is_short(ReadEnd { next, end, exists: true, source_committed: None, missing: 0 }, range);
        assert!(!is_short(5, 20));
        assert!(!is_short(9, 9));
        assert!(is_short(0, 0) && is_short(3, 3) && is_short(8, 8));
    }
}
