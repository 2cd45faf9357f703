//! What librdkafka complains about, in words that help, and not more often than they do.
//!
//! Owns the sorting of errors into kinds, and the rate of their log lines: the first of a kind at
//! once, then one in 30 s with the number of those left out. Everything is counted. An error is over
//! when what it is about was seen to work ([`Area`]): a broker that answers one request says nothing
//! of the group, of another broker, or of a batch that cannot be read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError as RdError, error::RDKafkaErrorCode as Code};

use crate::{
    connection::{advice, speaks_another_protocol},
    telemetry,
};

const QUIET: Duration = Duration::from_secs(30);
/// A connection that is up again within this time was never worth a warning.
const PASSING: Duration = Duration::from_secs(5);
const INTERRUPTED: &str = "interrupted";

/// Lets the first of a kind through, then one in each period.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    seen: HashMap<String, (Instant, u64)>,
}

impl Quiet {
    /// `Some(n)`: log it now, `n` like it were left out since the last time.
    pub(super) fn admit(&mut self, what: &str, now: Instant) -> Option<u64> {
        match self.seen.get_mut(what) {
            Some((last, left_out)) if now.duration_since(*last) < QUIET => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(std::mem::take(left_out))
            }
            None => {
                self.seen.insert(what.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

/// What has to work again before a complaint is over. The order is that of the status: a cause before
/// what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    /// Being a member of the group.
    Group,
    /// The topics: that they exist, and that we may see them.
    Topic,
    /// Fetching from a partition.
    Fetch,
    /// Reaching the brokers, each at its own address.
    Connection,
    /// Committing.
    Commit,
    /// Anything else.
    Other,
}

impl Area {
    fn of(code: Code, kind: &str, reason: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let group = ["JoinGroup", "SyncGroup", "ConsumerGroupHeartbeat", "FindCoordinator response", "in group "];
        if says(&group)
            || matches!(code, Code::GroupAuthorizationFailed | Code::InconsistentGroupProtocol | Code::PollExceeded)
        {
            return Self::Group;
        }
        if is_fetch_error(code) || says(&["Fetch from broker", "receive.message.max.bytes"]) {
            return Self::Fetch;
        }
        match kind {
            "topic" => Self::Topic,
            "transport" | "tls" | "authentication" => Self::Connection,
            "commit" => Self::Commit,
            _ => Self::Other,
        }
    }
}

/// Whether the error says that something was fetched and cannot be read.
pub(super) fn is_fetch_error(code: Code) -> bool {
    matches!(
        code,
        Code::BadCompression
            | Code::BadMessage
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::NotImplemented
    )
}

/// What is wrong in an area.
#[derive(Debug)]
struct Problem {
    text: String,
    what: String,
    kind: &'static str,
    advice: &'static str,
    /// A cause outranks what follows from it.
    rank: u8,
    since: Instant,
    last: Instant,
    /// It was logged as a warning, so its end is logged too.
    warned: bool,
}

fn rank(what: &str) -> u8 {
    match what {
        "AllBrokersDown" => 0,
        "BrokerTransportFailure" | "OperationTimedOut" => 1,
        _ => 2,
    }
}

/// What one client is told by librdkafka.
#[derive(Debug)]
pub(super) struct Reporter {
    role: &'static str,
    quiet: Mutex<Quiet>,
    problems: Mutex<BTreeMap<Area, Problem>>,
    /// The brokers were reached before: a connection that breaks may just be made again.
    reached: AtomicBool,
}

impl Reporter {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, quiet: Mutex::default(), problems: Mutex::default(), reached: AtomicBool::new(false) }
    }

    /// Counts an error, keeps it for the status, and logs it unless it was logged just now.
    pub(super) fn complain(&self, kind: &'static str, advice: &'static str, what: &str, reason: &str) {
        let area = if kind == "commit" { Area::Commit } else { Area::Other };
        self.take(area, kind, advice, what, reason, Instant::now());
    }

    /// An error of librdkafka's.
    pub(super) fn report(&self, code: Code, reason: &str) {
        let (kind, advice) = advice(code, reason);
        self.take(Area::of(code, kind, reason), kind, advice, &format!("{code:?}"), reason, Instant::now());
    }

    fn take(&self, area: Area, kind: &'static str, advice: &'static str, what: &str, reason: &str, now: Instant) {
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
        // That all brokers are down follows from something else, which is worth more.
        let follows = rank < problem.rank && now.duration_since(problem.last) < QUIET;
        if follows {
            tracing::debug!(role = self.role, kind, error = what, reason, "Kafka complains, as it did before");
            return;
        }
        if rank != problem.rank || problem.what != what || problem.text.is_empty() {
            what.clone_into(&mut problem.what);
        }
        problem.text = format!("{what}: {reason}");
        (problem.kind, problem.advice, problem.rank, problem.last) = (kind, advice, rank, now);
        // Brokers close idle connections and restart; librdkafka connects again by itself.
        let passing = area == Area::Connection && kind == "transport" && self.reached.load(Ordering::Relaxed);
        if passing && !problem.warned && now.duration_since(problem.since) < PASSING {
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
        let left_out = self.quiet.lock().unwrap_or_else(PoisonError::into_inner).admit(what, now);
        if let Some(left_out) = left_out {
            tracing::warn!(role = self.role, kind, error = what, reason, advice, left_out, "Kafka complains");
        }
    }

    /// A request failed: an interruption that lasts is worth a warning by now.
    pub(super) fn still_failing(&self, now: Instant) {
        let mut problems = self.problems();
        let Some(problem) = problems.get_mut(&Area::Connection) else { return };
        if !problem.warned && now.duration_since(problem.since) >= PASSING {
            problem.warned = true;
            let (kind, what, text, advice) = (problem.kind, problem.what.clone(), problem.text.clone(), problem.advice);
            drop(problems);
            self.warn(kind, &what, &text, advice, now);
        }
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<Area, Problem>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong now, the cause first.
    pub(super) fn last_error(&self) -> Option<String> {
        let problems = self.problems();
        let texts: Vec<&str> = problems.values().map(|problem| problem.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Since when something is wrong in an area.
    pub(super) fn wrong_since(&self, area: Area) -> Option<Instant> {
        self.problems().get(&area).map(|problem| problem.since)
    }

    /// The last complaint of an area.
    pub(super) fn last_complaint(&self, area: Area) -> Option<Instant> {
        self.problems().get(&area).map(|problem| problem.last)
    }

    /// This was seen to work: what was wrong with it is over.
    pub(super) fn works(&self, area: Area) {
        if area == Area::Connection {
            self.reached.store(true, Ordering::Relaxed);
        }
        let Some(problem) = self.problems().remove(&area) else { return };
        if problem.warned {
            tracing::info!(role = self.role, error = problem.text, "Kafka answers again");
        } else {
            tracing::debug!(role = self.role, error = problem.text, "Kafka answers again");
        }
    }

    pub(super) fn log_line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let role = self.role;
        match level {
            // The one failure that no error tells: TLS or SASL on one side only.
            _ if facility == "FAIL" && speaks_another_protocol(text) => {
                let (kind, advice) = advice(Code::BrokerTransportFailure, text);
                self.take(Area::Connection, kind, advice, "ProtocolMismatch", text, Instant::now());
            }
            // Failed connections and requests arrive as errors too, and with advice; consumer
            // properties on a producer are meant.
            _ if matches!(facility, "FAIL" | "ERROR" | "REQTMOUT" | "CONFWARN") => {
                tracing::debug!(target: "librdkafka", role, facility, text, "librdkafka");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", role, facility, text, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", role, facility, text, "librdkafka");
            }
            _ => {
                if let Some(left_out) = self.admit(facility) {
                    tracing::warn!(target: "librdkafka", role, facility, text, left_out, "librdkafka");
                }
            }
        }
    }

    fn admit(&self, what: &str) -> Option<u64> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).admit(what, Instant::now())
    }
}

/// What a client is made with whose reporter others use too.
#[derive(Debug)]
pub(super) struct Listener(pub(super) Arc<Reporter>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log_line(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.0.report(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_repeats_is_logged_once_in_thirty_seconds_with_a_count() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(quiet.admit("transport", at(0)), Some(0));
        for ms in 1..=99 {
            assert_eq!(quiet.admit("transport", at(ms)), None);
        }
        assert_eq!(quiet.admit("tls", at(100)), Some(0), "another error is another line");
        assert_eq!(quiet.admit("transport", at(30_000)), Some(99));
        assert_eq!(quiet.admit("transport", at(30_001)), None);
    }

    #[test]
    fn the_status_keeps_the_cause_and_not_its_consequence() {
        let reporter = Reporter::new("consumer");
        reporter.report(Code::Authentication, "invalid credentials");
        reporter.report(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(reporter.last_error().as_deref(), Some("Authentication: invalid credentials"));
        reporter.works(Area::Connection);
        assert_eq!(reporter.last_error(), None);
    }

    #[test]
    fn an_error_is_over_when_what_it_is_about_works_and_not_before() {
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
                reporter.works(other);
            }
            assert!(reporter.last_error().is_some_and(|error| error.contains(reason)), "{code:?}");
            reporter.works(area);
            assert_eq!(reporter.last_error(), None, "{code:?}");
        }
    }

    #[test]
    fn what_follows_does_not_replace_the_cause_and_two_areas_are_both_told() {
        let reporter = Reporter::new("consumer");
        reporter.report(Code::Resolve, "kafka:29092/1: Failed to resolve 'kafka:29092'");
        reporter.report(Code::BrokerTransportFailure, "kafka:29092/1: Disconnected");
        reporter.report(Code::AllBrokersDown, "2/2 brokers are down");
        reporter.report(Code::InconsistentGroupProtocol, "JoinGroup failed");
        let told = reporter.last_error().unwrap();
        assert_eq!(
            told,
            "InconsistentGroupProtocol: JoinGroup failed; Resolve: kafka:29092/1: Failed to resolve 'kafka:29092'"
        );
    }

    #[test]
    fn a_connection_that_breaks_and_comes_back_is_no_warning() {
        let reporter = Reporter::new("consumer");
        let warned = |reporter: &Reporter| reporter.problems().get(&Area::Connection).map(|problem| problem.warned);
        reporter.report(Code::BrokerTransportFailure, "127.0.0.1:1/bootstrap: Connection refused");
        assert_eq!(warned(&reporter), Some(true), "at the start it is one at once");
        reporter.works(Area::Connection);
        let closed = "127.0.0.1:1/1: Disconnected: connection closed by peer (after 600000ms in state UP)";
        reporter.report(Code::BrokerTransportFailure, closed);
        let start = Instant::now();
        reporter.still_failing(start);
        assert_eq!(warned(&reporter), Some(false));
        reporter.still_failing(start + PASSING);
        assert_eq!(warned(&reporter), Some(true), "it lasts");
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
