//! Many events in one call: a thread sends some of them while Python makes the next.
//!
//! Owns the order: outcomes come in the order of the events, whichever thread sent them. A call with
//! few events needs no thread, and one that can have none does without. A child that is forked meanwhile
//! sends nothing more, and has no outcomes.

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
use workflow_bridge::publish::{self, Publisher, Record};

use crate::{outcome::Outcome, publisher::Signals};

/// Handfuls of events that need no thread.
const INLINE: u32 = 2;
/// Handfuls of events that may wait for the thread; then Python waits.
const AHEAD: usize = 8;

/// Events that are on their way.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct Many {
    hands: Mutex<Option<Hands>>,
    handed: AtomicUsize,
    process: u32,
}

/// Who sends.
enum Hands {
    /// The caller, so many times as yet.
    Own(Sending, u32),
    /// A thread, which gives back what it was lent.
    Thread { events: SyncSender<Events>, thread: JoinHandle<Option<Sending>> },
}

/// Some events in JSON, one after the other, and where each ends.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

struct Sending {
    publisher: Arc<Publisher>,
    topic: Arc<str>,
    inner: publish::Many,
    /// For each event its id, or why it is none.
    read: Vec<Result<String, String>>,
}

impl Many {
    pub fn new(publisher: Arc<Publisher>, topic: Arc<str>, inner: publish::Many) -> Self {
        let sending = Sending { publisher, topic, inner, read: Vec::new() };
        let hands = Mutex::new(Some(Hands::Own(sending, 0)));
        Self { hands, handed: AtomicUsize::new(0), process: process::id() }
    }

    /// Nothing in a child: the thread is its parent's, and so is what was handed over.
    fn ours(&self, hands: Option<Hands>) -> Option<Hands> {
        if self.process == process::id() {
            return hands;
        }
        mem::forget(hands);
        None
    }
}

#[pymethods]
impl Many {
    /// Hands more events in JSON over, and does not wait for their outcomes.
    #[expect(clippy::needless_pass_by_value, reason = "what Python hands over is owned")]
    fn add(&self, py: Python<'_>, events: Vec<PyBackedBytes>) {
        if events.is_empty() {
            return;
        }
        self.handed.fetch_add(events.len(), Ordering::Relaxed);
        py.detach(|| {
            let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
            *hands = self.ours(hands.take()).map(|hands| hands.add(Events::of(&events)));
        });
    }

    /// How many events were handed over. A signal may come on either side of a call, so only this side knows.
    #[getter]
    fn handed(&self) -> usize {
        self.handed.load(Ordering::Relaxed)
    }

    /// Waits for the outcomes, which go into `told` in the order of the events, also when a signal's handler raises.
    /// A second time there are none.
    fn finish(&self, py: Python<'_>, told: &Bound<'_, PyList>) -> PyResult<()> {
        let mut signals = Signals::default();
        let outcomes = py.detach(|| {
            let hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.ours(hands).map_or_else(Vec::new, |hands| hands.finish(&mut signals))
        });
        for outcome in outcomes {
            told.append(outcome)?;
        }
        signals.raised()
    }
}

impl Hands {
    fn add(self, events: Events) -> Self {
        match self {
            Self::Own(sending, times) if times < INLINE => Self::Own(sending.add(&events), times + 1),
            Self::Own(sending, times) => sending.on_a_thread(events, times),
            Self::Thread { events: more, thread } => {
                // It ends early by a panic only, which `finish` passes on.
                let _ = more.send(events);
                Self::Thread { events: more, thread }
            }
        }
    }

    fn finish(self, signals: &mut Signals) -> Vec<Outcome> {
        match self {
            Self::Own(sending, _) => sending.finish(signals),
            Self::Thread { events, thread } => {
                drop(events);
                let sending = thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
                sending.map_or_else(Vec::new, |sending| sending.finish(signals))
            }
        }
    }
}

impl Events {
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
    fn add(mut self, events: &Events) -> Self {
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

    fn on_a_thread(self, next: Events, times: u32) -> Hands {
        let (lend, sending) = channel::<Self>();
        let (events, more) = sync_channel::<Events>(AHEAD);
        let spawned = thread::Builder::new().name("wfe-many".into()).spawn(move || {
            let sending = sending.recv().ok()?;
            Some(more.iter().fold(sending, |sending, events| sending.add(&events)))
        });
        let Ok(thread) = spawned else { return Hands::Own(self.add(&next), times) };
        // It waits for this.
        let _ = lend.send(self);
        Hands::Thread { events, thread }.add(next)
    }

    fn finish(self, signals: &mut Signals) -> Vec<Outcome> {
        let mut answers = self.publisher.finish_while(self.inner, &mut || signals.go_on()).into_iter();
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
