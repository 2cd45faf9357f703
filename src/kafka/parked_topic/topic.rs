//! The parked topics themselves: whether they exist and fit, and their creation.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode as Code,
    topic_partition_list::TopicPartitionListElem,
};
use tokio::time::Instant;

use super::super::{
    admin::Admin,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
};
use crate::connection;

/// The most bytes that the bridge's own headers may add to a record.
const ROOM_FOR_HEADERS: u64 = 64 << 10;
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts to create the topic or to add partitions.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A parked delivery must not vanish, however long its agent is down.
const KEPT_FOR_EVER: &str = "-1";
/// What a parked topic is created with, beside the room for headers.
pub(in crate::kafka) const WANTED_CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", KEPT_FOR_EVER), ("retention.bytes", KEPT_FOR_EVER)];

/// See the module.
pub(super) struct Topics {
    settings: KafkaSettings,
    admin: Admin,
    /// By source topic.
    known: tokio::sync::Mutex<HashMap<Arc<str>, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// It can be written to, and has so many partitions.
    partitions: i32,
    /// How many it had before this process created any.
    before: i32,
    /// When it was last found not to, and why.
    failed: Option<(Instant, String)>,
}

/// The parked topic of one source topic.
struct Pair<'a> {
    source: &'a str,
    name: String,
}

impl Topics {
    pub(super) fn new(settings: &KafkaSettings, reporter: &Arc<Reporter>) -> Self {
        let (settings, admin) = (settings.clone(), Admin::new(settings, reporter));
        Self { settings, admin, known: tokio::sync::Mutex::default() }
    }

    async fn admin(&self) -> Result<&Arc<AdminClient<ReportingContext>>, String> {
        let client = self.admin.client().await;
        client.map_err(|error| format!("a client for the parked topics cannot be made: {}", connection::reason(&error)))
    }

    /// The broker says that the parked topic does not exist: check again before the next record.
    pub(super) async fn forget(&self, source: &str) {
        self.known.lock().await.remove(source);
    }

