//! `check`: every mistake in the settings and the routing folder, before anything starts.

use std::process::ExitCode;

use clap::Args;

use super::{Settings, exit, fail};
use crate::bridge::{load_routing, process_environment};

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Example: workflow-bridge check --routing routing")]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.settings.load(&process_environment()) {
            Ok(config) => config,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        let routing = match load_routing(&config, &process_environment()) {
            Ok(routing) => routing,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        for warning in routing.warnings() {
            eprintln!("workflow-bridge: warning: {warning}");
        }
        println!("ok: {} rules, {} agents", routing.rules().count(), routing.agents().count());
        ExitCode::SUCCESS
    }
}
