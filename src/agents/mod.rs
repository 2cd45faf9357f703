//! Where events go: one file or folder for each kind of endpoint, of which one is a function of this process.
//!
//! Owns the requests to agents, what their answers mean, and the claim by which a LangGraph run is
//! created once. Its invariant: [`Answer::Accepted`] means that the agent said so, never that it
//! probably did. It deliberately does not know Kafka, the ledger or rules: its caller decides when to try
//! again and what to do with a failure.

mod address;
mod agent;
mod classify;
mod clock;
mod connector;
mod delivery;
mod endpoint_id;
mod failure;
mod gate;
mod handler;
mod headers;
mod http;
mod langgraph;
mod reach;
mod sign;
mod spec;
mod status_line;
#[cfg(test)]
mod testing;
mod tls;
mod trace;
mod wire;

pub(crate) use agent::{Agent, ConnectError, Session};
pub(crate) use classify::{Observation, Request, classify, label, retry_after};
pub(crate) use clock::{Clock, SystemClock};
pub(crate) use delivery::{Answer, Delivery, RunSettings, published, request_body, run_input};
pub(crate) use endpoint_id::EndpointId;
pub(crate) use failure::{Failure, FailureKind, HandlerFailure, is_invisible};
pub use handler::HandlerError;
pub(crate) use handler::{HandlerFunction, HandlerSpec, Handling};
pub(crate) use reach::reach;
pub(crate) use sign::check_signing_secret;
pub(crate) use spec::*;
pub(crate) use tls::{Tls, TlsError};
pub(crate) use trace::TraceContext;
