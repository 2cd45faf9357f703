//! `dead-letters`: what could not be delivered, and putting it right.
//!
//! Reads the dead-letter topics and writes to Kafka; neither the ledger nor a running bridge is touched.

mod batch;
mod discard;
mod edit;
mod list;
mod pass;
mod prepare;
mod redrive;
mod select;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::environment_help;

const HELP: &str = "Example: workflow-bridge dead-letters list --since 24h\n\
Example: workflow-bridge dead-letters show --letter 0@17\n\
Example: workflow-bridge dead-letters redrive --agent audit --dry-run\n\
Example: workflow-bridge dead-letters redrive --letter 0@17 --edit\n\
Example: workflow-bridge dead-letters discard --reason tombstone\n\n\
A dead letter is named by its partition and offset, PARTITION@OFFSET. A redrive makes the failed delivery again, and no other: \
the running bridges decide, and refuse what was redriven before. It may be interrupted and started again.\n\n\
Exit codes: 0 done, 64 usage, or nothing is selected, 65 there is no such dead letter, or some were refused, 69 Kafka is away, \
78 the settings or the routing files are wrong; 130 ended by Ctrl-C, 143 by SIGTERM.";

/// Flags of `dead-letters`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count dead letters by reason, rule and agent, or list each.
    List(list::List),
    /// Show dead letters whole.
    Show(show::Show),
    /// Make the failed deliveries again, and nothing else; or publish a corrected record.
    Redrive(redrive::Redrive),
    /// Mark dead letters that nobody needs.
    Discard(discard::Discard),
}

impl DeadLetters {
    pub(super) fn main(&self) -> ExitCode {
        let done = match &self.action {
            Action::List(list) => list.main(),
            Action::Show(show) => show.main(),
            Action::Redrive(redrive) => redrive.main(),
            Action::Discard(discard) => discard.main(),
        };
        done.unwrap_or_else(|code| code)
    }
}
