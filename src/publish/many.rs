//! Many events within one deadline: handed over one after the other, waited for together.
//!
//! Owns what a caller waits for, from the first record to the answer for each. Its invariant: a record
//! has exactly one answer, and what no broker acknowledged by the deadline is in the spool when the
//! answer is given, or the answer says that it is not. An acknowledgement that comes while a record is
//! being spooled takes it out again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ASK, Ack, PublishError, Publisher, Record, Sent, after,
    batch::Batch,
    engine::{Engine, Failure, Ticket},
    home::Home,
    rescue::{all_into_spool, unspooled},
    rounded,
    spool::TOGETHER,
};

/// What was heard of a record by the deadline, if anything.
type Heard = Option<Result<Ack, Failure>>;

/// Records of one call that are on their way, until [`Publisher::finish`] waits for them. Without it
/// they are published, and what fails is told to nobody.
#[must_use = "what fails is spooled by `finish`"]
pub struct Many {
    batch: Arc<Batch>,
    records: Vec<Record>,
    carrier: Option<Carrier>,
    deadline: Duration,
    until: Instant,
    is_closed: bool,
}

/// The engine that carries the records of one call. Also what nobody waits for in the end is heard.
struct Carrier(Arc<Engine>);

impl Drop for Carrier {
    fn drop(&mut self) {
        if self.0.is_ours() {
            self.0.listen();
        }
    }
}

impl Many {
    /// Whether a parent has begun to send: what a child adds goes nowhere.
    fn is_inherited(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| !carrier.0.is_ours())
    }
}

impl Publisher {
    /// Publishes many events within one deadline; the answers come in the order of the records.
    pub fn publish_many(&self, records: Vec<Record>, deadline: Duration) -> Vec<Result<Ack, PublishError>> {
        let mut many = self.begin(deadline);
        self.add(&mut many, records);
        self.finish(many)
    }

    /// Begins what [`publish_many`](Self::publish_many) does at once, for whoever makes the records while
    /// the first of them are on their way.
    pub fn begin(&self, deadline: Duration) -> Many {
        let until = after(deadline);
        let (batch, is_closed) = (Arc::new(Batch::new()), self.open().is_err());
        Many { batch, records: Vec::new(), carrier: None, deadline, until, is_closed }
    }

    /// Hands more records over, and does not wait for their answers.
    pub fn add(&self, many: &mut Many, records: Vec<Record>) {
        if many.is_inherited() {
            many.records.extend(records);
            return;
        }
        for record in records {
            self.add_one(many, &record);
            many.records.push(record);
        }
        // An answer that came before the deadline has to be heard before the deadline.
        if let Some(Carrier(engine)) = &many.carrier {
            engine.listen();
        }
    }

    fn add_one(&self, many: &mut Many, record: &Record) {
        let index = many.batch.add();
        if let Err(failure) = self.hand_over(many, record, index) {
            many.batch.answer(index, Err(failure));
        }
    }

    /// Waits for the answers; they come in the order of the records.
    pub fn finish(&self, many: Many) -> Vec<Result<Ack, PublishError>> {
        self.finish_while(many, &mut || true)
    }

    /// [`finish`](Self::finish) that asks from time to time whether it shall go on: if not, the deadline
    /// has passed.
    pub fn finish_while(&self, many: Many, go_on: &mut dyn FnMut() -> bool) -> Vec<Result<Ack, PublishError>> {
        let is_inherited = many.is_inherited();
        let Many { batch, records, carrier, deadline, until, is_closed } = many;
        if is_closed || is_inherited {
            return records.iter().map(|_| Err(PublishError::Closed)).collect();
        }
        let (answers, ended) = self.answers(&batch, carrier.as_ref(), &records, until, go_on);
        let overdue = || {
            if ended < until {
                Failure::new("the call was interrupted before a broker acknowledged it")
            } else {
                self.overdue(deadline)
            }
        };
        let mut settled = Vec::with_capacity(records.len());
        let mut answers = records.iter().zip(answers).enumerate();
        loop {
            let some: Vec<_> = answers.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            self.settle(&batch, some, &overdue, &mut settled);
            // A handler of a signal need not wait for all of them; what it says ends nothing here.
            go_on();
        }
        if settled.iter().any(Result::is_ok) {
            self.drain_share(ended, go_on);
        }
        settled
    }

