//! Where events go: one file for each kind of endpoint.
//!
//! Owns the requests to agents, what their answers mean, and the claim that makes a LangGraph run
//! happen once. Its invariant: [`Answer::Accepted`] means that the agent said so, never that it
//! probably did. It deliberately does not know Kafka, the ledger or rules: when to try again, and
//! what becomes of a failure, is its caller's affair.

mod agent;
mod classify;
mod clock;
mod connector;
mod delivery;
mod gate;
mod http;
mod langgraph;
mod sign;
mod spec;
mod status_line;
#[cfg(test)]
mod testing;
mod tls;
mod trace;
mod wire;

pub use agent::{Agent, ConnectError, Session};
pub use classify::{MAX_RETRY_AFTER, Observation, Request, classify, label, retry_after};
pub use clock::{Boottime, Clock, SystemClock};
pub use delivery::{Answer, Delivery, Failure, KINDS, MAX_REASON_BYTES, RunSettings, is_invisible};
pub use langgraph::ClaimPolicy;
pub use sign::{SigningSecretError, check_signing_secret};
pub use spec::*;
pub use tls::{Tls, TlsError};
pub use trace::TraceContext;
