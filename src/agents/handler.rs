//! A handler: an agent that is a function of this process.
//!
//! Its invariant: each attempt ends with an answer, whatever the function does. A panic is a failed attempt. It does not
//! know how often a failed attempt is made again, nor when a failure is that of the event.

use std::{any::Any, fmt, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;

use super::{
    Answer, Class, Delivery, Failure, FailureKind, HandlerFailure, TraceContext,
    failure::{causes, clean},
};
use crate::event::{Event, Origin};

/// The longest that a delivery waits because its handler said [`HandlerError::Later`]: 24 h.
pub(crate) const MAX_LATER: Duration = Duration::from_secs(86_400);

/// What a handler's call returns.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send>>;

/// A handler's function.
pub(crate) type HandlerFunction = dyn Fn(HandlerCall) -> Handling + Send + Sync;

/// What a handler is called for: an event, and the record that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct HandlerCall {
    /// The event.
    pub event: Arc<Event>,
    /// The position of its record in Kafka.
    pub origin: Origin,
    /// The record's key, as it was published.
    pub key: Option<Bytes>,
    /// Its value, as it was published, without a byte order mark.
    pub value: Bytes,
    /// The trace that the event belongs to.
    pub trace: TraceContext,
}

impl From<&Delivery> for HandlerCall {
    fn from(delivery: &Delivery) -> Self {
        Self {
            event: Arc::clone(&delivery.event),
            origin: delivery.origin.clone(),
            key: delivery.key.clone(),
            value: delivery.raw.clone(),
            trace: delivery.trace.clone(),
        }
    }
}

/// A function of this process, and how long it may take.
#[derive(Clone)]
pub(crate) struct HandlerSpec {
    /// The handler's name, which is the agent's.
    pub name: Arc<str>,
    /// The function.
    pub function: Arc<HandlerFunction>,
    /// How long a call may take; as long as it likes when absent.
    pub timeout: Option<Duration>,
}

impl PartialEq for HandlerSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.function, &other.function) && self.timeout == other.timeout
    }
}

impl fmt::Debug for HandlerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSpec").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Why a handler did not handle an event, and so what follows.
///
/// The texts go to the log, the status page and the dead letter: they must hold no secret.
///
/// Every [`std::error::Error`] becomes [`Retry`](Self::Retry) with its text and those of its sources, so a handler may use `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerError {
    /// It failed, and may succeed later: the event comes again after the backoff, as often as `max_retries` of its options says,
    /// and is a dead letter then (`max_attempts`).
    Retry(String),
    /// Not now: the event comes again after this time, at most 24 h. It counts as no retry. The event keeps its place in the budget
    /// meanwhile: `Later` for everything and for hours stops the reading.
    Later(Duration),
    /// It will never be handled: the event is a dead letter at once (`refused`).
    Reject(String),
    /// A value of it is not what the handler reads: a dead letter at once (`invalid_value`). The text names the field.
    InvalidValue(String),
    /// It lacks what the handler reads: a dead letter at once (`missing_field`). The text names the field.
    MissingField(String),
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::Retry(causes(&error))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(reason) => write!(f, "it failed: {reason}"),
            Self::Later(after) => write!(f, "not now, but after {after:?}"),
            Self::Reject(reason) => write!(f, "it rejects the event: {reason}"),
            Self::InvalidValue(reason) => write!(f, "a value of the event is not what it reads: {reason}"),
            Self::MissingField(reason) => write!(f, "the event lacks what it reads: {reason}"),
        }
    }
}