    /// The answers for some records; what is not in Kafka goes into the spool at once.
    fn settle(
        &self,
        batch: &Batch,
        some: Vec<(usize, (&Record, Heard))>,
        overdue: &dyn Fn() -> Failure,
        settled: &mut Vec<Result<Ack, PublishError>>,
    ) {
        let failures: Vec<Option<Failure>> = some
            .iter()
            .map(|(_, (_, answer))| match answer {
                Some(Ok(_)) => None,
                Some(Err(failure)) => Some(failure.clone()),
                None => Some(overdue()),
            })
            .collect();
        let failed: Vec<_> = some
            .iter()
            .zip(&failures)
            .filter_map(|((_, (record, _)), failure)| Some((*record, failure.as_ref()?)))
            .collect();
        let mut errors = all_into_spool(&failed, self.spool.as_ref(), &self.servers).into_iter();
        settled.extend(some.into_iter().filter_map(|(index, (_, answer))| {
            if let Some(Ok(ack)) = answer {
                return Some(Ok(ack));
            }
            let error = errors.next()?;
            if answer.is_some() {
                return Some(Err(error));
            }
            let (PublishError::Spooled { path, .. }, Some(spool)) = (&error, &self.spool) else {
                return Some(batch.lost(index).ok_or(error));
            };
            let Some(ack) = batch.spooled(index, path.clone(), spool) else { return Some(Err(error)) };
            // It was acknowledged while it was being spooled.
            spool.withdraw(path);
            Some(Ok(ack))
        }));
    }

    /// As [`publish_many`](Self::publish_many), but what fails is spooled by nobody: for events that
    /// are in the spool already.
    pub fn send_unspooled(&self, records: &[Record], deadline: Duration) -> Sent {
        self.send_while(records, deadline, &mut || true)
    }

    pub(super) fn send_while(&self, records: &[Record], deadline: Duration, go_on: &mut dyn FnMut() -> bool) -> Sent {
        if let Err(closed) = self.open() {
            return records.iter().map(|_| Err(closed.clone())).collect::<Vec<_>>().into();
        }
        let mut many = self.begin(deadline);
        for record in records {
            self.add_one(&mut many, record);
        }
        let Many { batch, carrier, until, .. } = many;
        let (answers, _) = self.answers(&batch, carrier.as_ref(), records, until, go_on);
        let settle = |(record, answer): (&Record, Heard)| {
            answer.unwrap_or_else(|| Err(self.overdue(deadline))).map_err(|failure| unspooled(record, &failure))
        };
        Sent::new(records.iter().zip(answers).map(settle).collect(), batch)
    }

    fn hand_over(&self, many: &mut Many, record: &Record, index: usize) -> Result<(), Failure> {
        if many.deadline.is_zero() {
            return Err(Failure::new("it was published with a deadline of 0, which is straight into the spool"));
        }
        if self.open().is_err() {
            return Err(Failure::new("the client was closed meanwhile: make a new one"));
        }
        let engine = match &many.carrier {
            Some(Carrier(engine)) => Arc::clone(engine),
            None => self.engine(many.until)?,
        };
        let ticket = || Ticket::Waited { batch: Arc::clone(&many.batch), index };
        let engine = self.send(engine, record, ticket, many.until)?;
        if !many.carrier.as_ref().is_some_and(|carrier| Arc::ptr_eq(&carrier.0, &engine)) {
            many.carrier = Some(Carrier(engine));
        }
        Ok(())
    }

    /// Waits for answers: `None` where nothing was heard by then; and when that was.
    fn answers(
        &self,
        batch: &Arc<Batch>,
        carrier: Option<&Carrier>,
        records: &[Record],
        mut until: Instant,
        go_on: &mut dyn FnMut() -> bool,
    ) -> (Vec<Heard>, Instant) {
        while let Some(Carrier(engine)) = carrier {
            engine.hear(batch, until.min(after(ASK)));
            let now = Instant::now();
            if !batch.is_waiting() || now >= until {
                break;
            }
            if !go_on() {
                until = now;
            }
        }
        let answers = batch.wait(until);
        let is_too_large = |answer: &Heard| matches!(answer, Some(Err(failure)) if failure.too_large);
        if !answers.iter().any(is_too_large) {
            return (answers, until);
        }
        let refused = answers.iter().enumerate().filter(|(_, answer)| is_too_large(answer));
        refused.for_each(|(index, _)| self.send_alone(&records[index], batch, index, until));
        (batch.wait(until), until)
    }

    /// The broker's verdict is on all records of a topic that it was sent at once, those of other threads
    /// counted in: this one gets its own.
    fn send_alone(&self, record: &Record, batch: &Arc<Batch>, index: usize, until: Instant) {
        batch.again(index);
        if Instant::now() >= until {
            let reason = "it was refused as too large together with others, and there was no time to try it alone";
            batch.answer(index, Err(Failure::new(reason)));
            return;
        }
        let ticket = || Ticket::Waited { batch: Arc::clone(batch), index };
        match self.engine(until).and_then(|engine| self.send(engine, record, ticket, until)) {
            Ok(engine) => engine.hear(batch, until),
            Err(failure) => batch.answer(index, Err(failure)),
        }
    }

    fn overdue(&self, deadline: Duration) -> Failure {
        let silence = self.home.existing().and_then(Home::engine).map(|engine| engine.silence());
        let (reason, advice) = silence.unwrap_or_else(|| ("the client is closed".into(), "make a new one"));
        Failure::new(format!("no acknowledgement within {:?}: {reason}: {advice}", rounded(deadline)))
    }
}

#[cfg(test)]
mod tests;
