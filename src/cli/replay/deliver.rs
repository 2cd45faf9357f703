//! `replay --deliver`: asks the running bridges for deliveries that their rules did not plan when the events were read, or with
//! `--again` for each once more.
//!
//! Reads the topic for what was asked for before (not with `--done`), for how much there is to ask for, and then to publish. It may be
//! killed at any moment and started again: what was published is seen in the topic, and the ledger decides in any case.

use std::{collections::BTreeMap, ops::ControlFlow, process::ExitCode, sync::Arc};

use clap::Args;
use jiff::Timestamp;

use super::{
    choose::{AskedFor, Seen, Selection},
    sending::Sending,
};
use crate::{
    bridge::{Environment, Exit, load_routing, remembered_ms},
    cli::{
        interrupt::Interrupt,
        output::{self, fail},
        scan::{self, Visit},
        since::{Since, since},
    },
    config::Config,
    event::{Generation, Limits},
    kafka::{ScanProgress, Scanned},
    routing::Routing,
    words::{counted, no_events},
    yaml::suggestion,
};

/// The flags of the mode.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Deliver {
    /// Only deliveries of this rule; may be repeated
    #[arg(long, value_name = "NAME", requires = "deliver")]
    rule: Vec<String>,
    /// Only deliveries to this agent; may be repeated
    #[arg(long, value_name = "NAME", requires = "deliver")]
    agent: Vec<String>,
    /// Send also what was delivered before: each delivery once more for each number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), requires = "deliver")]
    again: Option<u16>,
    /// Only records of before: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = since, requires = "deliver")]
    until: Option<Since>,
    /// The most deliveries a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "deliver")]
    rate: Option<u32>,
    /// List what would be asked for, and publish nothing
    #[arg(long, requires = "deliver", conflicts_with = "yes")]
    dry_run: bool,
    /// Publish; without it they are only counted
    #[arg(long, requires = "deliver")]
    yes: bool,
    /// Also deliveries that were asked for before, with this number or a greater one; the bridges recognise those that were made
    #[arg(long, requires = "deliver")]
    done: bool,
    /// Also events that are so old that the ledger may have forgotten what was delivered of them
    #[arg(long, requires = "deliver")]
    force: bool,
}

/// What the command was told beside its own flags.
pub(super) struct Asked<'a> {
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
    pub(super) since: Timestamp,
    pub(super) against: Option<&'a std::path::Path>,
    /// The most deliveries.
    pub(super) limit: Option<u32>,
    pub(super) as_json: bool,
}

/// How many deliveries there are to ask for, by rule and agent.
type Counts = BTreeMap<(Arc<str>, Arc<str>), u64>;

impl Deliver {
    pub(super) fn main(&self, asked: &Asked<'_>) -> Result<ExitCode, ExitCode> {
        let config = asked.config;
        let load = |folder| {
            load_routing(folder, config.dedup_window, asked.environment).map_err(|error| fail(Exit::Config, &error))
        };
        let routing = load(&config.routing_dir)?;
        let against = asked.against.map(load).transpose()?;
        self.check(&routing, against.is_some())?;
        let interrupt = Interrupt::listen()?;
        let now = Timestamp::now();
        let budget = &config.kafka.budget;
        let selection = Selection {
            routing: &routing,
            against: against.as_ref(),
            rules: &self.rule,
            agents: &self.agent,
            until_ms: self.until.map(|until| until.before(now).as_millisecond()),
            remembered_since_ms: now.as_millisecond().saturating_sub_unsigned(remembered_ms(config.dedup_window)),
            is_forced: self.force,
            generation: Generation { again: self.again.unwrap_or_default(), number: 0 },
            limits: Limits::new(budget.max_record_bytes, budget.max_bytes),
        };
        let mut before = AskedFor::default();
        if !self.done {
            scan(asked, &interrupt, "looked at for earlier requests", &mut |record| {
                selection.note(record, &mut before);
                ControlFlow::Continue(())
            })?;
        }
        let counts = Self::count(asked, &routing, (&selection, &before), &interrupt)?;
        if counts.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes && !self.dry_run {
            return Err(fail(Exit::Usage, &"nothing is published: --yes publishes the requests, --dry-run lists them"));
        }
        self.publish(asked, &selection, &mut before, &interrupt)
    }

