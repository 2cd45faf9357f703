//! Whether the cluster has what the bridge needs, asked without changing it: no topic is created, no record written, no
//! group joined. Blocks, for a bounded time.
//!
//! What the bridge wants of a topic is said where it creates or checks it; here it is compared. Rights are known as far as a
//! question shows them: to describe and to read a topic, to see the group, to create a topic (the broker tries it and does
//! not do it). The right to write shows only in writing.

mod ask;
mod judge;

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{ledger_topic::LedgerTopicSettings, settings::KafkaSettings};
use crate::{probe::Probed, words::counted};
use ask::{Asker, Topic};

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Where the cluster is, and the topics.
    pub settings: KafkaSettings,
    /// The ledger topic; `None` when it is off.
    pub ledger: Option<LedgerTopicSettings>,
    /// Deliveries are parked.
    pub parks: bool,
}

/// Asks for everything, for so long at most. Blocks.
pub(crate) fn reach(wanted: &Wanted, within: Duration) -> Vec<Probed> {
    let deadline = Instant::now() + within;
    let settings = &wanted.settings;
    let target = format!("kafka {}", settings.bootstrap_servers);
    let cluster = match Asker::connect(settings, deadline) {
        Ok(cluster) => cluster,
        Err(error) => {
            return vec![Probed::error(target, error.to_string(), "check kafka.properties and kafka.security")];
        }
    };
    let brokers = match cluster.wait_for_brokers() {
        Ok(brokers) => brokers,
        Err((found, remedy)) => {
            return vec![Probed::error(target, format!("no broker answers: {found}"), remedy)];
        }
    };
    let mut found = vec![Probed::ok(target, judge::brokers(&brokers, &settings.security))];
    // Each topic is asked for by itself, all at once: one that is slow delays no other.
    let topics: Vec<Vec<Probed>> = thread::scope(|scope| {
        let asked: Vec<_> =
            settings.topics.iter().map(|source| scope.spawn(|| of_source(&cluster, wanted, source))).collect();
        let failed =
            |_| vec![Probed::error("topics", "asking failed", "this is a defect: please report it with the output")];
        asked.into_iter().map(|asked| asked.join().unwrap_or_else(failed)).collect()
    });
    found.extend(topics.into_iter().flatten());
    found.push(group(&cluster, settings));
    found.extend(wanted.ledger.as_ref().map(|ledger| ledger_topic(&cluster, settings, ledger)));
    found
}

/// A source topic, and where its dead letters and its parked deliveries go.
fn of_source(asker: &Asker, wanted: &Wanted, source: &str) -> Vec<Probed> {
    let settings = &wanted.settings;
    let topic = asker.topic(source);
    let config = asker.config(source);
    let max_bytes = config.as_ref().ok().and_then(|config| config.number("max.message.bytes"));
    let partitions = match &topic {
        Ok(Topic::Present { partitions, .. }) => *partitions,
        _ => 1,
    };
    let reading = matches!(topic, Ok(Topic::Present { .. })).then(|| asker.read(source, partitions));
    let mut found = vec![judge::source(source, &topic, reading.as_ref(), max_bytes, settings.budget.max_record_bytes)];
    let name = settings.dead_letter_topic(source);
    let target = format!("dead-letter topic {name}");
    let found_topic = asker.topic(&name);
    found.push(match found_topic {
        Ok(Topic::Absent) => judge::creation(&target, &asker.may_create(&name, partitions, &[])),
        other => judge::dead_letters(&target, other, asker.config(&name), max_bytes),
    });
    if wanted.parks {
        let name = settings.parked_topic(source);
        let target = format!("parked topic {name}");
        found.push(match asker.topic(&name) {
            Ok(Topic::Absent) => {
                let config = super::parked_topic::WANTED_CONFIG.map(|(name, value)| (name, value.to_owned()));
                judge::creation(&target, &asker.may_create(&name, partitions, &config))
            }
            other => judge::parked(&target, other, asker.config(&name), partitions),
        });
    }
    found
}

fn group(asker: &Asker, settings: &KafkaSettings) -> Probed {
    let target = format!("group {}", settings.group_id);
    match asker.committed(&settings.topics) {
        Ok(0) => Probed::ok(
            target,
            format!("our user may see it; no offset is committed: it begins at {}", judge::reset(settings)),
        ),
        Ok(partitions) => Probed::ok(
            target,
            format!("our user may see it; it has committed offsets of {}", counted(partitions, "partition")),
        ),
        Err(error) => judge::refused(&target, &error, "grant our user READ on the group, or check kafka.group_id"),
    }
}

fn ledger_topic(asker: &Asker, settings: &KafkaSettings, ledger: &LedgerTopicSettings) -> Probed {
    let target = format!("ledger topic {}", ledger.topic);
    let counts = settings.topics.iter().filter_map(|topic| match asker.topic(topic) {
        Ok(Topic::Present { partitions, .. }) => Some(partitions),
        _ => None,
    });
    let needed = counts.max().unwrap_or(1);
    match asker.topic(&ledger.topic) {
        Ok(Topic::Absent) => {
            let config = super::ledger_topic::wanted_config(ledger.window);
            judge::creation(&target, &asker.may_create(&ledger.topic, needed, &config))
        }
        Ok(Topic::Present { partitions, leaderless }) => {
            let reading = asker.read(&ledger.topic, partitions);
            judge::ledger(
                &target,
                (partitions, leaderless),
                needed,
                reading,
                asker.config(&ledger.topic),
                ledger.window,
            )
        }
        Err(error) => judge::refused(&target, &error, "grant our user READ, WRITE and DESCRIBE on it"),
    }
}
