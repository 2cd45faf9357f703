//! The thread that renews the lease: a synchronous commit every second, whose success proves the membership.
//!
//! It holds nothing that the loop waits for: the commit is queued for librdkafka's own thread, and its answer comes back
//! on a queue of this call.
//!
//! What is known of the commit (librdkafka 2.12 and Kafka's group coordinator):
//! - It carries the member's id and generation (the epoch, for `group.protocol=consumer`) as of when librdkafka's thread
//!   sends it (`rd_kafka_cgrp_offsets_commit`). The broker compares both: `UNKNOWN_MEMBER_ID`, `ILLEGAL_GENERATION`,
//!   `STALE_MEMBER_EPOCH` and `FENCED_INSTANCE_ID` refuse it. librdkafka handles these as for any other commit, and ignores
//!   a wrong generation while the group rebalances.
//! - A commit without a generation is accepted of anybody while the group is empty. librdkafka sends one after it has given
//!   up its membership; it has marked the assignment as lost by then, which is looked up after each success.
//! - It is refused with `REBALANCE_IN_PROGRESS` between joining and the group's answer, and waits behind a `JoinGroup` that
//!   the broker holds back until every member has joined again. A lease may lapse then; deliveries wait for some seconds.
//! - Without a coordinator it is kept for `session.timeout.ms`, or sent as soon as there is one; an unanswered one ends
//!   after `socket.timeout.ms`. A stop does not wait for it: see [`Renewer::join`].
//! - In the classic protocol an accepted commit restarts the session, so the lease ends before the session. With
//!   `group.protocol=consumer` only heartbeats do. A process that was stopped for nearly the session may have a commit
//!   accepted and be removed a moment later, so after a lapse a second commit has to be accepted, a second after the first:
//!   the heartbeat that is due goes over the same connection before it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
};

use super::{
    super::{
        error::KafkaError,
        lease::{Lease, Renewal},
        ledger_topic::Following,
    },
    state::ConsumerState,
};

const RENEW_EVERY: Duration = Duration::from_secs(1);
const RENEW_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long the end of a renewal is waited for at a stop.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The running thread.
pub(super) struct Renewer(thread::JoinHandle<()>);

impl Renewer {
    /// Starts to renew the lease, which is enforced from here on.
    pub(super) fn start<C: ConsumerContext + 'static>(
        consumer: &Arc<BaseConsumer<C>>,
        state: &Arc<ConsumerState>,
        following: Arc<Following>,
    ) -> Result<Self, KafkaError> {
        state.lease.enforce();
        let mut renewing = Renewing {
            consumer: Arc::clone(consumer),
            state: Arc::clone(state),
            following,
            confirmation: Confirmation { needed: state.next_generation, ..Confirmation::default() },
        };
        thread::Builder::new()
            .name("kafka-lease".into())
            .spawn(move || {
                while !renewing.state.is_closing() {
                    let wait = renewing.step();
                    renewing.state.lease_report.wait(wait);
                }
            })
            .map(Self)
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })
    }

    /// Whether the thread has ended, which it does only when the consumer closes.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the thread, polling, for a bounded time. One that still waits for an answer is left behind with its
    /// consumer: there is no coordinator then, and no group to leave in order.
    pub(super) fn join(self, poll: impl Fn()) {
        let until = Instant::now() + JOIN_TIMEOUT;
        while !self.0.is_finished() && Instant::now() < until {
            poll();
        }
        if !self.0.is_finished() {
            tracing::warn!("the group does not answer: the bridge stops without leaving it in order");
        } else if self.0.join().is_err() {
            tracing::error!("the thread of the lease panicked");
        }
    }
}

struct Renewing<C: ConsumerContext + 'static> {
    consumer: Arc<BaseConsumer<C>>,
    state: Arc<ConsumerState>,
    following: Arc<Following>,
    confirmation: Confirmation,
}

