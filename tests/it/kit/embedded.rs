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
    place: Arc<Place>,
    admin: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), BridgeError>>>,
}

/// What outlives a stop.
struct Place {
    group: String,
    folder: Scratch,
}

/// How one is started, beside what its files say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    /// The rules of claim-then-look.
    pub rules: Rules,
    /// A dedup window, which may be shorter than the settings allow.
    pub window: Option<Duration>,
}

impl EmbeddedBridge {
    /// Starts one that reads this topic as a group of its own.
    pub fn start(kafka: &Kafka, topic: &str, routing: &str, rules: Rules) -> Self {
        Self::start_with(kafka, topic, routing, Switches { rules, ..Switches::default() })
    }

    /// The same with more to say.
    pub fn start_with(kafka: &Kafka, topic: &str, routing: &str, switches: Switches) -> Self {
        let folder = Scratch::new("embedded");
        fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
        fs::write(folder.join("routing/rules.yaml"), routing).expect("a scratch folder can be written");
        Self::start_in(Arc::new(Place { group: unique("embedded"), folder }), kafka, topic, switches)
    }

    /// Stops in order, and starts again with the same ledger and group.
    #[track_caller]
    pub fn restart(self, kafka: &Kafka, topic: &str, switches: Switches) -> Self {
        let place = Arc::clone(&self.place);
        self.stop();
        Self::start_in(place, kafka, topic, switches)
    }

    fn start_in(place: Arc<Place>, kafka: &Kafka, topic: &str, switches: Switches) -> Self {
        let environment: BTreeMap<&str, String> = BTreeMap::from([
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap().to_owned()),
            ("KAFKA_TOPIC", topic.to_owned()),
            ("KAFKA_CONSUMER_GROUP_ID", place.group.clone()),
            ("BRIDGE_ROUTING_DIR", place.folder.join("routing").display().to_string()),
            ("BRIDGE_DATA_DIR", place.folder.join("data").display().to_string()),
            ("BRIDGE_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ]);
        let (stop, stopped) = oneshot::channel::<()>();
        let (listening, bound) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let environment: Environment = Arc::new(move |name| environment.get(name).cloned());
            let sources = Sources { flags: BTreeMap::new(), env: &*environment, file: None };
            let mut config = Config::load(&sources).expect("good settings");
            config.dedup_window = switches.window.unwrap_or(config.dedup_window);
            let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
            let hooks = Hooks { claim_policy: switches.rules, listening: Some(listening), ..Hooks::default() };
            let ended = runtime.block_on(bridge::run(config, &environment, hooks, async {
                // Dropped without a word is a stop as well.
                let _ = stopped.await;
            }));
            runtime.shutdown_timeout(Duration::from_secs(5));
            ended
        });
        let admin = bound.blocking_recv().map(|addr| format!("http://{addr}")).expect("the bridge listens");
        Self { place, admin, stop: Some(stop), thread: Some(thread) }
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.place.group
    }

    /// `/api/status`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let (status, body) =
            super::http::get(&format!("{}/api/status", self.admin)).expect("the admin address answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("/api/status is JSON")
    }

    /// An orderly stop.
    #[track_caller]
    pub fn stop(mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("it was started");
        thread.join().expect("the bridge does not panic").expect("the bridge ends well");
    }
}
