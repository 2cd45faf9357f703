//! `event_types:`: names of events that rules may ask for, beside those of workflows.

use std::collections::BTreeSet;

use super::problem::Report;
use crate::{
    event::EventType,
    yaml::{Data, Node, quoted},
};

/// The most of a folder: a condition is tried with each.
const MAX_EVENT_TYPES: usize = 1_000;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 255;

const EXAMPLE: &str = "as in `event_types: [UserCreatedIntegrationEvent]`";

/// The event types that the files of a folder list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EventTypes(BTreeSet<String>);

impl EventTypes {
    /// Adds those of a file.
    pub(super) fn read(&mut self, node: &Node, report: &mut Report) {
        let Data::List(items) = &node.data else {
            let message = format!("event_types: expected a list of names, found {}: {EXAMPLE}", node.found_type());
            report.error(node.at, message);
            return;
        };
        for item in items {
            let Some(name) = item.text() else {
                let message = format!("event_types: expected a name, found {}: {EXAMPLE}", item.found());
                report.error(item.at, message);
                continue;
            };
            if let Err(problem) = check(name) {
                report.error(item.at, format!("event_types: {problem}"));
            } else if self.0.len() >= MAX_EVENT_TYPES && !self.contains(name) {
                let message = format!("event_types: expected at most {MAX_EVENT_TYPES} in all files together");
                report.error(item.at, format!("{message}: take out those that no rule names"));
                return;
            } else {
                self.0.insert(name.to_owned());
            }
        }
    }

    /// Whether a file lists it.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn check(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("expected a name of 1 to {MAX_NAME_BYTES} bytes, found {}", quoted(name)));
    }
    match EventType::read(name) {
        EventType::Other(_) => Ok(()),
        known => Err(format!("rules may name {known} already: take {} out", quoted(name))),
    }
}
