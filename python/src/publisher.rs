//! The publish client, as a Python class.

use std::{sync::Arc, time::Duration};

use pyo3::{
    create_exception,
    exceptions::PyException,
    intern,
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyDict, PyList},
};
use workflow_bridge::publish::{self, Budget, Interrupt, InvalidRecord, PublishError, Record};

use crate::{batch::PublishBatch, outcome::Outcome, settings};

create_exception!(workflow_events._native, NativeError, PyException, "(kind, message).");
create_exception!(
    workflow_events._native,
    SettingsError,
    NativeError,
    "A list of (setting, problem): the names are those of the arguments."
);

/// Runs the handlers of Python's signals during a wait. One that raises ends the wait.
#[derive(Default)]
pub struct Signals(Option<PyErr>);

impl Signals {
    /// Whether a handler has raised: asked while the interpreter's lock is released.
    pub fn is_raised(&mut self) -> bool {
        if self.0.is_none() {
            // An interpreter that is exiting runs no handler.
            self.0 = Python::try_attach(|py| check_signals(py).err()).flatten();
        }
        self.0.is_some()
    }

    /// Raises the exception of a handler.
    pub fn raised(self) -> PyResult<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Runs Python's signal handlers. An exception that one raises is marked (`interrupts.py`): after the handler is replaced,
/// its code would no longer identify it.
fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals().inspect_err(|raised| {
        // Without the mark it is still recognised by its handler.
        let _ = raised.value(py).setattr(intern!(py, "_workflow_events_interrupt"), true);
    })
}

/// Publishes events. Threads may share one; a forked child may use its parent's.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct Publisher {
    inner: Arc<publish::Publisher>,
}

/// Topic, event id, key, headers and value.
type ChosenRecord = (String, String, Option<String>, Vec<(String, String)>, PyBackedBytes);

fn chosen((topic, event_id, key, headers, value): &ChosenRecord) -> Result<Record, InvalidRecord> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    Record::chosen(&Arc::from(&**topic), event_id, key.as_deref(), &headers, value.to_vec())
}

/// Seconds as a duration: zero for NaN and negative numbers, at most a century.
pub fn duration(seconds: f64) -> Duration {
    const CENTURY: Duration = Duration::from_secs(3_155_760_000);
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(CENTURY).min(CENTURY) } else { Duration::ZERO }
}

fn error(error: &PublishError) -> PyErr {
    match error {
        PublishError::Settings(errors) => SettingsError::new_err((errors
            .iter()
            .map(|error| (error.setting.clone(), error.problem.clone()))
            .collect::<Vec<_>>(),)),
        error => NativeError::new_err((error.kind(), error.to_string())),
    }
}

#[pymethods]
impl Publisher {
    /// The keywords are the settings (`SETTINGS`). Checks them, and connects to no broker. Raises SettingsError.
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let builder = settings::builder(settings)?;
        // It reads the TLS files.
        let inner = py.detach(|| builder.build()).map_err(|found| error(&found))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks for a broker for at most `timeout` seconds. Raises NativeError.
    fn connect(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let mut signals = Signals::default();
        let found = py.detach(|| self.inner.connect(duration(timeout), Interrupt::when(&mut || signals.is_raised())));
        signals.raised()?;
        found.map_err(|found| error(&found))
    }

    /// Publishes one event in JSON, and waits for its outcome for at most `deadline` seconds. The outcome is appended to
    /// `outcomes`, so that the caller has it also when a signal's handler raises. An event that was `accepted` while the
    /// client was open is spooled when it is closed by now, and not refused.
    #[pyo3(signature = (event, outcomes, topic=None, deadline=10.0, traceparent=None, accepted=false))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
    #[expect(clippy::too_many_arguments, reason = "they are those of a Python function")]
    fn publish(
        &self,
        py: Python<'_>,
        event: PyBackedBytes,
        outcomes: &Bound<'_, PyList>,
        topic: Option<String>,
        deadline: f64,
        traceparent: Option<String>,
        accepted: bool,
    ) -> PyResult<()> {
        let mut signals = Signals::default();
        let outcome = py.detach(|| {
            let topic = self.topic(topic);
            let record = match Record::from_json(&event, &topic, traceparent.as_deref()) {
                Ok(record) => record,
                Err(poison) => return Outcome::failed(String::new(), "invalid", poison.to_string()),
            };
            let event_id = record.event_id().to_owned();
            let mut batch = self.begin(deadline, accepted);
            self.inner.add(&mut batch, vec![record]);
            let answer = self.inner.finish(batch, Interrupt::when(&mut || signals.is_raised())).pop();
            Outcome::of(event_id, &topic, answer.unwrap_or(Err(PublishError::Closed)))
        });
        outcomes.append(outcome)?;
        signals.raised()
    }

    /// Publishes records with keys and headers of their own (topic, event id, key, headers beside `event_id`, value), and
    /// waits for their outcomes for at most `deadline` seconds. The outcomes are appended to `outcomes` in the order of the
    /// records, also when a signal's handler raises.
    #[pyo3(signature = (records, outcomes, deadline=10.0, accepted=false))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
    fn publish_records(
        &self,
        py: Python<'_>,
        records: Vec<ChosenRecord>,
        outcomes: &Bound<'_, PyList>,
        deadline: f64,
        accepted: bool,
    ) -> PyResult<()> {
        let mut signals = Signals::default();
        let found = py.detach(|| {
            let (mut read, mut valid) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
            for record in &records {
                let record = chosen(record);
                read.push(record.as_ref().map(|record| Arc::clone(record.topic())).map_err(ToString::to_string));
                valid.extend(record);
            }
            let mut batch = self.begin(deadline, accepted);
            self.inner.add(&mut batch, valid);
            let mut answers = self.inner.finish(batch, Interrupt::when(&mut || signals.is_raised())).into_iter();
            let outcome = |(record, read): (&ChosenRecord, Result<Arc<str>, String>)| match read {
                Ok(topic) => Outcome::of(record.1.clone(), &topic, answers.next().unwrap_or(Err(PublishError::Closed))),
                Err(invalid) => Outcome::failed(record.1.clone(), "invalid", invalid),
            };
            records.iter().zip(read).map(outcome).collect::<Vec<_>>()
        });
        for outcome in found {
            outcomes.append(outcome)?;
        }
        signals.raised()
    }

