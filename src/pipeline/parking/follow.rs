//! What parking does by itself: it follows the breakers, reads back what there is room for, and commits.
//!
//! Owns when each of these is done, and the log lines and gauges. It is part of the dispatcher's task.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use metrics::gauge;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    super::{clock::milliseconds, context::PipelineContext, runtime::ConnectedAgents},
    ReadRange, SourcePartition,
    feed::Fed,
    rest::Rest,
    room::Room,
    scan::Scanned,
    send::CommitHold,
    unsent::Unsent,
};
use crate::{event::Origin, kafka::ReadError, telemetry, throttle::Throttle};

/// The most bytes that are read at once.
const MAX_READ_BYTES: usize = 16 << 20;
const LOG_EVERY: Duration = Duration::from_secs(5);
/// While the budget is scarce, an agent is parked when its breaker has been open for this long: a moment without it makes no
/// backlog.
const SCARCE_AFTER: Duration = Duration::from_secs(5);
/// What was committed this long ago is removed from the parked topic.
const REMOVE_AFTER: Duration = Duration::from_secs(60);

/// What the dispatcher is to begin.
pub(in crate::pipeline) enum Work {
    /// Look up what is parked of a partition.
    Scan { partition: Arc<SourcePartition> },
    /// Read parked deliveries of an agent back.
    Read { partition: Arc<SourcePartition>, agent: Arc<str>, range: ReadRange, room: usize, bytes: usize },
    /// Create the parked topic, some time before anything is parked: every broker knows it by then.
    Prepare { partition: Arc<SourcePartition> },
    /// Write ends that the ledger topic may not have.
    Send { unsent: Unsent, held: CommitHold },
    /// Remove what has its end from a partition of a parked topic.
    Remove { topic: String, partition: i32, before: i64 },
}

/// What a task of parking reports when it is done.
pub(in crate::pipeline) enum ParkingDone {
    /// What is parked of a partition is known; `None` when it was given up.
    Scanned { partition: Arc<SourcePartition>, scanned: Option<Scanned> },
    /// The parked topic was created, or could not be; or `existed`.
    Prepared { partition: Arc<SourcePartition>, existed: bool },
    /// Parked deliveries of this log were read back; `None` when the partition was given up.
    Read { partition: Arc<SourcePartition>, agent: Arc<str>, epoch: u32, read: Option<Result<Fed, ReadError>> },
    /// Nothing follows from it.
    Other,
}

/// See the module.
pub(in crate::pipeline) struct Follower {
    rest: Rest,
    /// The agents whose deliveries are parked.
    parked: BTreeSet<Arc<str>>,
    /// The partition that comes first, so that each has its turn.
    first: usize,
    removals: Removals,
    read_failed: Throttle<Arc<str>>,
}

impl Follower {
    pub(in crate::pipeline) fn new(now: Instant) -> Self {
        Self {
            rest: Rest::new(now),
            parked: BTreeSet::new(),
            first: 0,
            removals: Removals::default(),
            read_failed: Throttle::every(LOG_EVERY),
        }
    }

    /// Logs that parked deliveries cannot be read back; it is tried again.
    pub(in crate::pipeline) fn read_failed(&self, agent: &Arc<str>, error: &ReadError) {
        if let Some(suppressed) = self.read_failed.admit(agent, Instant::now().into_std()) {
            warn!(%agent, %error, suppressed, "parked deliveries are not read back yet: they wait (logged at most every 5 s)");
        }
    }

    /// When [`follow`](Self::follow) is to be called, if nothing happens before.
    pub(in crate::pipeline) fn due(&self) -> Instant {
        self.rest.due()
    }

    /// An event came, whose deliveries may wait for what is looked at here.
    pub(in crate::pipeline) fn stir(&mut self) {
        self.rest.end();
    }

