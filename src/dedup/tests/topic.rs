//! Several ledgers and the topic between them, which may lose everything: in the end it has what any of them knows.

use std::collections::HashMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const RULES: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A process changes what it has in hand of an event, or what its ledger has if that is `fresh`, and appends it.
    Change {
        process: usize,
        event: usize,
        rule: usize,
        end: Option<DeliveryStatus>,
        fresh: bool,
    },
    /// It reads the topic to its end, and notices that another one was created.
    Read {
        process: usize,
    },
    /// It writes again some of what is due.
    Rewrite {
        process: usize,
        most: usize,
    },
    /// The topic is deleted and created again.
    Lose,
    Wait {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (process, event, rule) = (0..3_usize, 0..2_usize, 0..RULES.len());
    let end = prop::option::of(prop_oneof![
        Just(DeliveryStatus::Parked),
        Just(DeliveryStatus::Delivered),
        Just(DeliveryStatus::Dead)
    ]);
    let change = (process.clone(), event, rule, end, any::<bool>());
    let step = prop_oneof![
        8 => change.prop_map(|(process, event, rule, end, fresh)| Step::Change { process, event, rule, end, fresh }),
        4 => process.clone().prop_map(|process| Step::Read { process }),
        3 => (process, 1..4_usize).prop_map(|(process, most)| Step::Rewrite { process, most }),
        2 => Just(Step::Lose),
        2 => (1..90_000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..60)
}

struct Process {
    ledger: Ledger,
    in_hand: HashMap<String, Record>,
    /// Which of the topics it reads, and how far it has read it.
    epoch: usize,
    read: usize,
    _dir: TempDir,
}

struct World {
    processes: Vec<Process>,
    topic: Vec<(String, Record)>,
    epoch: usize,
    now: u64,
}

impl World {
    fn new() -> Self {
        let process = || {
            let dir = tempfile::tempdir().unwrap();
            Process { ledger: open(dir.path()), in_hand: HashMap::new(), epoch: 0, read: 0, _dir: dir }
        };
        Self { processes: (0..3).map(|_| process()).collect(), topic: Vec::new(), epoch: 0, now: 1_000_000 }
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Change { process, event, rule, end, fresh } => {
                let Process { ledger, in_hand, .. } = &mut self.processes[process];
                let id = format!("event-{event}");
                let held = in_hand.remove(&id).filter(|_| !fresh);
                let mut record = held.or_else(|| ledger.get(&id).unwrap()).unwrap_or_else(|| new_record(now));
                record.record_attempt(RULES[rule], "agent");
                match end {
                    Some(status) => record.finish(RULES[rule], "agent", status, now),
                    None => record.record_failed_attempt(RULES[rule], "agent", now),
                }
                let merged = ledger.merge_appended(&id, &record, now).unwrap();
                in_hand.insert(id.clone(), merged.clone());
                self.topic.push((id, merged));
            }
            Step::Read { process } => {
                let process = &mut self.processes[process];
                if process.epoch != self.epoch {
                    (process.epoch, process.read) = (self.epoch, 0);
                    process.ledger.note_topic_loss(Some(0), now).unwrap();
                }
                for (id, record) in &self.topic[process.read..] {
                    process.ledger.merge(id, record).unwrap();
                }
                process.read = self.topic.len();
            }
            Step::Rewrite { process, most } => {
                let ledger = &self.processes[process].ledger;
                for id in refill::due(ledger).into_iter().take(most) {
                    let mut record = ledger.get(&id).unwrap().unwrap();
                    record.record_written(ledger.written_now(now));
                    ledger.merge(&id, &record).unwrap();
                    self.topic.push((id, record));
                }
            }
            Step::Lose => {
                self.topic.clear();
                self.epoch += 1;
            }
            Step::Wait { ms } => self.now += ms,
        }
    }

    /// Nobody changes anything any more: how often each has read and written before nothing was left to write.
    fn rest(&mut self) -> usize {
        for round in 1..20 {
            (0..self.processes.len()).for_each(|process| self.take(Step::Read { process }));
            let before = self.topic.len();
            (0..self.processes.len()).for_each(|process| self.take(Step::Rewrite { process, most: usize::MAX }));
            if self.topic.len() == before {
                return round;
            }
        }
        panic!("records are written again and again");
    }
}

fn new_record(now: u64) -> Record {
    let mut record = Record::new(7, now, &plan(&RULES.map(|rule| (rule, "agent"))));
    record.record_source(Source { topic: "events".into(), partition: 0, offset: 1 });
    record
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_topic_that_lost_its_records_has_what_any_ledger_knows_in_the_end(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(*step);
        }
        let rounds = world.rest();
        prop_assert!(rounds <= 4, "{} rounds", rounds);
        for id in ["event-0", "event-1"] {
            let mut records = world.topic.iter().filter(|(of, _)| of == id).map(|(_, record)| record);
            let mut whole = records.next().cloned();
            for record in records {
                whole.as_mut().unwrap().merge(record);
            }
            for (number, process) in world.processes.iter().enumerate() {
                let known = process.ledger.get(id).unwrap();
                let of = |record: &Option<Record>| record.as_ref().map(|record| record.deliveries.clone());
                prop_assert_eq!(of(&known), of(&whole), "{} of process {}", id, number);
            }
        }
    }
}
