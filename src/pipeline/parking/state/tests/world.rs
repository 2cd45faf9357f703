//! Everything around the state machine: two agents, three keys, a ledger, and crashes between any two steps.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::{Backlog, Found, Mode, ParkingId, PartitionParking, Position, ReadRange};

pub(super) const AGENTS: usize = 2;
pub(super) const KEYS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Pending,
    Parked,
    Dead,
    Delivered,
}

/// What the head of a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Waits,
    WaitsUnparked {
        until: i64,
    },
    Attempts {
        may_park: bool,
    },
    /// The agent accepted it, and the ledger does not know yet.
    Answered,
    Parks(ParkingId),
    Appended(ParkingId, i64),
    Recorded(ParkingId, i64),
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: VecDeque<(usize, i64)>,
    head: Option<Head>,
}

impl Lane {
    fn pop(&mut self) {
        self.queue.pop_front();
        self.head = None;
    }
}

/// One process, for one assignment.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) machine: PartitionParking,
    received: usize,
    live: Vec<Lane>,
    fed: Vec<Lane>,
    pub(super) reads: [Option<ReadRange>; AGENTS],
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) topic: Vec<(usize, usize)>,
    pub(super) ledger: Vec<[Status; AGENTS]>,
    committed: usize,
    parked_committed: i64,
    pub(super) up: [bool; AGENTS],
    accepted: [Vec<usize>; AGENTS],
    /// Accepted, but not recorded when the process crashed.
    may_repeat: Vec<(usize, usize)>,
    pub(super) process: Process,
    pub(super) now: Instant,
    /// Records of some events do not fit the parked topic.
    pub(super) some_too_large: bool,
    /// What former owners were parking when they lost the partition: they may write it late.
    late: Vec<(usize, usize)>,
}

pub(super) fn agent(number: usize) -> Arc<str> {
    format!("agent-{number}").into()
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap()
}

fn lanes() -> Vec<Lane> {
    (0..AGENTS * KEYS).map(|_| Lane::default()).collect()
}

