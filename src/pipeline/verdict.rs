//! Why a delivery becomes a dead letter, in words. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::retry::GivenUp;
use crate::{
    agents::{AgentSpec, Endpoint, Failure},
    event::DeliveryId,
};

/// Why a delivery is a dead letter.
pub(super) struct Verdict {
    pub(super) reason: &'static str,
    pub(super) error: String,
    pub(super) status: Option<u16>,
}

/// A LangGraph delivery that is given up, and looked for until it is known whether there is a run.
pub(super) struct Ending {
    pub(super) why: GivenUp,
    /// The answer after which it was given up.
    pub(super) last: Option<Failure>,
    since: Instant,
}

impl Ending {
    pub(super) fn new(why: GivenUp, last: Option<Failure>) -> Self {
        Self { why, last, since: Instant::now() }
    }

    /// When looking has had its time: a request may be on its way for `settle`, another process's for
    /// two time-outs more, and the looks take some.
    pub(super) fn patience_ends(&self, spec: &AgentSpec) -> Instant {
        let settle = match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => langgraph.settle,
            Endpoint::Http(_) => Duration::ZERO,
        };
        self.since + settle.saturating_add(spec.timeout.saturating_mul(4))
    }

    /// The verdict when everything has settled and there is no run.
    pub(super) fn no_run(ending: Option<Self>, failures: u32) -> Verdict {
        let (end, failure) = ending.map_or((GivenUp::TooLate, None), |ending| (ending.why, ending.last));
        let last = failure.as_ref().map_or("none", |failure| failure.reason.as_str());
        Verdict {
            reason: end.reason(),
            error: format!("given up: {} (there is no run of it); the last answer: {last}", end.says(failures)),
            status: failure.as_ref().and_then(|failure| failure.status),
        }
    }
}

/// The verdict on a delivery that is given up. `claim` names the LangGraph thread where an earlier
/// attempt may have left a run; `last` is its last answer and the status of it.
pub(super) fn given_up(
    end: GivenUp,
    failures: u32,
    (last, status): (&str, Option<u16>),
    claim: Option<DeliveryId>,
) -> Verdict {
    let look = claim.map_or_else(String::new, |id| {
        format!(
            " (look for a run in thread {id} before you publish this event again: an earlier attempt may have left one)"
        )
    });
    Verdict {
        reason: end.reason(),
        error: format!("given up: {}{look}; the last answer: {last}", end.says(failures)),
        status,
    }
}
