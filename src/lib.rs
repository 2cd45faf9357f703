//! workflow-bridge: when an Airflow workflow completes, the right LangGraph agent runs once.
//!
//! Public is what another crate may build on: the [`event`], the [`publish`] client, how to reach Kafka ([`connection`]),
//! scheduled jobs ([`runner`]), the bridge as a library with handlers ([`bridge`]), handlers in another language ([`consumer`]), and
//! the command line. Everything else is private; ARCHITECTURE.md says which room may use which. The `service` feature (on by
//! default) is the whole bridge; without it the crate is what a publisher needs, and with `consume` and `runner` what the Python
//! wheel has.

#![warn(unreachable_pub)]

pub mod connection;
pub mod event;
pub mod publish;

#[cfg(test)]
mod cases;
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "the publish client and the runner use a part of it"))]
mod files;
#[cfg_attr(not(feature = "consume"), expect(dead_code, reason = "the publish client uses a part of it"))]
mod sync;

#[cfg(feature = "service")]
pub mod bridge;
#[cfg(feature = "service")]
pub mod cli;
#[cfg(feature = "consume")]
pub mod consumer;
#[cfg(feature = "runner")]
pub mod runner;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod testing;

#[cfg(feature = "service")]
mod admin;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, unused_imports, reason = "handlers use a part of it"))]
mod agents;
#[cfg(feature = "service")]
mod config;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, unused_imports, reason = "handlers use a part of it"))]
mod dedup;
#[cfg(feature = "service")]
mod demo;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "handlers use a part of it"))]
mod handlers;
#[cfg(feature = "consume")]
#[cfg_attr(
    not(feature = "service"),
    expect(dead_code, unreachable_pub, unused_imports, reason = "handlers use a part of it")
)]
mod kafka;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, unused_imports, reason = "handlers use a part of it"))]
mod pipeline;
#[cfg(feature = "consume")]
mod plan;
#[cfg(feature = "consume")]
mod probe;
#[cfg(feature = "service")]
mod routing;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(unused_imports, reason = "handlers use a part of it"))]
mod running;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "handlers use a part of it"))]
mod telemetry;
#[cfg(feature = "consume")]
mod throttle;
#[cfg(feature = "consume")]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "handlers use a part of it"))]
mod words;
#[cfg(any(feature = "service", feature = "runner"))]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "the runner reads no variables and no secrets"))]
mod yaml;
