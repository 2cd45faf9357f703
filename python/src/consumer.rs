//! The consumer of events, as a Python class: its handlers are functions of Python, which takes calls and settles them.
//!
//! Its invariant: no thread of Rust attaches to the interpreter. Python watches a descriptor.

use std::{os::fd::RawFd, path::PathBuf, time::Duration};

use pyo3::{
    exceptions::{PyRuntimeError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};
use workflow_bridge::{
    connection::Password,
    consumer::{self, ConsumerError, Handler, HandlerError, HandlerOptions, Settings, Severity},
};

use crate::publisher::{NativeError, SettingsError, duration};

/// A call of a handler. `settle` ends it.
///
/// token: what it is settled by.
/// handler: the place of its handler among those of the consumer.
/// topic, partition, offset: where the record is.
/// event_id: the event's id.
/// value: the record's value as published, without a byte order mark.
/// key: its key as published.
/// traceparent, tracestate: the trace that it belongs to, if its headers have a valid one.
#[pyclass(frozen, get_all, module = "workflow_events._native")]
pub struct Call {
    token: u64,
    handler: usize,
    topic: String,
    partition: i32,
    offset: i64,
    event_id: String,
    value: Py<PyBytes>,
    key: Option<Py<PyBytes>>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Call {
    fn new(py: Python<'_>, call: &consumer::Call) -> Self {
        let origin = call.origin();
        Self {
            token: call.token(),
            handler: call.handler(),
            topic: origin.topic.to_string(),
            partition: origin.partition,
            offset: origin.offset,
            event_id: call.event_id().to_owned(),
            value: PyBytes::new(py, call.value()).unbind(),
            key: call.key().map(|key| PyBytes::new(py, key).unbind()),
            traceparent: call.traceparent().map(ToOwned::to_owned),
            tracestate: call.tracestate().map(ToOwned::to_owned),
        }
    }
}

/// New calls, the tokens of those that were dropped, and notices: a level of `logging`, and a text.
type Taken = (Vec<Call>, Vec<u64>, Vec<(u8, Py<PyString>)>);

/// A consumer of events. A forked child makes one of its own.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct Consumer {
    inner: consumer::Consumer,
}

#[pymethods]
impl Consumer {
    /// `handlers`: the name, the event type and the options of each. The keywords are the settings. Checks everything, and opens
    /// nothing. Raises SettingsError.
    #[new]
    #[pyo3(signature = (handlers, **settings))]
    fn new(
        py: Python<'_>,
        handlers: Vec<(String, String, Bound<'_, PyDict>)>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let handlers = handlers
            .into_iter()
            .map(|(name, event_type, given)| Ok(Handler { name, event_type, options: options(&given)? }))
            .collect::<PyResult<Vec<_>>>()?;
        let settings = read(settings)?;
        // It reads the TLS files.
        let made = py.detach(|| consumer::Consumer::new(handlers, &settings));
        let inner = made.map_err(|mistakes| {
            let mistakes: Vec<_> = mistakes.into_iter().map(|mistake| (mistake.setting, mistake.problem)).collect();
            SettingsError::new_err((mistakes,))
        })?;
        Ok(Self { inner })
    }

    /// Starts the threads, and returns the descriptor to watch for reading: it is this object's. Waits for no broker. Raises
    /// NativeError, and RuntimeError when it was started or stopped before.
    fn start(&self, py: Python<'_>) -> PyResult<RawFd> {
        py.detach(|| self.inner.start()).map_err(|found| error(&found))
    }

    /// Takes at most `limit` calls, and all else that there is. The next one says that the notices of this one have been logged.
    fn take(&self, py: Python<'_>, limit: usize) -> PyResult<Taken> {
        let taken = py.detach(|| self.inner.take(limit)).map_err(|found| error(&found))?;
        // The notices first: an event that was passed over is only there.
        let notices =
            taken.notices.iter().map(|notice| (level(notice.severity), PyString::new(py, &notice.text).unbind()));
        let notices = notices.collect();
        let calls = taken.calls.iter().map(|call| Call::new(py, call)).collect();
        Ok((calls, taken.dropped, notices))
    }

    /// Says what became of a call: "done", "retry", "later" (after `seconds`), "reject", "invalid_value" or "missing_field". False
    /// when it needs no verdict any more. Never waits.
    #[pyo3(signature = (token, verdict, text=String::new(), seconds=0.0))]
    fn settle(&self, py: Python<'_>, token: u64, verdict: &str, text: String, seconds: f64) -> PyResult<bool> {
        let verdict = match verdict {
            "done" => Ok(()),
            "retry" => Err(HandlerError::Retry(text)),
            "later" => Err(HandlerError::Later(duration(seconds))),
            "reject" => Err(HandlerError::Reject(text)),
            "invalid_value" => Err(HandlerError::InvalidValue(text)),
            "missing_field" => Err(HandlerError::MissingField(text)),
            other => return Err(PyValueError::new_err(format!("there is no verdict {other:?}"))),
        };
        py.detach(|| self.inner.settle(token, verdict)).map_err(|found| error(&found))
    }

    /// Whether the group has answered with an assignment, and what is published from now on is read.
    fn is_assigned(&self) -> PyResult<bool> {
        self.inner.is_assigned().map_err(|found| error(&found))
    }

    /// Why it ended by itself: "ledger", "kafka" or "defect", and a sentence.
    fn error(&self) -> PyResult<Option<(&'static str, String)>> {
        self.inner.error().map_err(|found| error(&found))
    }

    /// Begins the stop, which may take `timeout` seconds. Does not wait. A later one can only shorten it.
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        py.detach(|| self.inner.stop(duration(timeout))).map_err(|found| error(&found))
    }

    /// Whether its threads have ended, and everything is released.
    fn has_ended(&self) -> PyResult<bool> {
        self.inner.has_ended().map_err(|found| error(&found))
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __repr__(&self) -> &'static str {
        "Consumer()"
    }
}

fn error(error: &ConsumerError) -> PyErr {
    let message = error.to_string();
    match error {
        ConsumerError::Forked | ConsumerError::Used => PyRuntimeError::new_err(message),
        ConsumerError::Data { .. } => NativeError::new_err(("data", message)),
        ConsumerError::System(_) => NativeError::new_err(("system", message)),
    }
}

/// As in `logging`.
fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Warning => 30,
        Severity::Error => 40,
        Severity::Critical => 50,
    }
}

