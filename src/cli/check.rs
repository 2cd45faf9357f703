//! `check`: every mistake in the settings and the routing folder.

use std::{fmt::Display, process::ExitCode};

use clap::Args;

use super::{
    flags::Settings,
    output::{self, fail},
    variables::Variables,
};
use crate::{
    bridge::{BridgeError, Exit, load_routing},
    config::environment_help,
};

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
            fail(Exit::Config, error);
        }
        let routing = match (settings, routing) {
            (Ok(()), Ok(routing)) => routing,
            (_, Err(error)) => {
                if let BridgeError::Routing { problems, .. } = &error {
                    warn(problems.warnings());
                }
                return fail(Exit::Config, &error);
            }
            (Err(_), Ok(_)) => return ExitCode::from(Exit::Config),
        };
        warn(routing.warnings());
        if self.strict && !routing.warnings().is_empty() {
            let count = routing.warnings().len();
            let warnings = counted(count, "warning");
            return fail(Exit::Config, &format!("{warnings}, and with --strict warnings are errors"));
        }
        let (rules, agents) = (routing.rules().count(), routing.agents().count());
        output::result(format_args!("ok: {}, {}", counted(rules, "rule"), counted(agents, "agent")));
        ExitCode::SUCCESS
    }
}

/// `1 rule`, `2 rules`.
fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn warn(warnings: &[impl Display]) {
    for warning in warnings {
        output::note(format_args!("warning: {warning}"));
    }
}
