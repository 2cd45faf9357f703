//! `status`: whether a running bridge is up to date, what waits and for whom, and which rules are in force.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    ask::ask,
    flags::AdminFlags,
    output::{self, MAX_CHARS, fail, shown},
};
use crate::{bridge::Exit, config::environment_help, words::counted, yaml::excerpt};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most agents and notes that are shown: -o json has all.
const MAX_LINES: usize = 20;

const HELP: &str = "Example: workflow-bridge status --admin 127.0.0.1:9464\n\n\
It is what this replica says of itself, from /readyz and /api/status; -o json has both pages.\n\n\
Exit codes: 0 the bridge is ready, 69 it is not, or nobody answers, 78 the settings are wrong.";

/// Flags of `status`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Status {
    #[command(flatten)]
    bridge: AdminFlags,
}

impl Status {
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.bridge.load() {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let addr = &config.admin_addr;
        let pages = page(addr, &["readyz"]).and_then(|ready| Ok((ready, page(addr, &["api", "status"])?)));
        let ((ready, readiness), (_, status)) = match pages {
            Ok(pages) => pages,
            Err(error) => return fail(Exit::Unavailable, &error),
        };
        if !status["group"].is_string() {
            return fail(Exit::Unavailable, &format_args!("http://{addr}/api/status is not the status of a bridge"));
        }
        let is_ready = (200..300).contains(&ready);
        if self.bridge.form.is_json() {
            let page = json!({"ready": is_ready, "notes": readiness["notes"], "status": status});
            output::result(format_args!("{}", output::json(&page)));
        } else {
            output::result(format_args!("{}", describe(addr, is_ready, &readiness["notes"], &status)));
        }
        if is_ready { ExitCode::SUCCESS } else { Exit::Unavailable.into() }
    }
}

/// The status and the JSON of a page.
fn page(addr: &str, path: &[&str]) -> Result<(u16, Value), String> {
    let (status, text) = ask(addr, path, TIMEOUT)?;
    serde_json::from_str(&text).map(|page| (status, page)).map_err(|_| {
        let path = path.join("/");
        format!("http://{addr}/{path} answered with status {status} and no JSON: is a bridge running there?")
    })
}

fn describe(addr: &str, is_ready: bool, notes: &Value, status: &Value) -> String {
    let (verdict, group) = (if is_ready { "ready" } else { "not ready" }, shown(&status["group"]));
    let mut text = format!("the bridge at {addr} is {verdict}: group {group}, version {}", shown(&status["version"]));
    describe_partitions(&mut text, status);
    describe_agents(&mut text, status);
    let spool = &status["spool"];
    if let Some(waiting) = spool["waiting"].as_u64() {
        let _ = write!(text, "\nspool {}: {} not published yet", shown(&spool["folder"]), counted(waiting, "event"));
    }
    describe_rules(&mut text, &status["routing"]);
    let notes = notes.as_array().map(Vec::as_slice).unwrap_or_default();
    for note in notes.iter().take(MAX_LINES) {
        let _ = write!(text, "\nnote: {}", shown(note));
    }
    left_out(&mut text, notes.len(), "note");
    text
}

/// The routing folder that is in force. A program may have handlers alone.
fn describe_rules(text: &mut String, routing: &Value) {
    if routing.is_null() {
        text.push_str("\nrules: no routing folder, only handlers of a program");
        return;
    }
    let count = |name: &str, noun: &str| counted(routing[name].as_u64().unwrap_or_default(), noun);
    let _ = write!(
        text,
        "\nrules: {} and {} of {}, in force since {}, fingerprint {}",
        count("rules", "rule"),
        count("agents", "agent"),
        shown(&routing["folder"]),
        shown(&routing["loaded"]),
        shown(&routing["fingerprint"])
    );
}