impl HandlerSpec {
    /// One call. The future may be dropped: the function's future is dropped with it.
    pub(super) async fn attempt(&self, delivery: &Delivery) -> Answer {
        // The call may panic before there is a future, and when the future is dropped, after a time-out too.
        let call = async {
            let handling = (self.function)(delivery.into());
            match self.timeout {
                None => Ok(handling.await),
                Some(limit) => tokio::time::timeout(limit, handling).await.map_err(|_| limit),
            }
        };
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(Ok(Ok(()))) => Answer::Accepted { run_id: None, found: false, status: None },
            Ok(Ok(Err(HandlerError::Later(after)))) => Answer::Wait(after.min(MAX_LATER)),
            Ok(Ok(Err(HandlerError::Retry(reason)))) => failed(HandlerFailure::Error, &reason),
            Ok(Ok(Err(HandlerError::Reject(reason)))) => failed(HandlerFailure::Rejected, &reason),
            Ok(Ok(Err(HandlerError::InvalidValue(reason)))) => failed(HandlerFailure::InvalidValue, &reason),
            Ok(Ok(Err(HandlerError::MissingField(reason)))) => failed(HandlerFailure::MissingField, &reason),
            Ok(Err(limit)) => failed(HandlerFailure::Timeout, &format!("the handler took longer than {limit:?}")),
            Err(panic) => panicked(&*panic),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Answer {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    failed(HandlerFailure::Panic, &format!("the handler panicked: {}", text.unwrap_or("(no text)")))
}

fn failed(failure: HandlerFailure, reason: &str) -> Answer {
    let class = if failure.is_of_event() { Class::EventFault } else { Class::Ambiguous };
    let reason = clean(reason, &[]);
    Answer::Failed(Failure { class, status: None, retry_after: None, kind: FailureKind::Handler(failure), reason })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::agents::testing::delivery;

    async fn answer(timeout: Option<Duration>, function: impl Fn() -> Handling + Send + Sync + 'static) -> Answer {
        let spec = HandlerSpec { name: "h".into(), function: Arc::new(move |_| function()), timeout };
        spec.attempt(&delivery("e")).await
    }

    fn kind(answer: &Answer) -> Option<(&'static str, Class, &str)> {
        match answer {
            Answer::Failed(failure) => Some((failure.kind.as_str(), failure.class, &failure.reason)),
            _ => None,
        }
    }

    #[tokio::test]
    async fn every_end_of_a_call_is_an_answer() {
        let done = answer(None, || Box::pin(async { Ok(()) })).await;
        assert!(matches!(done, Answer::Accepted { .. }), "{done:?}");
        let later = answer(None, || Box::pin(async { Err(HandlerError::Later(Duration::MAX)) })).await;
        assert_eq!(later, Answer::Wait(MAX_LATER));
        let failed = answer(None, || Box::pin(async { Err(HandlerError::Retry("no\nroute".into())) })).await;
        assert_eq!(kind(&failed), Some(("error", Class::Ambiguous, "no route")));
        let rejected = answer(None, || Box::pin(async { Err(HandlerError::Reject("no".into())) })).await;
        assert_eq!(kind(&rejected), Some(("rejected", Class::EventFault, "no")));
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_attempt_wherever_it_happens() {
        let early = answer(None, || panic!("early")).await;
        assert_eq!(kind(&early), Some(("panic", Class::Ambiguous, "the handler panicked: early")));
        let late = answer(None, || {
            Box::pin(async {
                tokio::task::yield_now().await;
                panic!("{}", "late".to_owned())
            })
        })
        .await;
        assert_eq!(kind(&late), Some(("panic", Class::Ambiguous, "the handler panicked: late")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_while_a_call_is_dropped_is_a_failed_attempt() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let slow = || -> Handling {
            let guard = Panics;
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        };
        let late = answer(Some(Duration::from_secs(3)), slow).await;
        assert_eq!(kind(&late), Some(("panic", Class::Ambiguous, "the handler panicked: dropped")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_a_failed_attempt() {
        let slow = || -> Handling { Box::pin(async { std::future::pending().await }) };
        let late = answer(Some(Duration::from_secs(3)), slow).await;
        assert_eq!(kind(&late), Some(("timeout", Class::Ambiguous, "the handler took longer than 3s")));
    }

    #[test]
    fn an_error_is_a_retry_with_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("the order was not saved")]
        struct Failed(#[source] io::Error);

        let save = || -> Result<(), HandlerError> { Err(Failed(io::Error::other("disk full")))? };
        assert_eq!(save(), Err(HandlerError::Retry("the order was not saved: disk full".to_owned())));
    }
}
