//! What is parked: looked up when a partition is assigned, before anything of it is attempted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tracing::{error, info, warn};

use super::{
    super::{
        context::PipelineContext,
        wait::{pause, stopped},
    },
    AgentNames, Found, SourcePartition,
    standing::{Standing, standing},
    unsent::Unsent,
};
use crate::{
    dedup::LedgerError,
    kafka::{ParkedHeaders, ReadEnd, ReadError, ReadFrom, Visit, Visited},
    sync::Mutex,
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a scan found, by line, and the end of the parked partition.
pub(in crate::pipeline) struct Scanned {
    pub(in crate::pipeline) found: HashMap<Arc<str>, Found>,
    pub(in crate::pipeline) end: i64,
    /// Whether the parked partition exists.
    pub(in crate::pipeline) exists: bool,
    /// The agents that had lines.
    pub(in crate::pipeline) names: AgentNames,
    pub(in crate::pipeline) unsent: Unsent,
}

/// The visitor's own, while the reader's thread has it.
#[derive(Default)]
struct Seen {
    found: HashMap<Arc<str>, Found>,
    unsent: Unsent,
    unreadable: u64,
    forgotten: u64,
    error: Option<LedgerError>,
}

/// Scans what is parked of a partition, and retries until it is known. `None` when the partition was given up before.
pub(in crate::pipeline) async fn scan(
    context: &PipelineContext,
    partition: &SourcePartition,
) -> Result<Option<Scanned>, LedgerError> {
    let mut wait = FIRST_WAIT;
    loop {
        let notes_unsent = partition.may_have_unsent(context);
        match scan_once(context, partition, notes_unsent).await? {
            Some(Ok((seen, read, names))) => {
                log(context, partition, &seen, read);
                let Seen { found, unsent, .. } = seen;
                return Ok(Some(Scanned { found, end: read.end, exists: read.exists, names, unsent }));
            }
            None => return Ok(None),
            Some(Err(error)) if error.is_refused => {
                partition.refused();
                if context.parking.admits_refusal() {
                    error!(
                        topic = %partition.topic, partition = partition.number, %error,
                        advice = "grant our user DESCRIBE, READ, WRITE and CREATE on it",
                        "the topic for parked deliveries is refused: nothing is parked, and what is parked there waits \
                         (logged at most every 5 minutes)"
                    );
                }
                wait = LONGEST_WAIT;
            }
            Some(Err(error)) => warn!(
                topic = %partition.topic, partition = partition.number, %error,
                "what is parked is not known yet: the deliveries of the partition wait"
            ),
        }
        if !pause(stopped(&context.shutdown, &partition.ownership), wait).await {
            return Ok(None);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Takes note of the ends from this offset on that the ledger topic may not have, as many as fit. `None` when the partition
/// was given up before.
pub(super) async fn unsent_from(
    context: &PipelineContext,
    partition: &SourcePartition,
    offset: i64,
) -> Result<Option<Unsent>, LedgerError> {
    loop {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let place = (&*partition.topic, partition.number);
        let visitor = note_only(context, partition, &seen);
        let read = tokio::select! {
            biased;
            () = stopped(&context.shutdown, &partition.ownership) => return Ok(None),
            read = context.parking.topics.read(place, ReadFrom::Offset(offset), None, visitor) => read,
        };
        let Seen { unsent, error, .. } = std::mem::take(&mut *seen.lock());
        if let Some(error) = error {
            return Err(error);
        }
        let error = match read {
            Ok(read) if read.exists && read.end > offset => return Ok(Some(unsent)),
            // Its broker may not know yet what is there.
            Ok(_) => context
                .parking
                .topics
                .unreadable(place, "it ends before what was read there. If it was removed, restart this replica"),
            Err(error) => error,
        };
        warn!(
            topic = %partition.topic, partition = partition.number, %error,
            "what is parked is not read to its end yet: nothing is committed of it"
        );
        if !pause(stopped(&context.shutdown, &partition.ownership), LONGEST_WAIT).await {
            return Ok(None);
        }
    }
}

fn note_only(
    context: &PipelineContext,
    partition: &SourcePartition,
    seen: &Arc<Mutex<Seen>>,
) -> Box<dyn FnMut(Visited<'_>) -> Visit + Send> {
    let (seen, ledger) = (Arc::clone(seen), context.ledger.clone());
    let (topic, number) = (Arc::clone(&partition.topic), partition.number);
    Box::new(move |record: Visited<'_>| {
        let headers: Vec<_> = record.headers.iter().collect();
        let Ok(read) = ParkedHeaders::read(&headers) else { return Visit::Continue };
        if read.topic != &*topic || read.partition != number {
            return Visit::Continue;
        }
        let mut seen = seen.lock();
        let noted = seen.unsent.note(&ledger, record.offset, &read.head);
        seen.error = noted.err();
        if seen.error.is_some() || seen.unsent.rest.is_some() { Visit::Stop } else { Visit::Continue }
    })
}

/// What one scan saw. With `notes_unsent` it takes note of ends that the ledger topic may not have.
async fn scan_once(
    context: &PipelineContext,
    partition: &SourcePartition,
    notes_unsent: bool,
) -> Result<Option<Result<(Seen, ReadEnd, AgentNames), ReadError>>, LedgerError> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let names = context.parking.names();
    let visitor = visitor(context, partition, names.clone(), (notes_unsent, &seen));
    let read = tokio::select! {
        biased;
        () = stopped(&context.shutdown, &partition.ownership) => return Ok(None),
        read = context.parking.topics.read((&partition.topic, partition.number), ReadFrom::Committed, None, visitor) => read,
    };
    let seen = std::mem::take(&mut *seen.lock());
    if let Some(error) = seen.error {
        return Err(error);
    }
    let read = match read {
        Ok(read) => read,
        Err(error) => return Ok(Some(Err(error))),
    };
    partition.note_committed(read.source_committed);
    Ok(Some(Ok((seen, read, names))))
}

fn log(context: &PipelineContext, partition: &SourcePartition, seen: &Seen, read: ReadEnd) {
    let topic = context.parking.topics.name(&partition.topic);
    if seen.unreadable > 0 || read.missing > 0 {
        warn!(
            topic,
            partition = partition.number,
            unreadable = seen.unreadable,
            missing = read.missing,
            "records of the topic for parked deliveries are skipped: other programs wrote \
                 them, or they were removed before they were read"
        );
    }
    log_forgotten(context, partition, seen.forgotten);
    for (agent, found) in &seen.found {
        info!(
            topic = %partition.topic, partition = partition.number, %agent, deliveries = found.count,
            "parked deliveries found: they are delivered before newer ones of the same key"
        );
    }
}

pub(super) fn log_forgotten(context: &PipelineContext, partition: &SourcePartition, records: u64) {
    if records > 0 {
        error!(
            topic = context.parking.topics.name(&partition.topic),
            partition = partition.number,
            records,
            advice = "if ledgers were lost, compare these records with the runs of their agents",
            "old records of the topic for parked deliveries are skipped: the ledger does not know their deliveries any more"
        );
    }
}

fn visitor(
    context: &PipelineContext,
    partition: &SourcePartition,
    agents: AgentNames,
    (notes_unsent, seen): (bool, &Arc<Mutex<Seen>>),
) -> Box<dyn FnMut(Visited<'_>) -> Visit + Send> {
    let (seen, ledger) = (Arc::clone(seen), context.ledger.clone());
    let (topic, number) = (Arc::clone(&partition.topic), partition.number);
    Box::new(move |record: Visited<'_>| {
        let mut seen = seen.lock();
        let headers: Vec<_> = record.headers.iter().collect();
        let Ok(read) = ParkedHeaders::read(&headers) else {
            seen.unreadable += 1;
            return Visit::Continue;
        };
        if read.topic != &*topic || read.partition != number {
            seen.unreadable += 1;
            return Visit::Continue;
        }
        let head = &read.head;
        match standing(&ledger, &read, record.source_committed) {
            Ok(Standing::Parked) => seen.add(agents.line(head.agent), record.offset, head.parked_ms),
            Ok(Standing::Forgotten) => seen.forgotten += 1,
            Ok(Standing::Ended) if notes_unsent => {
                if let Err(error) = seen.unsent.note(&ledger, record.offset, head) {
                    seen.error = Some(error);
                    return Visit::Stop;
                }
            }
            Ok(Standing::Ended) => {}
            Err(error) => {
                seen.error = Some(error);
                return Visit::Stop;
            }
        }
        Visit::Continue
    })
}

impl Seen {
    fn add(&mut self, agent: &str, offset: i64, parked_ms: u64) {
        if let Some(found) = self.found.get_mut(agent) {
            found.last = offset;
            found.count += 1;
        } else {
            let found = Found { first: offset, last: offset, count: 1, oldest_ms: parked_ms };
            self.found.insert(agent.into(), found);
        }
    }
}