fn process(received: usize) -> Process {
    Process { machine: PartitionParking::new(), received, live: lanes(), fed: lanes(), reads: [None; AGENTS] }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            topic: Vec::new(),
            ledger: Vec::new(),
            committed: 0,
            parked_committed: 0,
            up: [true; AGENTS],
            accepted: Default::default(),
            may_repeat: Vec::new(),
            process: process(0),
            now: Instant::now(),
            some_too_large: false,
            late: Vec::new(),
        }
    }

    /// The end of the parked topic.
    fn end(&self) -> i64 {
        i64::try_from(self.topic.len()).unwrap()
    }

    pub(super) fn receive(&mut self) {
        let event = self.process.received;
        let Some(statuses) = self.ledger.get(event) else { return };
        self.process.received += 1;
        for (number, status) in statuses.iter().enumerate() {
            // One that is parked may have been parked by a former owner, unknown to this process.
            if *status < Status::Dead {
                self.process.live[number * KEYS + event % KEYS].queue.push_back((event, -1));
            }
        }
    }

    fn accept(&mut self, number: usize, event: usize) {
        let repeats = self.accepted[number].contains(&event);
        let allowed = self.may_repeat.contains(&(number, event));
        assert!(!repeats || allowed, "event {event} was delivered again to agent {number}");
        self.may_repeat.retain(|known| *known != (number, event));
        let before = self.accepted[number].iter().filter(|before| **before % KEYS == event % KEYS).max();
        assert!(before.is_none_or(|before| *before <= event), "event {event} came after {before:?} to agent {number}");
        self.accepted[number].push(event);
    }

    fn record(&mut self, event: usize, number: usize, status: Status) {
        let known = &mut self.ledger[event][number];
        *known = (*known).max(status);
    }

    pub(super) fn step_live(&mut self, lane: usize, stays: bool) {
        let (number, name) = (lane / KEYS, agent(lane / KEYS));
        let Some((event, _)) = self.process.live[lane].queue.front().copied() else { return };
        let is_too_large = self.some_too_large && event % 7 == 5;
        let machine = &mut self.process.machine;
        let head = match self.process.live[lane].head.unwrap_or(Head::Waits) {
            Head::Waits => match machine.mode(&name) {
                Mode::Attempt => Head::Attempts { may_park: true },
                Mode::Hold => Head::Waits,
                Mode::Park if is_too_large => Head::WaitsUnparked { until: machine.end_of(&name) },
                Mode::Park => machine.begin_parking(&name).map_or(Head::Waits, Head::Parks),
            },
            Head::WaitsUnparked { until } if machine.ended_before(&name, until) => Head::Attempts { may_park: false },
            waits @ Head::WaitsUnparked { .. } => waits,
            Head::Attempts { may_park: true } if machine.mode(&name) == Mode::Park && !stays => Head::Waits,
            Head::Attempts { .. } if self.ledger[event][number] >= Status::Dead => {
                return self.process.live[lane].pop();
            }
            attempts @ Head::Attempts { .. } if !self.up[number] => attempts,
            Head::Attempts { .. } => {
                self.accept(number, event);
                Head::Answered
            }
            Head::Answered => {
                self.record(event, number, Status::Delivered);
                return self.process.live[lane].pop();
            }
            Head::Parks(id) => {
                self.topic.push((event, number));
                Head::Appended(id, self.end() - 1)
            }
            Head::Appended(id, offset) => {
                self.record(event, number, Status::Parked);
                Head::Recorded(id, offset)
            }
            Head::Recorded(id, offset) => {
                machine.parked(id, offset, 1);
                return self.process.live[lane].pop();
            }
        };
        self.process.live[lane].head = Some(head);
    }

    pub(super) fn step_fed(&mut self, lane: usize, gives_up: bool) {
        let number = lane / KEYS;
        let Some((event, offset)) = self.process.fed[lane].queue.front().copied() else { return };
        let head = match self.process.fed[lane].head.unwrap_or(Head::Waits) {
            Head::Waits if self.ledger[event][number] != Status::Parked => None,
            Head::Waits => Some(Head::Attempts { may_park: false }),
            Head::Attempts { .. } if gives_up => {
                self.record(event, number, Status::Dead);
                None
            }
            attempts @ Head::Attempts { .. } if !self.up[number] => Some(attempts),
            Head::Attempts { .. } => {
                self.accept(number, event);
                Some(Head::Answered)
            }
            _ => {
                self.record(event, number, Status::Delivered);
                None
            }
        };
        if head.is_some() {
            self.process.fed[lane].head = head;
        } else {
            self.process.machine.ended(&agent(number), (0, offset));
            self.process.fed[lane].pop();
        }
    }

    fn is_parked(&self, offset: i64, number: usize) -> bool {
        let (event, to) = self.topic[index(offset)];
        to == number && self.ledger[event][number] == Status::Parked
    }

    pub(super) fn finish_read(&mut self, number: usize, room: usize) {
        let Some(range) = self.process.reads[number].take() else { return };
        let found: Vec<i64> =
            (range.from..range.until).filter(|offset| self.is_parked(*offset, number)).take(room).collect();
        let next = found.last().filter(|_| found.len() == room).map_or(range.until, |last| last + 1);
        for offset in &found {
            let event = self.topic[index(*offset)].0;
            self.process.fed[number * KEYS + event % KEYS].queue.push_back((event, *offset));
        }
        self.process.machine.fed(&agent(number), (0, next), found.into_iter().map(|offset| (offset, 1)));
    }

    pub(super) fn scan(&mut self) {
        if self.process.machine.position() != Position::Unknown {
            return;
        }
        let end = self.end();
        let found = (0..AGENTS).filter_map(|number| {
            let offsets: Vec<i64> =
                (self.parked_committed..end).filter(|offset| self.is_parked(*offset, number)).collect();
            let (first, last) = (*offsets.first()?, *offsets.last()?);
            Some((agent(number), Found { first, last, count: offsets.len() as u64, oldest_ms: 1 }))
        });
        let found: Vec<_> = found.collect();
        self.process.machine.scanned(found, end, true);
    }

    fn commit(&mut self) {
        let is_complete = |statuses: &[Status; AGENTS]| !statuses.contains(&Status::Pending);
        let open = self.ledger[..self.process.received].iter().position(|statuses| !is_complete(statuses));
        self.committed = self.committed.max(open.unwrap_or(self.process.received));
        if let Position::Before(offset) | Position::Drained(offset) = self.process.machine.position() {
            self.parked_committed = self.parked_committed.max(offset);
        }
    }

    /// The process is gone, and the partition is assigned again. The broker may have got what was not acknowledged.
    fn crash(&mut self, appends: bool) {
        for (index, lane) in self.process.live.iter().chain(&self.process.fed).enumerate() {
            let Some((event, _)) = lane.queue.front() else { continue };
            let number = index % (AGENTS * KEYS) / KEYS;
            match lane.head {
                Some(Head::Answered) => self.may_repeat.push((number, *event)),
                Some(Head::Parks(_)) if appends => self.topic.push((*event, number)),
                Some(Head::Parks(_)) => self.late.push((*event, number)),
                _ => {}
            }
        }
        self.process = process(self.committed);
    }

    /// A former owner parks a delivery that its next owner has not read yet.
    fn park_late(&mut self) {
        let Some((event, number)) = self.late.pop().filter(|(event, _)| *event >= self.process.received) else {
            return;
        };
        self.topic.push((event, number));
        self.record(event, number, Status::Parked);
    }

    pub(super) fn follow_breaker(&mut self, number: usize, overdue: bool) {
        let is_open = !self.up[number];
        self.process.machine.breaker(&agent(number), (is_open, is_open && overdue), true, self.now);
    }

    pub(super) fn act(&mut self, (action, which, flag): (u8, usize, bool)) {
        let number = which % AGENTS;
        match action {
            0..=3 => self.ledger.push([Status::Pending; AGENTS]),
            4..=8 => self.receive(),
            9..=18 => self.step_live(which % (AGENTS * KEYS), flag),
            19..=24 => self.step_fed(which % (AGENTS * KEYS), false),
            25..=27 => {
                if let Some(range) = self.process.machine.begin_read(&agent(number), 9) {
                    self.process.reads[number] = Some(range);
                }
            }
            28..=30 => self.finish_read(number, 1 + which % 4),
            31..=33 => self.follow_breaker(number, flag),
            34 => self.up[number] = !self.up[number],
            35 => self.commit(),
            36 => self.scan(),
            37 => self.step_fed(which % (AGENTS * KEYS), flag),
            38 if flag => self.park_late(),
            38 => self.now += Duration::from_secs(3),
            _ => self.crash(flag),
        }
    }

    /// Deliveries that the next owner would find parked, and others that are parked for nobody to find.
    fn parked_left(&self) -> usize {
        let parked = self.ledger.iter().flatten().filter(|status| **status == Status::Parked).count();
        let found = (self.parked_committed..self.end())
            .filter(|offset| (0..AGENTS).any(|number| self.is_parked(*offset, number)));
        parked + found.count()
    }

    /// Both agents work and nothing crashes any more: everything must come to its end.
    pub(super) fn finish(&mut self) {
        self.up = [true; AGENTS];
        let rounds = 40 * (self.ledger.len() + 1) * (self.topic.len() + 1);
        for _ in 0..rounds.min(20_000) {
            self.scan();
            self.receive();
            for lane in 0..AGENTS * KEYS {
                self.step_live(lane, true);
                self.step_fed(lane, false);
            }
            for number in 0..AGENTS {
                if let Some(range) = self.process.machine.begin_read(&agent(number), 9) {
                    self.process.reads[number] = Some(range);
                }
                self.finish_read(number, 2);
                self.follow_breaker(number, false);
            }
            self.commit();
            if self.committed == self.ledger.len() && self.parked_left() == 0 {
                break;
            }
        }
        assert_eq!(self.committed, self.ledger.len(), "every event has its outcome");
        assert_eq!(self.parked_left(), 0, "nothing is parked any more");
        for (event, statuses) in self.ledger.iter().enumerate() {
            assert!(statuses.iter().all(|status| *status >= Status::Dead), "event {event} is {statuses:?}");
        }
        for number in 0..AGENTS {
            self.follow_breaker(number, false);
            assert_eq!(self.process.machine.mode(&agent(number)), Mode::Attempt);
            assert_eq!(self.process.machine.backlog(&agent(number)), Backlog::default());
        }
    }
}
