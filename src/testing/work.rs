//! Single steps of the bridge's work, for what counts their instructions and what compares their speed (benches/).

mod delivering;
mod steps;

pub use delivering::Delivering;
pub use steps::{Ledger, Matcher, pass_frontier};
