//! Asks Kafka and every agent whether they are there: for `check --connect`. Nothing is changed anywhere.

use std::{sync::Arc, thread, time::Duration};

use crate::{
    agents,
    config::Config,
    kafka::{self, LedgerTopicSettings, Wanted},
    probe::Probed,
    routing::Routing,
};

/// How long each of them may take.
const WITHIN: Duration = Duration::from_secs(10);

/// What Kafka and the agents answer, all asked at once. `None`: there are mistakes in what says where they are.
pub(crate) fn connect(config: Option<&Config>, routing: Option<&Routing>) -> Vec<Probed> {
    thread::scope(|scope| {
        let asked = config.map(|config| scope.spawn(|| kafka::reach(&wanted(config), WITHIN)));
        let agents = routing.map(ask_agents).unwrap_or_default();
        let kafka = asked.map(|asked| {
            asked.join().unwrap_or_else(|_| {
                vec![Probed::error("kafka", "asking it failed", "this is a defect: please report it with the output")]
            })
        });
        kafka.into_iter().flatten().chain(agents).collect()
    })
}

fn wanted(config: &Config) -> Wanted {
    let ledger = config.ledger_topic.as_ref();
    let ledger = ledger.map(|topic| LedgerTopicSettings { topic: topic.clone(), window: config.dedup_window });
    Wanted { settings: config.kafka.clone(), ledger, parks: config.park_after.is_some() }
}

fn ask_agents(routing: &Routing) -> Vec<Probed> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let remedy = "raise the limits on threads and open files";
            return vec![Probed::error("agents", format!("they cannot be asked: {error}"), remedy)];
        }
    };
    let specs: Vec<_> = routing.agents().map(Arc::clone).collect();
    let answers = futures_util::future::join_all(specs.iter().map(|spec| agents::reach(spec, WITHIN)));
    runtime.block_on(answers)
}
