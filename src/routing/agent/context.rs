//! What the readers of an agent share.

use std::time::Duration;

use crate::{
    routing::{problem::Report, template::Compiler},
    yaml::{Position, quoted},
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// What reading an agent depends on, and the report of its mistakes.
pub(in crate::routing) struct Context<'a> {
    pub(in crate::routing) env: &'a dyn Fn(&str) -> Option<String>,
    pub(in crate::routing) dedup_window: Duration,
    pub(in crate::routing) report: &'a mut Report,
    pub(in crate::routing) templates: &'a mut Compiler,
}

/// Names are part of every delivery's identity, of labels and of headers.
pub(in crate::routing) fn check_name(what: &str, name: &str, at: Option<Position>, report: &mut Report) {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-'));
    if !first || !rest || name.len() > 64 {
        let message = "expected 1 to 64 of a-z, 0-9, `_`, `.` and `-`, a letter or digit first";
        report.error(at, format!("{what} name: {message}, found {}", quoted(name)));
    }
}
