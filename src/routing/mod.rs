//! Where an event goes: a folder of YAML files becomes agents, rules and a router.
//!
//! Owns the language of routing files: patterns, templates, and the checks that make a folder safe
//! to run. Its invariant: a [`Routing`] is complete and checked. A folder with a mistake gives no [`Routing`], but
//! the list of all its mistakes. Matching and rendering are functions of the event,
//! bounded in time whatever it holds. It reads files and knows nothing of Kafka, HTTP or the ledger.

mod agent;
pub(crate) mod cases;
mod changes;
mod envelope;
mod event_types;
mod explain;
mod fields;
mod folder;
mod index;
mod inventory;
mod loaded;
mod pattern;
mod places;
mod plan;
mod problem;
mod router;
mod rule;
mod schema;
mod snapshot;
mod template;

#[cfg(test)]
mod docs;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use changes::{Changes, NameChanges};
pub(crate) use explain::{EventExplanation, RuleExplanation};
pub(crate) use inventory::Inventory;
pub(crate) use loaded::{LoadOptions, Routing};
pub(crate) use problem::{Problem, Problems};
pub(crate) use router::Matched;
pub(crate) use rule::Rule;
pub(crate) use schema::SCHEMA;
pub(crate) use snapshot::{Fingerprint, Snapshot, Stamp};
