//! `check`: every mistake in the settings and the routing folder, before anything starts.

use std::{fmt::Display, process::ExitCode};

use clap::Args;

use super::{Settings, environment_help, exit, fail, output, variables::Variables};
use crate::bridge::{BridgeError, load_routing};

const EXAMPLE: &str = "Example: workflow-bridge check --routing routing";

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", environment_help()))]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Warnings are mistakes too: exit with 78 when there are any
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let environment = variables.environment();
        let (settings, folder, window) = match self.settings.load(&environment) {
            Ok(config) => (Ok(()), config.routing_dir, config.dedup_window),
            Err(error) => {
                let (folder, window) = (error.routing_dir.clone(), error.dedup_window);
                (Err(error), folder, window)
            }
        };
        let routing = load_routing(&folder, window, &environment);
        output::warnings(&variables.warnings(true));
        if let Err(error) = &settings {
            fail(exit::CONFIG, error);
        }
        let routing = match (settings, routing) {
            (Ok(()), Ok(routing)) => routing,
            (_, Err(error)) => {
                if let BridgeError::Routing { problems, .. } = &error {
                    warn(problems.warnings());
                }
                return fail(exit::CONFIG, &error);
            }
            (Err(_), Ok(_)) => return ExitCode::from(exit::CONFIG),
        };
        warn(routing.warnings());
        if self.strict && !routing.warnings().is_empty() {
            let count = routing.warnings().len();
            return fail(exit::CONFIG, &format!("{count} warnings, and with --strict warnings are errors"));
        }
        output::result(format_args!("ok: {} rules, {} agents", routing.rules().count(), routing.agents().count()));
        ExitCode::SUCCESS
    }
}

fn warn(warnings: &[impl Display]) {
    for warning in warnings {
        output::note(format_args!("warning: {warning}"));
    }
}
