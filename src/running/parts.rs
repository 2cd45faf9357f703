//! The running parts, and the order of their start and stop.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::DropGuard;

use super::{drain, error::PartError, settings::Settings, setup};
use crate::{
    dedup::Ledger,
    event::Limits,
    kafka::{ConsumerHandle, DeadLetters, LedgerAppender, ParkedTopics},
    pipeline::{CancellationToken, DeadLetterFunction, DeadLetterSink, Observer, Parts, Pipeline},
    plan::Plan,
};

/// Who works on the events, and who gets what becomes of them.
pub(crate) struct Work {
    /// What plans deliveries.
    pub(crate) plan: Arc<dyn Plan>,
    /// Gets every outcome.
    pub(crate) observer: Option<Observer>,
    /// Gets what would be a dead letter, instead of the dead-letter topic.
    pub(crate) dead_letters: Option<Arc<DeadLetterFunction>>,
}

/// What runs beside these parts and ends with them.
pub(crate) trait Companions {
    /// The stop begins.
    fn stopping(&mut self) {}

    /// Ends what is still there, after the last commit.
    fn stopped(self) -> impl Future<Output = ()> + Send;
}

impl Companions for () {
    async fn stopped(self) {}
}

/// The running parts. Dropped, all of them end without order.
pub(crate) struct Running {
    pub(crate) pipeline: Pipeline,
    /// Dropped, it stops the pipeline.
    shutdown: DropGuard,
    pub(crate) ledger: Ledger,
    /// Appends to the ledger topic; `None` when that is off.
    pub(crate) appender: Option<LedgerAppender>,
    pub(crate) consumer: ConsumerHandle,
}

impl Running {
    /// Opens what can fail first, and starts the consumer when its records have somewhere to go.
    pub(crate) fn start(settings: &Settings, work: Work) -> Result<Self, PartError> {
        let kafka = &settings.kafka;
        let ledger = setup::open_ledger(settings)?;
        let (consumer, replication, appender) = setup::consumer(settings, &ledger)?;
        let shutdown = CancellationToken::new();
        let dead_letters = match work.dead_letters {
            Some(function) => DeadLetterSink::Function(function),
            None => DeadLetterSink::Topic(Box::new(DeadLetters::connect(kafka)?)),
        };
        let parts = Parts {
            plan: work.plan,
            ledger: ledger.clone(),
            replication,
            dead_letters,
            max_events: usize::try_from(kafka.budget.max_events).unwrap_or(usize::MAX >> 4),
            max_bytes: kafka.budget.max_bytes,
            limits: Limits::new(kafka.budget.max_record_bytes, kafka.budget.max_bytes),
            observer: work.observer,
            consumer: consumer.view(),
            parked_topics: ParkedTopics::connect(kafka)?,
            park_after: settings.park_after,
            outcome_log: settings.outcome_log,
            drain_timeout: settings.drain_timeout,
        };
        let (pipeline, intake) = Pipeline::start(parts, shutdown.clone())?;
        let shutdown = shutdown.drop_guard();
        let bound_ledger = ledger.clone();
        let on_cluster =
            move |cluster_id: &str| bound_ledger.bind_cluster(cluster_id).map_err(|error| Arc::new(error) as _);
        let consumer = consumer.start(Box::new(intake), Box::new(on_cluster))?;
        Ok(Self { pipeline, shutdown, ledger, appender, consumer })
    }

    /// Resolves with what `until` does, when the bridge is to stop, or with the error of a part that ended by itself.
    pub(crate) async fn wait<T>(&mut self, until: impl Future<Output = T>) -> Result<T, PartError> {
        tokio::select! {
            value = until => Ok(value),
            ended = self.pipeline.ended() => Err(ended.map_err(PartError::from).err().unwrap_or_else(|| PartError::Defect(
                "the lanes ended while the bridge ran: this is a defect, please report it with the log".to_owned(),
            ))),
            error = self.consumer.finished() => Err(error.into()),
        }
    }

    /// Stops every part: in order within the time, or at once when one of them failed.
    pub(crate) async fn stop(
        mut self,
        ended: Result<Duration, PartError>,
        mut companions: impl Companions,
    ) -> Result<(), PartError> {
        drop(self.shutdown);
        companions.stopping();
        let result = match ended {
            Ok(within) => drain::drain(within, &mut self.pipeline, &self.ledger, self.appender, self.consumer).await,
            Err(error) => {
                drain::close_after_error(self.consumer).await;
                Err(error)
            }
        };
        companions.stopped().await;
        // What outlives the drain must not outlive the bridge: the process may go on, and open the ledger again.
        self.pipeline.abort().await;
        result
    }
}