/// The options of a handler. Raises TypeError for one that there is not, or of another type.
fn options(given: &Bound<'_, PyDict>) -> PyResult<HandlerOptions> {
    let mut options = HandlerOptions::default();
    let (mut backoff, mut backoff_max) = (Duration::from_millis(500), Duration::from_secs(60));
    for (name, value) in given {
        let name: String = name.extract()?;
        match name.as_str() {
            "concurrency" => options = options.concurrency(value.extract()?),
            "max_retries" => options = options.max_retries(value.extract()?),
            "backoff" => backoff = duration(value.extract()?),
            "backoff_max" => backoff_max = duration(value.extract()?),
            "give_up_after" => options = options.give_up_after(duration(value.extract()?)),
            "timeout" => {
                if let Some(seconds) = value.extract::<Option<f64>>()? {
                    options = options.timeout(duration(seconds));
                }
            }
            _ => return Err(PyTypeError::new_err(format!("a handler has no option '{name}'"))),
        }
    }
    Ok(options.backoff(backoff, backoff_max))
}

/// The settings with these keywords. Raises TypeError for one that there is not, or of another type.
fn read(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let mut settings = Settings::default();
    let security = &mut settings.security;
    for (name, value) in keywords.into_iter().flatten() {
        let name: String = name.extract()?;
        match name.as_str() {
            "bootstrap_servers" => settings.bootstrap_servers = value.extract()?,
            "security_protocol" => security.protocol = value.extract()?,
            "sasl_mechanism" => security.sasl_mechanism = value.extract()?,
            "sasl_username" => security.sasl_username = value.extract()?,
            "sasl_password" => security.sasl_password = value.extract::<Option<String>>()?.map(Password::new),
            "ssl_cafile" => security.ssl_cafile = value.extract::<Option<PathBuf>>()?,
            "ssl_certfile" => security.ssl_certfile = value.extract::<Option<PathBuf>>()?,
            "ssl_keyfile" => security.ssl_keyfile = value.extract::<Option<PathBuf>>()?,
            "client_id" => settings.client_id = value.extract()?,
            "properties" => settings.properties = value.extract()?,
            "group_id" => settings.group_id = value.extract()?,
            "topics" => settings.topics = value.extract()?,
            "data_dir" => settings.data_dir = value.extract::<Option<PathBuf>>()?,
            "state_home" => settings.state_home = value.extract()?,
            "home" => settings.home = value.extract()?,
            "auto_offset_reset" => settings.auto_offset_reset = value.extract()?,
            "max_poll_records" => settings.max_poll_records = value.extract()?,
            "session_timeout_ms" => settings.session_timeout_ms = value.extract()?,
            "heartbeat_interval_ms" => settings.heartbeat_interval_ms = value.extract()?,
            "dlq_topic_suffix" => settings.dlq_topic_suffix = value.extract()?,
            "drain_timeout" => settings.drain_timeout = duration(value.extract()?),
            _ => return Err(PyTypeError::new_err(format!("Consumer() got an unexpected keyword argument '{name}'"))),
        }
    }
    Ok(settings)
}
