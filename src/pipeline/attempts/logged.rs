//! What is logged, measured and kept of attempts.

use std::time::Duration;

use tracing::warn;

use super::{
    super::{
        attempt::Attempt,
        clock::{milliseconds, now_ms},
        outcome_log::LoggedDelivery,
    },
    Attempts,
};
use crate::{agents::Answer, dedup::RunRecord};

impl Attempts<'_> {
    /// Keeps what explains the delivery later: the run that accepted it, or the failure.
    pub(super) fn note(&self, answer: &Answer) {
        let (rule, agent) = (self.rule, &self.runtime.spec.name);
        match answer {
            Answer::Accepted { run_id, .. } => {
                if let Some(thread) = self.policy.thread {
                    self.state.note_run(rule, agent, RunRecord::new(&thread.to_string(), run_id.as_deref()));
                }
            }
            Answer::Failed(failure) => self.state.note_failure(rule, agent, failure.class.as_str(), failure.status),
            Answer::Wait(_) | Answer::Ended => {}
        }
    }

    pub(super) fn accepted(&self, attempt: Option<&Attempt>) {
        let Some(Attempt { answer: Answer::Accepted { run_id, found, .. }, number: attempt, .. }) = attempt else {
            return;
        };
        if let Some(appended) = self.state.received.timestamp_ms {
            let latency = Duration::from_millis(now_ms().saturating_sub(appended));
            self.runtime.instruments.accepted_after(latency);
        }
        // How to find the run on its server.
        let thread_id = self.policy.thread.map(|thread| thread.to_string());
        let found = thread_id.is_some().then_some(*found);
        let (rule, agent) = (self.rule, &*self.runtime.spec.name);
        let generation = self.state.generation(rule, agent);
        let delivery = LoggedDelivery { event: &self.state.event, rule, agent, generation };
        self.context.outcome_log.delivered(&delivery, *attempt, (thread_id.as_deref(), run_id.as_deref(), found));
    }

    pub(super) fn log_retry(&self, attempt: Option<&Attempt>, wait: Duration) {
        let Some(Attempt { answer: Answer::Failed(failure), number: attempt, .. }) = attempt else { return };
        warn!(
            event_id = self.state.event.id(), rule = %self.rule, agent = %self.runtime.spec.name, attempt,
            failed_attempts = self.progress().failed_attempts, class = failure.class.as_str(), status = failure.status,
            url = %self.runtime.url, error = failure.reason, retry_in_ms = milliseconds(wait), "attempt failed: retrying"
        );
    }
}
