//! `run`: the service.

use std::process::ExitCode;

use clap::Args;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tracing::warn;

use super::{
    flags::Settings,
    logging,
    output::{self, fail},
    variables::Variables,
};
use crate::{
    bridge::{self, Exit, Hooks},
    config::environment_help,
};

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(after_help = environment_help(), after_long_help = environment_help())]
pub(super) struct Run {
    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let environment = variables.environment();
        let config = match self.settings.load(&environment) {
            Ok(config) => config,
            Err(error) => {
                output::warnings(&variables.warnings(false));
                return fail(Exit::Config, &error);
            }
        };
        let log = logging::install_for_service(config.log_format, "info");
        let runtime = match Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return fail(Exit::Unavailable, &format_args!("cannot start threads: {error}")),
        };
        let result = runtime.block_on(async {
            let (ask, reloads) = mpsc::channel(1);
            let until = match bridge::signals(Some(ask)) {
                Ok(until) => until,
                Err(error) => return Err(bridge::BridgeError::defect(format!("cannot listen for signals: {error}"))),
            };
            let (listening, started) = oneshot::channel();
            let hooks = Hooks { listening: Some(listening), reloads: Some(reloads), ..Hooks::default() };
            tokio::spawn(async move {
                // The routing files have read their variables by then.
                if started.await.is_ok() {
                    for warning in variables.warnings(true) {
                        warn!(%warning, "environment");
                    }
                }
            });
            bridge::run(config, &environment, hooks, until).await
        });
        // Attempts that outlive the drain end with the process.
        runtime.shutdown_background();
        // The last word is the error.
        drop(log);
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.exit(), &error),
        }
    }
}
