//! Routing tests: an event, and where the rules are to send it.
//!
//! Owns the form of test files and what a test says of a [`Routing`](super::Routing). Its invariant: a case is read, matched
//! and rendered by the code that does so in the running bridge. It sends nothing, and writes no file.

mod coverage;
mod difference;
mod event;
mod read;
mod run;
mod schema;
mod write;

use std::{path::Path, sync::Arc};

use serde_json::Value;

use crate::yaml::Position;

pub(crate) use self::{
    coverage::{ConditionCoverage, Coverage, RuleCoverage},
    difference::Difference,
    read::CaseFiles,
    run::{Failure, Runner},
    schema::SCHEMA,
    write::write_case,
};

/// One test.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name, unique in its file.
    pub(crate) name: String,
    /// The file that it stands in.
    pub(crate) file: Arc<Path>,
    /// Where it stands there.
    pub(crate) at: Option<Position>,
    /// The record of the event.
    record: Record,
    expected: Vec<Expected>,
}

/// A record as Kafka would have it.
#[derive(Debug, Default)]
struct Record {
    key: Option<String>,
    value: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// A rule that a test expects to match.
#[derive(Debug)]
struct Expected {
    rule: String,
    /// The agents of the rule; `None` when the test does not say.
    to: Option<Vec<String>>,
    /// What its LangGraph agents get.
    input: Option<Value>,
    /// What its http agents get.
    body: Option<Value>,
}

#[cfg(test)]
mod tests;
