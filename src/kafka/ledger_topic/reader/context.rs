//! What librdkafka reports to the reader.

use std::sync::Arc;

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
};

use super::super::following::Following;

/// Hands it to the reporter.
pub(super) struct Context(pub(super) Arc<Following>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.reporter.log_line(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        // The first says that a partition was read to its end. The second is looked into by the reader.
        if !matches!(code, Code::PartitionEOF | Code::AutoOffsetReset) {
            self.0.reporter.report(code, reason);
        }
    }
}

impl ConsumerContext for Context {}
