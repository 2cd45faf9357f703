//! A broker inside the process, for `demo` and unit tests only: it keeps at most 5 MiB a partition,
//! persists nothing, and speaks the `consumer` group protocol best.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    error::KafkaError as RdError,
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
};

use super::error::KafkaError;
use crate::connection;

const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// The embedded broker; dropping it stops it.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

fn failed(error: &RdError) -> KafkaError {
    KafkaError::Client { role: "embedded broker", reason: connection::reason(error) }
}

impl EmbeddedBroker {
    /// Starts one broker with these topics and their partitions.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1).map_err(|error| failed(&error))?;
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).map_err(|error| failed(&error))?;
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .map_err(|error| failed(&error))?;
        Ok(Self { cluster, producer })
    }

    /// The address for clients.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Publishes any bytes, and returns their partition and offset.
    pub async fn publish(&self, topic: &str, key: &str, value: &[u8]) -> Result<(i32, i64), KafkaError> {
        let record = FutureRecord::to(topic).key(key).payload(value);
        match self.producer.send(record, PUBLISH_TIMEOUT).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => Err(failed(&error)),
        }
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedBroker")
    }
}
