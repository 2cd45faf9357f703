//! `dead-letters list`: counts by reason, rule and agent, or each letter.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{
    super::{
        flags::{OutputFlag, Settings},
        output,
    },
    pass::{Context, Pass},
    select::{Filter, Letter, time},
};
use crate::{kafka::MarkKind, yaml::excerpt};

/// How many groups are counted apart from the others.
const MAX_GROUPS: usize = 1_000;
/// How many letters are listed unless `--limit` says otherwise.
const EACH: usize = 100;
/// The most characters that are shown of a name, and of an error.
const MAX_NAME: usize = 100;
const MAX_ERROR: usize = 200;

/// Flags of `dead-letters list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// List each dead letter, the oldest of each partition first, instead of counting them
    #[arg(long)]
    each: bool,
    /// The most dead letters that --each lists
    #[arg(long, value_name = "N", default_value_t = EACH)]
    limit: usize,
    /// Also dead letters that were redriven or discarded
    #[arg(long)]
    done: bool,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    settings: Settings,
}

/// Reason, rule, agent.
type GroupName = (String, String, String);

#[derive(Debug, Default)]
struct Group {
    count: u64,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    /// Of the letter that was read first.
    error: String,
}

/// What is counted. Bounded, whatever the letters say.
#[derive(Debug, Default)]
struct Counts {
    open: u64,
    redriven: u64,
    discarded: u64,
    groups: BTreeMap<GroupName, Group>,
    /// Letters of further groups.
    others: u64,
}

impl List {
    pub(super) fn main(&self) -> Result<ExitCode, ExitCode> {
        let context = Context::open(&self.settings)?;
        let mut counts = Counts::default();
        let mut each = Vec::new();
        for topic in context.asked(&self.filter)? {
            Pass::open(&context, topic, &self.filter)?.letters(&self.filter, &mut |letter| {
                if self.each && each.len() >= self.limit {
                    return false;
                }
                let is_shown = letter.done.is_none() || self.done;
                counts.add(letter, is_shown);
                if self.each && is_shown {
                    each.push(if self.form.is_json() { one(letter) } else { Value::from(line(letter)) });
                }
                true
            })?;
        }
        let topics = context.topics.join(", ");
        if self.form.is_json() {
            let mut page = counts.json(&context.topics);
            if self.each {
                page = json!({"topics": context.topics, "letters": each});
            }
            output::result(format_args!("{}", output::json(&page)));
        } else if self.each {
            for line in &each {
                output::result(format_args!("{}", line.as_str().unwrap_or_default()));
            }
            if each.len() == self.limit {
                output::note(format_args!("there may be more: --limit lists more than {}", self.limit));
            }
        } else {
            output::result(format_args!("{}", counts.text(&topics)));
        }
        Ok(context.interrupt.exit().unwrap_or(ExitCode::SUCCESS))
    }
}

impl Counts {
    fn add(&mut self, letter: &Letter<'_>, is_shown: bool) {
        match letter.done {
            None => self.open += 1,
            Some(MarkKind::Redriven) => self.redriven += 1,
            Some(MarkKind::Discarded) => self.discarded += 1,
        }
        if !is_shown {
            return;
        }
        let (rule, agent) = letter.head.delivery.unwrap_or_default();
        let name = [letter.head.reason, rule, agent].map(|name| excerpt(name, MAX_NAME));
        let name = name.into();
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&name) {
            self.others += 1;
            return;
        }
        let group = self.groups.entry(name).or_default();
        if group.count == 0 {
            group.error = excerpt(letter.head.error, MAX_ERROR);
        }
        group.count += 1;
        group.last_ms = group.last_ms.max(letter.timestamp_ms);
        group.first_ms = match (group.first_ms, letter.timestamp_ms) {
            (Some(first), Some(ms)) => Some(first.min(ms)),
            (first, ms) => first.or(ms),
        };
    }

    /// The largest group first.
    fn sorted(&self) -> Vec<(&GroupName, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        groups
    }

    fn text(&self, topics: &str) -> String {
        let Self { open, redriven, discarded, others, .. } = self;
        let mut text = format!("{topics}: {open} open, {redriven} redriven, {discarded} discarded");
        for ((reason, rule, agent), group) in self.sorted() {
            let delivery = if rule.is_empty() { "whole record".to_owned() } else { format!("{rule} for {agent}") };
            let (first, last) = (time(group.first_ms), time(group.last_ms));
            let (count, error) = (group.count, &group.error);
            let _ = write!(text, "\n{count:>8}  {reason}, {delivery}, {first} to {last}\n          {error}");
        }
        if *others > 0 {
            let _ = write!(text, "\n{others:>8}  in more than {MAX_GROUPS} groups: select some of them");
        }
        text
    }

    fn json(&self, topics: &[String]) -> Value {
        let groups: Vec<_> = self
            .sorted()
            .into_iter()
            .map(|((reason, rule, agent), group)| {
                let name = |name: &str| if name.is_empty() { Value::Null } else { name.into() };
                json!({
                    "reason": reason, "rule": name(rule), "agent": name(agent), "count": group.count,
                    "first": time(group.first_ms), "last": time(group.last_ms), "error": group.error,
                })
            })
            .collect();
        json!({
            "topics": topics, "open": self.open, "redriven": self.redriven, "discarded": self.discarded,
            "groups": groups, "in_further_groups": self.others,
        })
    }
}

