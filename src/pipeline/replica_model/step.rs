//! What each act does.

use std::sync::atomic::Ordering;

use super::{
    check,
    group::{Appended, Member},
    process::{Assignment, Delivery, Open, Process},
    setup::Mistake,
    world::{Act, Disk, LOG, Message, Violation, World, agents},
};
use crate::{
    dedup::{Decision, DeliveryStatus, PlannedDelivery, Record, decide, encode_entry},
    kafka::testing::replicas::ModelFrontier,
};

const RULE: &str = "r";

fn name(agent: u8) -> String {
    format!("a{agent}")
}

fn plan(event: u8) -> Vec<PlannedDelivery> {
    agents(event).iter().map(|agent| PlannedDelivery { rule: RULE.into(), agent: name(*agent).into() }).collect()
}

/// Whether a record says that a delivery has ended.
pub(super) fn has_ended(record: &Record, agent: u8) -> bool {
    record.deliveries().iter().any(|delivery| *delivery.agent == *name(agent) && delivery.status.is_final())
}

impl World {
    pub(super) fn act(&mut self, act: Act) -> Result<(), Violation> {
        self.history.push(format!("{:>5} {act:?}", self.now));
        match act {
            Act::Tick(ticks) => {
                self.now += ticks;
                self.clock.store(self.now, Ordering::Relaxed);
                self.group.expire(self.now);
            }
            Act::Arrive(at) => {
                let message = self.network.remove(at);
                self.history.push(format!("{:>5}   {message:?}", self.now));
                return self.arrive(message);
            }
            Act::Assign(member) => self.group.assign(member),
            Act::Rebalance => self.group.revoking = true,
            Act::Join(at) => {
                let process = &mut self.processes[at];
                process.joins += 1;
                process.member = Some((at, process.joins));
                self.group.join((at, process.joins), self.now);
            }
            Act::Heartbeat(at) => {
                if let Some(member) = self.processes[at].member {
                    self.group.heard(member, self.now);
                }
            }
            Act::Renew(at) => {
                let Process { member, life, lease, .. } = &self.processes[at];
                let renewal = lease.begin_renewal();
                self.network.extend(member.map(|member| Message::Renew { member, life: *life, renewal }));
            }
            Act::Poll(at) => self.poll(at),
            Act::Receive(at) => self.receive(at),
            Act::LookUp(at, which) => self.look_up(at, which),
            Act::Start(at, which, delivery) => return self.start(at, which, delivery),
            Act::Follow(at) => self.follow(at),
            Act::Flush(at) => self.flush(at),
            Act::Commit(at) => self.commit(at),
            Act::Release(at) => return self.release(at),
            Act::Stop(at) => {
                let ticks = 1 + self.random.below(80);
                self.processes[at].stopped_until = Some(self.now + ticks);
            }
            Act::Crash(at, disk) => self.crash(at, disk),
        }
        Ok(())
    }

