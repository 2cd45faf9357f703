//! `replay`: real events of the topic once more, under other rules.

mod compare;
mod diff;
mod text;

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use self::diff::Diff;
use super::{
    flags::{OutputFlag, Settings},
    logging,
    output::{self, fail},
    since::{Since, since},
    variables::Variables,
};
use crate::{bridge::Exit, config::environment_help};

const HELP: &str = "Example: workflow-bridge replay --diff --since 24h --rules new-rules\n\
Example: workflow-bridge replay --diff --since 7d --rules routing --against last-release/routing -o json\n\n\
--diff reads the topic as a member of no group, up to its end at the start, and says which events would go elsewhere under the \
rules of --rules than under those in use. Nothing is delivered and nothing is committed. A repeat of an event counts as \
often as it is on the topic.\n\n\
Exit codes: 0 the topic was read, whatever differs, 64 usage, 69 Kafka cannot be read, 78 a mistake in the settings or the \
routing files; 130 ended by Ctrl-C, 143 by SIGTERM, after what was read by then.";

/// Flags of `replay`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Replay {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mode: Mode,
    /// How far back to read: 24h, 7d, or a time
    #[arg(long, value_name = "DURATION", value_parser = since)]
    since: Since,
    #[command(flatten)]
    diff: Diff,
    #[command(flatten)]
    form: OutputFlag,
}

/// What is done with the events: one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Mode {
    /// Say which events would go elsewhere under the rules of --rules; deliver nothing
    #[arg(long, requires = "rules")]
    diff: bool,
}

impl Replay {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let environment = variables.environment();
        let config = match self.settings.load(&environment) {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        logging::install(config.log_format, "warn");
        let since = self.since.before(Timestamp::now());
        let compared = self.diff.run(&config, &environment, since);
        output::warnings(&variables.warnings(false));
        let (diff, exit) = match compared {
            Ok(compared) => compared,
            Err(code) => return code,
        };
        if self.form.is_json() {
            output::result(format_args!("{}", output::json(&serde_json::json!(diff))));
        } else {
            output::result(format_args!("{}", text::text(&diff)));
        }
        exit
    }
}
