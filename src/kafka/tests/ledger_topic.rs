use super::{super::ledger_topic::*, *};

mod appending;
mod following;

const LEDGER: &str = "tests-ledger";

/// A broker with a ledger topic.
fn broker(partitions: i32) -> Broker {
    let broker = Broker::new(partitions);
    broker.cluster.create_topic(LEDGER, partitions, 1).unwrap();
    broker
}

fn ledger_settings() -> LedgerTopicSettings {
    LedgerTopicSettings { topic: LEDGER.into(), window: Duration::from_secs(7 * 24 * 3_600) }
}
