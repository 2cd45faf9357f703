//! The producer of the process that asks: librdkafka's handle, its reports, and what it cannot deliver.
//!
//! Owns everything that must not outlive a fork. Its invariants: no caller waits for librdkafka's own threads without a
//! bound, because they may never answer (a child forked while its parent looked up a host has a C library that looks
//! up none); and after a stop a producer takes no record. It knows no drain and no settings.

mod client;
mod context;
mod delivery;
mod fallback;
mod handle;
mod health;
mod pending;
mod slot;

pub(super) use client::{Client, flush_timed_out};
pub(super) use delivery::DeliverySlots;
pub(super) use handle::Producer;
