//! The types of the fields that every event has, and the patterns that can therefore never match.
//!
//! An event is refused unless its six names are strings and its two sections are objects, and its values are
//! normalized before it is matched. A list is an error if no item of it can match any event. An item is a
//! warning if it cannot match while others can, or if it matches no known value. A pattern that
//! some event could match is never refused.

mod time;
mod verdict;

use serde_json::json;

use super::{
    event_types::EventTypes,
    pattern::{self, Pattern},
    problem::Report,
};
use crate::{
    event::{EventType, MAX_EVENT_ID_BYTES, Source},
    yaml::{Data, Entry, Node, Position, quoted, suggestion},
};
use verdict::Verdict::{self, Fine, Never, Odd};

/// A field that every event has, as a string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field<'t> {
    EventId,
    /// With the types that the folder lists.
    EventType(&'t EventTypes),
    Source,
    Timestamp,
    /// `workflow_id` or `workflow_run_id`.
    Name,
}

/// A report about one position of a pattern.
struct Finding {
    at: Option<Position>,
    what: String,
    message: String,
    /// Whether no event can match the pattern for it; otherwise it is a warning.
    never: bool,
}

/// Reports the parts of a pattern that cannot match the fields that every event has. Objects below a string are
/// checked only if the pattern `compiles`.
pub(super) fn check(what: &str, node: &Node, compiles: bool, types: &EventTypes, report: &mut Report) {
    for Finding { at, what, message, never } in findings(what, node, compiles, types) {
        let message = format!("{what}: {message}");
        if never {
            report.error(at, message);
        } else {
            report.warn(at, message);
        }
    }
}

fn findings(what: &str, node: &Node, compiles: bool, types: &EventTypes) -> Vec<Finding> {
    let Data::Map(entries) = &node.data else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let what = format!("{what}.{}", entry.key);
        let field = match (entry.key.as_str(), &entry.value.data) {
            (pattern::OR, Data::List(branches)) => {
                let parent = what.strip_suffix(".$or").unwrap_or(&what);
                found.extend(any(branches.iter().map(|branch| findings(parent, branch, compiles, types)).collect()));
                continue;
            }
            ("event_id", _) => Field::EventId,
            ("event_type", _) => Field::EventType(types),
            ("source", _) => Field::Source,
            ("timestamp", _) => Field::Timestamp,
            ("workflow_id" | "workflow_run_id", _) => Field::Name,
            ("payload" | "metadata", Data::List(items)) => {
                found.extend(list(&what, items, section));
                continue;
            }
            ("metadata", Data::Map(fields)) => {
                found.extend(fields.iter().flat_map(|field| metadata(&what, field)));
                continue;
            }
            _ => continue,
        };
        match &entry.value.data {
            Data::List(items) => found.extend(list(&what, items, |item| text_field(field, item))),
            Data::Map(_) if compiles => found.push(below_a_string(what, entry)),
            _ => {}
        }
    }
    found
}

/// Alternatives that can never match are an error only if none can match.
fn any(alternatives: Vec<Vec<Finding>>) -> Vec<Finding> {
    let none_matches = alternatives.iter().all(|found| found.iter().any(|finding| finding.never));
    let mut all: Vec<_> = alternatives.into_iter().flatten().collect();
    if !none_matches {
        for finding in all.iter_mut().filter(|finding| finding.never) {
            finding.never = false;
            finding.message = format!("this alternative can never match: {}", finding.message);
        }
    }
    all
}

fn list(what: &str, items: &[Node], judge: impl Fn(&Node) -> Verdict) -> Vec<Finding> {
    let judged = |item: &Node| {
        let (message, never) = match judge(item) {
            Fine => return Vec::new(),
            Odd(message) => (message, false),
            Never(message) => (message, true),
        };
        vec![Finding { at: item.at, what: what.to_owned(), message, never }]
    };
    any(items.iter().map(judged).collect())
}

