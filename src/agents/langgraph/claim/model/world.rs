//! One history: the processes, the server and the network between them, on one queue of events.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::{
    super::{Claim, ClaimStep, FailReason, Observed, Timing},
    setup::Setup,
};
use crate::{agents::clock::Boottime, cases::Random};

const LIFETIME: u64 = 10_000;
const TIMEOUT: u64 = 2_000;
/// No faults after this time: every history must end by [`END`].
const FAULTS_END: u64 = 300_000;
pub(super) const END: u64 = 900_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SimEvent {
    /// The process starts an attempt.
    StartAttempt { process: usize, life: u32 },
    /// The process sends the request of its step.
    Send { process: usize, life: u32 },
    /// The server gets a request.
    Arrive { process: usize, life: u32, request: u64, round: u32, kind: RequestKind, nonce: u64, answered: bool },
    /// The process gets an answer, or its time-out.
    Answer { process: usize, life: u32, request: u64, reply: Option<ServerReply> },
    /// Somebody else starts a run on the claim thread.
    ForeignRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RequestKind {
    Claim,
    FindRun,
    ReadOwner,
    CreateRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServerReply {
    Claimed,
    Taken,
    Run,
    NoRun,
    UnknownRun,
    Owner(u64),
    NoThread,
    Created,
    Conflict,
    Refused,
    Error,
}

pub(super) struct Process {
    claim: Claim,
    nonce: u64,
    life: u32,
    step: ClaimStep,
    /// The request that it waits for, and when it was sent.
    request: u64,
    sent: u64,
    pub(super) accepted: bool,
    /// It found a run that nothing identifies.
    pub(super) gave_up: bool,
}

pub(super) struct World {
    setup: Setup,
    random: Random,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, SimEvent)>>,
    serial: u64,
    threads: BTreeMap<u32, u64>,
    /// Ours: when they began and ended.
    pub(super) runs: Vec<(u64, u64)>,
    /// Those of somebody else.
    foreign_runs: Vec<(u64, u64)>,
    pub(super) processes: Vec<Process>,
    pub(super) history: Vec<String>,
}

fn at(ms: u64) -> Boottime {
    Boottime::new(Duration::from_millis(ms))
}

impl World {
    pub(super) fn new(setup: Setup, seed: u64) -> Self {
        let mut world = Self {
            setup,
            random: Random(seed),
            now: 1_000,
            queue: BinaryHeap::new(),
            serial: 0,
            threads: BTreeMap::new(),
            runs: Vec::new(),
            foreign_runs: Vec::new(),
            processes: Vec::new(),
            history: Vec::new(),
        };
        for process in 0..setup.processes {
            let process_state = world.new_process(0);
            world.processes.push(process_state);
            let when = world.random.below(if process == 0 { 1 } else { 4 * LIFETIME });
            world.push(when, SimEvent::StartAttempt { process, life: 0 });
        }
        if setup.missing.privacy {
            for _ in 0..3 {
                let when = world.random.below(4 * LIFETIME);
                world.push(when, SimEvent::ForeignRun);
            }
        }
        world
    }

    fn new_process(&mut self, life: u32) -> Process {
        let ms = Duration::from_millis;
        let mut timing = Timing::new(ms(TIMEOUT), ms(LIFETIME));
        if let Some(lifetime) = self.setup.max_request_lifetime {
            (timing.max_request_lifetime, timing.takeover) = (ms(lifetime), ms(lifetime));
        }
        if let Some(lease) = self.setup.lease {
            timing.lease = ms(lease);
        }
        let nonce = self.random.next();
        let (step, accepted, gave_up) = (ClaimStep::FindRun, false, false);
        Process { claim: Claim::new(timing), nonce, life, step, request: 0, sent: 0, accepted, gave_up }
    }

    fn push(&mut self, after: u64, event: SimEvent) {
        self.serial += 1;
        self.queue.push(Reverse((self.now + after, self.serial, event)));
    }

    fn faults_over(&self) -> bool {
        self.now > FAULTS_END
    }

    /// Now and then a process is stopped, for up to three times `max_request_lifetime`.
    fn pause(&mut self) -> u64 {
        if !self.faults_over() && self.random.one_in(self.setup.pauses) {
            self.random.below(3 * LIFETIME)
        } else {
            self.random.below(3)
        }
    }

    pub(super) fn run(mut self) -> Self {
        while let Some(Reverse((now, _, event))) = self.queue.pop() {
            assert!(now < END, "the history does not end:\n{}", self.history.join("\n"));
            self.now = now;
            self.handle(event);
        }
        self
    }

    fn handle(&mut self, event: SimEvent) {
        self.history.push(format!("{:>7} {event:?}", self.now));
        match event {
            SimEvent::StartAttempt { process, life } => {
                if self.processes[process].life == life && !self.crash(process) {
                    let now = at(self.now);
                    self.step(process, |claim| claim.start_attempt(now));
                }
            }
            SimEvent::Send { process, life } => {
                if self.processes[process].life == life && !self.crash(process) {
                    self.send(process);
                }
            }
            SimEvent::Arrive { process, life, request, round, kind, nonce, answered } => {
                let reply = self.serve(round, kind, nonce);
                if answered {
                    let back = 1 + self.random.below(20);
                    self.push(back, SimEvent::Answer { process, life, request, reply: Some(reply) });
                }
            }
            SimEvent::Answer { process, life, request, reply } => {
                let waiting = &self.processes[process];
                if waiting.life == life && waiting.request == request && !self.crash(process) {
                    self.processes[process].request = 0;
                    let observed = self.translate(process, reply);
                    let now = at(self.now);
                    self.step(process, |claim| claim.observe(observed, now));
                }
            }
            SimEvent::ForeignRun => {
                if self.threads.contains_key(&0) {
                    let lasts = self.random.below(2 * LIFETIME);
                    self.foreign_runs.push((self.now, self.now + lasts));
                }
            }
        }
    }

    fn step(&mut self, process: usize, advance: impl FnOnce(&mut Claim) -> ClaimStep) {
        let claim = &mut self.processes[process].claim;
        let requested = claim.requested;
        let step = advance(claim);
        if let ClaimStep::Claim(round) = step
            && self.setup.lease_renewed
            && requested.is_none_or(|(before, _)| before != round)
        {
            claim.requested = Some((round, at(self.now)));
        }
        self.apply(process, &step);
    }

    /// A crash: another session begins a little later. What was sent stays sent.
    fn crash(&mut self, process: usize) -> bool {
        if self.faults_over() || !self.random.one_in(60) {
            return false;
        }
        let life = self.processes[process].life + 1;
        self.processes[process] = self.new_process(life);
        let after = 100 + self.random.below(2 * LIFETIME);
        self.push(after, SimEvent::StartAttempt { process, life });
        true
    }

    fn apply(&mut self, process: usize, step: &ClaimStep) {
        self.history.push(format!("{:>7}   process {process}: {step:?}", self.now));
        let life = self.processes[process].life;
        self.processes[process].step = step.clone();
        match step {
            ClaimStep::Accepted { .. } => {
                assert!(!self.runs.is_empty(), "accepted without a run:\n{}", self.history.join("\n"));
                self.processes[process].accepted = true;
                // Now and then the ledger is lost, or the record is read again elsewhere.
                if !self.faults_over() && self.random.one_in(3) {
                    self.processes[process] = self.new_process(life + 1);
                    let after = self.random.below(4 * LIFETIME);
                    self.push(after, SimEvent::StartAttempt { process, life: life + 1 });
                }
            }
            ClaimStep::Wait(wait) => {
                let late = u64::try_from(wait.as_millis()).unwrap() + self.pause();
                self.push(late, SimEvent::StartAttempt { process, life });
            }
            ClaimStep::Fail(FailReason::UnknownRun) => {
                assert!(!self.runs.is_empty() || !self.foreign_runs.is_empty(), "{}", self.history.join("\n"));
                self.processes[process].gave_up = true;
            }
            ClaimStep::Fail(_) => {
                let backoff = 100 + self.random.below(TIMEOUT) + self.pause();
                self.push(backoff, SimEvent::StartAttempt { process, life });
            }
            ClaimStep::Claim(_) | ClaimStep::FindRun | ClaimStep::ReadOwner(_) | ClaimStep::CreateRun { .. } => {
                let pause = self.pause();
                self.push(pause, SimEvent::Send { process, life });
            }
        }
    }

    fn send(&mut self, process: usize) {
        let (kind, round) = match self.processes[process].step {
            ClaimStep::Claim(round) => (RequestKind::Claim, round),
            ClaimStep::FindRun => (RequestKind::FindRun, 0),
            ClaimStep::ReadOwner(round) => (RequestKind::ReadOwner, round),
            ClaimStep::CreateRun { until } if at(self.now) <= until => (RequestKind::CreateRun, 0),
            ClaimStep::CreateRun { .. } => {
                let now = at(self.now);
                return self.step(process, |claim| claim.observe(Observed::TooLate, now));
            }
            ref other => panic!("not a request: {other:?}"),
        };
        self.serial += 1;
        let (request, life, nonce) = (self.serial, self.processes[process].life, self.processes[process].nonce);
        self.processes[process].request = request;
        self.processes[process].sent = self.now;
        let faults = !self.faults_over();
        if !(faults && self.random.one_in(6)) {
            let held = faults && self.random.one_in(4);
            let way = if held { self.random.below(LIFETIME) } else { 1 + self.random.below(20) };
            let answered = !(faults && self.random.one_in(6));
            self.push(way, SimEvent::Arrive { process, life, request, round, kind, nonce, answered });
        }
        let timeout = TIMEOUT + self.pause();
        self.push(timeout, SimEvent::Answer { process, life, request, reply: None });
    }

    fn serve(&mut self, round: u32, kind: RequestKind, nonce: u64) -> ServerReply {
        let faults = !self.faults_over();
        match kind {
            _ if faults && self.random.one_in(15) => ServerReply::Error,
            RequestKind::Claim if round > 0 && !self.setup.later_rounds_claimed => ServerReply::Claimed,
            RequestKind::Claim if self.threads.contains_key(&round) => ServerReply::Taken,
            RequestKind::Claim => {
                self.threads.insert(round, nonce);
                ServerReply::Claimed
            }
            RequestKind::FindRun | RequestKind::ReadOwner if faults && self.random.one_in(self.setup.unseen) => {
                ServerReply::NoThread
            }
            RequestKind::FindRun if !self.threads.contains_key(&0) => ServerReply::NoThread,
            RequestKind::FindRun if self.setup.missing.runs => ServerReply::NoRun,
            RequestKind::FindRun if self.runs.is_empty() && self.foreign_runs.is_empty() => ServerReply::NoRun,
            RequestKind::FindRun if self.setup.missing.marks => ServerReply::UnknownRun,
            RequestKind::FindRun if self.runs.is_empty() => ServerReply::NoRun,
            RequestKind::FindRun => ServerReply::Run,
            RequestKind::ReadOwner => {
                self.threads.get(&round).map_or(ServerReply::NoThread, |nonce| ServerReply::Owner(*nonce))
            }
            RequestKind::CreateRun if faults && self.random.one_in(10) => ServerReply::Refused,
            RequestKind::CreateRun if !self.setup.missing.reject && self.busy() => ServerReply::Conflict,
            RequestKind::CreateRun => {
                let lasts = self.random.below(50);
                self.runs.push((self.now, self.now + lasts));
                // Accepted, and the answer says that it broke.
                if faults && self.random.one_in(8) { ServerReply::Error } else { ServerReply::Created }
            }
        }
    }

    fn busy(&self) -> bool {
        self.runs.iter().chain(&self.foreign_runs).any(|(_, end)| self.now < *end)
    }

    fn translate(&self, process: usize, reply: Option<ServerReply>) -> Observed {
        let creating = matches!(self.processes[process].step, ClaimStep::CreateRun { .. });
        match reply {
            None | Some(ServerReply::Error) if creating => {
                Observed::Ambiguous { sent_at: at(self.processes[process].sent) }
            }
            None | Some(ServerReply::Error) => Observed::Failed,
            Some(ServerReply::Claimed) => Observed::Claimed,
            Some(ServerReply::Taken) => Observed::Taken,
            Some(ServerReply::Run) => Observed::Run(None),
            Some(ServerReply::NoRun) => Observed::NoRun,
            Some(ServerReply::UnknownRun) => Observed::UnknownRun,
            Some(ServerReply::Owner(nonce)) => {
                Observed::Owner { ours: nonce == self.processes[process].nonce && !self.setup.missing.nonces }
            }
            Some(ServerReply::NoThread) => Observed::NoThread,
            Some(ServerReply::Created) => Observed::Created(None),
            Some(ServerReply::Conflict) => Observed::Conflict,
            Some(ServerReply::Refused) => Observed::Refused,
        }
    }
}
