//! `run`: the service.

use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Runtime;

use super::{Settings, environment_help, exit, fail, logging};
use crate::bridge::{self, Hooks, process_environment};

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(after_help = environment_help(), after_long_help = environment_help())]
pub(super) struct Run {
    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.settings.load(&process_environment()) {
            Ok(config) => config,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        logging::install(config.log_format, "info");
        let runtime = match Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return fail(exit::UNAVAILABLE, &format_args!("cannot start threads: {error}")),
        };
        let result = runtime.block_on(async {
            let until = match bridge::signals() {
                Ok(until) => until,
                Err(error) => return Err(bridge::BridgeError::Lost(format!("cannot listen for signals: {error}"))),
            };
            bridge::run(config, &process_environment(), Hooks::default(), until).await
        });
        // Attempts that outlive the drain end with the process.
        runtime.shutdown_background();
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.exit_code(), &error),
        }
    }
}
