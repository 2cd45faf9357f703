//! What librdkafka complains about, in words that help, and not more often than they do.
//!
//! Owns the sorting of errors into kinds, and the rate of their log lines: the first of a kind at
//! once, then one in 30 s with the number of those left out. Everything is counted.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError as RdError, error::RDKafkaErrorCode as Code};

use crate::{
    connection::{advice, speaks_another_protocol},
    telemetry,
};

const QUIET: Duration = Duration::from_secs(30);

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

/// The ears of one client.
#[derive(Debug)]
pub(super) struct Reporter {
    role: &'static str,
    quiet: Mutex<Quiet>,
    last_error: Mutex<Option<String>>,
}

impl Reporter {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, quiet: Mutex::default(), last_error: Mutex::default() }
    }

    /// Counts an error, keeps it for the status, and logs it unless it was logged just now.
    pub(super) fn complain(&self, kind: &'static str, advice: &str, what: &str, reason: &str) {
        metrics::counter!(telemetry::KAFKA_ERRORS, "kind" => kind).increment(1);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down follows from something else, which is worth more.
        if last.is_none() || what != "AllBrokersDown" {
            *last = Some(format!("{what}: {reason}"));
        }
        drop(last);
        if let Some(left_out) = self.admit(what) {
            tracing::warn!(role = self.role, kind, error = what, reason, advice, left_out, "Kafka complains");
        }
    }

    /// An error of librdkafka's.
    pub(super) fn report(&self, code: Code, reason: &str) {
        let (kind, advice) = advice(code, reason);
        self.complain(kind, advice, &format!("{code:?}"), reason);
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kafka answers: what was wrong is over.
    pub(super) fn recovered(&self) {
        let over = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = over {
            self.quiet.lock().unwrap_or_else(PoisonError::into_inner).seen.clear();
            tracing::info!(role = self.role, error, "Kafka answers again");
        }
    }

    pub(super) fn log_line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let role = self.role;
        match level {
            // The one failure that no error tells: TLS or SASL on one side only.
            _ if facility == "FAIL" && speaks_another_protocol(text) => {
                let (kind, advice) = advice(Code::BrokerTransportFailure, text);
                self.complain(kind, advice, "ProtocolMismatch", text);
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

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log_line(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.report(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason);
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
        reporter.recovered();
        assert_eq!(reporter.last_error(), None);
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
