//! `demo`: the whole bridge on sample events.

use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Runtime;

use super::{
    flags::OutputFlag,
    logging,
    output::{self, fail},
};
use crate::{
    bridge::Exit,
    config::LogFormat,
    demo::{self, Options},
};

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example: workflow-bridge demo --keep")]
pub(super) struct Demo {
    /// Stay up after the table, for a look at metrics and status; Ctrl-C ends it
    #[arg(long)]
    keep: bool,
    /// Address of the metrics, health and status pages; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    admin: String,
    #[command(flatten)]
    form: OutputFlag,
}

impl Demo {
    pub(super) fn main(&self) -> ExitCode {
        logging::install(LogFormat::Text, "warn,workflow_bridge=error");
        let runtime = match Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return fail(Exit::Unavailable, &format_args!("cannot start threads: {error}")),
        };
        let options = Options { admin_addr: self.admin.clone(), keep: self.keep };
        let result = runtime.block_on(demo::run(options, |report, addr| {
            if self.form.is_json() {
                output::result(format_args!("{}", output::json(&report.page)));
            } else {
                output::result(format_args!("{}\n{}", report.table, report.totals));
            }
            if self.keep && self.form.is_json() {
                output::note(format_args!("stays up: http://{addr}/metrics http://{addr}/api/status (Ctrl-C ends it)"));
            } else if self.keep {
                output::result(format_args!(
                    "\nstays up: http://{addr}/metrics http://{addr}/api/status (Ctrl-C ends it)"
                ));
            }
        }));
        runtime.shutdown_background();
        match result {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => fail(Exit::Software, &"the outcome is not the expected one: see the table"),
            Err(error) => fail(Exit::Unavailable, &error),
        }
    }
}
