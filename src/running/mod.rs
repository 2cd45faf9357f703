//! The parts that every bridge has, from their start to their stop.
//!
//! Owns the order of both: the ledger, the lanes and the consumer start in it, and a stop ends the attempts under way, the ledger's
//! flush and the last commit. Its invariant: nothing is committed that the ledger does not cover. It does not know what plans
//! deliveries, nor what runs beside these parts.

mod alone;
mod drain;
mod error;
mod parts;
mod settings;
mod setup;

pub(crate) use alone::run_handlers;
pub(crate) use error::PartError;
pub(crate) use parts::{Companions, Running, Work};
pub(crate) use settings::Settings;
pub(crate) use setup::register_series;
