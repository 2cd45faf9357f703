//! What became of events, for people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    cli::output::{MAX_CHARS, shown},
    words::counted,
    yaml::excerpt,
};

/// The page of an event, or of several.
pub(super) fn describe(page: &Value) -> String {
    let Some(events) = page["events"].as_array() else { return describe_event(page) };
    let mut text = match page["event_id"].as_str() {
        Some(id) => format!("event {}", excerpt(id, MAX_CHARS)),
        None => format!("workflow {}, run {}", shown(&page["workflow_id"]), shown(&page["workflow_run_id"])),
    };
    let _ = write!(text, ": {}", counted(events.len(), "event"));
    for event in events {
        let _ = write!(text, "\n\n{}", describe_event(event));
    }
    for record in page["poison"].as_array().into_iter().flatten() {
        let _ = write!(
            text,
            "\n\n{}: no event ({}): {}",
            place(&record["record"]),
            shown(&record["reason"]),
            shown(&record["error"])
        );
        describe_letters(&mut text, record);
    }
    not_shown(&mut text, &page["records_not_kept"], "record", " of more events");
    not_shown(&mut text, &page["poison_not_kept"], "more record", " that cannot be read as an event");
    not_shown(&mut text, &page["dead_letters_not_kept"], "more dead letter", "");
    if page["note"].is_string() {
        let _ = write!(text, "\n\n{}", shown(&page["note"]));
    }
    text
}

fn describe_event(page: &Value) -> String {
    let mut text = format!("event {}: {}", shown(&page["event_id"]), shown(&page["state"]));
    if page["event_type"].is_string() {
        let [kind, workflow, run] = ["event_type", "workflow_id", "workflow_run_id"].map(|name| shown(&page[name]));
        let _ = write!(text, "\n{kind} of {workflow}, run {run}");
        let _ = write!(text, "\npublished in {}", place(&page["record"]));
        if page["published"].is_string() {
            let _ = write!(text, ", {}", shown(&page["published"]));
        }
        if let Some(copies) = page["copies"].as_u64().filter(|copies| *copies > 0) {
            let _ = write!(text, ", and {copies} more {}", if copies == 1 { "time" } else { "times" });
        }
    }
    if page["source"].is_object() {
        let _ = write!(text, "\nread from {}, first seen {}", place(&page["source"]), shown(&page["first_seen"]));
    }
    for line in page["deliveries"].as_array().into_iter().flatten() {
        describe_delivery(&mut text, line);
    }
    describe_letters(&mut text, page);
    not_shown(&mut text, &page["dead_letters_not_kept"], "more dead letter", "");
    if let Some(conflicts) = page["conflicts"].as_u64().filter(|conflicts| *conflicts > 0) {
        let _ = write!(text, "\n{} of another event with this id: id_conflict", counted(conflicts, "dead letter"));
    }
    if page["note"].is_string() {
        let _ = write!(text, "\n{}", shown(&page["note"]));
    }
    describe_nearest(&mut text, &page["nearest"]);
    if let Some(partitions) = page["partitions"].as_array() {
        let names: Vec<_> = partitions.iter().map(shown).collect();
        let lag = if page["lag"].is_null() { "unknown".to_owned() } else { shown(&page["lag"]) };
        let _ = write!(text, "\nthis replica has the partitions [{}], their lag is {lag}", names.join(", "));
    }
    if page["known_from"].is_string() {
        let _ = write!(text, "\nas {} says", shown(&page["known_from"]));
    }
    text
}

/// How many there are more than are kept.
fn not_shown(text: &mut String, count: &Value, noun: &str, what: &str) {
    if let Some(count) = count.as_u64().filter(|count| *count > 0) {
        let _ = write!(text, "\nnot shown: {}{what}", counted(count, noun));
    }
}

/// The rule that misses the event by the fewest conditions.
fn describe_nearest(text: &mut String, nearest: &Value) {
    if !nearest.is_object() {
        return;
    }
    let [rule, missed, all] = ["rule", "missed", "conditions"].map(|name| shown(&nearest[name]));
    let _ = write!(text, "\n  the nearest rule is {rule}: {missed} of {all} conditions do not hold");
    for condition in nearest["first_missed"].as_array().into_iter().flatten() {
        let [path, expected, found] = ["path", "expected", "found"].map(|name| shown(&condition[name]));
        let _ = write!(text, "\n    {path}: expected {expected}, found {found}");
    }
}

fn describe_letters(text: &mut String, page: &Value) {
    for letter in page["dead_letters"].as_array().into_iter().flatten() {
        let _ = write!(text, "\n  dead letter {}: {}", place(&letter["letter"]), shown(&letter["reason"]));
        if letter["rule"].is_string() {
            let _ = write!(text, ", {}, for agent {}", shown(&letter["rule"]), shown(&letter["agent"]));
            describe_generation(text, letter);
        }
        if letter["done"].is_string() {
            let _ = write!(text, ", {} since", shown(&letter["done"]));
        }
        if letter["error"].as_str().is_some_and(|error| !error.is_empty()) {
            let _ = write!(text, "\n    {}", shown(&letter["error"]));
        }
    }
}

/// Which time a delivery was made, unless it was the first.
fn describe_generation(text: &mut String, delivery: &Value) {
    for (name, words) in [("generation", "generation"), ("again", "sent again")] {
        if let Some(number) = delivery[name].as_u64().filter(|number| *number > 0) {
            let _ = write!(text, ", {words} {number}");
        }
    }
}

fn place(place: &Value) -> String {
    format!("{}[{}]@{}", shown(&place["topic"]), shown(&place["partition"]), shown(&place["offset"]))
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
    describe_generation(text, delivery);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_shown_is_counted_and_another_event_with_the_id_is_named() {
        let event = json!({"event_id": "e", "state": "delivered", "deliveries": [], "conflicts": 1,
            "dead_letters_not_kept": 2});
        let text = describe(&event);
        let expected = "event e: delivered\nnot shown: 2 more dead letters\n1 dead letter of another event with this id: id_conflict";
        assert_eq!(text, expected);
        let run = json!({"workflow_id": "w", "workflow_run_id": "r", "events": [], "poison": [],
            "records_not_kept": 1, "poison_not_kept": 1, "dead_letters_not_kept": 0});
        let expected = "workflow w, run r: 0 events\nnot shown: 1 record of more events\n\
            not shown: 1 more record that cannot be read as an event";
        assert_eq!(describe(&run), expected);
    }

    #[test]
    fn a_dead_letter_says_which_time_its_delivery_was_made_unless_it_was_the_first() {
        let of = |generation: u32, again: u16| {
            let letter = json!({"letter": {"topic": "t.dlq", "partition": 0, "offset": 7}, "reason": "refused",
                "rule": "all", "agent": "audit", "generation": generation, "again": again});
            describe(&json!({"event_id": "e", "state": "dead_lettered", "dead_letters": [letter]}))
        };
        let first = "event e: dead_lettered\n  dead letter t.dlq[0]@7: refused, all, for agent audit";
        assert_eq!(of(0, 0), first);
        assert_eq!(of(1, 0), format!("{first}, generation 1"));
        assert_eq!(of(1, 2), format!("{first}, generation 1, sent again 2"));
    }
}
