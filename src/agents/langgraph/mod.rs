//! A LangGraph agent server: claim, then find.
//!
//! Makes the requests that [`claim`] asks for and reports what they showed. Its invariant: a run
//! is accepted only if the server says so, by a run that it returns or lists. docs/agents.md says what it
//! promises; `claim.rs` decides which step follows.

mod api;
mod claim;
mod claim_thread;
mod create_run;
mod find_run;
mod lenient;
mod response;
mod run_list;
mod server;

use std::sync::Arc;

use uuid::Uuid;

use super::{
    AgentSpec, Answer, Clock, Delivery, Failure, LangGraphSpec, Observation, gate::Gate, headers::CommonHeaders,
    wire::Client,
};
pub(super) use api::url;
use claim::{Claim, ClaimStep, FailReason, Observed, Timing};
pub(super) use server::authorized;
use server::{Requests, Server, ServerTraits};

/// The endpoint, connected.
#[derive(Debug)]
pub(super) struct LangGraph {
    server: Server,
    timing: Timing,
}

/// What is known of one delivery in this process.
#[derive(Debug)]
pub(super) struct DeliveryState {
    claim: Claim,
    /// One for each delivery and process: it identifies our claims.
    nonce: Uuid,
    /// The gate of a run request that has no answer yet.
    run_request: Option<Arc<Gate>>,
}

impl DeliveryState {
    /// See [`Session::end`](super::Session::end).
    pub(super) fn end(&mut self) {
        self.claim.end();
    }

    /// See [`Session::may_have_run`](super::Session::may_have_run).
    pub(super) fn may_have_run(&self) -> bool {
        self.claim.may_have_run()
    }
}

impl LangGraph {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>, agent: &AgentSpec, spec: &LangGraphSpec) -> Self {
        let timing = Timing::new(agent.timeout, spec.max_request_lifetime);
        let (spec, classify, traits) = (spec.clone(), agent.classify.clone(), ServerTraits::default());
        let headers = CommonHeaders::new(&spec, authorized);
        Self { server: Server { client, clock, spec, headers, classify, traits }, timing }
    }

    pub(super) fn new_delivery(&self) -> DeliveryState {
        DeliveryState { claim: Claim::new(self.timing), nonce: Uuid::new_v4(), run_request: None }
    }

    /// Whether the delivery has a run, without a claim of its own: another process may still create one.
    pub(super) async fn find_run(&self, delivery: &Delivery) -> Result<Option<String>, Failure> {
        match find_run::find_run(&Requests::new(&self.server, delivery)?).await {
            (Observed::Run(run_id), _) => Ok(Some(run_id.unwrap_or_else(|| "without an id".to_owned()))),
            (Observed::NoRun | Observed::NoThread, _) => Ok(None),
            (_, failure) => Err(failure_of(FailReason::Request, failure, None)),
        }
    }

    pub(super) async fn attempt(&self, state: &mut DeliveryState, delivery: &Delivery) -> Answer {
        // The last attempt was dropped while its run request was under way.
        if let Some(sent_at) = state.run_request.take().and_then(|gate| gate.revoke()) {
            state.claim.run_request_dropped(sent_at);
        }
        let requests = match Requests::new(&self.server, delivery) {
            Ok(requests) => requests,
            Err(failure) => return Answer::Failed(failure),
        };
        let clock = &self.server.clock;
        let mut run_failure = None;
        let mut last_failure = None;
        let mut step = state.claim.start_attempt(clock.now());
        loop {
            let (observed, failure) = match step {
                ClaimStep::Claim(round) => claim_thread::claim(&requests, round, state.nonce).await,
                ClaimStep::FindRun => find_run::find_run(&requests).await,
                ClaimStep::ReadOwner(round) => claim_thread::read_owner(&requests, round, state.nonce).await,
                ClaimStep::CreateRun { until } => {
                    let gate = Gate::new(Arc::clone(clock), Some(until));
                    state.run_request = Some(Arc::clone(&gate));
                    let (observed, failure) = create_run::create_run(&requests, gate).await;
                    state.run_request = None;
                    run_failure.clone_from(&failure);
                    (observed, failure)
                }
                ClaimStep::Wait(wait) => return Answer::Wait(wait),
                ClaimStep::Accepted { run_id, found } => return Answer::Accepted { run_id, found, status: Some(200) },
                ClaimStep::Fail(FailReason::Ended) => return Answer::Ended,
                ClaimStep::Fail(reason) => return Answer::Failed(failure_of(reason, last_failure, run_failure)),
            };
            last_failure = failure;
            step = state.claim.observe(observed, clock.now());
        }
    }
}

/// The failure of an attempt: that of its last request or of its run request, if one of them is the reason.
fn failure_of(reason: FailReason, last: Option<Failure>, run: Option<Failure>) -> Failure {
    let failure = match reason {
        FailReason::Request | FailReason::UnknownRun => last,
        FailReason::RunRequest | FailReason::Busy => run,
        FailReason::Invisible => Some(Failure::of_agent(
            Observation::ClaimInvisible,
            "expected to read the claim thread, which exists, and the server does not show it: it belongs to another \
             tenant, or is deleted and created again: use a key that may read the thread",
        )),
        FailReason::Contended | FailReason::Ended => None,
    };
    failure.unwrap_or_else(|| {
        Failure::of_agent(
            Observation::ClaimContended,
            "another process that delivers this event too took over the claim during this attempt: it is retried",
        )
    })
}

#[cfg(test)]
mod tests;