fn below_a_string(what: String, entry: &Entry) -> Finding {
    let advice = "put the values that match into a list, as in [\"etl_daily\"]";
    let never = !content_with_absence(&entry.value);
    let result = if never { "no event can match" } else { "this holds for every event" };
    let message = format!("this field is always a string, which has no fields, so {result}: {advice}");
    Finding { at: entry.value.at, what, message, never }
}

/// Whether a part of a pattern matches if none of its fields is present.
fn content_with_absence(node: &Node) -> bool {
    match &node.data {
        Data::List(items) => items.iter().any(asks_for_absence),
        Data::Map(entries) => entries.iter().all(|entry| match &entry.value.data {
            Data::List(branches) if entry.key == pattern::OR => branches.iter().any(content_with_absence),
            _ => content_with_absence(&entry.value),
        }),
        _ => false,
    }
}

fn asks_for_absence(item: &Node) -> bool {
    matches!(item.get("exists").map(|operand| &operand.data), Some(Data::Bool(false)))
}

/// `payload` and `metadata` are always objects, and an object does not count as a value.
fn section(item: &Node) -> Verdict {
    if asks_for_absence(item) {
        return Odd("this field is always an object, which counts as no value, so this holds for every event: \
                    name a field below it"
            .into());
    }
    Never("this field is always an object, which no value equals: name a field below it".into())
}

/// Values that publishers write as strings, and YAML reads as numbers.
fn metadata(what: &str, field: &Entry) -> Vec<Finding> {
    let Data::List(items) = &field.value.data else { return Vec::new() };
    if !matches!(field.key.as_str(), "environment" | "version") {
        return Vec::new();
    }
    let odd = |item: &Node| {
        let (found, text) = (item.found(), as_text(item));
        let message = format!("publishers write a string here, and {found} never equals one: quote it: {text}");
        Finding { at: item.at, what: format!("{what}.{}", field.key), message, never: false }
    };
    items.iter().filter(|item| matches!(item.data, Data::Number(_) | Data::Bool(_))).map(odd).collect()
}

/// A scalar as the string that was probably meant.
fn as_text(item: &Node) -> String {
    quoted(&match &item.data {
        Data::Number(number) => number.to_string(),
        Data::Bool(value) => value.to_string(),
        _ => String::new(),
    })
}

fn text_field(field: Field<'_>, item: &Node) -> Verdict {
    let verdict = match &item.data {
        Data::Null => Never("expected a string, found null: every event has this field, as a string".into()),
        Data::Bool(_) | Data::Number(_) => {
            let found = item.found();
            let quoted = as_text(item);
            Never(format!("expected a string, found {found}: this field is always a string: quote it: {quoted}"))
        }
        Data::Text(text) => exact(field, text),
        Data::List(_) => Fine,
        Data::Map(entries) => match entries.as_slice() {
            [entry] => operator(field, entry),
            _ => Fine,
        },
    };
    match verdict {
        Fine if matches!(field, Field::EventType(_) | Field::Source) => known(field, item),
        other => other,
    }
}

fn operator(field: Field<'_>, entry: &Entry) -> Verdict {
    let operand = &entry.value;
    let caseless = operand.get("equals-ignore-case").and_then(Node::text).map(str::to_uppercase);
    match (entry.key.as_str(), operand.text()) {
        ("exists", _) if operand.data == Data::Bool(false) => {
            Never("every event has this field, so it is never absent: take it out".into())
        }
        ("numeric", _) => Never(
            "this field is always a string, and `numeric` looks at numbers only: use `prefix`, \
                                 `wildcard` or the exact strings"
                .into(),
        ),
        ("exactly", Some(text)) => exact(field, text),
        ("equals-ignore-case", Some(text)) if field == Field::Timestamp => exact(field, &text.to_uppercase()),
        ("cidr", _) if field == Field::Timestamp => Never("a time is no address".into()),
        ("prefix", text) if field == Field::Timestamp => {
            text.map(str::to_owned).or(caseless).map_or(Fine, |text| time::begins(&text))
        }
        ("suffix", text) if field == Field::Timestamp => {
            text.map(str::to_owned).or(caseless).map_or(Fine, |text| time::ends(&text))
        }
        ("wildcard", Some(text)) if field == Field::Timestamp => time::wildcard(text),
        ("anything-but", _) => anything_but(field, operand),
        _ => Fine,
    }
}

