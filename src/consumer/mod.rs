//! A consumer of events whose handlers are functions of another language in this process: for the Python package.
//!
//! Owns the threads that such a consumer runs on and the hand-over of its calls. Invariants: no thread of it calls into the other
//! language, which takes calls and settles them; nothing that the other language calls blocks for long; a process that was forked uses
//! nothing of its parent's. What is delivered, retried and committed is decided by the bridge, as for handlers in Rust.
//!
//! ```text
//! pipeline ──► queue: call ──► descriptor readable ──► take ──► the function
//!    ▲                                                              │
//!    └────────────────── verdict ◄────────────────── settle ◄──────┘
//! ```

mod calls;
mod error;
mod notices;
mod passed;
mod queue;
mod running;
mod settings;
mod slot;
mod wake;

use std::{os::fd::RawFd, sync::Arc, time::Duration};

pub use calls::Verdict;
pub use error::ConsumerError;
pub use notices::{Notice, Severity};
pub use settings::Settings;

use self::{
    calls::Calls,
    notices::Notices,
    running::{Ended, Life, Prepared},
};
pub use crate::{agents::HandlerError, handlers::HandlerOptions};
use crate::{
    agents::{HandlerCall, Handling},
    connection::SettingError,
    event::EventType,
    handlers::{Handlers, Registration},
    publish::process_generation,
    sync::Mutex,
};

/// A handler: its name, which is its identity, the type of the events that it gets, and its settings.
#[derive(Debug, Clone)]
pub struct Handler {
    /// The name.
    pub name: String,
    /// Of workflow events in any spelling; of others as it is.
    pub event_type: String,
    /// The settings.
    pub options: HandlerOptions,
}

/// A call of a handler, to be [settled](Consumer::settle).
#[derive(Debug, Clone)]
pub struct Call {
    token: u64,
    handler: usize,
    call: HandlerCall,
}

/// What was taken.
#[derive(Debug)]
pub struct Taken {
    /// New calls.
    pub calls: Vec<Call>,
    /// Calls of an earlier `take` that need no verdict any more, by their tokens: they were stopped. Their events come again.
    pub dropped: Vec<u64>,
    /// Warnings and errors, of the whole process.
    pub notices: Vec<Notice>,
}

/// See the module.
pub struct Consumer {
    /// Until it is started or stopped.
    prepared: Mutex<Option<Prepared>>,
    calls: Arc<Calls>,
    life: Arc<Life>,
    /// Whose it is.
    generation: u32,
}