    /// Counts what there is to ask for beside what was asked for before, and says it.
    fn count(
        asked: &Asked<'_>,
        routing: &Routing,
        (selection, before): (&Selection<'_>, &AskedFor),
        interrupt: &Interrupt,
    ) -> Result<Counts, ExitCode> {
        let (mut counts, mut seen, mut known) = (Counts::new(), Seen::default(), before.clone());
        scan(asked, interrupt, "counted", &mut |record| {
            for chosen in selection.choose(record, &mut known, &mut seen) {
                *counts.entry((chosen.rule, chosen.agent)).or_default() += 1;
            }
            ControlFlow::Continue(())
        })?;
        Self::say((routing, selection.generation.again), &counts, &seen, asked);
        Ok(counts)
    }

    fn publish(
        &self,
        asked: &Asked<'_>,
        selection: &Selection<'_>,
        before: &mut AskedFor,
        interrupt: &Interrupt,
    ) -> Result<ExitCode, ExitCode> {
        let (pace, what) = ((self.rate, asked.limit, self.dry_run), (selection.generation, self.force));
        let mut sending = Sending::new(asked.config, interrupt, asked.as_json, pace, what)?;
        let mut failed = None;
        let read = scan(asked, interrupt, "published from", &mut |record| {
            for chosen in selection.choose(record, before, &mut Seen::default()) {
                if !sending.has_room() {
                    return ControlFlow::Break(());
                }
                failed = sending.add(record, chosen, &selection.limits).err();
                if failed.is_some() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        failed.map_or(Ok(()), Err)?;
        // What was taken before a signal is published still.
        let finished = sending.finish();
        read.and(finished)
    }

    /// Whether it is said what is to be delivered, and the rules have it.
    fn check(&self, routing: &Routing, is_compared: bool) -> Result<(), ExitCode> {
        if self.rule.is_empty() && !is_compared {
            return Err(fail(
                Exit::Usage,
                &"say what is to be delivered: --rule, or --against with the rules of before, whose deliveries are left out",
            ));
        }
        for name in &self.rule {
            if routing.rule(name).is_none() {
                let close = suggestion(name, routing.rules().map(|rule| rule.name().as_ref()));
                return Err(fail(Exit::Usage, &format_args!("there is no rule {name:?}{close}")));
            }
        }
        for name in &self.agent {
            if routing.agent(name).is_none() {
                let close = suggestion(name, routing.agents().map(|agent| agent.name.as_ref()));
                return Err(fail(Exit::Usage, &format_args!("there is no agent {name:?}{close}")));
            }
        }
        Ok(())
    }

    /// How much there is to ask for, and what may run twice.
    fn say((routing, again): (&Routing, u16), counts: &Counts, seen: &Seen, asked: &Asked<'_>) {
        let all: u64 = counts.values().sum();
        let (topics, since) = (asked.config.kafka.topics.join(", "), asked.since);
        output::note(format_args!(
            "{} of {} of {topics} since {since}",
            counted(all, "delivery"),
            counted(seen.events, "event")
        ));
        if again > 0 {
            output::note(format_args!(
                "  sent again ({again}), whatever was delivered before: each of these agents runs again"
            ));
        }
        for ((rule, agent), count) in counts {
            let is_found_again = routing.agent(agent).is_some_and(|spec| spec.endpoint.is_found_again());
            let twice = match (again > 0, is_found_again) {
                (true, true) => "LangGraph: it runs again for each, in another thread",
                (true, false) => {
                    "HTTP: it gets each again, with another Idempotency-Key, and after a crash between its answer and the ledger twice with that key"
                }
                (false, true) => "LangGraph: its run is found again, so no event runs twice",
                (false, false) => {
                    "HTTP: after a crash between its answer and the ledger it gets the event twice, with the same Idempotency-Key"
                }
            };
            output::note(format_args!("  {count}: {rule} for {agent} ({twice})"));
        }
        Self::say_what_is_left_out(again, seen);
    }

    /// What is selected and not asked for, and why.
    fn say_what_is_left_out(again: u16, seen: &Seen) {
        let Seen { before, overtaken, greatest, too_old, poison, .. } = *seen;
        if before > 0 && again > 0 {
            output::note(format_args!(
                "  {before} were asked for before with --again {again}: --done asks again, for those that were refused, and what was \
                 sent is not sent twice; a greater number sends all of them once more"
            ));
        } else if before > 0 {
            output::note(format_args!("  {before} were asked for before: --done asks again"));
        }
        if overtaken > 0 {
            let remedy = if again > 0 {
                format!("take a number greater than {greatest}, or --done asks all the same")
            } else {
                "--done asks all the same".to_owned()
            };
            output::warnings(&[format!(
                "{} left out: they were asked for with a greater number, at most --again {greatest}, and where that was made \
                 this sends nothing: {remedy}",
                counted(overtaken, "delivery")
            )]);
        }
        if poison > 0 {
            output::note(format_args!("  {}", no_events(poison)));
        }
        if too_old > 0 {
            output::note(format_args!(
                "  {too_old} are of events that the ledger may have forgotten: --force asks for them, and some may run twice"
            ));
        }
    }
}

/// Reads the topics. What stands there when it begins is all of it: the requests that are published come behind.
fn scan(
    asked: &Asked<'_>,
    interrupt: &Interrupt,
    what: &'static str,
    visit: &mut dyn FnMut(&Scanned<'_>) -> ControlFlow<()>,
) -> Result<(), ExitCode> {
    let end = scan::sources(asked.config, asked.since, interrupt, &mut Looking { what, visit })?;
    scan::warn_of_withheld(end.withheld);
    interrupt.exit().map_or(Ok(()), Err)
}

struct Looking<'v> {
    what: &'static str,
    visit: &'v mut dyn FnMut(&Scanned<'_>) -> ControlFlow<()>,
}

impl Visit for Looking<'_> {
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()> {
        (self.visit)(record)
    }

    fn progress(&self, at: ScanProgress) -> String {
        format!("{} of {} records {}", at.done, at.all, self.what)
    }
}
