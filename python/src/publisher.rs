//! The publish client, as Python sees it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use pyo3::{
    create_exception,
    exceptions::PyException,
    intern,
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyDict, PyList},
};
use workflow_bridge::{
    connection::{Password, Security},
    publish::{
        self, Budget, PublishError, Record,
        spool::{DEFAULT_MAX_BYTES, Spool, SpoolSettings},
    },
};

use crate::{many::Many, outcome::Outcome};

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
    /// Whether to go on: asked while the interpreter's lock is released.
    pub fn go_on(&mut self) -> bool {
        if self.0.is_none() {
            // An interpreter that is ending runs no handler.
            self.0 = Python::try_attach(|py| check_signals(py).err()).flatten();
        }
        self.0.is_none()
    }

    /// What a handler has raised.
    pub fn raised(self) -> PyResult<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Runs the handlers of Python's signals. What one raises is marked as such (`interrupts.py`): a handler that is in place
/// no more could not be told by its code.
fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals().inspect_err(|raised| {
        // One that takes no mark is still told by its handler.
        let _ = raised.value(py).setattr(intern!(py, "_workflow_events_interrupt"), true);
    })
}

/// Publishes events. Threads may share one; a forked child may go on with its parent's.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct Publisher {
    inner: Arc<publish::Publisher>,
}

