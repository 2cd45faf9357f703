//! The dispatcher's part in redrives: which decision a record that asks for one gets, and one that asks for too much.

use std::sync::Arc;

use metrics::counter;

use super::{
    super::{cause::Cause, clock::now_ms, event_state::Arrival, outcome_log::Subject},
    Dispatcher, WholeRecord,
};
use crate::{
    dedup::{Decision, MAX_DELIVERIES, PlannedDelivery, Record, RecordState, Redrive, decide, is_remembered, redrive},
    event::{RedriveRequest, digest, recorded_ms},
    telemetry,
};

impl Dispatcher {
    /// Decides on an event from what the ledger knows of it.
    ///
    /// # Errors
    /// It asks for a redrive that is not made.
    pub(super) fn decide(
        &self,
        arrival: &Arrival,
        known: Option<&Record>,
        plan: &[PlannedDelivery],
    ) -> Result<Decision, Cause> {
        let digest = digest(&arrival.event);
        let asked = match &arrival.redrive {
            None => return Ok(decide(known, digest, plan, now_ms())),
            Some(Ok(asked)) => asked,
            Some(Err(bad)) => {
                count("refused");
                return Err(Cause::bad_redrive(*bad));
            }
        };
        let (rule, agent) = (&*asked.rule, &*asked.agent);
        let now_ms = now_ms();
        let published_ms = recorded_ms(arrival.received.header_list(), None).and_then(|ms| u64::try_from(ms).ok());
        let is_remembered = published_ms.is_some_and(|ms| is_remembered(ms, now_ms, self.context.ledger.window()));
        let RedriveRequest { generation, is_forced, .. } = *asked;
        let decision =
            redrive(known, digest, plan, &Redrive { rule, agent, generation, is_remembered, is_forced }, now_ms);
        count(match &decision {
            Ok(Decision::Fresh(record) | Decision::Resume(record))
                if record.is_open_in(rule, agent, asked.generation) =>
            {
                "redriven"
            }
            Ok(_) => "duplicate",
            Err(_) => "refused",
        });
        decision.map_err(|refusal| Cause::redrive_refused(refusal, asked))
    }

    /// Why an event is refused of which the rules ask for too many deliveries, if its plan is still theirs: what was planned before
    /// goes on, and so does a redrive of an event that is not known, which is made alone.
    pub(super) fn too_many(arrival: &Arrival, known: Option<&Record>) -> Option<Cause> {
        let found = arrival.excess?;
        let follows_the_rules = match known {
            // Headers that cannot be read are refused for that.
            _ if matches!(arrival.redrive, Some(Err(_))) => false,
            None => arrival.redrive.is_none(),
            Some(record) => record.state() == RecordState::Pending && record.digest() == digest(&arrival.event),
        };
        if !follows_the_rules {
            return None;
        }
        if arrival.redrive.is_some() {
            count("refused");
        }
        Some(Cause::too_many_deliveries(found.get(), MAX_DELIVERIES))
    }

    /// Whether a record asks for this generation of a delivery: (rule, agent).
    pub(super) fn asks_for(arrival: &Arrival, known: &Record, (rule, agent): &(Arc<str>, Arc<str>)) -> bool {
        let Some(Ok(asked)) = &arrival.redrive else { return false };
        (&asked.rule, &asked.agent) == (rule, agent) && known.generation(rule, agent) == asked.generation
    }

    /// What a dead letter says of the redrive that is not made, whatever the reason: it can be redriven as the one before.
    pub(super) fn asked(record: &WholeRecord) -> Subject<'_> {
        record.redrive.as_ref().map_or_else(Subject::default, |asked| Subject {
            delivery: Some((&asked.rule, &asked.agent)),
            generation: asked.generation.before(),
            ..Subject::default()
        })
    }
}

fn count(outcome: &'static str) {
    counter!(telemetry::REDRIVES, "outcome" => outcome).increment(1);
}
