//! One attempt that got an answer.

use super::{instruments::ACCEPTED, next_step::Happened};
use crate::{agents::Answer, kafka::AttemptGuard};

pub(super) struct Attempt {
    pub(super) answer: Answer,
    /// The first is 1.
    pub(super) number: u32,
    /// The breaker attributes the rejection to the agent.
    pub(super) agent_at_fault: bool,
    /// It is under way until its result is recorded.
    pub(super) guard: AttemptGuard,
}

impl Attempt {
    pub(super) fn happened(&self) -> Happened<'_> {
        match &self.answer {
            Answer::Accepted { .. } => Happened::Accepted,
            Answer::Wait(wait) => Happened::Inconclusive(*wait),
            Answer::Ended => Happened::NoRun,
            Answer::Failed(failure) => Happened::Failed { failure, agent_at_fault: self.agent_at_fault },
        }
    }
}

/// The label of an answer in `attempts_total`.
pub(super) fn result_label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted { found: true, .. } => "found",
        Answer::Accepted { status: Some(200..300) | None, .. } => ACCEPTED,
        Answer::Accepted { .. } => "classified",
        Answer::Wait(_) | Answer::Ended => "inconclusive",
        Answer::Failed(failure) => failure.kind.as_str(),
    }
}