    /// Makes sure that the parked topic of a source topic exists and has this partition. True when it had it before.
    ///
    /// # Errors
    /// Why deliveries cannot be parked, with what to do. It was logged, and is tried again later.
    pub(super) async fn ensure(&self, source: &str, partition: i32) -> Result<bool, String> {
        let mut known = self.known.lock().await;
        let known = known.entry(source.into()).or_default();
        if partition < known.partitions {
            return Ok(partition < known.before);
        }
        if let Some((at, why)) = &known.failed
            && at.elapsed() < AGAIN_AFTER
        {
            return Err(why.clone());
        }
        let pair = Pair { source, name: self.settings.parked_topic(source) };
        match self.create_or_check(&pair, partition).await {
            Ok((partitions, before)) => {
                *known = Known { partitions, before, failed: None };
                Ok(partition < before)
            }
            Err(why) => {
                tracing::error!(
                    topic = pair.name,
                    error = why,
                    "deliveries cannot be parked: they wait, and are parked once this is fixed"
                );
                known.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Removes the records of a partition of a parked topic below an offset.
    pub(super) async fn remove_before(&self, topic: &str, partition: i32, offset: i64) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        let removed = match list.add_partition_offset(topic, partition, Offset::Offset(offset)) {
            Ok(()) => self.admin().await?.delete_records(&list, &options()).await,
            Err(error) => Err(error),
        };
        let removed = removed.map_err(|error| connection::reason(&error))?;
        removed
            .elements()
            .iter()
            .try_for_each(TopicPartitionListElem::error)
            .map_err(|error| connection::reason(&error))
    }

    /// How many partitions it has now, and had before.
    async fn create_or_check(&self, pair: &Pair<'_>, partition: i32) -> Result<(i32, i32), String> {
        // Without an answer: as many as this partition needs.
        let of_source = self.partitions(pair.source).await.ok().flatten().unwrap_or_default();
        let wanted = of_source.max(partition.saturating_add(1));
        let found = self.partitions(&pair.name).await?;
        match found {
            None => self.create(pair, wanted).await?,
            Some(found) => {
                self.check_cleanup(&pair.name).await?;
                if found < wanted {
                    self.add_partitions(&pair.name, wanted).await?;
                }
            }
        }
        Ok((wanted, found.unwrap_or_default()))
    }

    async fn create(&self, Pair { source, name }: &Pair<'_>, partitions: i32) -> Result<(), String> {
        let source_bytes = self.config(source, "max.message.bytes").await.and_then(|bytes| bytes.parse::<u64>().ok());
        let max_bytes = source_bytes.map(|bytes| bytes.saturating_add(ROOM_FOR_HEADERS).to_string());
        let mut wanted = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for (setting, value) in WANTED_CONFIG {
            wanted = wanted.set(setting, value);
        }
        if let Some(max_bytes) = &max_bytes {
            wanted = wanted.set("max.message.bytes", max_bytes);
        }
        let created = self.admin().await?.create_topics([&wanted], &options()).await;
        match created.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_))) => {
                tracing::info!(topic = name, partitions, max_bytes, "topic for parked deliveries created");
                Ok(())
            }
            Ok(None | Some(Err((_, Code::TopicAlreadyExists)))) => Ok(()),
            Ok(Some(Err((_, code)))) => Err(format!(
                "topic {name} is absent and cannot be created ({code}): create it with {partitions} partitions, \
                 cleanup.policy=delete and retention.ms=-1, or grant our user CREATE on it, or set park_after: off"
            )),
            Err(error) => Err(format!("topic {name} cannot be created: {}", connection::reason(&error))),
        }
    }

    async fn add_partitions(&self, name: &str, wanted: i32) -> Result<(), String> {
        let count = usize::try_from(wanted).unwrap_or_default();
        let results = self.admin().await?.create_partitions(&[NewPartitions::new(name, count)], &options()).await;
        match results.map(|results| results.into_iter().next()) {
            Ok(None | Some(Ok(_))) => {
                tracing::info!(
                    topic = name,
                    partitions = wanted,
                    "partitions added to the topic for parked deliveries"
                );
                Ok(())
            }
            // Another replica was faster.
            Ok(Some(Err((_, Code::InvalidPartitions)))) => Ok(()),
            Ok(Some(Err((_, code)))) => Err(format!(
                "topic {name} needs {wanted} partitions, and they cannot be added ({code}): add them, or grant our user \
                 ALTER on the topic"
            )),
            Err(error) => Err(format!("partitions cannot be added to topic {name}: {}", connection::reason(&error))),
        }
    }

    /// Compaction would remove all but one of the parked deliveries of a key.
    async fn check_cleanup(&self, topic: &str) -> Result<(), String> {
        let cleanup = self.config(topic, "cleanup.policy").await.unwrap_or_default();
        if cleanup.contains("compact") {
            return Err(format!(
                "topic {topic} has cleanup.policy={cleanup}, which would remove parked deliveries: set it to delete"
            ));
        }
        for setting in ["retention.ms", "retention.bytes"] {
            if let Some(value) = self.config(topic, setting).await.filter(|value| value != KEPT_FOR_EVER) {
                let advice = "set it to -1";
                tracing::warn!(topic, setting, value, advice, "parked deliveries may be removed before they are made");
            }
        }
        Ok(())
    }

    /// How many partitions a topic has; `None` when it does not exist. Lists all topics: a broker that creates topics on
    /// request would create one that is requested by name.
    async fn partitions(&self, topic: &str) -> Result<Option<i32>, String> {
        let (admin, topic) = (Arc::clone(self.admin().await?), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, ADMIN_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
            Ok(found.map(|found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)))
        });
        match asked.await {
            Ok(Ok(partitions)) => Ok(partitions),
            Ok(Err(error)) => Err(format!("the brokers do not list their topics: {}", connection::reason(&error))),
            Err(_) => Err("the request for the topics ended without an answer".to_owned()),
        }
    }

    async fn config(&self, topic: &str, name: &str) -> Option<String> {
        let admin = self.admin().await.ok()?;
        let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await.ok()?;
        let resource = described.into_iter().next()?.ok()?;
        resource.get(name)?.value.clone()
    }
}

fn options() -> AdminOptions {
    // The mock broker of the unit tests never answers these calls.
    let timeout = if cfg!(test) { ADMIN_TIMEOUT / 10 } else { ADMIN_TIMEOUT };
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}
