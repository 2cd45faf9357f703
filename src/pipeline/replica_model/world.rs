//! One history: the processes, the broker, the agent, and the network between them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    group::{Group, Member, SESSION},
    process::{Open, Process, Store},
    setup::{Mistake, Setup},
};
use crate::{cases::Random, kafka::testing::replicas::ModelRenewal};

/// How long a partition that is revoked waits for its attempts, and then for the topic.
pub(super) const DRAIN: u64 = SESSION / 3;
/// Steps with faults, and ticks until a history without them has to end.
const STEPS: usize = 400;
const HEALED_BY: u64 = 2_000;

/// The events by offset. The first has two agents; an id stands twice.
pub(super) const LOG: [u8; 4] = [0, 1, 0, 2];

pub(super) fn agents(event: u8) -> &'static [u8] {
    if event == 0 { &[0, 1] } else { &[0] }
}

/// What is on its way. It arrives in any order, or late.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Renew {
        member: Member,
        life: u32,
        renewal: ModelRenewal,
    },
    Renewed {
        member: Member,
        life: u32,
        renewal: ModelRenewal,
    },
    Commit {
        member: Member,
        generation: u32,
        offset: usize,
    },
    Append {
        process: usize,
        life: u32,
        member: Option<Member>,
        id: u64,
        event: u8,
        value: Vec<u8>,
    },
    Acknowledged {
        process: usize,
        life: u32,
        id: u64,
        event: u8,
    },
    /// The process waits for the answer, or has given that up.
    Request {
        process: usize,
        life: u32,
        attempt: u64,
        event: u8,
        agent: u8,
        answered: bool,
    },
    Answer {
        process: usize,
        life: u32,
        attempt: u64,
        event: u8,
        agent: u8,
        accepted: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Tick(u64),
    Arrive(usize),
    Assign(Member),
    Rebalance,
    Join(usize),
    Heartbeat(usize),
    Renew(usize),
    Poll(usize),
    Receive(usize),
    LookUp(usize, usize),
    Start(usize, usize, usize),
    Follow(usize),
    Flush(usize),
    Commit(usize),
    Release(usize),
    Stop(usize),
    Crash(usize, Disk),
}

/// What a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// The store with what was not flushed, which the system had anyway.
    Whole,
    /// What was flushed.
    Flushed,
    Lost,
}

/// What went wrong, and how it came to that.
pub(super) type Violation = String;

#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) random: Random,
    pub(super) now: u64,
    /// `now`, for the leases.
    pub(super) clock: Arc<AtomicU64>,
    pub(super) serial: u64,
    pub(super) group: Group,
    pub(super) processes: Vec<Process>,
    pub(super) network: Vec<Message>,
    /// How often the agent accepted each delivery.
    pub(super) accepted: BTreeMap<(u8, u8), u32>,
    pub(super) faults: bool,
    pub(super) history: Vec<String>,
}

impl World {
    pub(super) fn new(setup: Setup, seed: u64) -> Self {
        let clock = Arc::new(AtomicU64::new(1));
        let processes = (0..setup.processes).map(|_| Process::new(0, 0, Store::default(), &clock)).collect();
        Self {
            setup,
            random: Random(seed),
            now: 1,
            clock,
            serial: 0,
            group: Group::default(),
            processes,
            network: Vec::new(),
            accepted: BTreeMap::new(),
            faults: true,
            history: Vec::new(),
        }
    }

    /// Runs the history to its end.
    pub(super) fn run(mut self) -> Result<Self, Violation> {
        self.play().map_err(|violation| format!("{violation}\n{}", self.history.join("\n")))?;
        Ok(self)
    }

