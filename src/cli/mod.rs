//! The command line: a file for each subcommand.

mod ask;
mod batches;
mod check;
mod completions;
mod dead_letters;
mod demo;
mod explain;
mod flags;
mod healthcheck;
mod interrupt;
mod logging;
mod man;
mod output;
mod progress;
mod publish;
mod replay;
mod run;
mod scan;
mod schema;
mod since;
mod spool;
mod status;
mod test;
mod variables;
mod version;
mod watched;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{bridge::Exit, config::environment_help};

/// When an Airflow workflow completes, the right LangGraph agent runs once.
#[derive(Debug, Parser)]
#[command(name = "workflow-bridge", version, long_version = version::long(), about, after_help = Exit::help(), after_long_help = format!("{}\n\n{}", Exit::help(), environment_help()), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read events from Kafka and run agents, until SIGTERM.
    Run(run::Run),
    /// Run the whole bridge on sample events, with nothing else installed.
    Demo(demo::Demo),
    /// Check the settings and every routing file; all mistakes at once.
    Check(check::Check),
    /// Say which rules match an event and why the others do not, or what became of it.
    Explain(explain::Explain),
    /// Run the routing tests beside the rules, or write some from real events.
    Test(test::Test),
    /// Print the JSON Schema of routing files, of bridge.yaml or of routing tests, for editors.
    Schema(schema::Schema),
    /// Publish events to Kafka: one JSON event a line.
    Publish(publish::Publish),
    /// Say which events of the topic would go elsewhere under other rules.
    Replay(replay::Replay),
    /// What could not be delivered: count it, show it, deliver it again, discard it.
    DeadLetters(dead_letters::DeadLetters),
    /// What waits in a spool folder, and publishing it.
    Spool(spool::SpoolCommand),
    /// Say what a running bridge has read, what waits and for whom, and which rules are in force.
    Status(status::Status),
    /// Ask a running bridge whether it is well; for container health checks.
    Healthcheck(healthcheck::Healthcheck),
    /// Print a script that completes this command line in a shell.
    Completions(completions::Completions),
    /// Write the manual pages into a folder.
    Man(man::ManPages),
}

/// Parses the command line, runs the subcommand and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return ExitCode::from(Exit::Usage);
            }
            output::written(printed.and_then(|()| io::stdout().flush()));
            return output::exit_code(ExitCode::SUCCESS);
        }
    };
    output::exit_code(match cli.command {
        Command::Run(run) => run.main(),
        Command::Demo(demo) => demo.main(),
        Command::Check(check) => check.main(),
        Command::Explain(explain) => explain.main(),
        Command::Test(test) => test.main(),
        Command::Schema(schema) => schema.main(),
        Command::Publish(publish) => publish.main(),
        Command::Replay(replay) => replay.main(),
        Command::DeadLetters(dead_letters) => dead_letters.main(),
        Command::Spool(spool) => spool.main(),
        Command::Status(status) => status.main(),
        Command::Healthcheck(healthcheck) => healthcheck.main(),
        Command::Completions(completions) => completions.main(Cli::command()),
        Command::Man(man) => man.main(Cli::command()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_talks_to_kafka_takes_the_same_flags() {
        let cli = Cli::command();
        for name in ["run", "check", "explain", "test", "publish", "replay"] {
            let command = cli.find_subcommand(name).unwrap();
            for flag in ["brokers", "topic", "group"] {
                assert!(command.get_arguments().any(|arg| arg.get_long() == Some(flag)), "{name} has no --{flag}");
            }
        }
        cli.debug_assert();
    }
}