    /// Begins a batch of events with one deadline, counted from now.
    #[pyo3(signature = (topic=None, deadline=10.0, accepted=false))]
    fn begin_batch(&self, topic: Option<String>, deadline: f64, accepted: bool) -> PublishBatch {
        PublishBatch::new(Arc::clone(&self.inner), self.topic(topic), self.begin(deadline, accepted))
    }

    /// Enqueues an event in JSON and does not wait. When it cannot be enqueued its outcome is appended to `outcomes`.
    #[pyo3(signature = (event, outcomes, topic=None, traceparent=None, accepted=false))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
    fn enqueue(
        &self,
        py: Python<'_>,
        event: PyBackedBytes,
        outcomes: &Bound<'_, PyList>,
        topic: Option<String>,
        traceparent: Option<String>,
        accepted: bool,
    ) -> PyResult<()> {
        let failed = py.detach(|| match Record::from_json(&event, &self.topic(topic), traceparent.as_deref()) {
            Ok(record) => {
                let enqueue = if accepted { publish::Publisher::enqueue_accepted } else { publish::Publisher::enqueue };
                let failed = enqueue(&self.inner, &record).err()?;
                Some(Outcome::unacknowledged(record.event_id().to_owned(), failed))
            }
            Err(poison) => Some(Outcome::failed(String::new(), "invalid", poison.to_string())),
        });
        failed.map_or(Ok(()), |failed| outcomes.append(failed))
    }

    /// Waits until every event has its outcome. Returns how many have none after `timeout` seconds, and why.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(usize, String)> {
        let mut signals = Signals::default();
        let flushed =
            py.detach(|| self.inner.flush(timeout.map(duration), Interrupt::when(&mut || signals.is_raised())));
        signals.raised()?;
        match flushed {
            Ok(()) => Ok((0, String::new())),
            Err(PublishError::FlushTimedOut { pending, reason, .. }) => Ok((pending, reason)),
            Err(found) => Err(error(&found)),
        }
    }

    /// Waits for at most `timeout` seconds, spools the events without an outcome, and ends the connection. The outcomes of
    /// enqueued events that are not in Kafka are appended to `outcomes`.
    fn close(&self, py: Python<'_>, timeout: f64, outcomes: &Bound<'_, PyList>) -> PyResult<()> {
        append(outcomes, py.detach(|| self.inner.close(duration(timeout))))
    }

    /// Appends the outcomes of enqueued events that are not in Kafka, since the last call.
    fn take_failures(&self, py: Python<'_>, outcomes: &Bound<'_, PyList>) -> PyResult<()> {
        append(outcomes, py.detach(|| self.inner.take_failures()))
    }

    /// Publishes the spool's events for these brokers, within a budget; None: no limit. Raises NativeError.
    #[pyo3(signature = (max_events=None, timeout=None))]
    fn drain<'py>(
        &self,
        py: Python<'py>,
        max_events: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let events = max_events.unwrap_or(Budget::ALL.events);
        let time = timeout.map_or(Budget::ALL.time, duration);
        let mut signals = Signals::default();
        let drained =
            py.detach(|| self.inner.drain(Budget { events, time }, Interrupt::when(&mut || signals.is_raised())));
        signals.raised()?;
        let drained = drained.map_err(|error| NativeError::new_err(("spool", error.to_string())))?;
        let found = PyDict::new(py);
        found.set_item("published", drained.published)?;
        found.set_item("put_back", drained.put_back)?;
        found.set_item("quarantined", drained.quarantined)?;
        found.set_item("left", drained.left)?;
        found.set_item("left_alone", drained.left_alone)?;
        found.set_item("error", drained.error)?;
        found.set_item("note", drained.note)?;
        let stats = self.inner.spool().map(|spool| py.detach(|| spool.stats()));
        let elsewhere = stats.and_then(Result::ok).map_or(0, |stats| stats.elsewhere(self.inner.bootstrap_servers()));
        found.set_item("elsewhere", elsewhere)?;
        Ok(found)
    }

    /// The brokers.
    #[getter]
    fn bootstrap_servers(&self) -> &str {
        self.inner.bootstrap_servers()
    }

    /// The topic of events without one of their own.
    #[getter(topic)]
    fn default_topic(&self) -> &str {
        self.inner.topic()
    }

    fn __repr__(&self) -> String {
        format!("Publisher(bootstrap_servers={:?}, topic={:?})", self.inner.bootstrap_servers(), self.inner.topic())
    }
}

impl Publisher {
    fn begin(&self, deadline: f64, accepted: bool) -> publish::PublishBatch {
        let begin = if accepted { publish::Publisher::begin_accepted } else { publish::Publisher::begin };
        begin(&self.inner, duration(deadline))
    }

    fn topic(&self, topic: Option<String>) -> Arc<str> {
        topic.map_or_else(|| Arc::clone(self.inner.topic()), Arc::from)
    }
}

fn append(outcomes: &Bound<'_, PyList>, errors: Vec<PublishError>) -> PyResult<()> {
    errors.into_iter().try_for_each(|error| outcomes.append(Outcome::unacknowledged(String::new(), error)))
}
