//! Parking: the deliveries to an agent that is down for long wait in a topic of their own, not in the budget of others.
//!
//! When the breaker of an agent has been open for `park_after`, the deliveries that wait for it are written to a parked
//! topic, their events go on, and new ones are parked behind them. A bounded number of parked deliveries is read back and
//! waits for the agent as any delivery does: these are the probes. When all of them have ended, new deliveries go to the
//! agent again.
//!
//! Owns the partitions whose deliveries may be parked. A delivery is parked once the broker has it *and* the ledger calls
//! it parked, in this order: what a crash leaves between the two is read again from its source, and its record in the
//! parked topic is skipped, because the ledger says otherwise.
//!
//! | file | subject |
//! |---|---|
//! | `state` | when deliveries are attempted, parked or held back (pure, with a model) |
//! | `turn` | what a live delivery does when it has its turn |
//! | `room`, `fed_bytes` | how much is read back at once: deliveries and memory |
//! | `names`, `added` | which line a delivery is in; what a scan found, agents that are added |
//! | `known`, `lost` | for which agents anything may be parked |
//! | `standing` | which records of a parked topic count |
//! | `scan`, `feed` | what is parked, and reading it back |
//! | `unsent`, `send`, `sent` | ends that the ledger topic may not have |
//! | `follow`, `rest` | when that is done |

mod added;
mod fed_bytes;
pub(super) mod feed;
pub(super) mod follow;
mod known;
mod lost;
mod names;
mod rest;
mod room;
pub(super) mod scan;
pub(super) mod send;
mod sent;
mod standing;
mod state;
pub(super) mod turn;
pub(super) mod unsent;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use fed_bytes::FedBytes;
use lost::Lost;
use names::AgentNames;
use sent::Sent;
use state::{Backlog, ParkingId, PartitionParking};
pub(super) use state::{Found, Mode, ReadRange};
use tracing::error;

use super::clock::now_ms;
use crate::{
    event::Origin,
    kafka::{ConsumerView, Ownership, ParkedTopics},
    sync::Mutex,
    throttle::Throttle,
};

const LOG_REFUSAL_EVERY: Duration = Duration::from_secs(300);

/// The KiB of deliveries that are written to the parked topic at once, and the least that each counts: at most 256.
const PARKING_SLOTS: u32 = 8_192;
const LEAST_SLOTS: u32 = PARKING_SLOTS / 256;

/// See the module.
pub(super) struct Parking {
    pub(super) topics: ParkedTopics,
    names: Mutex<AgentNames>,
    /// `None`: nothing is parked, but what was parked before is delivered.
    pub(super) park_after: Option<Duration>,
    max_events: usize,
    /// The most memory that is taken by what was read back, of all agents.
    max_bytes: u64,
    fed_bytes: Arc<AtomicU64>,
    partitions: Mutex<Partitions>,
    lost: Mutex<Lost>,
    /// A fed delivery has ended, or something was parked.
    wake: Arc<Notify>,
    /// KiB of deliveries that are written to the parked topic at once.
    slots: Semaphore,
    sent: Sent,
    refusals: Throttle<()>,
}

/// By topic and partition.
type Partitions = HashMap<(Arc<str>, i32), Arc<SourcePartition>>;

/// One assignment of one source partition.
pub(super) struct SourcePartition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) ownership: Arc<Ownership>,
    state: Mutex<PartitionParking>,
    /// What is parked is to be looked up again.
    rescan: AtomicBool,
    /// There was no parked partition yet.
    is_absent: AtomicBool,
    /// Where the source partition was committed when what is parked was looked up; -1 without a commit.
    committed: AtomicI64,
    /// How many tasks send ends that the ledger topic may not have.
    held: AtomicUsize,
    /// A mode has changed: every delivery that waits looks again, and there may be thousands.
    modes: watch::Sender<()>,
    /// A fed delivery has ended.
    ends: watch::Sender<()>,
}

/// What the status shows of the parked deliveries of one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ParkedStatus {
    /// New deliveries are parked, or held back until the last of the parked ones have ended.
    pub(super) is_parked: bool,
    pub(super) deliveries: u64,
    /// How long ago the oldest was parked.
    pub(super) oldest: Option<Duration>,
    /// Those that were read back, and wait for the agent or are in flight.
    pub(super) fed: usize,
}

