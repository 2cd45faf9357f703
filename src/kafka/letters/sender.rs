//! Writes records for a person: one that is sent again, and the mark of a letter. Both are acknowledged, or an error says not.

use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::{
    config::FromClientConfigAndContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use super::{
    super::{
        acknowledged::acknowledged,
        client,
        error::KafkaError,
        record::OwnedHeader,
        report::{Reporter, ReportingContext},
        settings::KafkaSettings,
        validate::validated,
    },
    head::Mark,
};
use crate::connection::{self, advice};

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
pub(crate) struct LetterSender(FutureProducer<ReportingContext>);

impl LetterSender {
    /// Makes the producer; it connects with the first record.
    ///
    /// # Errors
    /// The settings make no client.
    pub(crate) fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        let context = ReportingContext(Arc::new(Reporter::new("dead letters")));
        FutureProducer::from_config_and_context(&client::producer(settings), context)
            .map(Self)
            .map_err(|error| KafkaError::Client { role: "producer", reason: connection::reason(&error) })
    }

    /// Writes records side by side, those of a partition in their order. The results are in the order of the records.
    pub(crate) async fn send(&self, records: &[Outgoing]) -> Vec<Result<(), SendError>> {
        let begin = |record| self.0.send_result(future_record(record)).map_err(|refused| Box::new(refused.0));
        let sent: Vec<_> = records.iter().map(begin).collect();
        let mut results = Vec::with_capacity(sent.len());
        for (sent, record) in sent.into_iter().zip(records) {
            let result = match sent {
                Ok(delivery) => match delivery.await {
                    Ok(Ok(delivery)) => acknowledged(delivery.offset),
                    Ok(Err((error, _))) => Err(error),
                    Err(_) => Err(RdError::Canceled),
                },
                Err(error) => Err(*error),
            };
            results.push(result.map_err(|error| failed(&record.topic, &error)));
        }
        results
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

fn future_record(record: &Outgoing) -> FutureRecord<'_, [u8], [u8]> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: value.as_deref() });
    }
    FutureRecord {
        topic: &record.topic,
        partition: record.partition,
        payload: record.value.as_deref(),
        key: record.key.as_deref(),
        timestamp: None,
        headers: Some(headers),
    }
}
