//! Questions to the brokers that several clients ask, and why there is no answer.
//!
//! A client reports its errors to whoever polls it. A question alone only waits, and its error is a bare time-out. So the
//! client is served between short questions, and its [`Reporter`] knows which broker does not answer, and why.

use std::time::{Duration, Instant};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode as Code},
    metadata::Metadata,
};

use super::report::{Reporter, ReportingContext};
use crate::connection;

/// How long the first question waits. Each waits for three times as long as the one before: brokers may need seconds for the
/// metadata of a large cluster, and an answer to a question that is over is lost.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const GROWTH: u32 = 3;
/// From when on an error says that waiting does not help, such as a connection that was refused: before, another broker may
/// answer yet.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// A consumer that asks, with what it has reported.
#[derive(Clone, Copy)]
pub(super) struct Questions<'a> {
    pub(super) consumer: &'a BaseConsumer<ReportingContext>,
    pub(super) reporter: &'a Reporter,
}

impl Questions<'_> {
    /// What the brokers know of a topic, or of themselves. Gives up at `until`, or after [`REFUSED_AFTER`] where waiting does
    /// not help.
    pub(super) fn metadata(
        self,
        topic: Option<&str>,
        until: Instant,
        is_hopeless: &dyn Fn() -> bool,
    ) -> KafkaResult<Metadata> {
        let (mut look, began) = (FIRST_LOOK, Instant::now());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Not 0, which would wait for ever.
            let error = match self.consumer.fetch_metadata(topic, look.min(left).max(Duration::from_millis(1))) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            self.serve();
            let is_over = began.elapsed() >= REFUSED_AFTER && (self.is_refused() || is_hopeless());
            if left.is_zero() || is_over {
                return Err(error);
            }
            look *= GROWTH;
        }
    }

    /// The committed offsets of the group. Those of single partitions may be errors.
    pub(super) fn committed(self, partitions: TopicPartitionList, within: Duration) -> KafkaResult<TopicPartitionList> {
        self.consumer.committed_offsets(partitions, within).map_err(|error| {
            // The coordinator refuses to be found: the request itself just takes too long.
            self.serve();
            let is_denied = self.reporter.last_error().is_some_and(|text| text.contains("GroupAuthorizationFailed"));
            if is_denied { RdError::OffsetFetch(Code::GroupAuthorizationFailed) } else { error }
        })
    }

    /// Serves the callbacks, which say why no broker answers. Bounded, because errors may come faster than they are served.
    pub(super) fn serve(self) {
        for _ in 0..100 {
            if self.consumer.poll(Duration::ZERO).is_none() {
                return;
            }
        }
    }

    /// The brokers refuse the connection itself.
    fn is_refused(self) -> bool {
        self.reporter.problem().is_some_and(|(kind, text, _)| {
            ["authentication", "tls"].contains(&kind) && !text.contains("GroupAuthorizationFailed")
        })
    }

    /// What an error is, and what to do: what the client has reported says more than a time-out.
    pub(super) fn explain(self, error: &RdError) -> (String, &'static str) {
        let reported = self.reporter.problem().filter(|_| !is_denied(error));
        reported.map_or_else(
            || {
                let code = error.rdkafka_error_code().unwrap_or(Code::BrokerTransportFailure);
                (connection::reason(error), connection::advice(code, "").1)
            },
            |(_, text, advice)| (text, advice),
        )
    }
}

/// Whether an error says that our user may not.
pub(super) fn is_denied(error: &RdError) -> bool {
    let code = match error {
        RdError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    };
    matches!(
        code,
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed)
    )
}