    /// `is_idle` says that no delivery is in flight or waits.
    pub(in crate::pipeline) fn follow(&mut self, context: &PipelineContext, is_idle: bool) -> Vec<Work> {
        let mut work = Vec::new();
        let is_due = self.rest.due() <= Instant::now();
        if is_due {
            for owned in context.consumer.owned() {
                let origin = Origin { topic: owned.topic, partition: owned.number, offset: 0 };
                let (partition, is_new) = context.parking.partition(&origin, &owned.ownership);
                if is_new {
                    work.push(Work::Scan { partition });
                }
            }
        }
        let mut partitions = context.parking.partitions();
        let rescans = partitions.iter().filter(|partition| partition.take_rescan());
        work.extend(rescans.map(|partition| Work::Scan { partition: Arc::clone(partition) }));
        partitions.sort_by(|a, b| (a.number, &a.topic).cmp(&(b.number, &b.topic)));
        let rules = context.rules.now().rules;
        let agents = &rules.agents;
        follow_breakers(context, agents, &partitions);
        if context.parking.park_after.is_some() && is_any_down(agents) {
            let absent = partitions.iter().filter(|partition| partition.take_absent());
            work.extend(absent.map(|partition| Work::Prepare { partition: Arc::clone(partition) }));
        }
        if !partitions.is_empty() {
            self.first = (self.first + 1) % partitions.len();
            partitions.rotate_left(self.first);
        }
        work.extend(reads(context, agents, &partitions));
        if is_due {
            self.report(context, agents, &partitions);
            context.rules.release_parked(|agent| context.parking.may_have_parked(agent));
            let committed = commit(context);
            let now = Instant::now();
            work.extend(self.removals.due(&committed, now));
            let is_quiet = is_idle && work.is_empty() && self.parked.is_empty() && !is_any_down(agents);
            self.rest.looked(is_quiet, now);
        }
        work
    }

    /// Logs the agents whose deliveries are parked from now on, and those that get theirs directly again.
    fn report(&mut self, context: &PipelineContext, agents: &ConnectedAgents, partitions: &[Arc<SourcePartition>]) {
        let parked: BTreeSet<_> = partitions.iter().flat_map(|partition| partition.parked_agents()).collect();
        for agent in parked.difference(&self.parked) {
            let open_ms = agents.get(agent).and_then(|runtime| runtime.limiter.open_for()).map(milliseconds);
            warn!(
                %agent, breaker_open_ms = open_ms,
                "agent parked: its deliveries wait in a topic of their own until it works again"
            );
        }
        for agent in self.parked.difference(&parked) {
            info!(%agent, "agent no longer parked in the partitions of this replica");
        }
        self.parked = parked;
        // Those that are gone too: the last of what was parked for them ends as dead letters.
        for agent in &context.rules.names() {
            let status = context.parking.status(agent);
            gauge!(telemetry::PARKED_DELIVERIES, "agent" => agent.to_string()).set(status.deliveries as f64);
            let oldest = status.oldest.unwrap_or_default().as_secs_f64();
            gauge!(telemetry::PARKED_OLDEST, "agent" => agent.to_string()).set(oldest);
        }
    }
}

/// Hands the positions in the parked topics to the consumer, which commits them with its own.
pub(in crate::pipeline) fn commit(context: &PipelineContext) -> Positions {
    let commits = context.parking.commits();
    context.consumer.commit_parked(commits.clone());
    commits
}

/// Offsets by parked topic and partition.
type Positions = BTreeMap<(String, i32), i64>;

/// When the records that have ended are removed from the parked topics: some time after the commit above them.
#[derive(Debug, Default)]
struct Removals {
    noted: Option<(Instant, Positions)>,
    removed: Positions,
}

impl Removals {
    fn due(&mut self, committed: &Positions, now: Instant) -> Vec<Work> {
        match &self.noted {
            Some((at, _)) if now.duration_since(*at) < REMOVE_AFTER => return Vec::new(),
            _ => {}
        }
        let noted = self.noted.replace((now, committed.clone()));
        let noted = noted.map(|(_, noted)| noted).unwrap_or_default();
        // What another member has by now is not this one's to remove, and a topic may have been created again.
        let owned = noted.into_iter().filter_map(|(place, before)| {
            let now = *committed.get(&place)?;
            Some((place, before.min(now)))
        });
        let due: Positions = owned.filter(|(place, before)| self.removed.get(place) != Some(before)).collect();
        self.removed.extend(due.clone());
        due.into_iter().map(|((topic, partition), before)| Work::Remove { topic, partition, before }).collect()
    }
}

