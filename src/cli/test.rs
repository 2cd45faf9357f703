//! `test`: the routing tests beside the rules; with `--from-topic`, new ones from real events.

mod from_topic;
mod json;
mod junit;
mod lines;
mod report;
mod reservoir;
mod scrub;
mod text;

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Instant};

use clap::{Args, ValueEnum};

use self::{
    from_topic::FromTopic,
    report::{Report, Tested},
};
use super::{
    check,
    flags::{OutputFlag, Settings},
    output::{self, fail},
    progress::Progress,
    variables::Variables,
};
use crate::{
    bridge::{Exit, load_routing},
    config::environment_help,
    event::Limits,
    routing::{
        Routing,
        cases::{Case, CaseFiles, Coverage, Runner},
    },
    words::counted,
};

const HELP: &str = "Example: workflow-bridge test\n\
Example: workflow-bridge test --junit routing-tests.xml\n\
Example: workflow-bridge test --from-topic --since 24h --sample 200 > routing/real.test.yaml\n\n\
Runs the *.test.yaml files of the routing folder, or those that are named. An event is read, matched and rendered as by a \
running bridge; nothing is sent, and neither Kafka nor the ledger is asked.\n\n\
--from-topic reads the topic, as a member of no group, and prints a test file: events of each combination of rules in turn, \
with what the rules in use do with them. Values under keys that look like secrets are replaced, and those that --scrub \
names: look through the result before you share it.\n\n\
Exit codes: 0 every test passes, 64 usage, 65 a test fails, 69 Kafka cannot be read, 74 a result cannot be written, 78 a \
mistake in the settings, the routing files or the test files; 130 ended by Ctrl-C, 143 by SIGTERM.";

/// Room for deeply nested values, which are dropped by recursion, as for the threads that render in a running bridge.
const STACK_BYTES: usize = 16 << 20;

/// Flags of `test`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Test {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    form: OutputFlag<Format>,
    /// Write the results to this file too, in the format of JUnit
    #[arg(long, value_name = "FILE", conflicts_with = "from_topic")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    from_topic: FromTopic,
    /// Test files [default: the *.test.yaml and *.test.yml files of the routing folder]
    #[arg(value_name = "FILE", conflicts_with = "from_topic")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Junit,
}

impl Test {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let environment = variables.environment();
        let config = match self.settings.load(&environment) {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let routing = load_routing(&config.routing_dir, config.dedup_window, &environment);
        output::warnings(&variables.warnings(true));
        let routing = match routing {
            Ok(routing) => routing,
            Err(error) => return fail(Exit::Config, &error),
        };
        if self.from_topic.is_asked() {
            return self.from_topic.main(&config, &routing).unwrap_or_else(|code| code);
        }
        let files = if self.files.is_empty() { &routing.inventory().tests } else { &self.files };
        if files.is_empty() {
            let folder = config.routing_dir.display();
            let message = format!(
                "expected tests (*.test.yaml) in {folder}, found none: write one, as docs/routing.md shows, or let \
                 `workflow-bridge test --from-topic` write some from real events"
            );
            return fail(Exit::Config, &message);
        }
        let read = CaseFiles::read(files, Some(&routing));
        if !read.problems.is_empty() {
            output::lines(&check::errors(&config.routing_dir, &read.problems));
            let found = counted(read.problems.len(), "mistake");
            return fail(Exit::Config, &format_args!("{found} in test files: no test was run"));
        }
        let budget = &config.kafka.budget;
        let limits = Limits::new(budget.max_record_bytes, budget.max_bytes);
        match run(&routing, limits, read.cases) {
            Ok(report) => self.print(&report),
            Err(error) => fail(Exit::Unavailable, &format_args!("cannot start a thread: {error}")),
        }
    }

    fn print(&self, report: &Report) -> ExitCode {
        match self.form.output {
            Format::Text => {
                output::lines(&text::failures(report));
                output::result(format_args!("{}", text::summary(report)));
            }
            Format::Json => output::result(format_args!("{}", output::json(&json::json(report)))),
            Format::Junit => output::result(format_args!("{}", junit::junit(report).trim_end())),
        }
        if let Some(file) = &self.junit
            && let Err(error) = fs::write(file, junit::junit(report))
        {
            return fail(Exit::Io, &format_args!("{}: the results cannot be written: {error}", file.display()));
        }
        if report.failed() == 0 { ExitCode::SUCCESS } else { Exit::Data.into() }
    }
}

fn run(routing: &Routing, limits: Limits, cases: Vec<Case>) -> std::io::Result<Report> {
    thread::scope(|scope| {
        let running = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
            let (runner, mut coverage) = (Runner::new(routing, limits), Coverage::new(routing));
            let mut progress = Progress::new();
            let all = cases.len();
            let mut tested = Vec::with_capacity(all);
            for case in cases {
                progress.tick(|| format!("{} of {all} tests", tested.len()));
                let started = Instant::now();
                let failures = runner.run(&case, &mut |document, rules| coverage.add(document, rules));
                tested.push(Tested { case, failures, took: started.elapsed() });
            }
            progress.end();
            Report { tested, coverage: coverage.rules() }
        })?;
        running.join().map_err(|_| std::io::Error::other("the thread of the tests ended by a defect"))
    })
}