impl Parking {
    pub(super) fn new(
        topics: ParkedTopics,
        agents: impl IntoIterator<Item = Arc<str>>,
        park_after: Option<Duration>,
        (max_events, max_bytes): (usize, u64),
    ) -> Self {
        Self {
            topics,
            names: Mutex::new(AgentNames::new(agents)),
            park_after,
            max_events,
            max_bytes: max_bytes / 4,
            fed_bytes: Arc::default(),
            partitions: Mutex::default(),
            lost: Mutex::default(),
            wake: Arc::default(),
            slots: Semaphore::new(PARKING_SLOTS as usize),
            sent: Sent::default(),
            refusals: Throttle::every(LOG_REFUSAL_EVERY),
        }
    }

    /// The names of the agents, as of now.
    fn names(&self) -> AgentNames {
        self.names.lock().clone()
    }

    /// The line that a parked delivery to this agent is in.
    pub(super) fn line<'a>(&self, agent: &'a str) -> &'a str {
        self.names.lock().line(agent)
    }

    /// Whether a refused topic is logged now: without parking nobody needs it.
    fn admits_refusal(&self) -> bool {
        self.park_after.is_some() && self.refusals.admit(&(), Instant::now().into_std()).is_some()
    }

    /// The assignment of a source partition. It is new when the second part is true, and to be scanned.
    pub(super) fn partition(&self, origin: &Origin, ownership: &Arc<Ownership>) -> (Arc<SourcePartition>, bool) {
        let mut partitions = self.partitions.lock();
        let key = (Arc::clone(&origin.topic), origin.partition);
        if let Some(known) = partitions.get(&key)
            && Arc::ptr_eq(&known.ownership, ownership)
        {
            return (Arc::clone(known), false);
        }
        let partition = Arc::new(SourcePartition {
            topic: Arc::clone(&origin.topic),
            number: origin.partition,
            ownership: Arc::clone(ownership),
            state: Mutex::new(PartitionParking::new()),
            rescan: AtomicBool::new(false),
            is_absent: AtomicBool::new(false),
            committed: AtomicI64::new(-1),
            held: AtomicUsize::new(0),
            modes: watch::Sender::new(()),
            ends: watch::Sender::new(()),
        });
        // An event of an earlier assignment must not take the place of the current one.
        if !ownership.is_given_up() {
            partitions.insert(key, Arc::clone(&partition));
        }
        (partition, true)
    }

    /// Every partition that is owned. Those that were given up are forgotten.
    pub(super) fn partitions(&self) -> Vec<Arc<SourcePartition>> {
        let mut partitions = self.partitions.lock();
        for (_, gone) in partitions.extract_if(|_, partition| partition.ownership.is_given_up()) {
            let state = gone.state.lock();
            self.lost.lock().add(state.is_held(), state.agents().cloned());
        }
        partitions.values().cloned().collect()
    }

    /// How much memory what is read back may take now.
    pub(super) fn room_bytes(&self) -> u64 {
        self.max_bytes.saturating_sub(self.fed_bytes.load(Ordering::Acquire))
    }

    /// Counts what a delivery takes that was read back, until the result is dropped.
    pub(super) fn count_fed(&self) -> FedBytes {
        FedBytes::new(&self.fed_bytes)
    }

    /// Resolves when there may be something to read.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn status(&self, agent: &str) -> ParkedStatus {
        let mut status = ParkedStatus::default();
        let mut oldest_ms = None;
        for partition in self.partitions() {
            let state = partition.state.lock();
            let Backlog { count, oldest_ms: oldest } = state.backlog(agent);
            status.is_parked |= state.is_known(agent);
            status.deliveries += count;
            status.fed += state.fed_open(agent);
            oldest_ms = oldest.into_iter().chain(oldest_ms).min();
        }
        status.oldest = oldest_ms.map(|oldest| Duration::from_millis(now_ms().saturating_sub(oldest)));
        status
    }

    /// How far each partition of a parked topic may be committed, by its name and number.
    pub(super) fn commits(&self) -> BTreeMap<(String, i32), i64> {
        let mut commits = BTreeMap::new();
        for partition in self.partitions().into_iter().filter(|partition| !partition.is_commit_held()) {
            if let Some(offset) = partition.state.lock().commit() {
                commits.insert((self.topics.name(&partition.topic), partition.number), offset);
            }
        }
        commits
    }
}

