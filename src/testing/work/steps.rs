//! Steps that need no runtime: reading and matching a record, rendering, the ledger, the frontier.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    dedup::{self, DeliveryStatus, LedgerOptions, PlannedDelivery, Record},
    event::{Event, Limits, Raw, RecordSize},
    kafka::PartitionAlone,
    plan::{Plan, Reading},
    routing::{LoadOptions, Routing, Snapshot},
};

/// How long the ledger remembers an event.
pub(super) const WINDOW: Duration = Duration::from_secs(7 * 86_400);

/// Loads a routing folder without variables.
pub(super) fn load(folder: &Path) -> Result<Routing, String> {
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: WINDOW };
    Routing::compile(Snapshot::read(folder), &options).map_err(|problems| problems.to_string())
}

/// The rules of a folder.
#[derive(Debug)]
pub struct Matcher {
    routing: Routing,
    limits: Limits,
}

impl Matcher {
    /// Loads the folder.
    ///
    /// # Errors
    /// The mistakes in it.
    pub fn load(folder: &Path) -> Result<Self, String> {
        Ok(Self { routing: load(folder)?, limits: Limits::default() })
    }

    /// Reads the value of a record as the intake does, and returns how many deliveries its event starts.
    ///
    /// # Errors
    /// Why it is no event.
    pub fn deliveries(&self, value: &[u8]) -> Result<usize, String> {
        let size = RecordSize { key: 0, value: value.len(), headers: 0, header_bytes: 0 };
        let raw = Raw { key: None, value: Some(value), headers: &[], timestamp_ms: None };
        let reading = self.limits.check(&size).and_then(|()| self.routing.read(&self.limits, &raw));
        match reading.map_err(|poison| poison.to_string())? {
            Reading::Projected(_, plan) | Reading::Decoded(_, plan) => Ok(plan.len()),
        }
    }

    /// Renders what the agent gets, and returns whether a body was built.
    ///
    /// # Errors
    /// The event lacks what a template names.
    pub fn render(&self, rule: &str, agent: &str, event: &Arc<Event>) -> Result<bool, String> {
        Ok(Plan::render(&self.routing, rule, agent, event)?.0.is_some())
    }
}

/// A ledger in a folder.
#[derive(Debug)]
pub struct Ledger(dedup::Ledger);

impl Ledger {
    /// Opens or creates it.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, String> {
        Ok(Self(open_ledger(folder)?))
    }

    /// Records that the only delivery of an event was accepted. Not durable yet.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn write(&self, event_id: &str) -> Result<(), String> {
        let plan = [PlannedDelivery { rule: "rule".into(), agent: "agent".into() }];
        let mut record = Record::new(1, 1, &plan);
        record.finish("rule", "agent", DeliveryStatus::Delivered, 2);
        self.0.merge(event_id, &record).map(drop).map_err(|error| error.to_string())
    }

    /// Whether the event has a record.
    ///
    /// # Errors
    /// Why it could not be read.
    pub fn has(&self, event_id: &str) -> Result<bool, String> {
        self.0.get(event_id).map(|record| record.is_some()).map_err(|error| error.to_string())
    }
}

pub(super) fn open_ledger(folder: &Path) -> Result<dedup::Ledger, String> {
    let options = LedgerOptions {
        group: "work".into(),
        window: WINDOW,
        cache_bytes: 32 << 20,
        flush_delay: Duration::ZERO,
        replace_damaged: false,
    };
    dedup::Ledger::open(folder, &options).map(|(ledger, _)| ledger).map_err(|error| error.to_string())
}

/// Receives so many records, and completes them from the last to the first, the worst order for the frontier. Returns how many
/// are open in the end: none.
pub fn pass_frontier(records: usize) -> u64 {
    let mut partition = PartitionAlone::new("events");
    let received: Vec<_> = (0..records).filter_map(|_| partition.receive(b"{}", 0)).collect();
    received.into_iter().rev().for_each(|record| record.ticket.complete());
    partition.span()
}
