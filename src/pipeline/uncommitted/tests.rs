use proptest::prelude::*;

use super::*;
use crate::cases::cases;

fn at(partition: i32, offset: i64) -> Origin {
    Origin { topic: "events".into(), partition, offset }
}

#[test]
fn an_event_is_kept_until_every_record_of_it_is_below_the_committed_offset() {
    let uncommitted = Uncommitted::default();
    uncommitted.received(&at(0, 3), "a");
    uncommitted.received(&at(0, 5), "b");
    uncommitted.received(&at(1, 0), "a");
    uncommitted.committed("events", 0, 5);
    assert!(uncommitted.contains("a") && uncommitted.contains("b"));
    uncommitted.committed("events", 1, 1);
    assert!(!uncommitted.contains("a") && uncommitted.contains("b"));
    uncommitted.committed("other", 0, 100);
    uncommitted.committed("events", 0, 3);
    assert!(uncommitted.contains("b"), "nothing of it was committed");
    uncommitted.committed("events", 0, 6);
    assert!(!uncommitted.contains("b"));
    assert!(uncommitted.lock().events.is_empty());
}

#[test]
fn a_record_that_is_read_again_counts_once() {
    let uncommitted = Uncommitted::default();
    for id in ["a", "a", "b"] {
        uncommitted.received(&at(0, 7), id);
    }
    assert!(!uncommitted.contains("a"), "the topic was created again: the offset has another event now");
    uncommitted.committed("events", 0, 8);
    assert!(!uncommitted.contains("b"));
}

/// The window of the model, in its ticks.
const WINDOW: u64 = 10;

/// A record of the model's log: an event, or poison; and when it was appended.
#[derive(Debug, Clone, Copy)]
struct Appended {
    event: Option<u8>,
    at: u64,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Append(usize, Option<u8>),
    Receive(usize),
    /// Reads the end of the partition.
    ReadEnd(usize),
    /// Looks up the next arrival of the channel.
    Admit,
    /// Ends one of the running deliveries or dead letters.
    End(prop::sample::Index),
    Commit(usize),
    /// The broker's commit is observed.
    ObserveCommit(usize),
    Expire,
    Advance(u64),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let partition = 0..2_usize;
    prop_oneof![
        4 => (partition.clone(), proptest::option::weighted(0.8, 0..4_u8)).prop_map(|(p, event)| Act::Append(p, event)),
        6 => partition.clone().prop_map(Act::Receive),
        2 => partition.clone().prop_map(Act::ReadEnd),
        6 => Just(Act::Admit),
        4 => any::<prop::sample::Index>().prop_map(Act::End),
        2 => partition.clone().prop_map(Act::Commit),
        2 => partition.prop_map(Act::ObserveCommit),
        4 => Just(Act::Expire),
        3 => (1..8_u64).prop_map(Act::Advance),
        1 => Just(Act::Crash),
    ]
}

/// One partition: the log and the committed offset survive a crash, the rest does not.
#[derive(Debug, Default)]
struct Part {
    log: Vec<Appended>,
    committed: usize,
    asked: usize,
    position: usize,
    ended: Vec<bool>,
    catch_up: Option<(usize, u64)>,
    through: Option<u64>,
}

impl Part {
    fn through(&self) -> Option<u64> {
        self.catch_up.filter(|(end, _)| self.position >= *end).map(|(_, at)| at).max(self.through)
    }
}

#[derive(Default)]
struct Model {
    now: u64,
    parts: [Part; 2],
    uncommitted: Uncommitted,
    /// The event and when it was first seen.
    ledger: BTreeMap<u8, u64>,
    /// Received and not looked up, in order.
    channel: Vec<(usize, usize)>,
    /// Deliveries and dead letters without an end.
    running: Vec<(usize, usize)>,
    /// When each event was last delivered as a new one.
    delivered: BTreeMap<u8, u64>,
}

impl Model {
    fn crash(&mut self) {
        for part in &mut self.parts {
            (part.position, part.asked) = (part.committed, part.committed);
            (part.catch_up, part.through) = (None, None);
            part.ended = vec![false; part.log.len()];
        }
        self.channel.clear();
        self.running.clear();
        self.uncommitted = Uncommitted::default();
    }

    fn expire(&mut self) {
        let Some(through) = self.parts.iter().map(Part::through).min().flatten() else { return };
        let uncommitted = &self.uncommitted;
        self.ledger.retain(|event, first_seen| {
            through.saturating_sub(*first_seen) <= WINDOW || uncommitted.contains(&event.to_string())
        });
    }

    fn step(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Append(partition, event) => {
                self.parts[partition].log.push(Appended { event, at: self.now });
                self.parts[partition].ended.push(false);
            }
            Act::Receive(partition) => {
                let part = &mut self.parts[partition];
                let Some(record) = part.log.get(part.position).copied() else { return Ok(()) };
                let offset = part.position;
                part.position += 1;
                if let Some(event) = record.event {
                    let origin = at(i32::try_from(partition).unwrap(), i64::try_from(offset).unwrap());
                    self.uncommitted.received(&origin, &event.to_string());
                }
                self.channel.push((partition, offset));
            }
            Act::ReadEnd(partition) => {
                let now = self.now;
                let part = &mut self.parts[partition];
                part.through = part.through();
                if part.catch_up.is_none_or(|(end, _)| part.position >= end) {
                    part.catch_up = Some((part.log.len(), now));
                }
            }
            Act::Admit if !self.channel.is_empty() => {
                let (partition, offset) = self.channel.remove(0);
                let record = self.parts[partition].log[offset];
                let Some(event) = record.event else {
                    self.running.push((partition, offset));
                    return Ok(());
                };
                let in_flight =
                    self.running.iter().any(|(part, offset)| self.parts[*part].log[*offset].event == Some(event));
                if in_flight {
                    // A repetition waits: it is looked up again later.
                    self.channel.push((partition, offset));
                } else if self.ledger.contains_key(&event) {
                    self.parts[partition].ended[offset] = true;
                } else {
                    let before = self.delivered.get(&event).copied();
                    prop_assert!(
                        before.is_none_or(|first| record.at > first + WINDOW),
                        "event {event} appended at {} was delivered at {before:?} and again at {}",
                        record.at,
                        self.now
                    );
                    self.running.push((partition, offset));
                }
            }
            Act::End(which) if !self.running.is_empty() => {
                let (partition, offset) = self.running.swap_remove(which.index(self.running.len()));
                if let Some(event) = self.parts[partition].log[offset].event {
                    self.ledger.insert(event, self.now);
                    self.delivered.insert(event, self.now);
                }
                self.parts[partition].ended[offset] = true;
            }
            Act::Commit(partition) => {
                let part = &mut self.parts[partition];
                part.asked = (part.asked..part.position).find(|at| !part.ended[*at]).unwrap_or(part.position);
            }
            Act::ObserveCommit(partition) => {
                let part = &mut self.parts[partition];
                part.committed = part.asked;
                let offset = i64::try_from(part.committed).unwrap();
                self.uncommitted.committed("events", i32::try_from(partition).unwrap(), offset);
            }
            Act::Expire => self.expire(),
            Act::Advance(ticks) => self.now += ticks,
            Act::Crash => self.crash(),
            Act::Admit | Act::End(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(3_000), ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_delivered_is_delivered_again_within_the_window(acts in proptest::collection::vec(act(), 0..120)) {
        let mut model = Model::default();
        for act in acts {
            model.step(act)?;
        }
    }
}