/// A text that the whole field would have to equal.
fn exact(field: Field<'_>, text: &str) -> Verdict {
    match field {
        Field::EventType(_) => match EventType::read(text) {
            EventType::Other(_) => not_blank(text),
            canonical => spelling(text, canonical.as_str()),
        },
        Field::Source => match Source::read(text) {
            Source::Other(_) => not_blank(text),
            canonical => spelling(text, canonical.as_str()),
        },
        Field::Name => not_blank(text),
        Field::EventId if text.is_empty() => Never("no event has an empty event_id: write the id".into()),
        Field::EventId if text.len() > MAX_EVENT_ID_BYTES => {
            Never(format!("an event_id has at most {MAX_EVENT_ID_BYTES} bytes, found {}", text.len()))
        }
        Field::EventId if text.chars().any(char::is_control) => {
            Never("an event_id has no control characters, found one".into())
        }
        Field::EventId => Fine,
        Field::Timestamp => time::exact(text),
    }
}

fn spelling(found: &str, canonical: &str) -> Verdict {
    if found == canonical {
        return Fine;
    }
    Never(format!("events spell it `{canonical}`, found {}: write `{canonical}`", quoted(found)))
}

fn not_blank(text: &str) -> Verdict {
    if text.trim().is_empty() { Never("this field is never blank: write what it holds".into()) } else { Fine }
}

/// Whether an item could match one of the names that this version knows.
fn known(field: Field<'_>, item: &Node) -> Verdict {
    let (key, names, listed) = match field {
        Field::EventType(types) => ("event_type", EventType::NAMES, Some(types)),
        _ => ("source", Source::NAMES, None),
    };
    let exact = item.text().or_else(|| item.get("exactly").and_then(Node::text));
    if listed.is_some_and(|listed| exact.is_some_and(|text| listed.contains(text))) {
        return Fine;
    }
    let single = Node {
        at: None,
        data: Data::Map(vec![Entry {
            key: key.into(),
            at: None,
            value: Node { at: None, data: Data::List(vec![item.clone()]) },
        }]),
    };
    let Ok(pattern) = Pattern::compile(&single) else { return Fine };
    let all = || names.iter().copied().chain(listed.into_iter().flat_map(EventTypes::iter));
    if all().any(|name| pattern.matches(&json!({key: name}))) {
        return Fine;
    }
    let close = exact.map(|text| nearest(field, text, &all().collect::<Vec<_>>())).unwrap_or_default();
    let advice = match listed {
        Some(_) if close.is_empty() => ": list it under `event_types:` if it is published",
        _ => &close,
    };
    let known = names.join(", ");
    Odd(format!("{} matches none of the names that are known ({known}){advice}", item.found()))
}

fn nearest(field: Field<'_>, text: &str, names: &[&str]) -> String {
    if matches!(field, Field::EventType(_)) {
        let meant = EventType::read(&format!("workflow_{text}"));
        if !matches!(meant, EventType::Other(_)) {
            return format!(": did you mean `{meant}`?");
        }
    }
    let close = suggestion(text, names.iter().copied());
    if close.is_empty() { suggestion(&text.to_uppercase(), names.iter().copied()) } else { close }
}

/// `anything-but` a value that is never present excludes nothing.
fn anything_but(field: Field<'_>, operand: &Node) -> Verdict {
    let items = match &operand.data {
        Data::List(items) => items.as_slice(),
        Data::Map(_) => return Fine,
        _ => std::slice::from_ref(operand),
    };
    for item in items {
        let reason = match &item.data {
            Data::Number(_) => {
                Some(format!("this field is always a string, never {}: quote it: {}", item.found(), as_text(item)))
            }
            Data::Text(text) => match exact(field, text) {
                Never(reason) => Some(reason),
                _ => None,
            },
            _ => None,
        };
        if let Some(reason) = reason {
            return Odd(format!("anything-but excludes nothing here: {reason}"));
        }
    }
    Fine
}

#[cfg(test)]
mod tests;
