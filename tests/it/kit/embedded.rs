//! The bridge inside the test process, for what its settings do not allow: a dedup window of a few seconds.

use std::{collections::BTreeMap, fs, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::oneshot;
use workflow_bridge::testing::run_bridge;

use super::{Kafka, PATIENCE, http, poll, process::Scratch, unique};

/// A bridge on a thread of its own.
pub struct EmbeddedBridge {
    place: Arc<Place>,
    window: Duration,
    admin: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// What outlives a stop.
struct Place {
    group: String,
    folder: Scratch,
}

impl EmbeddedBridge {
    /// Starts one that reads this topic as a group of its own and remembers events for `window`.
    pub fn start(kafka: &Kafka, topic: &str, routing: &str, window: Duration) -> Self {
        let folder = Scratch::new("embedded");
        fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
        fs::write(folder.join("routing/rules.yaml"), routing).expect("a scratch folder can be written");
        Self::start_in(Arc::new(Place { group: unique("embedded"), folder }), kafka, topic, window)
    }

    /// Stops in order, and starts again with the same ledger and group.
    #[track_caller]
    pub fn restart(self, kafka: &Kafka, topic: &str) -> Self {
        let (place, window) = (Arc::clone(&self.place), self.window);
        self.stop();
        Self::start_in(place, kafka, topic, window)
    }

    fn start_in(place: Arc<Place>, kafka: &Kafka, topic: &str, window: Duration) -> Self {
        let environment = BTreeMap::from([
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
            let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
            let ended = runtime.block_on(run_bridge(environment, Some(window), listening, async {
                // Dropped without a word is a stop as well.
                let _ = stopped.await;
            }));
            runtime.shutdown_timeout(Duration::from_secs(5));
            ended
        });
        let admin = bound.blocking_recv().map(|addr| format!("http://{addr}")).expect("the bridge listens");
        Self { place, window, admin, stop: Some(stop), thread: Some(thread) }
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.place.group
    }

    /// `/api/status`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let url = format!("{}/api/status", self.admin);
        let (status, body) = poll(PATIENCE, "the admin address answers", || http::get(&url));
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
