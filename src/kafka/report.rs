//! Errors of the Kafka client: counted, logged with advice, and kept for the status until they are resolved.
//!
//! Owns the current problem of each [`Area`], and the rate of the log lines: the first of an error at once, then one in
//! 30 s with the number of those suppressed. An error is resolved when its area was seen to work: a broker that answers
//! one request says nothing of the group, of another broker, or of a batch that cannot be read.

mod area;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
};

pub(super) use area::{Area, is_fetch_error};

use crate::{
    connection::{advice, speaks_another_protocol},
    sync::{Mutex, MutexGuard},
    telemetry,
    throttle::Throttle,
};

const LOG_EVERY: Duration = Duration::from_secs(30);
/// A connection that is up again within this time is not worth a warning.
const WARN_AFTER: Duration = Duration::from_secs(5);
const INTERRUPTED: &str = "interrupted";

/// The current error of an area.
#[derive(Debug)]
struct Problem {
    text: String,
    what: String,
    kind: &'static str,
    advice: &'static str,
    /// A cause outranks its consequences.
    rank: u8,
    since: Instant,
    last: Instant,
    /// It was logged as a warning, so its end is logged as well.
    warned: bool,
}

fn rank(what: &str) -> u8 {
    match what {
        "AllBrokersDown" => 0,
        "BrokerTransportFailure" | "OperationTimedOut" => 1,
        _ => 2,
    }
}

/// Reports the errors of one client.
#[derive(Debug)]
pub(super) struct Reporter {
    role: &'static str,
    throttle: Throttle<String>,
    problems: Mutex<BTreeMap<Area, Problem>>,
    /// The brokers were reached before: a connection that breaks may be made again at once.
    reached: AtomicBool,
}

