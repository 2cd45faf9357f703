//! The comparison for people.

use std::fmt::Write as _;

use super::{
    compare::{Changed, Target},
    diff::{Compared, Counted},
};
use crate::words::{counted, no_events};

/// The most rows of the table: -o json has all.
const MAX_ROWS: usize = 200;

pub(super) fn text(compared: &Compared) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} of {} since {}: {} as before ({} of them to no rule), {} elsewhere; {}",
        counted(compared.events, "event"),
        compared.topics.join(", "),
        compared.since,
        compared.events - compared.changed,
        compared.unmatched,
        compared.changed,
        no_events(compared.poison),
    );
    let _ = writeln!(text, "old: {}, new: {}", compared.against, compared.rules);
    if compared.withheld > 0 {
        let _ = writeln!(
            text,
            "Kafka gave nothing for {} offsets before the end: a leader was lost with its records, most likely",
            compared.withheld
        );
    }
    table(&mut text, &compared.deliveries);
    if !compared.listed.is_empty() {
        text.push('\n');
    }
    for event in &compared.listed {
        list(&mut text, event);
    }
    let left = compared.changed - compared.listed.len() as u64;
    if left > 0 {
        let _ = writeln!(text, "{left} more go elsewhere: --limit lists more");
    }
    if !compared.complete {
        let _ = writeln!(text, "ended early: this is what was read by then");
    }
    text.trim_end().to_owned()
}

/// A row for each rule and agent with a difference.
fn table(text: &mut String, deliveries: &[Counted]) {
    let is_different = |counted: &&Counted| counted.count.only_old + counted.count.only_new > 0;
    let rows: Vec<&Counted> = deliveries.iter().filter(is_different).collect();
    if rows.is_empty() {
        return;
    }
    let name = |target: &Target| format!("{} for {}", target.rule, target.agent);
    let shown = rows.iter().take(MAX_ROWS);
    let width = shown.clone().map(|row| name(&row.target).chars().count()).max().unwrap_or_default().max("rule".len());
    let _ = writeln!(text, "\n{:width$}  {:>10}  {:>10}  {:>10}", "rule", "only old", "only new", "both");
    for row in shown {
        let count = row.count;
        let _ = writeln!(
            text,
            "{:width$}  {:>10}  {:>10}  {:>10}",
            name(&row.target),
            count.only_old,
            count.only_new,
            count.both
        );
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(text, "and {} more rows: -o json has all", rows.len() - MAX_ROWS);
    }
}

fn list(text: &mut String, event: &Changed) {
    let Changed { topic, partition, offset, event_id, event_type, workflow_id, workflow_run_id, .. } = event;
    let _ = writeln!(
        text,
        "{topic}[{partition}]@{offset} {event_id}: {event_type} of {workflow_id}, run {workflow_run_id}"
    );
    for (sign, targets) in [('-', &event.only_old), ('+', &event.only_new)] {
        for Target { rule, agent } in targets {
            let _ = writeln!(text, "  {sign} {rule} for {agent}");
        }
    }
    if event.not_shown > 0 {
        let _ = writeln!(text, "  and {} more", event.not_shown);
    }
}
