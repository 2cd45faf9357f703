//! The command line: a file for each subcommand, and the exit codes.

mod check;
mod demo;
mod healthcheck;
mod logging;
mod output;
mod publish;
mod run;
mod spool;
mod variables;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    bridge::Environment,
    config::{Config, ConfigError, Sources, environment_help},
};

/// Exit codes, by sysexits.
mod exit {
    pub(super) const USAGE: u8 = 64;
    pub(super) const DATA: u8 = 65;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const SOFTWARE: u8 = 70;
    pub(super) const OUTPUT: u8 = 74;
    pub(super) const CONFIG: u8 = 78;
}

const EXIT_CODES: &str = "Exit codes: 0 done, 64 usage, 65 bad data, 69 a part cannot be reached, \
70 a defect, 74 the dedup ledger cannot be used or a result cannot be written, 78 bad configuration or rules, 129, 130 and \
143 ended by a second SIGHUP, Ctrl-C or SIGTERM; the first one finishes what is under way and exits with 0.";

/// When an Airflow workflow completes, the right LangGraph agent runs once.
#[derive(Debug, Parser)]
#[command(name = "workflow-bridge", version, about, after_help = EXIT_CODES, after_long_help = format!("{EXIT_CODES}\n\n{}", environment_help()), arg_required_else_help = true)]
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
    /// Publish events to Kafka: one JSON event a line.
    Publish(publish::Publish),
    /// What waits in a spool folder, and publishing it.
    Spool(spool::SpoolCommand),
    /// Ask a running bridge whether it is well; for container health checks.
    Healthcheck(healthcheck::Healthcheck),
}

/// The flags of every command that has settings.
#[derive(Debug, Args)]
struct Source {
    /// Settings file [default: bridge.yaml, when there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Source {
    /// The settings, with what flags say of some of them.
    fn load(&self, flags: &[(&'static str, &Option<String>)], env: &Environment) -> Result<Config, ConfigError> {
        let flags = flags.iter().copied().chain([("log_format", &self.log_format)]);
        let flags = flags.filter_map(|(path, flag)| Some((path, flag.clone()?))).collect();
        Config::load(&Sources { flags, env: &**env, file: self.config.clone() })
    }
}

/// The flags of a command that runs a bridge, or says whether one would run.
#[derive(Debug, Args)]
struct Settings {
    #[command(flatten)]
    source: Source,
    /// Folder of routing files
    #[arg(long, value_name = "DIR")]
    routing: Option<String>,
    /// Folder of the dedup ledger
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Kafka brokers, comma-separated
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Topic to read; several with commas
    #[arg(long)]
    topic: Option<String>,
    /// Consumer group
    #[arg(long)]
    group: Option<String>,
    /// Address of the metrics, health and status pages
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
}

impl Settings {
    fn load(&self, env: &Environment) -> Result<Config, ConfigError> {
        let flags = [
            ("routing_dir", &self.routing),
            ("data_dir", &self.data_dir),
            ("kafka.bootstrap_servers", &self.brokers),
            ("kafka.topics", &self.topic),
            ("kafka.group_id", &self.group),
            ("admin_addr", &self.admin),
        ];
        self.source.load(&flags, env)
    }
}

/// Says what went wrong on stderr and gives the exit code.
fn fail(code: u8, message: &dyn std::fmt::Display) -> ExitCode {
    output::note(format_args!("{message}"));
    ExitCode::from(code)
}

/// Parses the command line, runs the subcommand and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return ExitCode::from(exit::USAGE);
            }
            output::written(printed.and_then(|()| io::stdout().flush()));
            return output::exit_code(ExitCode::SUCCESS);
        }
    };
    output::exit_code(match cli.command {
        Command::Run(run) => run.main(),
        Command::Demo(demo) => demo.main(),
        Command::Check(check) => check.main(),
        Command::Publish(publish) => publish.main(),
        Command::Spool(spool) => spool.main(),
        Command::Healthcheck(healthcheck) => healthcheck.main(),
    })
}