impl Reporter {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, throttle: Throttle::every(LOG_EVERY), problems: Mutex::default(), reached: AtomicBool::new(false) }
    }

    /// An error of a request of ours.
    pub(super) fn report_failure(&self, kind: &'static str, advice: &'static str, what: &str, reason: &str) {
        let area = if kind == "commit" { Area::Commit } else { Area::Other };
        self.record(area, kind, advice, what, reason, Instant::now());
    }

    /// An error of librdkafka's.
    pub(super) fn report(&self, code: Code, reason: &str) {
        let (kind, advice) = advice(code, reason);
        self.record(Area::of(code, kind, reason), kind, advice, &format!("{code:?}"), reason, Instant::now());
    }

    fn record(&self, area: Area, kind: &'static str, advice: &'static str, what: &str, reason: &str, now: Instant) {
        metrics::counter!(telemetry::KAFKA_ERRORS, "kind" => kind).increment(1);
        let rank = rank(what);
        let mut problems = self.problems();
        let problem = problems.entry(area).or_insert_with(|| Problem {
            text: String::new(),
            what: String::new(),
            kind,
            advice,
            rank,
            since: now,
            last: now,
            warned: false,
        });
        // "All brokers are down" is the consequence of another error, which says more.
        let follows = rank < problem.rank && now.duration_since(problem.last) < LOG_EVERY;
        if follows {
            tracing::debug!(
                role = self.role,
                kind,
                error = what,
                reason,
                "Kafka client error that follows from an earlier one"
            );
            return;
        }
        if rank != problem.rank || problem.what != what || problem.text.is_empty() {
            what.clone_into(&mut problem.what);
        }
        problem.text = format!("{what}: {reason}");
        (problem.kind, problem.advice, problem.rank, problem.last) = (kind, advice, rank, now);
        // Brokers close idle connections and restart; librdkafka connects again by itself.
        let passing = area == Area::Connection && kind == "transport" && self.reached.load(Ordering::Relaxed);
        if passing && !problem.warned && now.duration_since(problem.since) < WARN_AFTER {
            drop(problems);
            if self.admit(INTERRUPTED).is_some() {
                tracing::info!(
                    role = self.role,
                    error = what,
                    reason,
                    "connection to Kafka interrupted, connecting again"
                );
            }
            return;
        }
        problem.warned = true;
        drop(problems);
        self.warn(kind, what, reason, advice, now);
    }

    fn warn(&self, kind: &str, what: &str, reason: &str, advice: &str, now: Instant) {
        if let Some(suppressed) = self.throttle.admit(what, now) {
            tracing::warn!(role = self.role, kind, error = what, reason, advice, suppressed, "Kafka client error");
        }
    }

    /// A request failed: warns of a connection that was not restored in time.
    pub(super) fn still_failing(&self, now: Instant) {
        let mut problems = self.problems();
        let Some(problem) = problems.get_mut(&Area::Connection) else { return };
        if !problem.warned && now.duration_since(problem.since) >= WARN_AFTER {
            problem.warned = true;
            let (kind, what, text, advice) = (problem.kind, problem.what.clone(), problem.text.clone(), problem.advice);
            drop(problems);
            self.warn(kind, &what, &text, advice, now);
        }
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<Area, Problem>> {
        self.problems.lock()
    }

    /// The errors that are not resolved, the cause first.
    pub(super) fn last_error(&self) -> Option<String> {
        let problems = self.problems();
        let texts: Vec<&str> = problems.values().map(|problem| problem.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The error that most likely is the cause of the others: its kind, what it is, and what to do.
    pub(super) fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let problems = self.problems();
        let worst = problems.values().max_by_key(|problem| problem.rank)?;
        Some((worst.kind, worst.text.clone(), worst.advice))
    }

    /// Since when an area has an error.
    pub(super) fn failing_since(&self, area: Area) -> Option<Instant> {
        self.problems().get(&area).map(|problem| problem.since)
    }

    /// When the last error of an area was reported.
    pub(super) fn last_error_at(&self, area: Area) -> Option<Instant> {
        self.problems().get(&area).map(|problem| problem.last)
    }

    /// The area was seen to work.
    pub(super) fn resolved(&self, area: Area) {
        if area == Area::Connection {
            self.reached.store(true, Ordering::Relaxed);
        }
        let Some(problem) = self.problems().remove(&area) else { return };
        if problem.warned {
            tracing::info!(role = self.role, error = problem.text, "Kafka client error resolved");
        } else {
            tracing::debug!(role = self.role, error = problem.text, "Kafka client error resolved");
        }
    }

    pub(super) fn log_line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let role = self.role;
        match level {
            // The only failure without an error: TLS or SASL on one side only.
            _ if facility == "FAIL" && speaks_another_protocol(text) => {
                let (kind, advice) = advice(Code::BrokerTransportFailure, text);
                self.record(Area::Connection, kind, advice, "ProtocolMismatch", text, Instant::now());
            }
            // Failed connections and requests arrive as errors too, with advice. Consumer properties on a producer are
            // intended.
            _ if matches!(facility, "FAIL" | "ERROR" | "REQTMOUT" | "CONFWARN") => {
                tracing::debug!(target: "librdkafka", role, facility, text, "librdkafka");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", role, facility, text, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", role, facility, text, "librdkafka");
            }
            _ => {
                if let Some(suppressed) = self.admit(facility) {
                    tracing::warn!(target: "librdkafka", role, facility, text, suppressed, "librdkafka");
                }
            }
        }
    }

    fn admit(&self, what: &str) -> Option<u64> {
        self.throttle.admit(what, Instant::now())
    }
}

/// The context of a client that shares its reporter.
#[derive(Debug)]
pub(super) struct ReportingContext(pub(super) Arc<Reporter>);

impl ClientContext for ReportingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log_line(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        // That a partition has been read to its end is no error.
        if code != Code::PartitionEOF {
            self.0.report(code, reason);
        }
    }
}

impl ConsumerContext for ReportingContext {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_keeps_the_cause_and_not_its_consequence() {
        let reporter = Reporter::new("consumer");
        reporter.report(Code::Authentication, "invalid credentials");
        reporter.report(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(reporter.last_error().as_deref(), Some("Authentication: invalid credentials"));
        reporter.resolved(Area::Connection);
        assert_eq!(reporter.last_error(), None);
    }