/// A letter in one line.
fn line(letter: &Letter<'_>) -> String {
    let head = &letter.head;
    let shown = |text: &str| excerpt(text, MAX_NAME);
    let mut line = format!("{}  {}  {}", letter.place, letter.time(), shown(head.reason));
    if let Some((rule, agent)) = head.delivery {
        let _ = write!(line, ", {} for {}", shown(rule), shown(agent));
    }
    if let Some(id) = head.event_id {
        let _ = write!(line, ", event {}", shown(id));
    }
    if let Some(done) = letter.done {
        let _ = write!(line, " ({})", done.as_str());
    }
    let _ = write!(line, ": {}", excerpt(head.error, MAX_ERROR));
    line
}

/// A letter as JSON, without its record.
pub(super) fn one(letter: &Letter<'_>) -> Value {
    let head = &letter.head;
    let (rule, agent) = head.delivery.unzip();
    let origin =
        head.origin.map(|(topic, partition, offset)| json!({"topic": topic, "partition": partition, "offset": offset}));
    json!({
        "letter": letter.place.to_string(),
        "state": letter.done.map_or("open", MarkKind::as_str),
        "time": letter.time(),
        "reason": head.reason,
        "error": head.error,
        "rule": rule,
        "agent": agent,
        "generation": head.generation.number,
        "again": head.generation.again,
        "event_id": head.event_id,
        "workflow_id": head.workflow_id,
        "workflow_run_id": head.workflow_run_id,
        "attempts": head.attempts.and_then(|text| text.parse::<u64>().ok()),
        "status": head.status.and_then(|text| text.parse::<u16>().ok()),
        "source": origin,
        "is_cut": head.is_cut,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::select::Place, *};
    use crate::kafka::LetterHead;

    fn letter(agent: &str, done: Option<MarkKind>) -> Letter<'_> {
        let head =
            LetterHead { reason: "refused", error: "400", delivery: Some(("all", agent)), ..LetterHead::default() };
        let place = Place { topic: None, partition: 0, offset: 1 };
        let (timestamp_ms, key, value, headers) = (Some(0), None, None, Vec::new());
        Letter { place, timestamp_ms, head, done, key, value, headers }
    }

    #[test]
    fn letters_are_counted_in_a_bounded_number_of_groups() {
        let mut counts = Counts::default();
        let agents: Vec<String> = (0..MAX_GROUPS + 5).map(|agent| agent.to_string()).collect();
        for agent in &agents {
            counts.add(&letter(agent, None), true);
            counts.add(&letter("0", None), true);
        }
        counts.add(&letter("0", Some(MarkKind::Redriven)), false);
        assert_eq!((counts.groups.len(), counts.others), (MAX_GROUPS, 5));
        assert_eq!((counts.open, counts.redriven), (2 * agents.len() as u64, 1));
        let text = counts.text("events.dlq");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("events.dlq: 2010 open, 1 redriven, 0 discarded"));
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with("    1006  refused, all for 0, 1970-01-01T00:00:00Z to "), "{first}");
        assert!(text.ends_with("       5  in more than 1000 groups: select some of them"), "{text}");
    }
}
