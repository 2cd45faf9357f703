//! The whole way of an event through the pipeline, without a broker that it is read from.

use std::{path::Path, sync::Arc, time::Duration};

use super::steps::{load, open_ledger};
use crate::{
    event::Limits,
    kafka::{
        Consumer, DeadLetters, EmbeddedBroker, KafkaError, KafkaSettings, ParkedTopics, PartitionAlone, Receive as _,
    },
    pipeline::{CancellationToken, DeadLetterSink, Intake, OutcomeLog, Parts, Pipeline},
};

/// A pipeline with the rules of a folder, and a ledger of its own. Its dead letters would go to an embedded broker.
pub struct Delivering {
    intake: Intake,
    partition: PartitionAlone,
    _pipeline: Pipeline,
    _broker: EmbeddedBroker,
}

impl std::fmt::Debug for Delivering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivering").finish_non_exhaustive()
    }
}

fn failed(error: &KafkaError) -> String {
    error.to_string()
}

impl Delivering {
    /// Starts it in the current runtime. The ledger is in `data`.
    ///
    /// # Errors
    /// The mistakes in the routing folder, or what could not be started.
    pub fn start(routing: &Path, data: &Path) -> Result<Self, String> {
        let broker = EmbeddedBroker::start(&[("events", 1)]).map_err(|error| failed(&error))?;
        let kafka = KafkaSettings { bootstrap_servers: broker.bootstrap_servers(), ..KafkaSettings::default() };
        let parts = Parts {
            plan: Arc::new(load(routing)?),
            ledger: open_ledger(data)?,
            replication: None,
            dead_letters: DeadLetterSink::Topic(Box::new(
                DeadLetters::connect(&kafka).map_err(|error| failed(&error))?,
            )),
            max_events: 1_000,
            max_bytes: 64 << 20,
            limits: Limits::default(),
            observer: None,
            consumer: Consumer::new(&kafka).map_err(|error| failed(&error))?.view(),
            parked_topics: ParkedTopics::connect(&kafka).map_err(|error| failed(&error))?,
            park_after: None,
            drain_timeout: Duration::from_secs(1),
            outcome_log: OutcomeLog { failures: true, matched: true, unmatched: false },
        };
        let started = Pipeline::start(parts, CancellationToken::new());
        let (pipeline, intake) = started.map_err(|error| error.to_string())?;
        Ok(Self { intake, partition: PartitionAlone::new("events"), _pipeline: pipeline, _broker: broker })
    }

    /// Hands over one record, and resolves when its offset may be committed.
    ///
    /// # Errors
    /// The partition takes no record.
    pub async fn deliver(&mut self, value: &[u8]) -> Result<(), String> {
        let record = self.partition.receive(value, 1).ok_or("the partition takes no record")?;
        self.intake.receive(record);
        while self.partition.span() > 0 {
            self.partition.completed().await;
        }
        Ok(())
    }
}
