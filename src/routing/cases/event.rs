//! The event of a test: written in the test, or a file beside it.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::Record;
use crate::{
    files,
    routing::{fields::Fields, problem::Report},
    yaml::{Data, Entry, Node, quoted},
};

/// What an event in a test need not say: fields of every event on which few rules depend.
pub(super) const DEFAULTS: [(&str, &str); 4] = [
    ("event_id", "test-event"),
    ("timestamp", "2026-01-31T12:00:00Z"),
    ("source", "AIRFLOW"),
    ("workflow_run_id", "test-run"),
];

/// Reads the record of a test from `event`, `file`, `key` and `headers`.
pub(super) fn record(what: &str, fields: &mut Fields<'_>, left: &mut u64, report: &mut Report) -> Option<Record> {
    let (event, file) = (fields.take("event"), fields.take("file"));
    let key = fields.take("key").map(|entry| text(what, entry, report));
    let headers = fields.take("headers").map(|entry| headers(what, entry, report)).unwrap_or_default();
    let value = match (event, file) {
        (Some(entry), None) => inline(what, &entry.value, report),
        (None, Some(entry)) => from_file(what, entry, left, report),
        (Some(_), Some(both)) => {
            report.error(both.at, format!("{what}: expected `event` or `file`, found both: keep one"));
            None
        }
        (None, None) => {
            let advice = "write `event: {event_type: ..., workflow_id: ...}`, or name a file with one event in `file`";
            report.error(fields.at, format!("{what}: expected `event` or `file`, found neither: {advice}"));
            None
        }
    };
    Some(Record { key: key.flatten(), value: value?, headers })
}

/// An event in the test as the bytes of a record. A native one may leave out the fields of [`DEFAULTS`].
fn inline(what: &str, node: &Node, report: &mut Report) -> Option<Vec<u8>> {
    if !matches!(node.data, Data::Map(_)) {
        let found = node.found();
        let message = format!("{what}, event: expected a map, found {found}: write the event's fields, or name a file");
        report.error(node.at, message);
        return None;
    }
    let Value::Object(given) = node.to_json() else { return None };
    if !given.contains_key("event_type") {
        // Another dialect, or a mistake that the decoder names.
        return Some(Value::Object(given).to_string().into_bytes());
    }
    let missing = DEFAULTS.iter().filter(|(name, _)| !given.contains_key(*name));
    let mut event: Map<String, Value> =
        missing.map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    event.extend(given);
    Some(Value::Object(event).to_string().into_bytes())
}

fn from_file(what: &str, entry: &Entry, left: &mut u64, report: &mut Report) -> Option<Vec<u8>> {
    let name = text(what, entry, report)?;
    let path = beside(report.file(), &name);
    match files::read_within(&path, *left) {
        Ok(bytes) => {
            *left -= bytes.len() as u64;
            Some(bytes)
        }
        Err(error) => {
            let advice = if error.kind() == io::ErrorKind::FileTooLarge {
                "all test files and their events together may have 32 MiB"
            } else {
                "name a file with one event, relative to the folder of this file"
            };
            report.error(entry.value.at, format!("{what}, file: cannot read {}: {error}: {advice}", quoted(&name)));
            None
        }
    }
}

/// A path is relative to the folder of the test file.
fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

fn text(what: &str, entry: &Entry, report: &mut Report) -> Option<String> {
    let text = entry.value.text().filter(|text| !text.is_empty());
    if text.is_none() {
        let found = entry.value.found();
        report.error(entry.value.at, format!("{what}, {}: expected a text, found {found}: quote it", entry.key));
    }
    text.map(str::to_owned)
}

fn headers(what: &str, entry: &Entry, report: &mut Report) -> Vec<(String, String)> {
    let Data::Map(headers) = &entry.value.data else {
        let found = entry.value.found();
        let message = format!("{what}, headers: expected a map from names to texts, found {found}");
        report.error(entry.value.at, format!("{message}: write it as in `{{ce_type: ...}}`"));
        return Vec::new();
    };
    let what = format!("{what}, headers");
    headers.iter().filter_map(|header| Some((header.key.clone(), text(&what, header, report)?))).collect()
}
