//! The dead-letter topics: whether they exist, and their creation.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode as Code,
};
use tokio::time::Instant;

use super::super::{admin::Admin, report::Reporter, settings::KafkaSettings};
use crate::connection;

/// The most bytes that the bridge's own headers may add to a record.
pub(in crate::kafka) const ROOM_FOR_HEADERS: u64 = 64 << 10;
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts to create a topic.
const CREATE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct DeadLetterTopics {
    admin: Admin,
    /// The topics that exist, or when their creation failed.
    known: tokio::sync::Mutex<HashMap<String, Option<Instant>>>,
}

impl DeadLetterTopics {
    pub(super) fn new(settings: &KafkaSettings, reporter: &Arc<Reporter>) -> Self {
        Self { admin: Admin::new(settings, reporter), known: tokio::sync::Mutex::default() }
    }

    /// The broker says that the topic does not exist: check again before the next dead letter.
    pub(super) async fn forget(&self, topic: &str) {
        let mut topics = self.known.lock().await;
        // One that could not be created is not asked for sooner because of it.
        if topics.get(topic).is_some_and(Option::is_none) {
            topics.remove(topic);
        }
    }

    /// Creates the dead-letter topic when it is absent and our user may: with the source's partitions, the cluster's
    /// replication, and room for the headers. A failure is logged, and the dead letter is written in any case.
    pub(super) async fn ensure(&self, source: &str, topic: &str) {
        let mut topics = self.known.lock().await;
        match topics.get(topic) {
            Some(None) => return,
            Some(Some(failed)) if failed.elapsed() < CREATE_AGAIN_AFTER => return,
            _ => {}
        }
        if self.exists(topic).await {
            topics.insert(topic.to_owned(), None);
            return;
        }
        let partitions = self.partitions(source).await.unwrap_or(1);
        let max_bytes = self.max_message_bytes(source).await.map(|bytes| (bytes + ROOM_FOR_HEADERS).to_string());
        let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        if let Some(max_bytes) = &max_bytes {
            wanted = wanted.set("max.message.bytes", max_bytes);
        }
        let created = match self.admin.client().await {
            Ok(admin) => admin.create_topics([&wanted], &options()).await,
            Err(error) => Err(error),
        };
        let problem = match created {
            Ok(results) => match results.into_iter().next() {
                Some(Ok(_)) => {
                    tracing::info!(topic, partitions, max_bytes, "dead-letter topic created");
                    None
                }
                None | Some(Err((_, Code::TopicAlreadyExists))) => None,
                Some(Err((_, code))) => Some(code.to_string()),
            },
            Err(error) => Some(connection::reason(&error)),
        };
        let state = match problem {
            None => None,
            Some(_) if self.partitions(topic).await.is_some() => None,
            Some(error) => {
                let advice = "create it with the source topic's partitions and 64 KiB more max.message.bytes, or grant our user CREATE on it; dead letters are retried until then";
                tracing::error!(topic, error, advice, "dead-letter topic is absent and cannot be created");
                Some(Instant::now())
            }
        };
        topics.insert(topic.to_owned(), state);
    }

    /// Lists all topics: a broker that creates topics on request would create one that is requested by name, without room
    /// for the headers.
    async fn exists(&self, topic: &str) -> bool {
        let Ok(admin) = self.admin.client().await.map(Arc::clone) else { return false };
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, ADMIN_TIMEOUT));
        let Ok(Ok(metadata)) = asked.await else { return false };
        metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none())
    }

    /// How many partitions a topic has; `None` when it does not exist, or no broker answers.
    async fn partitions(&self, topic: &str) -> Option<i32> {
        let (admin, topic) = (Arc::clone(self.admin.client().await.ok()?), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(Some(&topic), ADMIN_TIMEOUT));
        let metadata = asked.await.ok()?.ok()?;
        let found = metadata.topics().iter().find(|found| found.error().is_none())?;
        i32::try_from(found.partitions().len()).ok().filter(|partitions| *partitions > 0)
    }

    async fn max_message_bytes(&self, topic: &str) -> Option<u64> {
        let admin = self.admin.client().await.ok()?;
        let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await.ok()?;
        let resource = described.into_iter().next()?.ok()?;
        resource.get("max.message.bytes")?.value.as_deref()?.parse().ok()
    }
}

fn options() -> AdminOptions {
    // The mock broker of the unit tests never answers these calls.
    let timeout = if cfg!(test) { ADMIN_TIMEOUT / 10 } else { ADMIN_TIMEOUT };
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_existed_is_forgotten_when_a_write_says_that_it_does_not() {
        let reporter = Arc::new(Reporter::new("dead letters"));
        let topics = DeadLetterTopics::new(&KafkaSettings::default(), &reporter);
        let failed = Some(Instant::now());
        topics.known.lock().await.extend([("existed".to_owned(), None), ("failed".to_owned(), failed)]);
        for topic in ["existed", "failed", "unknown"] {
            topics.forget(topic).await;
        }
        assert_eq!(*topics.known.lock().await, HashMap::from([("failed".to_owned(), failed)]));
    }
}
