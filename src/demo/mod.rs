//! What `workflow-bridge demo` brings with it, so that it needs nothing else.

pub mod agent;