/// Seconds to a duration: not a number and less than nothing are none, and what no clock can hold is a century.
fn duration(seconds: f64) -> Duration {
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
    /// Checks the settings, and connects to nobody. Raises SettingsError.
    #[new]
    #[pyo3(signature = (
        *, bootstrap_servers, topic, client_id, acks, retries, max_in_flight_requests_per_connection,
        request_timeout_ms, delivery_timeout_ms, linger_ms=None, batch_size=None, compression_type=None,
        security_protocol=None, sasl_mechanism=None, sasl_username=None, sasl_password=None, ssl_cafile=None,
        ssl_certfile=None, ssl_keyfile=None, properties=BTreeMap::new(), spool_dir=None, spool_max_bytes=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        bootstrap_servers: String,
        topic: String,
        client_id: String,
        acks: String,
        retries: u32,
        max_in_flight_requests_per_connection: u32,
        request_timeout_ms: u64,
        delivery_timeout_ms: u64,
        linger_ms: Option<u64>,
        batch_size: Option<u32>,
        compression_type: Option<String>,
        security_protocol: Option<String>,
        sasl_mechanism: Option<String>,
        sasl_username: Option<String>,
        sasl_password: Option<String>,
        ssl_cafile: Option<PathBuf>,
        ssl_certfile: Option<PathBuf>,
        ssl_keyfile: Option<PathBuf>,
        properties: BTreeMap<String, String>,
        spool_dir: Option<PathBuf>,
        spool_max_bytes: Option<u64>,
    ) -> PyResult<Self> {
        let security = Security {
            protocol: security_protocol.unwrap_or_else(|| Security::default().protocol),
            sasl_mechanism,
            sasl_username,
            sasl_password: sasl_password.map(Password::new),
            ssl_cafile,
            ssl_certfile,
            ssl_keyfile,
        };
        let max_bytes = spool_max_bytes.unwrap_or(DEFAULT_MAX_BYTES);
        let spool = spool_dir.map(|folder| Spool::new(SpoolSettings { folder, max_bytes }));
        let mut builder = publish::Publisher::builder()
            .bootstrap_servers(bootstrap_servers)
            .topic(topic)
            .client_id(client_id)
            .acks(acks)
            .retries(retries)
            .max_in_flight(max_in_flight_requests_per_connection)
            .request_timeout(Duration::from_millis(request_timeout_ms))
            .delivery_timeout(Duration::from_millis(delivery_timeout_ms))
            .security(security)
            .spool(spool);
        if let Some(linger) = linger_ms {
            builder = builder.linger(Duration::from_millis(linger));
        }
        if let Some(bytes) = batch_size {
            builder = builder.batch_bytes(bytes);
        }
        if let Some(codec) = compression_type {
            builder = builder.compression(codec);
        }
        for (name, value) in properties {
            builder = builder.property(name, value);
        }
        // It reads the TLS files.
        let inner = py.detach(|| builder.build()).map_err(|found| error(&found))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks for a broker for at most so many seconds. Raises NativeError.
    fn connect(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let mut signals = Signals::default();
        let found = py.detach(|| self.inner.connect_while(duration(timeout), &mut || signals.go_on()));
        signals.raised()?;
        found.map_err(|found| error(&found))
    }

    /// Publishes one event in JSON, and waits for its outcome for at most `deadline` seconds. The outcome goes into
    /// `told`, so that it is there also when a signal's handler raises.
    #[pyo3(signature = (event, told, topic=None, deadline=10.0, traceparent=None))]
    #[expect(clippy::needless_pass_by_value, reason = "what Python hands over is owned")]
    fn publish(
        &self,
        py: Python<'_>,
        event: PyBackedBytes,
        told: &Bound<'_, PyList>,
        topic: Option<String>,
        deadline: f64,
        traceparent: Option<String>,
    ) -> PyResult<()> {
        let mut signals = Signals::default();
        let outcome = py.detach(|| {
            let topic = self.topic(topic);
            let record = match Record::from_json(&event, &topic, traceparent.as_deref()) {
                Ok(record) => record,
                Err(poison) => return Outcome::failed(String::new(), "invalid", poison.to_string()),
            };
            let event_id = record.event_id().to_owned();
            let mut many = self.inner.begin(duration(deadline));
            self.inner.add(&mut many, vec![record]);
            let answer = self.inner.finish_while(many, &mut || signals.go_on()).pop();
            Outcome::of(event_id, &topic, answer.unwrap_or(Err(PublishError::Closed)))
        });
        told.append(outcome)?;
        signals.raised()
    }

    /// Begins to publish many events within one deadline, counted from now.
    #[pyo3(signature = (topic=None, deadline=10.0))]
    fn many(&self, topic: Option<String>, deadline: f64) -> Many {
        Many::new(Arc::clone(&self.inner), self.topic(topic), self.inner.begin(duration(deadline)))
    }

    /// Hands an event in JSON over and does not wait for its outcome, which goes into `told` when it was not taken.
    #[pyo3(signature = (event, told, topic=None, traceparent=None))]
    #[expect(clippy::needless_pass_by_value, reason = "what Python hands over is owned")]
    fn enqueue(
        &self,
        py: Python<'_>,
        event: PyBackedBytes,
        told: &Bound<'_, PyList>,
        topic: Option<String>,
        traceparent: Option<String>,
    ) -> PyResult<()> {
        let failed = py.detach(|| match Record::from_json(&event, &self.topic(topic), traceparent.as_deref()) {
            Ok(record) => {
                let failed = self.inner.enqueue(&record).err()?;
                Some(Outcome::unacknowledged(record.event_id().to_owned(), failed))
            }
            Err(poison) => Some(Outcome::failed(String::new(), "invalid", poison.to_string())),
        });
        failed.map_or(Ok(()), |failed| told.append(failed))
    }

    /// Waits until everything has its outcome: how many events have none yet, and why.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(usize, String)> {
        let mut signals = Signals::default();
        let flushed = py.detach(|| self.inner.flush_while(timeout.map(duration), &mut || signals.go_on()));
        signals.raised()?;
        match flushed {
            Ok(()) => Ok((0, String::new())),
            Err(PublishError::FlushTimedOut { pending, reason, .. }) => Ok((pending, reason)),
            Err(found) => Err(error(&found)),
        }
    }

    /// Waits for at most so many seconds, spools what has no outcome by then, and ends the connection. What was
    /// enqueued and is not in Kafka goes into `told`.
    fn close(&self, py: Python<'_>, timeout: f64, told: &Bound<'_, PyList>) -> PyResult<()> {
        tell(told, py.detach(|| self.inner.close(duration(timeout))))
    }

    /// What was enqueued and is not in Kafka, since the last call, goes into `told`.
    fn take_failures(&self, py: Python<'_>, told: &Bound<'_, PyList>) -> PyResult<()> {
        tell(told, py.detach(|| self.inner.take_failures()))
    }

    /// Publishes what waits in the spool for these brokers, within a budget; None: everything that is there. Raises
    /// NativeError.
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
        let drained = py.detach(|| self.inner.drain_while(Budget { events, time }, &mut || signals.go_on()));
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

    /// Where it publishes to.
    #[getter]
    fn bootstrap_servers(&self) -> &str {
        self.inner.bootstrap_servers()
    }

    /// Where an event goes that names no topic.
    #[getter(topic)]
    fn default_topic(&self) -> &str {
        self.inner.topic()
    }

    fn __repr__(&self) -> String {
        format!("Publisher(bootstrap_servers={:?}, topic={:?})", self.inner.bootstrap_servers(), self.inner.topic())
    }
}

impl Publisher {
    fn topic(&self, topic: Option<String>) -> Arc<str> {
        topic.map_or_else(|| Arc::clone(self.inner.topic()), Arc::from)
    }
}

fn tell(told: &Bound<'_, PyList>, errors: Vec<PublishError>) -> PyResult<()> {
    errors.into_iter().try_for_each(|error| told.append(Outcome::unacknowledged(String::new(), error)))
}
