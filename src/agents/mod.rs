//! Where events go: one file or folder for each kind of endpoint, of which one is a function of this process.
//!
//! Owns the requests to agents, what their answers mean, and the claim by which a LangGraph run is
//! created once. Its invariant: [`Answer::Accepted`] means that the agent said so, never that it
//! probably did. It deliberately does not know Kafka, the ledger or rules: its caller decides when to try
//! again and what to do with a failure.

mod agent;
mod classify;
mod connect_error;
mod delivery;
mod endpoint_id;
mod failure;
mod handler;
#[cfg_attr(not(feature = "service"), path = "no_remote.rs")]
mod remote;
mod spec;
#[cfg(test)]
mod testing;
mod trace;

// What is reached over HTTP.
#[cfg(feature = "service")]
mod address;
#[cfg(feature = "service")]
mod clock;
#[cfg(feature = "service")]
mod connector;
#[cfg(feature = "service")]
mod gate;
#[cfg(feature = "service")]
mod headers;
#[cfg(feature = "service")]
mod http;
#[cfg(feature = "service")]
mod langgraph;
#[cfg(feature = "service")]
mod reach;
#[cfg(feature = "service")]
mod remote_spec;
#[cfg(feature = "service")]
mod sign;
#[cfg(feature = "service")]
mod status_line;
#[cfg(feature = "service")]
mod tls;
#[cfg(feature = "service")]
mod wire;

pub(crate) use agent::{Agent, Session};
pub(crate) use classify::{Observation, Request, classify, label, retry_after};
pub(crate) use connect_error::ConnectError;
pub(crate) use delivery::{Answer, Delivery, RunSettings, published, request_body, run_input};
pub(crate) use endpoint_id::EndpointId;
pub(crate) use failure::{Failure, FailureKind, HandlerFailure, is_invisible};
pub use handler::HandlerError;
pub(crate) use handler::{HandlerCall, HandlerFunction, HandlerSpec, Handling};
pub(crate) use spec::*;
pub(crate) use trace::TraceContext;
#[cfg(feature = "service")]
pub(crate) use {
    clock::{Clock, SystemClock},
    reach::reach,
    remote_spec::*,
    sign::check_signing_secret,
    tls::{Tls, TlsError},
};