/// How far it is in what the group has given it.
fn describe_partitions(text: &mut String, status: &Value) {
    let assigned = status["consumer"]["assigned"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A partition that has not been asked for its end yet makes the sum unknown.
    let sum = |name: &str| {
        let known: Option<Vec<i64>> = assigned.iter().map(|partition| partition[name].as_i64()).collect();
        known.map_or_else(
            || "an unknown number of records".to_owned(),
            |all| counted(all.into_iter().fold(0, i64::saturating_add), "record"),
        )
    };
    let mut topics: Vec<String> = assigned.iter().map(|partition| shown(&partition["topic"])).collect();
    topics.sort_unstable();
    topics.dedup();
    let partitions = counted(assigned.len(), "partition");
    let _ = match &*topics {
        [] => write!(text, "\nno partition is assigned"),
        topics => write!(
            text,
            "\n{partitions} of {}: {} not read yet, {} not committed",
            excerpt(&topics.join(", "), MAX_CHARS),
            sum("unread"),
            sum("lag")
        ),
    };
}

/// The agents for whom something waits, and how many others there are.
fn describe_agents(text: &mut String, status: &Value) {
    let agents = status["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let waiting = |agent: &Value| agent["pending_deliveries"].as_i64().unwrap_or_default();
    let parked = |agent: &Value| agent["parked_deliveries"].as_u64().unwrap_or_default();
    let (busy, idle): (Vec<_>, Vec<_>) =
        agents.iter().partition(|agent| waiting(agent) > 0 || parked(agent) > 0 || agent["breaker"] != "closed");
    for agent in busy.iter().take(MAX_LINES) {
        // Half open is open for a person: only probes are sent.
        let (name, breaker) = (shown(&agent["agent"]), if agent["breaker"] == "closed" { "closed" } else { "open" });
        let (waiting, parked) = (counted(waiting(agent), "delivery"), parked(agent));
        let _ =
            write!(text, "\nagent {name}: {waiting} under way or waiting, {parked} parked, its breaker is {breaker}");
    }
    left_out(text, busy.len(), "agent");
    match &*idle {
        [] => {}
        [agent] => {
            let _ = write!(text, "\nagent {}: nothing waits, its breaker is closed", shown(&agent["agent"]));
        }
        idle => {
            let others = if busy.is_empty() { "" } else { "other " };
            let _ = write!(text, "\n{} {others}agents: nothing waits, their breakers are closed", idle.len());
        }
    }
}

fn left_out(text: &mut String, all: usize, noun: &str) {
    if all > MAX_LINES {
        let _ = write!(text, "\nand {}: -o json has all", counted(all - MAX_LINES, &format!("more {noun}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, waiting: i64, breaker: &str) -> Value {
        json!({"agent": name, "pending_deliveries": waiting, "parked_deliveries": 0, "breaker": breaker})
    }

    fn status(agents: &[Value]) -> Value {
        let partition = |unread: Option<i64>| json!({"topic": "events", "unread": unread, "lag": 2});
        json!({
            "group": "g", "version": "1.0", "agents": agents,
            "consumer": {"assigned": [partition(Some(1)), partition(None)]},
            "spool": {"folder": "/spool", "waiting": 1},
            "routing": {"folder": "routing", "rules": 1, "agents": 2, "loaded": "now", "fingerprint": "f"},
        })
    }

    #[test]
    fn it_says_what_waits_and_for_whom_and_what_it_does_not_know() {
        let agents = [agent("a", 0, "closed"), agent("b", 1, "open"), agent("c", 0, "closed")];
        let text = describe("h:1", false, &json!(["the\u{1b}note"]), &status(&agents));
        let expected = "the bridge at h:1 is not ready: group g, version 1.0\n\
            2 partitions of events: an unknown number of records not read yet, 4 records not committed\n\
            agent b: 1 delivery under way or waiting, 0 parked, its breaker is open\n\
            2 other agents: nothing waits, their breakers are closed\n\
            spool /spool: 1 event not published yet\n\
            rules: 1 rule and 2 agents of routing, in force since now, fingerprint f\n\
            note: the";
        assert!(text.starts_with(expected) && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_program_with_handlers_alone_has_no_folder() {
        let mut status = status(&[]);
        status["routing"] = Value::Null;
        let text = describe("h:1", true, &Value::Null, &status);
        assert!(text.ends_with("\nrules: no routing folder, only handlers of a program"), "{text}");
    }

    #[test]
    fn what_it_prints_is_bounded_whatever_the_pages_have() {
        let agents: Vec<Value> = (0..MAX_LINES + 5).map(|n| agent(&n.to_string(), 1, "closed")).collect();
        let text = describe("h:1", true, &Value::Null, &status(&agents));
        assert!(text.contains("\nand 5 more agents: -o json has all"), "{text}");
        assert!(describe("h:1", true, &Value::Null, &Value::Null).contains("no partition is assigned"));
    }
}
