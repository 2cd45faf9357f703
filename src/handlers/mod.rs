//! The handlers of a program: its functions, each for the events of one type.
//!
//! Owns the registry and its checks. Its invariant: a name is one handler's, and no agent of a routing folder has it. As
//! deliveries, the rule is the event type and the agent is the handler. It does not know how a handler is called, nor what
//! follows from its verdict.

mod options;
mod plan;
mod registry;
#[cfg(test)]
mod tests;

pub use options::HandlerOptions;
pub(crate) use registry::{Handlers, Registration};
