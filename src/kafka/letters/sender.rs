//! Writes records for a person: one that is sent again, and the mark of a letter. Both are acknowledged, or an error says not.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use rdkafka::{
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
};

use super::{
    super::{
        client,
        error::KafkaError,
        record::OwnedHeader,
        report::Reporter,
        sender::{self, Sender},
        settings::KafkaSettings,
        validate::validated,
    },
    head::Mark,
};
use crate::{
    connection::{self, advice},
    event::RecordSize,
};

/// A record that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    /// `None`: by its key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<OwnedHeader>,
}

impl Outgoing {
    /// How large its parts are.
    pub(crate) fn size(&self) -> RecordSize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        RecordSize {
            key: self.key.as_ref().map_or(0, Vec::len),
            value: self.value.as_ref().map_or(0, Vec::len),
            headers: self.headers.len(),
            header_bytes: headers.sum(),
        }
    }

    /// The mark of a letter of this dead-letter topic: in the letter's partition, so that it is read after it.
    pub(crate) fn mark(topic: &str, mark: Mark, by: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: Some(mark.partition),
            key: Some(mark.key().into_bytes()),
            value: None,
            headers: mark.headers(&Timestamp::now().to_string(), by),
        }
    }
}

/// A record that was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} did not take it: {reason}: {advice}")]
pub(crate) struct SendError {
    topic: String,
    reason: String,
    advice: &'static str,
    /// The record itself is refused; others may be taken.
    pub(crate) is_of_the_record: bool,
}

/// See the module.
pub(crate) struct LetterSender(Sender);

impl LetterSender {
    /// Makes the producer; it connects with the first record.
    ///
    /// # Errors
    /// The settings make no client.
    pub(crate) fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        let reporter = Arc::new(Reporter::new("dead letters"));
        Sender::start("producer of redrives and marks", settings, &reporter, client::PATIENCE).map(Self)
    }

    /// Writes records side by side, those of a partition in their order. There is a result for each, in their order; for
    /// `None` nothing is to be written.
    pub(crate) async fn send(
        &self,
        records: impl IntoIterator<Item = Option<&Outgoing>>,
    ) -> Vec<Result<(), SendError>> {
        let write = async |record: Option<&Outgoing>| {
            let Some(record) = record else { return Ok(()) };
            self.0.send(borrowed(record)).await.map(drop).map_err(|error| failed(&record.topic, &error))
        };
        join_all(records.into_iter().map(write)).await
    }
}

fn failed(topic: &str, error: &RdError) -> SendError {
    let (code, reason) = (error.rdkafka_error_code(), connection::reason(error));
    let advice = code.map_or("try again", |code| advice(code, &reason).1);
    // A letter may name a partition that never was.
    let is_of_the_record = matches!(
        code,
        Some(Code::UnknownPartition | Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord)
    );
    SendError { topic: topic.to_owned(), reason, advice, is_of_the_record }
}

fn borrowed(record: &Outgoing) -> sender::Outgoing<'_> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: value.as_deref() });
    }
    sender::Outgoing {
        topic: &record.topic,
        partition: record.partition,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers,
    }
}