    /// Learns what became of the membership and the assignment.
    fn poll(&mut self, at: usize) {
        let (now, end, committed) = (self.now, self.group.topic.len(), self.group.committed);
        let process = &mut self.processes[at];
        let Some(member) = process.member else { return };
        let owned = self.group.owned_by(member);
        if !self.group.has(member) {
            (process.member, process.assignment) = (None, None);
            process.lease.end();
            return;
        }
        match (&mut process.assignment, owned) {
            (Some(assignment), Some(generation)) if assignment.generation == generation => {
                assignment.frontier.mark_seen(i64::try_from(committed).unwrap());
                if self.group.revoking {
                    assignment.given_up.get_or_insert(now);
                }
            }
            (_, None) => process.assignment = None,
            (_, Some(generation)) => {
                let frontier = ModelFrontier::new(i64::try_from(committed).unwrap());
                let open = Vec::new();
                process.assignment =
                    Some(Assignment { generation, frontier, next: committed, end, given_up: None, open });
            }
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(assignment) = &mut self.processes[at].assignment else { return };
        let offset = assignment.next;
        assignment.next += 1;
        assignment.frontier.receive(i64::try_from(offset).unwrap());
        let event = LOG[offset];
        assignment.open.push(Open { offset, event, deliveries: None, may_skip_the_topic: false });
    }

    fn look_up(&mut self, at: usize, which: usize) {
        let now = self.now;
        let process = &mut self.processes[at];
        let Some(assignment) = &mut process.assignment else { return };
        let open = &mut assignment.open[which];
        let event = open.event;
        let known = process.store.records.get(&event);
        let remaining: Vec<u8> = match decide(known, event.into(), &plan(event), now) {
            Decision::Fresh(record) | Decision::Resume(record) => {
                agents(event).iter().copied().filter(|agent| !has_ended(&record, *agent)).collect()
            }
            Decision::Duplicate => Vec::new(),
            other => unreachable!("{other:?}"),
        };
        open.may_skip_the_topic = remaining.is_empty() && self.setup.mistake == Mistake::UnacknowledgedDuplicate;
        let delivery = |agent| Delivery { agent, under_way: None, finished: false };
        open.deliveries = Some(remaining.into_iter().map(delivery).collect());
        self.append_unless_acknowledged(at, event);
        self.complete_tickets(at);
    }

    /// A finished event of which the topic may know nothing, because an earlier process died before it did.
    fn append_unless_acknowledged(&mut self, at: usize, event: u8) {
        let process = &self.processes[at];
        let waits = process
            .assignment
            .iter()
            .flat_map(|assignment| &assignment.open)
            .any(|open| open.event == event && open.is_finished() && !open.may_skip_the_topic);
        if waits && !process.acknowledged.contains(&event) && !process.latest.contains_key(&event) {
            self.append(at, event);
        }
    }

    fn append(&mut self, at: usize, event: u8) {
        self.serial += 1;
        let id = self.serial;
        let process = &mut self.processes[at];
        process.acknowledged.remove(&event);
        process.latest.insert(event, id);
        let writer = u64::from(process.life) * 10 + at as u64;
        let value = encode_entry(7, writer, &process.store.records[&event]);
        let (life, member) = (process.life, process.member);
        self.network.push(Message::Append { process: at, life, member, id, event, value });
    }

    fn start(&mut self, at: usize, which: usize, delivery: usize) -> Result<(), Violation> {
        let process = &mut self.processes[at];
        let Some(assignment) = &mut process.assignment else { return Ok(()) };
        let open = &mut assignment.open[which];
        let event = open.event;
        let Some(state) = open.deliveries.iter_mut().flatten().nth(delivery) else { return Ok(()) };
        let agent = state.agent;
        if process.store.records.get(&event).is_some_and(|record| has_ended(record, agent)) {
            // A late record of a former owner says that it has ended.
            state.finished = true;
            self.append_unless_acknowledged(at, event);
            self.complete_tickets(at);
            return Ok(());
        }
        self.serial += 1;
        state.under_way = Some(self.serial);
        let (attempt, life) = (self.serial, process.life);
        self.network.push(Message::Request { process: at, life, attempt, event, agent, answered: true });
        check::attempt(self, at, event, agent)
    }

    /// Reads one record of the ledger topic.
    fn follow(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(appended) = self.group.topic.get(process.store.position) else { return };
        process.store.position += 1;
        let event = appended.event;
        process.dirty.insert(event);
        if appended.writer == (at, process.life) {
            return;
        }
        let record = appended.record();
        let ends_it = agents(event).iter().all(|agent| has_ended(&record, *agent));
        match process.store.records.get_mut(&event) {
            Some(known) if self.setup.mistake != Mistake::LastWriteWins => {
                known.merge(&record);
            }
            _ => drop(process.store.records.insert(event, record)),
        }
        if ends_it {
            process.acknowledged.insert(event);
        }
        self.complete_tickets(at);
    }

    fn flush(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.flushed = process.store.clone();
        process.dirty.clear();
        self.complete_tickets(at);
    }

    /// Completes the tickets of the events that have ended, are on disk, and are known to the topic.
    fn complete_tickets(&mut self, at: usize) {
        let unacknowledged_is_enough = self.setup.mistake == Mistake::CommitBeforeAcknowledgement;
        let process = &mut self.processes[at];
        let Some(assignment) = &mut process.assignment else { return };
        let frontier = &mut assignment.frontier;
        assignment.open.retain(|open| {
            let acknowledged =
                process.acknowledged.contains(&open.event) || unacknowledged_is_enough || open.may_skip_the_topic;
            let complete = open.is_finished() && acknowledged && !process.dirty.contains(&open.event);
            if complete {
                frontier.complete(i64::try_from(open.offset).unwrap());
            }
            !complete
        });
    }

    fn commit(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let (Some(member), Some(assignment)) = (process.member, &mut process.assignment) else { return };
        let Some(offset) = assignment.frontier.committable() else { return };
        assignment.frontier.mark_requested(offset);
        let (generation, offset) = (assignment.generation, usize::try_from(offset).unwrap());
        self.network.push(Message::Commit { member, generation, offset });
    }

    /// The end of a revocation: flush, commit, and give the partition back.
    fn release(&mut self, at: usize) -> Result<(), Violation> {
        self.flush(at);
        let process = &mut self.processes[at];
        let (Some(member), Some(assignment)) = (process.member, process.assignment.take()) else { return Ok(()) };
        let position = assignment.frontier.position().map(|offset| usize::try_from(offset).unwrap());
        if let Some(offset) = position {
            self.arrive(Message::Commit { member, generation: assignment.generation, offset })?;
        }
        self.group.release(member, assignment.generation);
        Ok(())
    }

    fn crash(&mut self, at: usize, disk: Disk) {
        let disk = self.disk(at, disk);
        let process = &self.processes[at];
        self.processes[at] = Process::new(process.life + 1, process.joins, disk, &self.clock);
        let mut random = self.random.clone();
        // What the process had not yet sent is gone; what was sent arrives.
        self.network.retain(|message| match message {
            Message::Append { process, .. } | Message::Request { process, .. } if *process == at => random.one_in(2),
            _ => true,
        });
        self.random = random;
    }

    fn arrive(&mut self, message: Message) -> Result<(), Violation> {
        match message {
            Message::Renew { member, life, renewal } => {
                let is_member = self.heard_by_a_commit(member);
                self.network.extend(is_member.then_some(Message::Renewed { member, life, renewal }));
            }
            Message::Renewed { member, life, renewal } => {
                let Process { life: now_alive, lease, .. } = &self.processes[member.0];
                if *now_alive == life {
                    let from_the_answer = self.setup.mistake == Mistake::LeaseFromTheAnswer;
                    lease.renew(if from_the_answer { lease.begin_renewal() } else { renewal });
                }
            }
            Message::Commit { member, generation, offset } => {
                if self.group.generation == generation && self.heard_by_a_commit(member) {
                    self.group.committed = offset;
                    return check::commit(self);
                }
            }
            Message::Append { process, life, member, id, event, value } => {
                let by_owner = member.is_some() && self.group.owner == member;
                self.group.topic.push(Appended { event, value, writer: (process, life), by_owner });
                self.network.push(Message::Acknowledged { process, life, id, event });
            }
            Message::Acknowledged { process, life, id, event } => {
                let process_state = &mut self.processes[process];
                if process_state.life == life && process_state.latest.get(&event) == Some(&id) {
                    process_state.latest.remove(&event);
                    process_state.acknowledged.insert(event);
                    self.complete_tickets(process);
                }
            }
            Message::Request { event, agent, answered: false, .. } => self.accept(event, agent),
            Message::Request { process, life, attempt, event, agent, answered: true } => {
                self.request(process, life, attempt, event, agent);
            }
            Message::Answer { process, life, attempt, event, agent, accepted } => {
                if self.processes[process].life == life {
                    self.answer(process, attempt, event, agent, accepted);
                }
            }
        }
        Ok(())
    }

    /// A commit of a member, or of one that is none any more.
    fn heard_by_a_commit(&mut self, member: Member) -> bool {
        if self.setup.mistake == Mistake::CommitsDoNotExtendTheSession {
            return self.group.has(member);
        }
        self.group.heard(member, self.now)
    }

    /// The agent accepts or fails, and the answer may be lost.
    fn request(&mut self, process: usize, life: u32, attempt: u64, event: u8, agent: u8) {
        let fault = if self.faults { self.random.below(8) } else { 7 };
        match fault {
            0 => self.network.push(Message::Request { process, life, attempt, event, agent, answered: false }),
            1 => {}
            _ => self.accept(event, agent),
        }
        let accepted = fault > 2;
        self.network.push(Message::Answer { process, life, attempt, event, agent, accepted });
    }

    fn accept(&mut self, event: u8, agent: u8) {
        *self.accepted.entry((event, agent)).or_default() += 1;
    }

    /// Answer, record in the store, append; the flush and the acknowledgement follow.
    fn answer(&mut self, at: usize, attempt: u64, event: u8, agent: u8, accepted: bool) {
        let now = self.now;
        let process = &mut self.processes[at];
        let opens = process.assignment.iter_mut().flat_map(|assignment| &mut assignment.open);
        let mut deliveries = opens.flat_map(|open| open.deliveries.iter_mut().flatten());
        let state = deliveries.find(|delivery| delivery.under_way == Some(attempt));
        let waits = state.is_some();
        if let Some(state) = state {
            (state.under_way, state.finished) = (None, accepted);
        }
        if !waits && !accepted {
            return;
        }
        let fresh = || Record::new(event.into(), now, &plan(event));
        let mut record = process.store.records.get(&event).cloned().unwrap_or_else(fresh);
        record.record_attempt(RULE, &name(agent));
        if accepted {
            record.finish(RULE, &name(agent), DeliveryStatus::Delivered, now);
        } else {
            record.record_failed_attempt(RULE, &name(agent), now);
        }
        process.store.records.entry(event).or_insert_with(|| record.clone()).merge(&record);
        process.dirty.insert(event);
        self.append(at, event);
    }

    pub(super) fn is_owner(&self, at: usize) -> bool {
        let member: Option<Member> = self.processes[at].member;
        member.is_some() && self.group.owner == member
    }
}
