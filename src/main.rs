//! The bridge: one binary, a subcommand for each job.
fn main() {}