impl SourcePartition {
    pub(super) fn mode(&self, agent: &str) -> Mode {
        self.state.lock().mode(agent)
    }

    /// The agents whose deliveries are parked or held back here.
    pub(super) fn parked_agents(&self) -> Vec<Arc<str>> {
        self.state.lock().agents().cloned().collect()
    }

    /// Deliveries to an agent that were read back and have no end, those of former logs among them, and those that are
    /// being read.
    pub(super) fn taken(&self, agent: &str) -> usize {
        self.state.lock().taken(agent)
    }

    /// The agents of which something is taken, and how much.
    fn all_taken(&self) -> Vec<(Arc<str>, usize, bool)> {
        self.state.lock().all_taken()
    }

    /// Follows the breaker of an agent; see [`PartitionParking::breaker`].
    pub(super) fn follow_breaker(&self, agent: &Arc<str>, breaker: (bool, bool), may_park: bool) {
        let changed = self.state.lock().breaker(agent, breaker, may_park, Instant::now());
        if changed {
            self.modes.send_replace(());
        }
    }

    pub(super) fn refused(&self) {
        self.state.lock().refused();
        self.modes.send_replace(());
    }

    pub(super) fn begin_read(&self, agent: &str, room: usize) -> Option<ReadRange> {
        self.state.lock().begin_read(agent, room)
    }

    pub(super) fn read_failed(&self, agent: &str, epoch: u32) {
        self.state.lock().read_failed(agent, epoch);
    }

    pub(super) fn fed(&self, agent: &str, place: (u32, i64), deliveries: impl IntoIterator<Item = (i64, u64)>) -> bool {
        let counts = self.state.lock().fed(agent, place, deliveries);
        self.ends.send_replace(());
        counts
    }

    pub(super) fn ended(&self, agent: &str, place: (u32, i64)) {
        self.state.lock().ended(agent, place);
        self.ends.send_replace(());
    }

    /// Our user may not read the parked topic any more, as a read of this log shows: deliveries are attempted, until another
    /// scan succeeds.
    pub(super) fn lost_access(&self, epoch: u32) {
        {
            let mut state = self.state.lock();
            if !state.is_current(epoch) {
                return;
            }
            state.reset();
            state.refused();
        }
        self.scan_again();
    }

    /// A broker said that the parked topic does not exist, and another one that it does.
    pub(super) fn scan_anew(&self) {
        self.state.lock().reset();
        self.scan_again();
    }

    fn note_committed(&self, committed: Option<i64>) {
        self.committed.fetch_max(committed.unwrap_or(-1), Ordering::AcqRel);
    }

    /// Where the source partition is committed, as far as this process knows.
    fn committed(&self, consumer: &ConsumerView) -> Option<i64> {
        let scanned = Some(self.committed.load(Ordering::Acquire)).filter(|offset| *offset >= 0);
        scanned.max(consumer.committed(&self.topic, self.number))
    }

    /// Whether it is to be scanned again, once.
    pub(super) fn take_rescan(&self) -> bool {
        self.rescan.swap(false, Ordering::AcqRel)
    }

    /// Whether its parked partition is to be created, once.
    pub(super) fn take_absent(&self) -> bool {
        self.is_absent.swap(false, Ordering::AcqRel)
    }

    fn parked(&self, id: ParkingId, offset: i64) {
        let counts = self.state.lock().parked(id, offset, now_ms());
        if !counts {
            error!(
                topic = %self.topic, partition = self.number, parked_offset = offset,
                "the topic for parked deliveries was created again: what was parked in it before is lost, but for what was \
                 read back"
            );
            self.scan_again();
        }
    }

    fn scan_again(&self) {
        self.rescan.store(true, Ordering::Release);
        self.modes.send_replace(());
        self.ends.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::KafkaSettings;

    #[test]
    fn what_is_read_back_takes_a_quarter_of_the_budget_at_most() {
        let topics = ParkedTopics::connect(&KafkaSettings::default()).unwrap();
        let parking = Parking::new(topics, [], None, (1_000, 400));
        assert_eq!(parking.room_bytes(), 100);
        let (first, second) = (parking.count_fed(), parking.count_fed());
        first.add(40);
        first.add(30);
        second.add(70);
        assert_eq!(parking.room_bytes(), 0);
        drop(first);
        assert_eq!(parking.room_bytes(), 30);
        drop(second);
        assert_eq!(parking.room_bytes(), 100);
    }
}