fn is_any_down(agents: &ConnectedAgents) -> bool {
    agents.names().any(|agent| agents.get(agent).is_some_and(|runtime| runtime.limiter.open_for().is_some()))
}

fn follow_breakers(context: &PipelineContext, agents: &ConnectedAgents, partitions: &[Arc<SourcePartition>]) {
    let open_for = |agent: &str| agents.get(agent).and_then(|runtime| runtime.limiter.open_for());
    let overdue: Vec<&Arc<str>> = context.parking.park_after.map_or_else(Vec::new, |park_after| {
        let open: Vec<_> = agents.names().filter_map(|agent| Some((agent, open_for(agent)?))).collect();
        let is_scarce = !open.is_empty() && context.consumer.is_scarce();
        let park_after = if is_scarce { park_after.min(SCARCE_AFTER) } else { park_after };
        open.into_iter().filter(|(_, open)| *open >= park_after).map(|(agent, _)| agent).collect()
    });
    let may_park = context.parking.park_after.is_some();
    for partition in partitions {
        for agent in &overdue {
            partition.follow_breaker(agent, (true, true), may_park);
        }
        for agent in partition.parked_agents() {
            if !overdue.contains(&&agent) {
                partition.follow_breaker(&agent, (open_for(&agent).is_some(), false), may_park);
            }
        }
    }
}

/// What is to be read back, as far as there is room.
fn reads(context: &PipelineContext, agents: &ConnectedAgents, partitions: &[Arc<SourcePartition>]) -> Vec<Work> {
    let mut room = Room::new(context.parking.max_events);
    for (agent, taken, is_parked) in partitions.iter().flat_map(|partition| partition.all_taken()) {
        room.add(&agent, taken, is_parked);
    }
    let bytes = usize::try_from(context.parking.room_bytes()).unwrap_or(usize::MAX).min(MAX_READ_BYTES);
    let bytes = bytes / room.reads().max(1);
    let mut work = Vec::new();
    for partition in partitions {
        for agent in partition.parked_agents() {
            let runtime = agents.get(&agent);
            let down = runtime.filter(|runtime| runtime.limiter.open_for().is_some());
            let concurrency = down.map(|runtime| runtime.spec.concurrency);
            let Some(deliveries) = room.of(&agent, partition.taken(&agent), concurrency, bytes == 0) else { continue };
            if let Some(range) = partition.begin_read(&agent, deliveries) {
                room.take(&agent, deliveries);
                work.push(Work::Read { partition: Arc::clone(partition), agent, range, room: deliveries, bytes });
            }
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_a_while_ago_is_removed_once_by_the_owner() {
        let mut removals = Removals::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let due = |removals: &mut Removals, committed: &[(i32, i64)], now| -> Vec<(i32, i64)> {
            let place = |(partition, offset): &(i32, i64)| (("parked".to_owned(), *partition), *offset);
            let work = removals.due(&committed.iter().map(place).collect(), now);
            work.into_iter()
                .filter_map(|work| match work {
                    Work::Remove { partition, before, .. } => Some((partition, before)),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(due(&mut removals, &[(0, 5), (1, 7)], at(0)), []);
        assert_eq!(due(&mut removals, &[(0, 6), (1, 9)], at(59)), []);
        assert_eq!(due(&mut removals, &[(0, 6), (1, 9)], at(60)), [(0, 5), (1, 7)]);
        assert_eq!(due(&mut removals, &[(0, 6)], at(120)), [(0, 6)], "another member has partition 1");
        assert_eq!(due(&mut removals, &[(0, 6)], at(180)), []);
        assert_eq!(due(&mut removals, &[(0, 2)], at(240)), [(0, 2)], "it was created again");
    }
}
