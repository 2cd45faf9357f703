//! Giving partitions up.
//!
//! Owns the partitions that the group has revoked and that this process has not released yet. Revoked partitions are given
//! up at once: no attempt begins, nothing more is received. They are released, with a last commit, when no attempt for
//! them is under way or a bound has passed; the loop polls meanwhile. Lost partitions are released at once, without a
//! commit: other members have them by now.
//!
//! What librdkafka (2.12) does with a revocation that is answered later:
//! - A revocation is an event of the queue. The group's state stays at `wait-unassign-call` until the application calls
//!   `(incremental_)unassign`, from whatever place and for both protocols. The heartbeats of that state go on
//!   (`rd_kafka_cgrp_join_state_serve`, and `rd_kafka_cgrp_consumer_serve` for `group.protocol=consumer`), and commits
//!   carry the current generation.
//! - Until that call no other assignment or revocation is sent. If the group loses this member meanwhile, librdkafka
//!   does not say so: it skips "lost" while a rebalance is in progress (`rd_kafka_cgrp_revoke_all_rejoin_maybe`), and
//!   joins again after the call. The last commit is then refused by the broker (the member is unknown), and until then
//!   the lease lapses.
//! - A group of the classic protocol waits for a member that drains no longer than `max.poll.interval.ms`.
//! - A close waits for the call, so a release that is pending is completed before.

use std::time::Duration;

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
};

use super::{gauges, requests::partition_list, revocation::Revocation, state::ConsumerState};

impl ConsumerState {
    /// The group revokes these partitions, or has given them to others.
    pub(super) fn revoked<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, list: &TopicPartitionList) {
        // The protocol sends one at a time.
        self.finish_release(consumer);
        let is_lost = consumer.assignment_lost();
        let partitions: Vec<_> = self.assignment(|assignment| {
            list.elements()
                .iter()
                .filter_map(|element| assignment.get(element.topic(), element.partition()).cloned())
                .collect()
        });
        for partition in &partitions {
            partition.ownership().give_up();
        }
        let release = Revocation::new(list, partitions);
        if is_lost {
            self.lease.end();
            self.joining.began();
            tracing::warn!(
                partitions = release.partitions.len(),
                "assignment lost: nothing is committed, other members have the partitions by now"
            );
            return self.release(consumer, &release, false);
        }
        let attempts = release.attempts();
        tracing::info!(partitions = release.partitions.len(), attempts, "partitions revoked");
        if self.is_closing() || attempts == 0 {
            return self.release(consumer, &release, true);
        }
        self.report_error(consumer.pause(&partition_list(&release.partitions)), "Pause");
        *self.release.lock() = Some(release);
    }

    /// The group has no assignment for this process any more.
    pub(super) fn give_up_all(&self) {
        self.lease.end();
        self.release.lock().take();
        if let Some(ledger) = self.ledger.get() {
            ledger.revoked(&self.partitions());
        }
        for partition in self.partitions() {
            partition.ownership().give_up();
            self.assignment(|assignment| assignment.remove(partition.topic(), partition.number()));
            gauges::clear(partition.topic(), partition.number());
        }
    }

    /// Whether revoked partitions wait to be released.
    pub(super) fn is_releasing(&self) -> bool {
        self.release.lock().is_some()
    }

    /// Releases the revoked partitions when nothing is under way for them, or the bound has passed.
    pub(super) fn serve_release<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, bound: Duration) {
        let mut pending = self.release.lock();
        let Some(release) = &*pending else { return };
        let attempts = release.attempts();
        let is_late = release.began.elapsed() >= bound;
        if attempts > 0 && !is_late && !consumer.assignment_lost() {
            return;
        }
        if attempts > 0 {
            tracing::warn!(
                attempts,
                waited_ms = release.began.elapsed().as_millis(),
                "revoked partitions are released while attempts are under way: their results are still recorded; the \
                 next owner looks for their LangGraph runs, HTTP agents may see them again with the same Idempotency-Key"
            );
        }
        if let Some(release) = pending.take() {
            drop(pending);
            self.release(consumer, &release, !consumer.assignment_lost());
        }
    }

    /// Releases the revoked partitions now.
    pub(super) fn finish_release<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        self.serve_release(consumer, Duration::ZERO);
    }

    /// Ends the assignment of these partitions. librdkafka itself waits for the answer to the commit before it gives them
    /// up (`wait_commit_cnt` in its assignment), so an asynchronous commit is as safe here as a synchronous one.
    fn release<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, release: &Revocation, commit: bool) {
        if commit {
            self.commit(consumer, &release.partitions);
        }
        for partition in release.partitions.iter().filter(|partition| partition.committed_offset().is_some()) {
            self.observed_commit(partition.topic(), partition.number());
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&release.list),
            _ => consumer.unassign(),
        };
        self.report_error(result, "Unassign");
        if let Some(ledger) = self.ledger.get() {
            ledger.revoked(&release.partitions);
        }
        self.assignment(|assignment| {
            for partition in &release.partitions {
                assignment.remove(partition.topic(), partition.number());
            }
        });
        for partition in &release.partitions {
            gauges::clear(partition.topic(), partition.number());
        }
        tracing::debug!(
            partitions = release.partitions.len(),
            ms = release.began.elapsed().as_millis(),
            "partitions released"
        );
    }
}
