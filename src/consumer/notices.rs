//! Warnings and errors of the bridge, for a process whose log is another language's.
//!
//! Owns the subscriber of `tracing` for such a process, which a first consumer installs, and what it has collected until somebody
//! takes it. Invariants: what is kept is bounded, and what did not fit is counted; while no consumer runs, nothing is collected; the
//! publish client, which reports by its outcomes, is not part of it.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::Arc,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::{publish::PerProcess, sync::Mutex};

/// How important a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is not as it should be, and goes on.
    Warning,
    /// Something failed.
    Error,
    /// An event was passed over.
    Critical,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How important it is.
    pub severity: Severity,
    /// The line.
    pub text: String,
}

const MAX_NOTICES: usize = 256;
/// The longest text of a notice but those of what was passed over, in bytes.
const MAX_BYTES: usize = 4096;

/// What is called when there is a first notice. False: its consumer has ended.
type Listener = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
pub(super) struct Notices(Mutex<Collected>);

#[derive(Default)]
struct Collected {
    notices: VecDeque<Notice>,
    missed: usize,
    listeners: Vec<Listener>,
}

/// Of this process: a lock may have been taken when it was forked.
static NOTICES: PerProcess<Notices> = PerProcess::new();

impl Notices {
    /// Those of this process.
    pub(super) fn of_process() -> &'static Self {
        NOTICES.get(Self::default)
    }

    /// Collects from now on, until `listener` returns false. It is called, on any thread, when there is something to take.
    pub(super) fn listen(&self, listener: Listener) {
        self.0.lock().listeners.push(listener);
    }

    /// Keeps a notice, if somebody listens.
    pub(super) fn add(&self, severity: Severity, mut text: String) {
        let collected = &mut *self.0.lock();
        collected.listeners.retain(|listener| listener());
        if collected.listeners.is_empty() {
            return;
        }
        if collected.notices.len() >= MAX_NOTICES {
            collected.missed += 1;
            return;
        }
        if text.len() > MAX_BYTES {
            let room = MAX_BYTES - '…'.len_utf8();
            text.truncate((0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
            text.push('…');
        }
        collected.notices.push_back(Notice { severity, text });
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<Notice> {
        let collected = &mut *self.0.lock();
        let mut notices: Vec<_> = collected.notices.drain(..).collect();
        let missed = std::mem::take(&mut collected.missed);
        if missed > 0 {
            let text = format!("{missed} further warnings and errors were not kept: more came than were taken");
            notices.push(Notice { severity: Severity::Warning, text });
        }
        notices
    }
}

/// The subscriber. See the module.
struct ToNotices;

/// Whether a module's events are collected.
fn is_ours(target: &str) -> bool {
    target.strip_prefix("workflow_bridge").is_some_and(|rest| !rest.starts_with("::publish"))
}

/// Installs it, once. A program that has a subscriber already keeps its own.
pub(super) fn subscribe() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Whoever installed another one gets the events there.
    ONCE.call_once(|| drop(tracing::subscriber::set_global_default(ToNotices)));
}

impl Subscriber for ToNotices {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN && is_ours(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let is_error = *event.metadata().level() == Level::ERROR;
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        Notices::of_process().add(severity, format!("{}{}", line.message, line.fields));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // None is enabled.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event as a line: the message, then each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = one_line(value);
        } else {
            // A text cannot fail.
            let _ = write!(self.fields, " {}={}", field.name(), one_line(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A text without control characters: what an event has must make no line of its own in a log.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Called by what the listeners hold: see [`Notices::listen`].
pub(super) fn listener<T: Send + Sync + 'static>(to: &Arc<T>, call: fn(&T)) -> Listener {
    let to = Arc::downgrade(to);
    Box::new(move || to.upgrade().inspect(|to| call(to)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(notices: &Notices, count: usize) {
        (0..count).for_each(|n| notices.add(Severity::Error, format!("notice {n}")));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let notices = Notices::default();
        notices.listen(Box::new(|| true));
        add(&notices, MAX_NOTICES + 7);
        let taken = notices.take();
        assert_eq!(taken.len(), MAX_NOTICES + 1);
        assert!(taken[MAX_NOTICES].text.starts_with("7 further warnings and errors"), "{taken:?}");
        assert!(notices.take().is_empty());
        notices.add(Severity::Warning, "é".repeat(MAX_BYTES));
        let taken = notices.take();
        assert!(taken[0].text.len() <= MAX_BYTES && taken[0].text.ends_with('…'), "{}", taken[0].text.len());
    }

    #[test]
    fn nothing_is_collected_while_nobody_listens() {
        let notices = Notices::default();
        add(&notices, 1);
        let consumer = Arc::new(Mutex::new(0));
        notices.listen(listener(&consumer, |calls| *calls.lock() += 1));
        add(&notices, 2);
        assert_eq!((*consumer.lock(), notices.take().len()), (2, 2));
        drop(consumer);
        add(&notices, 1);
        assert!(notices.take().is_empty());
    }

    #[test]
    fn an_event_is_a_line_with_its_fields() {
        let line = tracing::subscriber::with_default(Kept::default(), || {
            tracing::warn!(topic = "a", offset = 7, error = %"broken\nline", "it failed");
            tracing::dispatcher::get_default(|kept| kept.downcast_ref::<Kept>().map(|kept| kept.0.lock().clone()))
        });
        assert_eq!(line.as_deref(), Some("it failed topic=a offset=7 error=broken\\nline"));
    }

    #[test]
    fn the_publish_client_is_not_part_of_it() {
        assert!(is_ours("workflow_bridge::kafka::report"));
        assert!(!is_ours("workflow_bridge::publish::keep") && !is_ours("rdkafka::client"));
    }

    /// Keeps the last line.
    #[derive(Default)]
    struct Kept(Mutex<String>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            *self.0.lock() = format!("{}{}", line.message, line.fields);
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
}