    #[test]
    fn an_error_is_resolved_when_its_area_works_and_not_before() {
        let reporter = Reporter::new("consumer");
        let all = [Area::Group, Area::Topic, Area::Fetch, Area::Connection, Area::Commit, Area::Other];
        for (code, reason, area) in [
            (Code::InconsistentGroupProtocol, "JoinGroup failed: Broker: Inconsistent group protocol", Area::Group),
            (Code::GroupAuthorizationFailed, "FindCoordinator response error", Area::Group),
            (Code::BadCompression, "Decompression (codec 0x4) of message at 7 of 99 bytes failed", Area::Fetch),
            (Code::BadMessage, "Invalid response size 9: increase receive.message.max.bytes", Area::Fetch),
            (Code::TopicAuthorizationFailed, "Fetch from broker 1 failed: not authorized", Area::Fetch),
            (Code::UnknownTopicOrPartition, "Subscribed topic not available: events", Area::Topic),
            (Code::Resolve, "kafka:29092/1: Failed to resolve 'kafka:29092'", Area::Connection),
            (Code::Authentication, "invalid credentials", Area::Connection),
        ] {
            reporter.report(code, reason);
            for other in all.into_iter().filter(|other| *other != area) {
                reporter.resolved(other);
            }
            assert!(reporter.last_error().is_some_and(|error| error.contains(reason)), "{code:?}");
            reporter.resolved(area);
            assert_eq!(reporter.last_error(), None, "{code:?}");
        }
    }

    #[test]
    fn a_consequence_does_not_replace_the_cause_and_both_areas_are_reported() {
        let reporter = Reporter::new("consumer");
        reporter.report(Code::Resolve, "kafka:29092/1: Failed to resolve 'kafka:29092'");
        reporter.report(Code::BrokerTransportFailure, "kafka:29092/1: Disconnected");
        reporter.report(Code::AllBrokersDown, "2/2 brokers are down");
        reporter.report(Code::InconsistentGroupProtocol, "JoinGroup failed");
        let joined = reporter.last_error().unwrap();
        assert_eq!(
            joined,
            "InconsistentGroupProtocol: JoinGroup failed; Resolve: kafka:29092/1: Failed to resolve 'kafka:29092'"
        );
    }

    #[test]
    fn a_connection_that_breaks_and_comes_back_is_no_warning() {
        let reporter = Reporter::new("consumer");
        let warned = |reporter: &Reporter| reporter.problems().get(&Area::Connection).map(|problem| problem.warned);
        reporter.report(Code::BrokerTransportFailure, "127.0.0.1:1/bootstrap: Connection refused");
        assert_eq!(warned(&reporter), Some(true), "at the start it is one at once");
        reporter.resolved(Area::Connection);
        let closed = "127.0.0.1:1/1: Disconnected: connection closed by peer (after 600000ms in state UP)";
        reporter.report(Code::BrokerTransportFailure, closed);
        let since = reporter.failing_since(Area::Connection).unwrap();
        reporter.still_failing(since);
        assert_eq!(warned(&reporter), Some(false));
        reporter.still_failing(since + WARN_AFTER);
        assert_eq!(warned(&reporter), Some(true), "it lasts");
    }

    #[test]
    fn the_end_of_a_partition_is_no_error() {
        let context = ReportingContext(Arc::new(Reporter::new("consumer")));
        context.error(RdError::MessageConsumption(Code::PartitionEOF), "Broker: No more messages");
        assert_eq!(context.0.last_error(), None);
        context.error(RdError::MessageConsumption(Code::BadMessage), "Invalid response size 9");
        assert!(context.0.last_error().is_some());
    }

    #[test]
    fn a_listener_of_another_protocol_is_recognised() {
        let reporter = Reporter::new("consumer");
        let text =
            "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration";
        reporter.log_line(RDKafkaLogLevel::Error, "FAIL", text);
        assert!(reporter.last_error().unwrap().starts_with("ProtocolMismatch"));
    }
}
