//! librdkafka's callbacks: assignments, revocations, errors and log lines.
//!
//! They run inside a poll, on the consumer's thread, and do only what must be done then. A revocation is answered later, by
//! the loop: see [`release`](super::release).
//!
//! librdkafka 2.12 under rdkafka 0.39 does not call back for asynchronous commits (that needs a callback which the
//! binding does not set). A failure is a log line of the facility COMMITFAIL; a success is read back from the broker by
//! the watermark thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};

use super::{
    super::{
        anchor::CommitNote,
        offsets::Frontier,
        ownership::Ownership,
        partition::Partition,
        report::{Area, is_fetch_error},
    },
    initial_offsets,
    requests::commit_in,
    state::ConsumerState,
};

/// How long an assignment may wait for the group's committed offsets, in all.
const COMMITTED_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The context that librdkafka calls.
#[derive(Debug)]
pub(super) struct Context(Arc<ConsumerState>);

impl Context {
    pub(super) fn new(state: Arc<ConsumerState>) -> Self {
        Self(state)
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let state = &*self.0;
        state.reporter.resolved(Area::Group);
        let partitions = initial_offsets::topic_partitions(list);
        state.joining.assigned(partitions.len());
        let deadline = Instant::now() + COMMITTED_TIMEOUT;
        let committed =
            if partitions.is_empty() { None } else { initial_offsets::committed(state, consumer, list, deadline) };
        let mut is_fixed = true;
        let mut starts = initial_offsets::without_commit(state, consumer, &partitions, committed.as_ref(), deadline);
        for (topic, number) in &partitions {
            let commit = committed.as_ref().and_then(|list| commit_in(list, topic, *number));
            let (frontier, position, note) = match (commit, starts.remove(&(topic.clone(), *number))) {
                (Some((offset, note)), _) => (Frontier::new(Some(offset)), Some(offset), note),
                (None, Some((offset, note))) => {
                    state.report_error(list.set_partition_offset(topic, *number, offset), "Start");
                    is_fixed &= offset != Offset::End;
                    match offset {
                        Offset::Offset(end) => (Frontier::starting_at(end), Some(end), note),
                        _ => (Frontier::new(None), None, note),
                    }
                }
                (None, None) => (Frontier::new(None), None, CommitNote::default()),
            };
            let topic = self.topic(topic);
            if commit.is_some() {
                state.observed_commit(&topic, *number);
            }
            tracing::debug!(%topic, partition = number, position, "partition assigned");
            let ownership = Ownership::new(Arc::clone(&state.lease));
            let partition = Arc::new(Partition::new(topic, *number, frontier, position, note, ownership));
            if let Some(ledger) = state.ledger.get() {
                ledger.assigned(&partition);
            }
            state.assignment(|assignment| assignment.insert(partition));
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            _ => consumer.assign(list),
        };
        state.report_error(result, "Assign");
        if is_fixed {
            state.assigned.send_replace(true);
        }
        if !partitions.is_empty() {
            tracing::info!(partitions = partitions.len(), "partitions assigned");
            // librdkafka keeps a partition's pause over its assignments: set it either way.
            let fetches = state.is_fetching() && state.ledger.get().is_none();
            let paused = if fetches { consumer.resume(list) } else { consumer.pause(list) };
            state.report_error(paused, "Pause");
            state.request_log_check();
            state.lease_report.request_renewal();
        }
    }

    fn topic(&self, name: &str) -> Arc<str> {
        self.0.topics.iter().find(|known| ***known == *name).cloned().unwrap_or_else(|| name.into())
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "COMMITFAIL" {
            // While the group rebalances, a commit may carry the generation that is ending. That is normal, and the
            // next commit carries the new one.
            let rebalancing = !text.contains("in join-state steady");
            self.0.commit_failed(text, rebalancing);
        } else {
            self.0.reporter.log_line(level, facility, text);
        }
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.0.reporter.report(code, reason);
        if is_fetch_error(code) || reason.starts_with("Fetch from broker") {
            self.0.fetch_errors(|errors| errors.add(&format!("{code:?}: {reason}"), reason, Instant::now()));
        }
        if code == Code::AllBrokersDown {
            self.0.request_refresh();
        }
        if matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) {
            self.0.request_log_check();
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.0.revoked(consumer, list),
            other => {
                self.0.reporter.report(other.into(), "rebalance failed");
                self.0.give_up_all();
                self.0.report_error(consumer.unassign(), "Unassign");
            }
        }
    }
}
