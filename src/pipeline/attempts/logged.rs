//! What is logged and measured of attempts.

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
use crate::agents::Answer;

impl Attempts<'_> {
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
