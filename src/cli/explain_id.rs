//! `explain --id`: what became of an event, as a running bridge knows it.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use serde_json::Value;

use super::{
    ask::ask,
    output::{self, fail},
};
use crate::{bridge::Exit, event::MAX_EVENT_ID_BYTES, yaml::excerpt};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most characters that are shown of a text of the answer.
const MAX_CHARS: usize = 1_000;

/// Asks the bridge at this address, and prints its answer as text or as it is.
pub(super) fn main(admin_addr: &str, event_id: &str, as_json: bool) -> ExitCode {
    if event_id.is_empty() || event_id.len() > MAX_EVENT_ID_BYTES || event_id.contains(char::is_control) {
        return fail(Exit::Usage, &"no event has such an id: expected 1 to 255 bytes without control characters");
    }
    if [".", ".."].contains(&event_id) {
        return fail(Exit::Usage, &"an address cannot contain this id: search the log for it");
    }
    let (status, text) = match ask(admin_addr, &["api", "events", event_id], TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => return fail(Exit::Unavailable, &error),
    };
    let page = serde_json::from_str::<Value>(&text).ok().filter(|page| page["event_id"] == event_id);
    let Some(page) = page else {
        return fail(
            Exit::Unavailable,
            &format_args!(
                "{admin_addr} answered with status {status} and not about this event: is it a bridge of this version?"
            ),
        );
    };
    if let Some(error) = page["error"].as_str() {
        return fail(Exit::Unavailable, &format_args!("{admin_addr}: {}", excerpt(error, MAX_CHARS)));
    }
    if as_json {
        output::result(format_args!("{}", output::json(&page)));
    } else {
        output::result(format_args!("{}", describe(&page)));
    }
    if status == 200 { ExitCode::SUCCESS } else { Exit::Data.into() }
}

fn describe(page: &Value) -> String {
    let mut text = format!("event {}: {}", shown(&page["event_id"]), shown(&page["state"]));
    if page["source"].is_object() {
        let (topic, at) = (shown(&page["source"]["topic"]), &page["source"]);
        let _ = write!(text, "\nread from {topic}[{}]@{}", shown(&at["partition"]), shown(&at["offset"]));
        let _ = write!(text, ", first seen {}", shown(&page["first_seen"]));
    }
    for line in page["deliveries"].as_array().into_iter().flatten() {
        describe_delivery(&mut text, line);
    }
    if page["note"].is_string() {
        let _ = write!(text, "\n{}", shown(&page["note"]));
    }
    if let Some(partitions) = page["partitions"].as_array() {
        let names: Vec<_> = partitions.iter().map(shown).collect();
        let lag = if page["lag"].is_null() { "unknown".to_owned() } else { shown(&page["lag"]) };
        let _ = write!(text, "\nthis replica has the partitions [{}], their lag is {lag}", names.join(", "));
    }
    text
}

fn describe_delivery(text: &mut String, delivery: &Value) {
    let has = |name: &str| !delivery[name].is_null();
    let value = |name: &str| shown(&delivery[name]);
    let attempts = if delivery["attempts"] == 1 { "attempt" } else { "attempts" };
    let _ = write!(
        text,
        "\n  {}, for agent {}: {}, {} {attempts}",
        value("rule"),
        value("agent"),
        value("status"),
        value("attempts")
    );
    if delivery["generation"].as_u64().is_some_and(|generation| generation > 0) {
        let _ = write!(text, ", generation {}", value("generation"));
    }
    if has("ended") {
        let _ = write!(text, ", {}", value("ended"));
    }
    if has("thread_id") {
        let run = if has("run_id") { format!(", run {}", value("run_id")) } else { String::new() };
        let _ = write!(text, "\n    thread {}{run}", value("thread_id"));
    }
    if has("run_url") {
        let _ = write!(text, "\n    {}", value("run_url"));
    }
    let failure = &delivery["last_failure"];
    if failure.is_object() {
        let status =
            if failure["status"].is_null() { String::new() } else { format!(", status {}", shown(&failure["status"])) };
        let _ = write!(text, "\n    last failure: {}{status}, {}", shown(&failure["class"]), shown(&failure["at"]));
    }
}

/// A value for the terminal.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    excerpt(&text, MAX_CHARS)
}