impl<C: ConsumerContext + 'static> Renewing<C> {
    /// One renewal; returns how long to wait.
    fn step(&mut self) -> Duration {
        if self.state.owned().is_empty() {
            self.confirmation.joined();
            return RENEW_EVERY;
        }
        let topic = self.following.topic();
        let mut positions = self.following.positions();
        if positions.is_empty() {
            // Nothing was read yet. Every topic has a partition 0.
            positions.push((0, 0));
        }
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            if let Err(error) = list.add_partition_offset(topic, partition, Offset::Offset(offset)) {
                tracing::error!(%error, topic, partition, "the lease's offset is not valid");
            }
        }
        let lease = &self.state.lease;
        let was_valid = lease.is_valid();
        let renewal = lease.begin_renewal();
        let result = self.consumer.commit(&list, CommitMode::Sync);
        self.state.lease_report.ended(result.as_ref().err().map(ToString::to_string));
        if let Err(error) = &result {
            tracing::debug!(%error, topic, "lease not renewed");
        }
        if self.consumer.assignment_lost() || result.as_ref().is_err_and(says_no_member) {
            // Not when it would have ended: another member may have the partitions.
            lease.end();
        }
        if result.is_err() || self.consumer.assignment_lost() {
            return RENEW_AGAIN_AFTER;
        }
        if self.confirmation.counts(lease, renewal, was_valid) {
            lease.renew(renewal);
        }
        if lease.is_valid() { RENEW_EVERY.saturating_sub(lease.age(renewal)) } else { RENEW_AGAIN_AFTER }
    }
}

/// Whether the group says that this process is no member, or not as it thinks. While the group rebalances that may be a
/// request of the generation before, and the next renewal follows at once.
fn says_no_member(error: &RdError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::FencedInstanceId
                | Code::FencedMemberEpoch
                | Code::StaleMemberEpoch
        )
    )
}

/// Whether an accepted commit counts: see the module on `group.protocol=consumer`.
#[derive(Debug, Default)]
struct Confirmation {
    needed: bool,
    /// The lease was valid since the last assignment began.
    was_renewed: bool,
    /// The first accepted commit after a lapse.
    first: Option<Renewal>,
}

impl Confirmation {
    /// The group has just assigned partitions, or will: the session is fresh.
    fn joined(&mut self) {
        (self.was_renewed, self.first) = (false, None);
    }

    fn counts(&mut self, lease: &Lease, renewal: Renewal, was_valid: bool) -> bool {
        if self.needed && self.was_renewed && !was_valid {
            let first = *self.first.get_or_insert(renewal);
            if lease.age(first).saturating_sub(lease.age(renewal)) < RENEW_EVERY {
                return false;
            }
        }
        self.first = None;
        self.was_renewed = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::lease::testing::FakeClock, *};

    #[test]
    fn only_an_answer_about_the_membership_ends_the_lease() {
        for code in [Code::UnknownMemberId, Code::IllegalGeneration, Code::FencedInstanceId, Code::StaleMemberEpoch] {
            assert!(says_no_member(&RdError::ConsumerCommit(code)), "{code:?}");
        }
        for code in [Code::RequestTimedOut, Code::RebalanceInProgress, Code::NotCoordinator, Code::AllBrokersDown] {
            assert!(!says_no_member(&RdError::ConsumerCommit(code)), "{code:?}");
        }
    }

    #[test]
    fn after_a_lapse_the_next_protocol_needs_two_answers_a_second_apart() {
        let clock = FakeClock::default();
        let lease = clock.lease(Duration::from_secs(45));
        let mut confirmation = Confirmation { needed: true, ..Confirmation::default() };
        assert!(confirmation.counts(&lease, lease.begin_renewal(), false), "the session is fresh");
        assert!(confirmation.counts(&lease, lease.begin_renewal(), true));
        assert!(!confirmation.counts(&lease, lease.begin_renewal(), false), "the lease has lapsed");
        clock.advance(RENEW_EVERY / 2);
        assert!(!confirmation.counts(&lease, lease.begin_renewal(), false));
        clock.advance(RENEW_EVERY / 2);
        assert!(confirmation.counts(&lease, lease.begin_renewal(), false));
        assert!(!confirmation.counts(&lease, lease.begin_renewal(), false), "counted from the last lapse");
        confirmation.joined();
        assert!(confirmation.counts(&lease, lease.begin_renewal(), false), "the group has assigned anew");
        let mut classic = Confirmation::default();
        assert!((0..3).all(|_| classic.counts(&lease, lease.begin_renewal(), false)));
    }
}
