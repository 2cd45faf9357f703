//! The bridge: one binary, a subcommand for each job.

use std::process::ExitCode;

fn main() -> ExitCode {
    workflow_bridge::cli::main()
}