impl Consumer {
    /// Checks everything, and opens nothing.
    ///
    /// # Errors
    /// Every mistake. Those in `handlers` are under this name.
    pub fn new(handlers: Vec<Handler>, settings: &Settings) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Vec::new();
        let passes_dead_letters = settings.dlq_topic_suffix.is_none();
        let (settings, data_dir) = settings.checked(&mut mistakes);
        let calls: Arc<Calls> = Arc::default();
        if handlers.is_empty() {
            mistakes.push(SettingError::new("handlers", "expected at least one handler, found none"));
        }
        let registrations = handlers.into_iter().enumerate().map(|(index, handler)| {
            let Handler { name, event_type, options } = handler;
            let calls = Arc::clone(&calls);
            let function = move |call: HandlerCall| -> Handling {
                let calls = Arc::clone(&calls);
                Box::pin(async move { calls.call((index, call)).verdict().await })
            };
            Registration { name, event_type: EventType::read(&event_type), function: Arc::new(function), options }
        });
        let handlers = Handlers::new(registrations.collect()).unwrap_or_else(|problems| {
            mistakes.extend(problems.into_iter().map(|problem| SettingError::new("handlers", problem)));
            Handlers::default()
        });
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let handlers = Arc::new(handlers.passing_others());
        Ok(Self {
            prepared: Mutex::new(Some(Prepared { settings, data_dir, handlers, passes_dead_letters })),
            calls,
            life: Arc::default(),
            generation: process_generation(),
        })
    }

    /// Starts the threads, and returns the descriptor that is readable when there is something to take, or when it is assigned or has
    /// ended. It is not inherited over `exec`, and is closed with the consumer. Waits for no broker.
    ///
    /// # Errors
    /// The folder or the threads cannot be had, or it was used before.
    pub fn start(&self) -> Result<RawFd, ConsumerError> {
        self.check_process()?;
        let prepared = self.prepared.lock().take().ok_or(ConsumerError::Used)?;
        // Nothing runs after an error: it has ended.
        self.begin(prepared).inspect_err(|_| self.life.end(None))
    }

    fn begin(&self, prepared: Prepared) -> Result<RawFd, ConsumerError> {
        let descriptor = self.calls.open().map_err(|error| ConsumerError::System(error.to_string()))?;
        let slot = prepared.slot()?;
        notices::subscribe();
        Notices::of_process().listen(notices::listener(&self.calls, Calls::signal));
        running::start(prepared, slot, Arc::clone(&self.calls), Arc::clone(&self.life))?;
        Ok(descriptor)
    }

    /// Takes at most `limit` calls, and everything else that there is. The descriptor is unreadable then, unless there are more calls.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn take(&self, limit: usize) -> Result<Taken, ConsumerError> {
        self.check_process()?;
        let taken = self.calls.take(limit);
        let calls = taken.calls.into_iter().map(|(token, (handler, call))| Call { token, handler, call }).collect();
        let mut notices = Notices::of_process().take();
        notices.extend(taken.notices);
        Ok(Taken { calls, dropped: taken.dropped, notices })
    }

    /// Says what became of a call. False when its token is unknown: it was settled, or dropped.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn settle(&self, token: u64, verdict: Verdict) -> Result<bool, ConsumerError> {
        self.check_process()?;
        Ok(self.calls.settle(token, verdict))
    }

    /// Whether the group has answered with an assignment, which may be empty, and it is decided where each of its partitions is read
    /// from: what is published from then on is read, also by a group that begins at the latest record.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn is_assigned(&self) -> Result<bool, ConsumerError> {
        self.check_process()?;
        Ok(self.life.is_assigned())
    }

    /// Why it ended by itself: the part in a word, and a sentence.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn error(&self) -> Result<Option<(&'static str, String)>, ConsumerError> {
        self.check_process()?;
        Ok(self.life.ended().and_then(|Ended(error)| error.clone()))
    }

    /// Whether its threads have ended, and everything is released.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn has_ended(&self) -> Result<bool, ConsumerError> {
        self.check_process()?;
        Ok(self.life.ended().is_some())
    }

    /// Begins the stop: no new calls, three quarters of `within` for those under way, the last commit. What is under way then is
    /// dropped, and comes again. Does not wait. A later stop can only shorten it: then it ends without order when that time is over.
    ///
    /// # Errors
    /// [`ConsumerError::Forked`].
    pub fn stop(&self, within: Duration) -> Result<(), ConsumerError> {
        self.check_process()?;
        if self.prepared.lock().take().is_some() {
            self.life.end(None);
        }
        self.life.stop(within);
        Ok(())
    }

    /// Before any lock is taken: it may have been taken when the process was forked.
    fn check_process(&self) -> Result<(), ConsumerError> {
        if self.generation == process_generation() { Ok(()) } else { Err(ConsumerError::Forked) }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // It ends as soon as it can, also when a longer stop has begun.
        drop(self.stop(Duration::ZERO));
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl Call {
    /// What it is settled by.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The place of its handler among those that the consumer was made with.
    pub fn handler(&self) -> usize {
        self.handler
    }

    /// The id of the event.
    pub fn event_id(&self) -> &str {
        self.call.event.id()
    }

    /// Where the record is.
    pub fn origin(&self) -> &crate::event::Origin {
        &self.call.origin
    }

    /// The record's key, as it was published.
    pub fn key(&self) -> Option<&[u8]> {
        self.call.key.as_deref()
    }

    /// The record's value, as it was published, without a byte order mark.
    pub fn value(&self) -> &[u8] {
        &self.call.value
    }

    /// The trace and the span that the event comes from, if it says so as W3C defines it.
    pub fn traceparent(&self) -> Option<&str> {
        self.call.trace.traceparent()
    }

    /// What the systems on the way have added to it.
    pub fn tracestate(&self) -> Option<&str> {
        self.call.trace.tracestate()
    }
}

#[cfg(test)]
mod tests;
