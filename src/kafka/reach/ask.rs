//! The questions to the cluster, each with a time-out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode as Code},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};

use super::super::{
    client,
    error::KafkaError,
    questions::Questions,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
};
use crate::connection;

/// How long one question waits; all of them end by the deadline.
const QUESTION: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

/// A topic, as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// It does not exist.
    Absent,
    /// It has so many partitions, of which some have no leader.
    Present { partitions: i32, leaderless: usize },
}

/// The configuration of a topic.
pub(super) struct Config(ConfigResource);

impl Config {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)?.value.clone()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// The clients that ask.
pub(super) struct Asker {
    /// For metadata and offsets. It joins no group.
    consumer: BaseConsumer<ReportingContext>,
    /// For reading, one topic at a time, as an error of a consumer names no topic.
    settings: KafkaSettings,
    admin: AdminClient<ReportingContext>,
    reporter: Arc<Reporter>,
    deadline: Instant,
}

impl Asker {
    pub(super) fn connect(settings: &KafkaSettings, deadline: Instant) -> Result<Self, KafkaError> {
        let reporter = Arc::new(Reporter::new("check"));
        let context = || ReportingContext(Arc::clone(&reporter));
        let failed = |role| move |error: RdError| KafkaError::Client { role, reason: connection::reason(&error) };
        let consumer = BaseConsumer::from_config_and_context(&client::reader(settings), context());
        let admin = AdminClient::from_config_and_context(&client::producer(settings), context());
        Ok(Self {
            consumer: consumer.map_err(failed("consumer"))?,
            admin: admin.map_err(failed("client"))?,
            settings: settings.clone(),
            reporter,
            deadline,
        })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The time of the next question; not 0, which would wait for ever.
    fn patience(&self) -> Duration {
        QUESTION.min(self.left()).max(Duration::from_millis(1))
    }

    fn questions(&self) -> Questions<'_> {
        Questions { consumer: &self.consumer, reporter: &self.reporter }
    }

    /// Their names, once one of them answers; else why none does, and what to do.
    pub(super) fn wait_for_brokers(&self) -> Result<Vec<String>, (String, &'static str)> {
        let questions = self.questions();
        let metadata = questions.metadata(None, self.deadline, &|| false).map_err(|error| questions.explain(&error))?;
        let name = |host: &str, port: i32| format!("{host}:{port}");
        Ok(metadata.brokers().iter().map(|broker| name(broker.host(), broker.port())).collect())
    }

    /// A topic by its name. (A consumer's request creates none.)
    pub(super) fn topic(&self, name: &str) -> KafkaResult<Topic> {
        let metadata = self.consumer.fetch_metadata(Some(name), self.patience())?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == name) else { return Ok(Topic::Absent) };
        match found.error() {
            None => {
                let leaderless = found.partitions().iter().filter(|partition| partition.leader() < 0).count();
                let partitions = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
                Ok(if partitions > 0 { Topic::Present { partitions, leaderless } } else { Topic::Absent })
            }
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => Ok(Topic::Absent),
            Some(error) => Err(RdError::MetadataFetch(error.into())),
        }
    }

    pub(super) fn config(&self, topic: &str) -> Result<Config, RdError> {
        let specifier = ResourceSpecifier::Topic(topic);
        let described = self.block_on(async { self.admin.describe_configs([&specifier], &self.options()).await })?;
        match described.into_iter().next() {
            Some(Ok(resource)) => Ok(Config(resource)),
            Some(Err(code)) => Err(RdError::AdminOp(code)),
            None => Err(RdError::AdminOp(Code::OperationTimedOut)),
        }
    }

    /// Whether the broker would create the topic for us; it does not.
    pub(super) fn may_create(&self, name: &str, partitions: i32, config: &[(&str, String)]) -> Result<(), RdError> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for (name, value) in config {
            topic = topic.set(name, value);
        }
        let options = self.options().validate_only(true);
        let tried = self.block_on(async { self.admin.create_topics([&topic], &options).await })?;
        match tried.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(RdError::AdminOp(code)),
            None => Err(RdError::AdminOp(Code::OperationTimedOut)),
        }
    }

    /// In how many partitions the group has committed offsets.
    pub(super) fn committed(&self, topics: &[String]) -> KafkaResult<usize> {
        let mut list = TopicPartitionList::new();
        for topic in topics {
            if let Ok(Topic::Present { partitions, .. }) = self.topic(topic) {
                list.add_partition_range(topic, 0, partitions.saturating_sub(1));
            }
        }
        let committed = self.questions().committed(list, self.patience())?;
        committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
        Ok(committed.elements().iter().filter(|at| matches!(at.offset(), Offset::Offset(_))).count())
    }

    /// Whether our user may read the topic: goes to the end of its partitions and waits until it is there.
    pub(super) fn read(&self, topic: &str, partitions: i32) -> KafkaResult<()> {
        let context = ReportingContext(Arc::clone(&self.reporter));
        let consumer: BaseConsumer<ReportingContext> =
            BaseConsumer::from_config_and_context(&client::reader(&self.settings), context)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::End)?;
        }
        consumer.assign(&list)?;
        let until = Instant::now() + self.patience();
        while Instant::now() < until {
            match consumer.poll(Duration::from_millis(100)) {
                // A record, or the end: somebody answered a fetch.
                Some(Ok(_) | Err(RdError::PartitionEOF(_))) => return Ok(()),
                // The group is asked about by itself.
                Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                    return Err(error);
                }
                Some(Err(_)) | None => {}
            }
        }
        Err(RdError::MessageConsumption(Code::OperationTimedOut))
    }

    fn options(&self) -> AdminOptions {
        let patience = self.patience();
        AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience))
    }

    fn block_on<T>(&self, question: impl Future<Output = Result<T, RdError>>) -> Result<T, RdError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return Err(RdError::AdminOp(Code::CriticalSystemResource)) };
        let patience = self.patience() + LOOK;
        let answer = runtime.block_on(async { tokio::time::timeout(patience, question).await });
        answer.unwrap_or(Err(RdError::AdminOp(Code::OperationTimedOut)))
    }
}
