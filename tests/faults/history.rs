//! What happened in a run: pure data, as the oracle reads it. Times are milliseconds since the run began.

use std::collections::BTreeMap;

use super::{
    fault::{Fault, Lane},
    follower::Gaps,
};

/// The name of the HTTP agent in the rules.
pub const AUDIT: &str = "audit";
/// The name of the LangGraph agent in the rules.
pub const ANALYST: &str = "analyst";

/// What has to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The rule `check`: the HTTP agent.
    Http,
    /// The rule `analyse`: LangGraph.
    LangGraph,
    /// The rule `both`: both of them.
    Both,
    /// No rule: nothing.
    Unmatched,
    /// No event: the dead-letter topic.
    Poison,
}

impl Kind {
    /// The (rule, agent) pairs that it is delivered to.
    pub fn deliveries(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Http => &[("check", AUDIT)],
            Self::LangGraph => &[("analyse", ANALYST)],
            Self::Both => &[("both", AUDIT), ("both", ANALYST)],
            Self::Unmatched | Self::Poison => &[],
        }
    }

    /// Whether one of its deliveries is to this agent.
    pub fn is_for(self, agent: &str) -> bool {
        self.deliveries().iter().any(|(_, to)| *to == agent)
    }
}

/// A record that the brokers acknowledged. An event may have several.
#[derive(Debug, Clone)]
pub struct Published {
    /// The event's id; of poison, the id that its header has.
    pub id: String,
    /// What has to become of it.
    pub kind: Kind,
    /// The record's key.
    pub key: String,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// When it was acknowledged.
    pub at: u64,
}

/// A request that the HTTP agent read to its end. The agent has acted on every one but those that it answered 401.
#[derive(Debug, Clone)]
pub struct Request {
    /// When.
    pub at: u64,
    /// The second in which the replica sent it, as its signature says; no later than `at`. When a thread of the agent or
    /// of the network stands still, a request is under way for longer than its replica waits for the answer.
    pub sent: u64,
    /// Which replica sent it.
    pub replica: usize,
    /// The event's id.
    pub id: String,
    /// `Idempotency-Key`.
    pub key: String,
    /// The status that was answered; `None` when the connection ended without an answer.
    pub answered: Option<u16>,
}

impl Request {
    /// Whether the agent acted on it.
    pub fn acted(&self) -> bool {
        self.answered != Some(401)
    }

    /// Whether the bridge was told so.
    pub fn accepted(&self) -> bool {
        self.answered.is_some_and(|status| (200..300).contains(&status))
    }
}

/// A run on the LangGraph server.
#[derive(Debug, Clone)]
pub struct Run {
    /// The event's id.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// The agent.
    pub agent: String,
    /// The run's id.
    pub run: String,
    /// When the server created it.
    pub at: u64,
    /// The same in microseconds since 1970.
    pub created_us: i64,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// `dlq-reason`.
    pub reason: String,
    /// `dlq-error`.
    pub error: String,
    /// The coordinates of the record that it is about.
    pub partition: i32,
    /// The coordinates of the record that it is about.
    pub offset: i64,
}

/// A record of the ledger topic, as a reader saw it.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The event's id.
    pub id: String,
    /// Which of the topics that had the name one after the other.
    pub log: usize,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// When a consumer got it, so not before every in-sync replica had it.
    pub seen: u64,
    /// The (rule, agent) pairs that it has as delivered.
    pub delivered: Vec<(String, String)>,
}

impl LedgerEntry {
    /// Whether it has a delivery to this agent as delivered.
    pub fn delivered_to(&self, agent: &str) -> bool {
        self.delivered.iter().any(|(_, to)| to == agent)
    }
}

/// The ledger topic lost records: every one of a partition below an offset, or all that it had.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// When it began.
    pub at: u64,
    /// Which of the topics that had the name one after the other.
    pub log: usize,
    /// The partition, and the first offset that is left; `None` when the topic was deleted.
    pub truncated: Option<(i32, i64)>,
}

impl Loss {
    /// Whether it removed this record before this time.
    pub fn removed(&self, entry: &LedgerEntry, before: u64) -> bool {
        let is_in = |(partition, offset)| entry.partition == partition && entry.offset < offset;
        self.log == entry.log && self.truncated.is_none_or(is_in) && self.at <= before
    }
}

/// Whether a topic still had this record when it was deleted.
pub fn was_left(losses: &[Loss], entry: &LedgerEntry, deleted: usize) -> bool {
    let truncated = losses.iter().any(|loss| loss.truncated.is_some() && loss.removed(entry, u64::MAX));
    entry.log == deleted && !truncated
}

/// A fault as it was: from its begin until it was healed.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// What it happened to.
    pub lane: Lane,
    /// What it was.
    pub fault: Fault,
    /// From.
    pub from: u64,
    /// To.
    pub to: u64,
}

impl Interval {
    /// Whether a moment of this time is within it.
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        self.from <= to && from <= self.to
    }
}

/// A replica's process ended although nobody had asked it to, or otherwise than asked.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Which.
    pub replica: usize,
    /// When.
    pub at: u64,
    /// Its exit code, if it had one.
    pub code: Option<i32>,
    /// Its status and its last line.
    pub how: String,
}

/// A delivery that a replica logged as parked.
#[derive(Debug, Clone)]
pub struct Parking {
    /// When.
    pub at: u64,
    /// The event's id.
    pub id: String,
    /// The agent.
    pub agent: String,
    /// Where it stands in the partition of the parked topic.
    pub offset: i64,
}

/// The partitions of a topic.
#[derive(Debug, Clone, Default)]
pub struct Offsets {
    /// The committed offset of each that has one.
    pub committed: BTreeMap<i32, i64>,
    /// The end of each.
    pub ends: BTreeMap<i32, i64>,
}

/// Everything that the oracle judges.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every acknowledged record.
    pub published: Vec<Published>,
    /// Records that the brokers had not acknowledged in the end.
    pub unacknowledged: usize,
    /// Every request to the HTTP agent, in the order in which they came.
    pub requests: Vec<Request>,
    /// When a replica logged a failed attempt of an event to the HTTP agent.
    pub failed_attempts: BTreeMap<(usize, String), Vec<u64>>,
    /// When a replica logged that it got or gave up partitions.
    pub moves: Vec<(usize, u64)>,
    /// The deliveries that replicas logged as parked.
    pub parkings: Vec<Parking>,
    /// Every run of the LangGraph server.
    pub runs: Vec<Run>,
    /// The ids of the runs that the graph executed, by event.
    pub executions: BTreeMap<String, Vec<String>>,
    /// Every dead letter.
    pub dead_letters: Vec<DeadLetter>,
    /// The ledger topic; `None` when there is none.
    pub ledger: Option<Vec<LedgerEntry>>,
    /// What of the ledger topic was removed before it was seen.
    pub ledger_gaps: Gaps,
    /// What the ledger topic lost.
    pub losses: Vec<Loss>,
    /// The log of the ledger topic that was deleted last, when everything had come to rest and every replica ran.
    pub deleted_at_rest: Option<usize>,
    /// The source topic.
    pub source: Offsets,
    /// The topic of parked deliveries; empty when there is none.
    pub parked: Offsets,
    /// Every fault.
    pub faults: Vec<Interval>,
    /// Every exit that nobody had asked for.
    pub exits: Vec<Exit>,
    /// What was not well in the end.
    pub unwell: Vec<String>,
}
