//! The attempts of one delivery in this process.
//!
//! Owns the loop: wait for the agent and for the right to call it (`kafka::Ownership`), make an attempt, report it to the breaker, record it in the ledger, carry out the
//! next step. Which step that is, is decided in `next_step`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    attempt::{Attempt, result_label},
    breaker::AttemptResult,
    cause::Cause,
    clock::now_ms,
    compose::{compose, delivery_id},
    context::PipelineContext,
    event_state::EventState,
    limiter::{CountedDelivery, Permit},
    next_step::{Decision, Happened, LedgerWrite, NextStep, Policy, Progress, Search, Times, next, overdue_in, resume},
    parking::turn::Line,
    retry::Backoff,
    rules::Planned,
    runtime::AgentRuntime,
    start_queue::StartSlot,
    under_way::Exclusive,
    wait::{begin_attempt, pause, released, stopped, until_zero},
};
use crate::{
    agents::{Answer, Class, EndpointId, Session},
    dedup::LedgerError,
    kafka::AttemptGuard,
};

mod logged;

/// How the attempts of a delivery ended. The guard of the last attempt is kept until its end is recorded.
pub(super) enum AttemptsEnd {
    Delivered(Option<AttemptGuard>),
    DeadLetter(Cause, Option<AttemptGuard>),
    /// Deliveries to the agent are parked now.
    Park,
    /// It was parked.
    Parked(AttemptGuard),
    /// Another process has ended it meanwhile, as the ledger knows by now.
    Elsewhere(AttemptGuard),
    /// It is to be made as the rules in force say.
    Moved(Planned),
    /// It may have arrived at another endpoint, as the ledger knows by now: it is to be planned again.
    SentElsewhere,
    /// The pipeline shuts down, or the partition was given up.
    Abandoned,
}

/// The attempts of one delivery.
pub(super) struct Attempts<'a> {
    context: &'a PipelineContext,
    state: &'a EventState,
    planned: &'a Planned,
    rule: &'a Arc<str>,
    runtime: &'a AgentRuntime,
    policy: Policy<'a>,
    backoff: Backoff,
    session: Session,
    /// For a delivery that may be parked.
    line: Option<&'a Line>,
    /// It is not parked before.
    park_from: Option<Instant>,
    /// The delivery's number in the order of arrival. `None` once an attempt of this process failed, or a handler asked for a
    /// later call: it is probed after the others then. One that searches for its run keeps it.
    arrival_number: Option<u64>,
    pub(super) slot: &'a StartSlot,
    tried_since: Option<Instant>,
    search: Option<Search>,
    /// When the agent first rejected the event in a way that the breaker attributed to the agent.
    rejected_at: Option<Instant>,
    /// While an attempt is under way, or its end is not in the ledger yet.
    exclusive: Option<Exclusive<'a>>,
    _counted: CountedDelivery,
}

/// Why an attempt was not made.
enum NotMade {
    DeadLetter(Cause),
    Stopped,
    /// See [`AttemptsEnd::Elsewhere`].
    Elsewhere(AttemptGuard),
    /// See [`AttemptsEnd::SentElsewhere`].
    SentElsewhere,
    Ledger(LedgerError),
}

