//! The bridge inside the test process, for what its command line has no switch for: the rules of
//! claim-then-look with one of them switched off, to prove that a test can fail.

use std::{collections::BTreeMap, fs, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::oneshot;
use workflow_bridge::{
    agents::ClaimPolicy,
    bridge::{self, BridgeError, Environment, Hooks},
    config::{Config, Sources},
};

use super::{Kafka, process::Scratch, unique};

/// Which of the rules hold.
pub type Rules = ClaimPolicy;

/// A bridge on a thread of its own.
pub struct EmbeddedBridge {
    group: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), BridgeError>>>,
    _folder: Scratch,
}

impl EmbeddedBridge {
    /// Starts one that reads this topic as a group of its own.
    pub fn start(kafka: &Kafka, topic: &str, routing: &str, rules: Rules) -> Self {
        let folder = Scratch::new("embedded");
        fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
        fs::write(folder.join("routing/rules.yaml"), routing).expect("a scratch folder can be written");
        let group = unique("embedded");
        let environment: BTreeMap<&str, String> = BTreeMap::from([
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap().to_owned()),
            ("KAFKA_TOPIC", topic.to_owned()),
            ("KAFKA_CONSUMER_GROUP_ID", group.clone()),
            ("BRIDGE_ROUTING_DIR", folder.join("routing").display().to_string()),
            ("BRIDGE_DATA_DIR", folder.join("data").display().to_string()),
            ("BRIDGE_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ]);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let environment: Environment = Arc::new(move |name| environment.get(name).cloned());
            let sources = Sources { flags: BTreeMap::new(), env: &*environment, file: None };
            let config = Config::load(&sources).expect("good settings");
            let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
            let hooks = Hooks { claim_policy: rules, ..Hooks::default() };
            let ended = runtime.block_on(bridge::run(config, &environment, hooks, async {
                // Dropped without a word is a stop as well.
                let _ = stopped.await;
            }));
            runtime.shutdown_timeout(Duration::from_secs(5));
            ended
        });
        Self { group, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// An orderly stop.
    #[track_caller]
    pub fn stop(mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("it was started");
        thread.join().expect("the bridge does not panic").expect("the bridge ends well");
    }
}