    fn play(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            let acts = self.enabled();
            let mut chosen = self.random.below(acts.iter().map(|(weight, _)| weight).sum());
            for (weight, act) in acts {
                if chosen < weight {
                    self.act(act)?;
                    break;
                }
                chosen -= weight;
            }
        }
        self.heal()
    }

    /// Without faults everything comes to its end.
    fn heal(&mut self) -> Result<(), Violation> {
        self.faults = false;
        for process in &mut self.processes {
            process.stopped_until = None;
        }
        let until = self.now + HEALED_BY;
        while self.group.committed < LOG.len() {
            if self.now > until {
                return Err(format!("nothing is committed beyond {} without faults", self.group.committed));
            }
            self.act(Act::Tick(1))?;
            for _ in 0..self.network.len() {
                self.act(Act::Arrive(0))?;
            }
            for (_, act) in self.enabled() {
                let harmless = !matches!(act, Act::Tick(_) | Act::Arrive(_) | Act::Rebalance);
                // One act may make another one impossible.
                if harmless && self.enabled().iter().any(|(_, other)| *other == act) {
                    self.act(act)?;
                }
            }
        }
        for event in LOG {
            for agent in agents(event) {
                if !self.accepted.contains_key(&(event, *agent)) {
                    return Err(format!("event {event} was never delivered to agent {agent}"));
                }
            }
        }
        Ok(())
    }

    /// What may happen next, with weights.
    fn enabled(&self) -> Vec<(u64, Act)> {
        let mut acts = vec![(3, Act::Tick(1))];
        if self.faults {
            acts.push((2, Act::Tick(6)));
        }
        acts.extend((0..self.network.len()).filter(|at| self.can_arrive(*at)).map(|at| (3, Act::Arrive(at))));
        match self.group.owner {
            None => acts.extend(self.group.members().into_iter().map(|member| (4, Act::Assign(member)))),
            Some(_) if self.faults && !self.group.revoking => acts.push((1, Act::Rebalance)),
            Some(_) => {}
        }
        for at in (0..self.processes.len()).filter(|at| !self.processes[*at].is_stopped(self.now)) {
            self.enabled_of(at, &mut acts);
        }
        acts
    }

    fn enabled_of(&self, at: usize, acts: &mut Vec<(u64, Act)>) {
        let process = &self.processes[at];
        acts.push((4, Act::Poll(at)));
        if process.member.is_none() {
            acts.push((4, Act::Join(at)));
        } else {
            acts.extend([(6, Act::Heartbeat(at)), (4, Act::Renew(at))]);
        }
        if !process.dirty.is_empty() {
            acts.push((4, Act::Flush(at)));
        }
        if self.faults {
            acts.push((1, Act::Stop(at)));
            if self.random_crash(at) {
                acts.push((1, Act::Crash(at, Disk::Whole)));
                acts.push((1, Act::Crash(at, Disk::Flushed)));
                acts.push((1, Act::Crash(at, Disk::Lost)));
            }
        }
        let Some(assignment) = &process.assignment else { return };
        if process.store.position < self.group.topic.len() {
            acts.push((6, Act::Follow(at)));
        }
        if assignment.frontier.committable().is_some() {
            acts.push((3, Act::Commit(at)));
        }
        if self.may_release(at) {
            acts.push((6, Act::Release(at)));
        }
        if assignment.given_up.is_some() {
            return;
        }
        if assignment.next < LOG.len() {
            acts.push((4, Act::Receive(at)));
        }
        for (which, open) in assignment.open.iter().enumerate() {
            if open.deliveries.is_none() && self.may_look_up(at, which) {
                acts.push((6, Act::LookUp(at, which)));
            }
            for (delivery, state) in open.deliveries.iter().flatten().enumerate() {
                if !state.finished && state.under_way.is_none() && self.has_lease(at) {
                    acts.push((6, Act::Start(at, which, delivery)));
                }
            }
        }
    }

    /// A few crashes in each history.
    fn random_crash(&self, at: usize) -> bool {
        self.processes[at].life < 4
    }

    fn can_arrive(&self, at: usize) -> bool {
        match &self.network[at] {
            Message::Renewed { member: (process, _), .. }
            | Message::Acknowledged { process, .. }
            | Message::Answer { process, .. } => !self.processes[*process].is_stopped(self.now),
            Message::Renew { .. } | Message::Commit { .. } | Message::Append { .. } | Message::Request { .. } => true,
        }
    }

    fn has_lease(&self, at: usize) -> bool {
        self.setup.mistake == Mistake::NoLease || self.processes[at].lease.is_valid()
    }

    /// The topic was read to its end as of the assignment, and no other record of the event is being delivered.
    fn may_look_up(&self, at: usize, which: usize) -> bool {
        let process = &self.processes[at];
        let Some(assignment) = &process.assignment else { return false };
        let event = assignment.open[which].event;
        let caught_up = process.store.position >= assignment.end || self.setup.mistake == Mistake::NoCatchUp;
        caught_up && !assignment.open.iter().any(|other| other.event == event && other.deliveries.is_some())
    }

    fn may_release(&self, at: usize) -> bool {
        let Some(assignment) = &self.processes[at].assignment else { return false };
        let Some(since) = assignment.given_up else { return false };
        let under_way = assignment.open.iter().any(Open::is_under_way);
        let unacknowledged = assignment.open.iter().any(Open::is_finished);
        let waited = self.now - since;
        (!under_way || waited > DRAIN) && (!unacknowledged || waited > 2 * DRAIN)
    }

    /// What the disk has after a crash.
    pub(super) fn disk(&self, at: usize, disk: Disk) -> Store {
        let process = &self.processes[at];
        match disk {
            Disk::Whole => process.store.clone(),
            Disk::Flushed if self.setup.mistake == Mistake::PositionBeforeRecords => {
                Store { records: process.flushed.records.clone(), position: process.store.position }
            }
            Disk::Flushed => process.flushed.clone(),
            Disk::Lost => Store::default(),
        }
    }
}
