//! The outcome of one event, as a Python class.

use std::{borrow::Cow, sync::Arc};

use pyo3::{prelude::*, types::PyDict};
use workflow_bridge::publish::{Ack, Kept, PublishError};

/// The outcome of one event.
///
/// status: "published" (the broker acknowledged it), "spooled" (not in Kafka yet, and safe on disk), "failed" (in
///     neither: there is no spool, or the event is invalid; or it is too large for the topic, and kept at `path`) or "lost"
///     (in neither: the spool failed too).
/// kind: a stable word for metrics: "published", "spooled", "lost", "not_acknowledged", "too_large", "closed",
///     "flush_timed_out" (no outcome at a close), "invalid".
/// event_id: the event; "" when it has none.
/// partition, offset: where it is in Kafka; None unless published, and offset -1 with acks=0.
/// path: the file in the spool, or in its quarantine ("too_large"); None unless it is kept there.
/// event: the event itself, in JSON, when it is in neither place; else None.
/// message: all of this in one line, for a log.
#[pyclass(frozen, module = "workflow_events")]
#[derive(Debug, Clone)]
pub struct Outcome {
    status: Cow<'static, str>,
    kind: Cow<'static, str>,
    event_id: String,
    message: Message,
    #[pyo3(get)]
    partition: Option<i32>,
    #[pyo3(get)]
    offset: Option<i64>,
    #[pyo3(get)]
    path: Option<String>,
    #[pyo3(get)]
    event: Option<String>,
}

/// The message. That of an acknowledged event is formatted on demand, because most are never read.
#[derive(Debug, Clone)]
enum Message {
    Acknowledged { topic: Arc<str> },
    Text(String),
}

/// Status, kind, event id and message.
type NewArguments = (String, String, String, String);

#[pymethods]
impl Outcome {
    #[new]
    #[pyo3(signature = (status, kind, event_id, message, *, partition=None, offset=None, path=None, event=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        status: String,
        kind: String,
        event_id: String,
        message: String,
        partition: Option<i32>,
        offset: Option<i64>,
        path: Option<String>,
        event: Option<String>,
    ) -> Self {
        let message = Message::Text(message);
        Self { status: status.into(), kind: kind.into(), event_id, message, partition, offset, path, event }
    }

    #[getter]
    fn status(&self) -> &str {
        &self.status
    }

    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    #[getter]
    fn event_id(&self) -> &str {
        &self.event_id
    }

    #[getter]
    fn message(&self) -> Cow<'_, str> {
        match &self.message {
            Message::Text(text) => text.into(),
            Message::Acknowledged { topic } => {
                let (partition, offset) = (self.partition.unwrap_or_default(), self.offset.unwrap_or_default());
                if offset < 0 {
                    let id = &self.event_id;
                    return format!("event {id} was sent to topic {topic}; with acks=0 no broker acknowledges it")
                        .into();
                }
                format!("event {} is in topic {topic}, partition {partition}, offset {offset}", self.event_id).into()
            }
        }
    }

    /// Whether the broker acknowledged it.
    #[getter]
    fn published(&self) -> bool {
        self.status == "published"
    }

    /// For `pickle` and `copy`: what `new` takes.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(NewArguments, Bound<'py, PyDict>)> {
        let keywords = PyDict::new(py);
        keywords.set_item("partition", self.partition)?;
        keywords.set_item("offset", self.offset)?;
        keywords.set_item("path", &self.path)?;
        keywords.set_item("event", &self.event)?;
        let message = self.message().into_owned();
        Ok(((self.status.to_string(), self.kind.to_string(), self.event_id.clone(), message), keywords))
    }

    fn __repr__(&self) -> String {
        format!("Outcome(status={:?}, kind={:?}, message={:?})", self.status, self.kind, self.message())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get() == self)
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (&self.status, &self.event_id, &self.path, self.partition, self.offset).hash(&mut hasher);
        hasher.finish()
    }
}

/// Compares what the attributes show, whether or not the message has been formatted.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        (&self.status, &self.kind, &self.event_id, self.partition, self.offset, &self.path, &self.event)
            == (&other.status, &other.kind, &other.event_id, other.partition, other.offset, &other.path, &other.event)
            && self.message() == other.message()
    }
}

impl Outcome {
    /// The outcome of an answer.
    pub fn of(event_id: String, topic: &Arc<str>, answer: Result<Ack, PublishError>) -> Self {
        match answer {
            Ok(ack) => Self::acknowledged(event_id, topic, ack),
            Err(error) => Self::unacknowledged(event_id, error),
        }
    }

    /// An event that the broker acknowledged.
    pub fn acknowledged(event_id: String, topic: &Arc<str>, ack: Ack) -> Self {
        Self {
            status: "published".into(),
            kind: "published".into(),
            event_id,
            message: Message::Acknowledged { topic: Arc::clone(topic) },
            partition: Some(ack.partition),
            offset: Some(ack.offset),
            path: None,
            event: None,
        }
    }

    /// An event that the broker did not acknowledge. `event_id` is for errors that do not hold it.
    pub fn unacknowledged(event_id: String, error: PublishError) -> Self {
        let (kind, message) = (error.kind(), error.to_string());
        let mut outcome = Self::failed(event_id, kind, message);
        match error {
            PublishError::Spooled { event_id, path, .. } => {
                outcome.status = "spooled".into();
                outcome.event_id = event_id;
                outcome.path = Some(path.to_string_lossy().into_owned());
            }
            PublishError::Lost { event_id, event, .. } => {
                outcome.status = "lost".into();
                outcome.event_id = event_id;
                outcome.event = Some(event);
            }
            PublishError::TooLarge { event_id, kept: Kept::In(path), .. } => {
                outcome.event_id = event_id;
                outcome.path = Some(path.to_string_lossy().into_owned());
            }
            PublishError::NotAcknowledged { event_id, event, .. } | PublishError::TooLarge { event_id, event, .. } => {
                outcome.event_id = event_id;
                outcome.event = Some(event);
            }
            _ => {}
        }
        outcome
    }

    /// An event that is neither in Kafka nor in the spool.
    pub fn failed(event_id: String, kind: &'static str, message: String) -> Self {
        Self {
            status: "failed".into(),
            kind: kind.into(),
            event_id,
            message: Message::Text(message),
            partition: None,
            offset: None,
            path: None,
            event: None,
        }
    }
}
