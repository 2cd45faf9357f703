//! workflow-bridge: when an Airflow workflow completes, the right LangGraph agent runs once.
//!
//! The rooms of the house, and which may know which, are drawn in ARCHITECTURE.md. The `service`
//! feature (on by default) is the whole bridge; without it the crate is what a publisher needs.

pub mod connection;
pub mod event;
pub mod files;
pub mod publish;

#[cfg(feature = "service")]
pub mod admin;
#[cfg(feature = "service")]
pub mod agents;
#[cfg(feature = "service")]
pub mod bridge;
#[cfg(feature = "service")]
pub mod cli;
#[cfg(feature = "service")]
pub mod config;
#[cfg(feature = "service")]
pub mod dedup;
#[cfg(feature = "service")]
pub mod demo;
#[cfg(feature = "service")]
pub mod kafka;
#[cfg(feature = "service")]
pub mod pipeline;
#[cfg(feature = "service")]
pub mod routing;
#[cfg(feature = "service")]
pub mod telemetry;
#[cfg(feature = "service")]
pub mod yaml;
