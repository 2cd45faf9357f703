//! Templates: from an event to the JSON that an agent gets.
//!
//! Owns what a template may contain and what it costs. Its invariant: a render ends within its budgets of
//! instructions, work, memory and size, whatever the event and the template are, and an undefined name
//! is an error, never an empty text. It does not know what the JSON is used for.

mod builtins;
mod compile;
mod convert;
mod engine;
mod error;
mod filters;
mod functions;
mod guard;
mod json;
mod meter;
mod piece;
mod render;
mod variables;

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests;

pub(super) use compile::Compiler;
pub(crate) use error::TemplateError;
pub(super) use piece::Template;
pub(super) use variables::Part;
