//! One drain: claims events, sends them, and does with each file what its answer says.

use std::{mem, sync::Arc, time::Instant};

use super::{Budget, Drained};
use crate::publish::{
    PublishError, Record, Sent,
    lifecycle::Keep,
    spool::{Claim, Claimed, DrainPass, Spool, SpoolError},
};

/// Events that are sent together.
pub(super) const BATCH: usize = 100;
/// Bytes that are sent together, about.
pub(super) const BATCH_BYTES: usize = 1024 * 1024;
/// After this many batches without one acknowledgement, and with failures that are not of a topic alone, Kafka is at
/// fault.
const MAX_FRUITLESS: u32 = 3;

/// Hands events to Kafka: an answer for each, in the same order.
pub type SendFn<'a> = dyn FnMut(&[Record]) -> Sent + 'a;

/// Publishes what waits in the spool, for one destination or for all, with `send`.
///
/// # Errors
/// The folder cannot be listed, or is another user's. What goes wrong later ends the drain, and is in
/// [`Drained::error`].
pub fn drain(
    spool: &Spool,
    destination: Option<&str>,
    budget: Budget,
    send: &mut SendFn<'_>,
) -> Result<Drained, SpoolError> {
    let began = Instant::now();
    let until = began.checked_add(budget.time);
    // Half of the time for listing, so that a folder of any size is drained all the same.
    let list_until = until.map(|_| began + budget.time / 2);
    let mut pass = spool.pass(destination, list_until)?;
    if let Some(until) = list_until {
        // A topic that takes nothing may use up the time of the first batch, which must not be of that topic alone.
        pass.interleave_topics(until);
    }
    let mut drain = Drain { spool, pass, drained: Drained::default() };
    let (mut room, mut fruitless) = (budget.events, 0);
    while room > 0 && until.is_none_or(|until| Instant::now() < until) && fruitless < MAX_FRUITLESS {
        let published = drain.drained.published;
        let batch = match drain.pass.take(room.min(BATCH), BATCH_BYTES, until) {
            Ok(claimed) if claimed.is_empty() => break,
            Ok(claimed) => {
                room -= claimed.len();
                drain.send(claimed, send)
            }
            Err(error) => Err(error),
        };
        match batch {
            Ok(batch) => {
                // A topic that is at fault is skipped from now on: the next batch is of others.
                if drain.drained.published > published {
                    fruitless = 0;
                } else if !batch.is_of_topics {
                    fruitless += 1;
                }
                if batch.is_last {
                    break;
                }
            }
            Err(error) => {
                drain.drained.error = Some(error.to_string());
                break;
            }
        }
    }
    Ok(drain.finish())
}

struct Drain<'a> {
    spool: &'a Spool,
    pass: DrainPass,
    drained: Drained,
}

/// What the answers on one batch say of the next.
struct Batch {
    /// All that failed did so through the fault of its topic.
    is_of_topics: bool,
    /// Nothing more has to be sent.
    is_last: bool,
}

/// A claimed file whose event is being sent.
struct Sending {
    index: usize,
    topic: Arc<str>,
    bootstrap_servers: String,
    claim: Claim,
}

impl Drain<'_> {
    /// Sends some events, and does with each file what its answer says.
    fn send(&mut self, claimed: Vec<Claimed>, send_records: &mut SendFn<'_>) -> Result<Batch, SpoolError> {
        let (mut records, mut claims) = (Vec::with_capacity(claimed.len()), Vec::with_capacity(claimed.len()));
        for (index, Claimed { record, bootstrap_servers, claim }) in claimed.into_iter().enumerate() {
            claims.push(Sending { index, topic: Arc::clone(&record.topic), bootstrap_servers, claim });
            records.push(record);
        }
        let mut sent = send_records(&records);
        let mut answers = mem::take(&mut sent.answers).into_iter();
        let (mut result, mut is_of_topics) = (Ok(()), true);
        for sending in claims {
            let done = match answers.next() {
                Some(Ok(_)) => {
                    self.count_published(sending.bootstrap_servers);
                    sending.claim.done()
                }
                Some(Err(error)) if Keep::after(&error) == Keep::InQuarantine => {
                    self.quarantine(sending.claim, &error);
                    Ok(())
                }
                answer => {
                    let error = answer.and_then(Result::err);
                    is_of_topics &= matches!(error, Some(PublishError::NotAcknowledged { of_topic: true, .. }));
                    self.put_back(sending, &sent, error)
                }
            };
            // Every file is dealt with, whatever went wrong with another one.
            result = result.and(done);
        }
        result.map(|()| Batch { is_of_topics, is_last: sent.is_last })
    }

    fn count_published(&mut self, bootstrap_servers: String) {
        self.drained.published += 1;
        *self.drained.destinations.entry(bootstrap_servers).or_default() += 1;
    }

    fn quarantine(&mut self, claim: Claim, error: &PublishError) {
        let reason = error.to_string();
        match claim.quarantine(&reason) {
            Ok(_) => {
                self.drained.quarantined += 1;
                self.drained.note = Some(reason);
            }
            // It was put back. A quarantine that takes nothing delays no other event.
            Err(fault) => {
                self.drained.left_alone += 1;
                self.drained.note = Some(format!("{reason}; and it cannot be set aside: {fault}"));
            }
        }
    }

    /// Its acknowledgement may come late, or have come meanwhile: then the file is withdrawn, or the event would be sent
    /// again and again.
    fn put_back(&mut self, sending: Sending, sent: &Sent, error: Option<PublishError>) -> Result<(), SpoolError> {
        let released = sending.claim.release();
        let late = match (&released, &sent.slots) {
            (Ok(path), Some(slots)) => slots.spooled(sending.index, path.clone(), self.spool),
            _ => None,
        };
        if late.is_some() {
            self.count_published(sending.bootstrap_servers);
        } else {
            self.drained.put_back += 1;
            if let Some(error) = error {
                self.drained.error = Some(error.to_string());
            }
            self.pass.skip(sending.topic);
        }
        released.map(drop)
    }

    fn finish(self) -> Drained {
        let Self { spool, pass, mut drained } = self;
        let passed = pass.passed();
        drained.quarantined += passed.quarantined;
        drained.left_alone += passed.left_alone;
        drained.left = drained.put_back + passed.busy + passed.skipped + drained.left_alone + pass.remaining();
        drained.note = drained.note.or_else(|| passed.note.clone());
        if pass.is_incomplete() {
            drained.left = drained.left.max(1);
            let note = || format!("{} has more files than could be listed in the time given", spool.folder().display());
            drained.note = drained.note.or_else(|| Some(note()));
        }
        drained
    }
}