/// What a delivery got when it waited for the agent.
enum Acquired<'a> {
    Permit(Option<Permit<'a>>),
    Overdue,
    Park,
    Moved(Planned),
    Stopped,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        context: &'a PipelineContext,
        state: &'a EventState,
        planned: &'a Planned,
        line: Option<&'a Line>,
        slot: &'a StartSlot,
    ) -> Self {
        let Planned { rule, runtime, .. } = planned;
        let (failed_attempts, _) = state.progress(rule, &runtime.spec.name);
        slot.release_elsewhere(&runtime.limiter);
        Self {
            context,
            state,
            planned,
            rule,
            runtime,
            policy: Policy::new(&runtime.spec, || delivery_id(state, planned)),
            backoff: Backoff::after(&runtime.spec.retry, failed_attempts),
            session: runtime.agent.session(),
            line,
            park_from: None,
            arrival_number: Some(slot.number()),
            slot,
            tried_since: None,
            search: None,
            rejected_at: None,
            exclusive: None,
            _counted: runtime.limiter.count_delivery(),
        }
    }

    /// It is parked no sooner than this.
    pub(super) fn park_from(&mut self, at: Instant) {
        self.park_from = Some(at);
    }

    /// It is not parked.
    pub(super) fn never_park(&mut self) {
        self.line = None;
    }

    /// Makes attempts until the delivery ends, or is to be parked.
    pub(super) async fn run(&mut self) -> Result<AttemptsEnd, LedgerError> {
        if self.search.is_none() {
            let search = resume(&self.progress(), &self.policy, Instant::now());
            self.begin_search(search);
        }
        loop {
            let (decision, attempt) = match self.acquire().await {
                Acquired::Stopped => return Ok(AttemptsEnd::Abandoned),
                Acquired::Park => return Ok(AttemptsEnd::Park),
                Acquired::Moved(next) => return Ok(AttemptsEnd::Moved(next)),
                Acquired::Overdue => {
                    let last = self.runtime.last_failure();
                    (self.decide(Happened::Overdue { last: last.as_ref() }), None)
                }
                // Boxed, so that a delivery that waits does not reserve the state of an attempt.
                Acquired::Permit(permit) => match Box::pin(self.attempt(permit)).await {
                    Ok(attempt) => (self.decide(attempt.happened()), Some(attempt)),
                    Err(NotMade::DeadLetter(cause)) => return Ok(AttemptsEnd::DeadLetter(cause, None)),
                    Err(NotMade::Stopped) => return Ok(AttemptsEnd::Abandoned),
                    Err(NotMade::Elsewhere(guard)) => return Ok(AttemptsEnd::Elsewhere(guard)),
                    Err(NotMade::SentElsewhere) => return Ok(AttemptsEnd::SentElsewhere),
                    Err(NotMade::Ledger(error)) => return Err(error),
                },
            };
            self.record(decision.write).await?;
            let (wait, search) = match decision.step {
                NextStep::Deliver => {
                    self.accepted(attempt.as_ref());
                    return Ok(AttemptsEnd::Delivered(attempt.map(|attempt| attempt.guard)));
                }
                NextStep::DeadLetter(cause) => {
                    return Ok(AttemptsEnd::DeadLetter(cause, attempt.map(|attempt| attempt.guard)));
                }
                NextStep::Wait { after, search } => (after, search),
                NextStep::Retry { no_sooner, search } => {
                    let wait = self.backoff.next().max(no_sooner);
                    self.log_retry(attempt.as_ref(), wait);
                    (wait, search)
                }
            };
            // Its result is recorded: the partition may be released when the ledger topic has it.
            self.exclusive = None;
            if let Some(attempt) = attempt {
                self.state.acks().keep(attempt.guard);
            }
            self.begin_search(search);
            tokio::select! {
                biased;
                () = self.parks() => return Ok(AttemptsEnd::Park),
                next = self.moves() => return Ok(AttemptsEnd::Moved(next)),
                waited = pause(self.stopped(), wait) => if !waited {
                    return Ok(AttemptsEnd::Abandoned);
                },
            }
        }
    }

    /// Waits until the agent may be called.
    async fn acquire(&self) -> Acquired<'a> {
        tokio::select! {
            biased;
            () = self.stopped() => Acquired::Stopped,
            () = self.parks() => Acquired::Park,
            next = self.moves() => Acquired::Moved(next),
            permit = self.runtime.limiter.acquire(self.arrival_number) => Acquired::Permit(permit),
            () = until_zero(|| self.overdue_in()) => Acquired::Overdue,
        }
    }

    /// Resolves when the delivery is to be parked. One that searches for its run begins that anew when it is read back.
    async fn parks(&self) {
        let Some(line) = self.line else { return std::future::pending().await };
        if let Some(at) = self.park_from {
            sleep_until(at).await;
        }
        line.parks().await;
        if self.is_at_former_endpoint() {
            std::future::pending::<()>().await;
        }
    }

    /// It may have arrived at an endpoint that is not in force. It is not parked: parked deliveries are read back as probes of the
    /// endpoint in force, and this one can be none.
    pub(super) fn is_at_former_endpoint(&self) -> bool {
        self.is_bound() && !self.context.rules.has_endpoint_of(self.runtime)
    }

    /// Resolves when the delivery is to be made as the rules in force say. What may have arrived at an endpoint stays there:
    /// elsewhere it could run again.
    pub(super) async fn moves(&self) -> Planned {
        let has_failed = self.arrival_number.is_none();
        self.context.rules.moves(self.planned, self.is_bound(), has_failed).await
    }

    /// Whether the delivery may have arrived at its endpoint, by an attempt of any process.
    fn is_bound(&self) -> bool {
        let (rule, agent) = (self.rule, &self.runtime.spec.name);
        match self.state.sent_to(rule, agent) {
            Some(endpoint) => endpoint == self.runtime.endpoint.number(),
            // An earlier version of the bridge did not record the endpoint.
            None => self.state.progress(rule, agent).0 > 0,
        }
    }

    /// Whether the ledger knows by now that it may have arrived at another endpoint, where it has to be made: a former owner of the
    /// partition may write that late.
    fn was_sent_elsewhere(&self) -> bool {
        let names: (&str, &str) = (self.rule, &self.runtime.spec.name);
        let sent_to = self.state.sent_to(names.0, names.1);
        sent_to.filter(|sent_to| *sent_to != self.runtime.endpoint.number()).is_some_and(|sent_to| {
            let planned = || self.context.rules.planned(&self.state.version, names, Some(sent_to));
            EndpointId::has_runs(sent_to) || planned().is_ok_and(|there| there.runtime.endpoint.number() == sent_to)
        })
    }

    /// Resolves when no attempt may start any more.
    fn stopped(&self) -> impl Future<Output = ()> + use<'a> {
        stopped(&self.context.shutdown, self.state.ownership())
    }

    /// Makes one attempt, and reports its result to the breaker. The permit is returned before the ledger is written.
    async fn attempt(&mut self, permit: Option<Permit<'a>>) -> Result<Attempt, NotMade> {
        self.slot.release();
        // Built for this attempt and dropped with it: a waiting delivery keeps no body in memory.
        let delivery = tokio::select! {
            biased;
            () = self.stopped() => return Err(NotMade::Stopped),
            composed = compose(self.context, self.state, self.planned) => composed.map_err(NotMade::DeadLetter)?,
        };
        if let Some(replication) = &self.context.replication {
            tokio::select! {
                biased;
                () = self.stopped() => return Err(NotMade::Stopped),
                () = replication.room() => {}
            }
        }
        let exclusive = tokio::select! {
            biased;
            () = self.stopped() => return Err(NotMade::Stopped),
            exclusive = self.context.under_way.enter(delivery.id) => exclusive,
        };
        // Last, so that as little as possible lies between the check and the request.
        let guard = begin_attempt(&self.context.shutdown, self.state.ownership()).await.ok_or(NotMade::Stopped)?;
        let agent = &self.runtime.spec.name;
        if !self.state.is_open(self.context, self.rule, agent).map_err(NotMade::Ledger)? {
            return Err(NotMade::Elsewhere(guard));
        }
        if self.was_sent_elsewhere() {
            return Err(NotMade::SentElsewhere);
        }
        self.exclusive = Some(exclusive);
        let began = Instant::now();
        self.tried_since.get_or_insert(began);
        let released = released(self.context.drain_timeout, self.state.ownership());
        let answer = self.runtime.attempt(&mut self.session, &delivery, &self.context.calls, released).await;
        let answer = answer.ok_or(NotMade::Stopped)?;
        self.runtime.instruments.attempted(result_label(&answer), began.elapsed());
        drop(delivery);
        let number = self.state.count_attempt(self.rule, agent);
        self.note(&answer);
        let agent_at_fault = self.report_to_breaker(&answer, began);
        drop(permit);
        Ok(Attempt { answer, number, agent_at_fault, guard })
    }

    /// True when the answer is a rejection that the breaker attributes to the agent.
    fn report_to_breaker(&mut self, answer: &Answer, began: Instant) -> bool {
        let (limiter, spec) = (&self.runtime.limiter, &self.runtime.spec);
        let failure = match answer {
            Answer::Accepted { .. } => {
                self.runtime.accepted();
                return limiter.report(spec, &AttemptResult::Success { began }, None, "");
            }
            Answer::Wait(_) | Answer::Ended => {
                self.arrival_number = self.arrival_number.filter(|_| !self.runtime.is_handler());
                return limiter.report(spec, &AttemptResult::Inconclusive, None, "");
            }
            Answer::Failed(failure) => failure,
        };
        self.arrival_number = None;
        self.runtime.failed(failure);
        let result = AttemptResult::of(failure, self.state.event.id(), began, self.rejected_at);
        // Retry-After for one event must not pause the agent for the others.
        let for_all = !matches!(failure.class, Class::Busy | Class::EventFault | Class::Accepted);
        let pause = failure.retry_after.filter(|_| for_all);
        let agent_at_fault = limiter.report(spec, &result, pause, &failure.reason);
        if agent_at_fault {
            self.rejected_at.get_or_insert_with(Instant::now);
        }
        agent_at_fault
    }

    /// How long it may wait for the agent.
    fn overdue_in(&self) -> Option<Duration> {
        // The breaker may open while a parked delivery waits.
        let ask_again = self.state.parked_ms().map(|_| Duration::MAX);
        overdue_in(&self.progress(), &self.policy, times()).or(ask_again)
    }

    /// A parked delivery is as old as its parking, and the failures of others count as its own: only a few at a time are
    /// attempted while their agent is down.
    fn progress(&self) -> Progress {
        let (failed_attempts, first_attempt_ms) = self.state.progress(self.rule, &self.runtime.spec.name);
        let parked_ms = self.state.parked_ms();
        let down_since = || parked_ms.and_then(|_| Instant::now().checked_sub(self.runtime.limiter.open_for()?));
        Progress {
            failed_attempts,
            first_attempt_ms: first_attempt_ms.or(parked_ms),
            tried_since: self.tried_since.or_else(down_since),
            search: self.search.clone(),
        }
    }

    fn decide(&self, happened: Happened<'_>) -> Decision {
        next(happened, &self.progress(), &self.policy, times())
    }

    /// From here on nothing is posted: the session only searches for a run.
    fn begin_search(&mut self, search: Option<Search>) {
        if search.is_some() {
            self.session.end();
            self.search = search;
        }
    }

    /// Records an attempt in the ledger. The first is flushed: `give_up_after` begins there, also for the next process. So is the first
    /// that may have arrived: the next process has to look for it at this endpoint.
    async fn record(&self, write: LedgerWrite) -> Result<(), LedgerError> {
        let (rule, agent) = (self.rule, &self.runtime.spec.name);
        let is_ambiguous = match write {
            LedgerWrite::Nothing => return Ok(()),
            LedgerWrite::Attempt => false,
            LedgerWrite::FailedAttempt => true,
        };
        let endpoint = self.runtime.endpoint.number();
        let sent_to = (is_ambiguous || self.session.may_have_run()).then_some(endpoint);
        let is_first = self.state.progress(rule, agent).1.is_none() || self.state.sent_to(rule, agent) < sent_to;
        self.state.record_unfinished_attempt(self.context, rule, agent, (is_ambiguous, sent_to))?;
        if is_first {
            self.context.ledger.durable().await?;
        }
        Ok(())
    }
}

fn times() -> Times {
    Times { now: Instant::now(), now_ms: now_ms() }
}
