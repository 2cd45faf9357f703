//! `replay`: real events of the topic once more, under other rules: compared, or delivered where they were not.

mod choose;
mod compare;
mod deliver;
mod diff;
mod sending;
mod text;

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use self::{
    deliver::{Asked, Deliver},
    diff::Diff,
};
use super::{
    flags::{OutputFlag, Settings},
    logging,
    output::{self, fail},
    since::{Since, since},
    variables::Variables,
};
use crate::{bridge::Exit, config::environment_help};

const HELP: &str = "Example: workflow-bridge replay --diff --since 24h --rules new-rules\n\
Example: workflow-bridge replay --diff --since 7d --rules routing --against last-release/routing -o json\n\
Example: workflow-bridge replay --deliver --since 24h --rule late-loads --dry-run\n\
Example: workflow-bridge replay --deliver --since 24h --rule late-loads --again 1 --dry-run\n\n\
--diff reads the topic as a member of no group, up to its end at the start, and says which events would go elsewhere under the \
rules of --rules than under those in use. Nothing is delivered and nothing is committed. A repeat of an event counts as \
often as it is on the topic.\n\n\
--deliver publishes records once more, with headers that ask for one delivery by the rules in use: those of --rule, or those that \
--against does not have. The ledger of the running bridges decides: a delivery that was planned before is not made again, and no \
other one is. It may be ended at any moment and started again. Without --yes it only counts.\n\n\
--again N sends what was delivered before too, and every agent that it names runs again, LangGraph agents in new threads. The same number asks for nothing twice \
(an HTTP agent may get an event twice after a crash between its answer and the ledger, with the same key), so it may be ended and started again as well; the next number sends each once more.\n\n\
Exit codes: 0 the topic was read, whatever differs, or everything was asked for, 64 usage, or --yes is missing, 65 some requests \
were refused, 69 Kafka is away, 78 a mistake in the settings or the routing files; 130 ended by Ctrl-C, 143 by SIGTERM, after what was read by then.";

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
    deliver: Deliver,
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
    /// Ask the running bridges for deliveries that no rule planned when the events were read, or with --again for all
    #[arg(long, conflicts_with = "rules")]
    deliver: bool,
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
        if self.mode.deliver {
            let done = self.deliver.main(&Asked {
                config: &config,
                environment: &environment,
                since,
                against: self.diff.against.as_deref(),
                limit: self.diff.limit,
                as_json: self.form.is_json(),
            });
            output::warnings(&variables.warnings(false));
            return done.unwrap_or_else(|code| code);
        }
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
