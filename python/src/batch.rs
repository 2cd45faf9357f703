//! A batch of events: a thread sends some of them while Python encodes the next.
//!
//! Owns the order: outcomes come in the order of the events, whichever thread sent them. A batch with few events uses no
//! thread, and neither does one for which no thread can be started. In a child that is forked meanwhile a batch sends
//! nothing more, and has no outcomes.

use std::{
    mem, panic, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
};

use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyList};
use workflow_bridge::publish::{self, Interrupt, Publisher, Record};

use crate::{outcome::Outcome, publisher::Signals};

/// Chunks of events that are sent without a thread.
const INLINE_CHUNKS: u32 = 2;
/// Chunks of events that may wait for the thread; then Python waits.
const QUEUED_CHUNKS: usize = 8;

/// Events that are published together.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct PublishBatch {
    sender: Mutex<Option<Sender>>,
    added: AtomicUsize,
    process: u32,
}

/// The thread that sends.
enum Sender {
    /// The caller's, for the first chunks: how many it has sent.
    Caller(Sending, u32),
    /// A thread of its own, which returns the batch when `events` is closed.
    Thread { events: SyncSender<Chunk>, thread: JoinHandle<Option<Sending>> },
}

/// A chunk of events in JSON: their bytes, and where each ends.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

struct Sending {
    publisher: Arc<Publisher>,
    topic: Arc<str>,
    inner: publish::PublishBatch,
    /// For each event its id, or why it is invalid.
    read: Vec<Result<String, String>>,
}

impl PublishBatch {
    pub fn new(publisher: Arc<Publisher>, topic: Arc<str>, inner: publish::PublishBatch) -> Self {
        let sending = Sending { publisher, topic, inner, read: Vec::new() };
        let sender = Mutex::new(Some(Sender::Caller(sending, 0)));
        Self { sender, added: AtomicUsize::new(0), process: process::id() }
    }

    /// `None` in a child: the thread and the events are its parent's.
    fn of_this_process(&self, sender: Option<Sender>) -> Option<Sender> {
        if self.process == process::id() {
            return sender;
        }
        mem::forget(sender);
        None
    }
}

#[pymethods]
impl PublishBatch {
    /// Adds events in JSON, and does not wait for their outcomes.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
    fn add(&self, py: Python<'_>, events: Vec<PyBackedBytes>) {
        if events.is_empty() {
            return;
        }
        self.added.fetch_add(events.len(), Ordering::Relaxed);
        py.detach(|| {
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            *sender = self.of_this_process(sender.take()).map(|sender| sender.add(Chunk::of(&events)));
        });
    }

    /// How many events were added. A signal may interrupt the caller before or after a call of `add`, so only this count is
    /// exact.
    #[getter]
    fn added(&self) -> usize {
        self.added.load(Ordering::Relaxed)
    }

    /// Waits for the outcomes and appends them to `outcomes` in the order of the events, also when a signal's handler
    /// raises. A second call appends nothing.
    fn finish(&self, py: Python<'_>, outcomes: &Bound<'_, PyList>) -> PyResult<()> {
        let mut signals = Signals::default();
        let found = py.detach(|| {
            let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.of_this_process(sender).map_or_else(Vec::new, |sender| sender.finish(&mut signals))
        });
        for outcome in found {
            outcomes.append(outcome)?;
        }
        signals.raised()
    }
}

impl Sender {
    fn add(self, events: Chunk) -> Self {
        match self {
            Self::Caller(sending, chunks) if chunks < INLINE_CHUNKS => Self::Caller(sending.add(&events), chunks + 1),
            Self::Caller(sending, chunks) => sending.on_a_thread(events, chunks),
            Self::Thread { events: more, thread } => {
                // The thread ends early only by a panic, which `finish` resumes.
                let _ = more.send(events);
                Self::Thread { events: more, thread }
            }
        }
    }

    fn finish(self, signals: &mut Signals) -> Vec<Outcome> {
        match self {
            Self::Caller(sending, _) => sending.finish(signals),
            Self::Thread { events, thread } => {
                drop(events);
                let sending = thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
                sending.map_or_else(Vec::new, |sending| sending.finish(signals))
            }
        }
    }
}

impl Chunk {
    fn of(events: &[PyBackedBytes]) -> Self {
        let mut all = Self::default();
        all.bytes.reserve(events.iter().map(|event| event.len()).sum());
        for event in events {
            all.bytes.extend_from_slice(event);
            all.ends.push(all.bytes.len());
        }
        all
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let event = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            event
        })
    }
}

impl Sending {
    fn add(mut self, events: &Chunk) -> Self {
        let mut records = Vec::with_capacity(events.ends.len());
        for event in events.iter() {
            self.read.push(match Record::from_json(event, &self.topic, None) {
                Ok(record) => {
                    let event_id = record.event_id().to_owned();
                    records.push(record);
                    Ok(event_id)
                }
                Err(poison) => Err(poison.to_string()),
            });
        }
        self.publisher.add(&mut self.inner, records);
        self
    }

    fn on_a_thread(self, next: Chunk, chunks: u32) -> Sender {
        let (lend, sending) = channel::<Self>();
        let (events, more) = sync_channel::<Chunk>(QUEUED_CHUNKS);
        let spawned = thread::Builder::new().name("wfe-many".into()).spawn(move || {
            let sending = sending.recv().ok()?;
            Some(more.iter().fold(sending, |sending, events| sending.add(&events)))
        });
        let Ok(thread) = spawned else { return Sender::Caller(self.add(&next), chunks) };
        // The thread waits for it.
        let _ = lend.send(self);
        Sender::Thread { events, thread }.add(next)
    }

    fn finish(self, signals: &mut Signals) -> Vec<Outcome> {
        let mut answers = self.publisher.finish(self.inner, Interrupt::when(&mut || signals.is_raised())).into_iter();
        let outcome = |read| match read {
            Ok(event_id) => {
                let answer = answers.next().unwrap_or(Err(publish::PublishError::Closed));
                Outcome::of(event_id, &self.topic, answer)
            }
            Err(poison) => Outcome::failed(String::new(), "invalid", poison),
        };
        self.read.into_iter().map(outcome).collect()
    }
}
