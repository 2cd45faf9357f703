//! A model of replicas that share a ledger topic: each seed is one history of receiving, delivering, writing, appending,
//! acknowledging, committing, revoking, assigning, catching up, crashing with the disk or without, stopping for longer than
//! the session, and writing late.
//!
//! The frontier, the decision on an event, the merge of records and the entries of the topic are the product's own. Network,
//! broker, agent, disk and clock are the model's: whatever is on its way arrives in any order, or late.

mod check;
mod group;
mod process;
mod setup;
mod step;
mod world;

use setup::{Mistake, Setup};
use world::World;

use crate::cases::cases;

/// The most histories that are searched for a planted mistake.
const SEARCHED: u64 = 20_000;

fn histories() -> u64 {
    cases(3_000)
}

#[test]
fn no_history_repeats_what_is_known_or_commits_what_is_not() {
    let mut seen = Seen::default();
    for processes in [2, 3] {
        for seed in 0..histories() {
            let world = World::new(Setup { processes, mistake: Mistake::None }, seed).run();
            let world = world.unwrap_or_else(|violation| panic!("{processes} processes, seed {seed}: {violation}"));
            seen.add(&world);
        }
    }
    println!("in {} histories: {seen:?}", 2 * histories());
    assert!(seen.repeats > 0 && seen.late_writes > 0 && seen.owners > 4 * histories(), "the histories are too tame");
}

/// What happened, over all histories.
#[derive(Debug, Default)]
struct Seen {
    /// Deliveries that an agent accepted.
    accepted: u64,
    /// Those of them that it had accepted before.
    repeats: u64,
    /// Assignments.
    owners: u64,
    /// Records of the ledger topic.
    records: u64,
    /// Those of them that a former owner wrote.
    late_writes: u64,
}

impl Seen {
    fn add(&mut self, world: &World) {
        self.accepted += world.accepted.values().map(|count| u64::from(*count)).sum::<u64>();
        self.repeats += world.accepted.values().map(|count| u64::from(*count) - 1).sum::<u64>();
        self.owners += u64::from(world.group.generation);
        self.records += world.group.topic.len() as u64;
        self.late_writes += world.group.topic.iter().filter(|appended| !appended.by_owner).count() as u64;
    }
}

/// The first history in which the mistake shows, and what it leads to.
fn found(mistake: Mistake) -> String {
    let setup = Setup { processes: 2, mistake };
    let found = (0..SEARCHED).find_map(|seed| Some((seed, World::new(setup, seed).run().err()?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{mistake:?} is not found in {SEARCHED} histories"));
    let what = violation.lines().next().unwrap_or_default().to_owned();
    println!("{mistake:?}: found by history {seed}: {what}");
    what
}

#[test]
fn every_planted_mistake_is_found() {
    const NOT_OWNED: &str = "the partition is not its own";
    const UNKNOWN: &str = "the topic does not know how event";
    const FORGOTTEN: &str = "of the topic";
    for (mistake, expected) in [
        (Mistake::NoCatchUp, FORGOTTEN),
        (Mistake::CommitBeforeAcknowledgement, UNKNOWN),
        (Mistake::LastWriteWins, FORGOTTEN),
        (Mistake::LeaseFromTheAnswer, NOT_OWNED),
        (Mistake::NoLease, NOT_OWNED),
        (Mistake::CommitsDoNotExtendTheSession, NOT_OWNED),
        (Mistake::UnacknowledgedDuplicate, UNKNOWN),
        (Mistake::PositionBeforeRecords, FORGOTTEN),
    ] {
        let what = found(mistake);
        assert!(what.contains(expected), "{mistake:?}: {what}");
    }
}
