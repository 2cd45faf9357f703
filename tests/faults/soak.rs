//! `make soak MINUTES=`: the memory and the disk of one replica that works all the time. The dedup window is short, so that
//! after a few minutes as much is forgotten as is added.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

use crate::kit::{Bridge, BridgeSetup, HttpAgent, event, kafka, unique};

/// Events a second. Of ten, five match the rule, one of them repeats the id of an earlier event, and four match nothing.
const RATE: usize = 100;
const PARTITIONS: i32 = 12;
const WINDOW: &str = "5m";
/// Runs that are under way at a time, as far as the keys say.
const KEYS: usize = 1_000;

/// What the process has at one moment, in MiB.
struct Size {
    resident: f64,
    folder: f64,
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(file) if file.is_dir() => folder_bytes(&entry.path()),
        Ok(file) => file.len(),
        // It was deleted since it was listed.
        Err(_) => 0,
    });
    sizes.sum()
}

fn size(bridge: &mut Bridge) -> Size {
    Size { resident: mebibytes(bridge.rss_bytes()), folder: mebibytes(folder_bytes(&bridge.data_dir())) }
}

/// Publishes until it is told to stop. Returns how many events there were, and how many ids of the rule.
fn publish(topic: &str, prefix: &str, stop: &AtomicBool) -> (usize, usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().bootstrap()).set("linger.ms", "5");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    let (began, mut count, mut matched) = (Instant::now(), 0_usize, 0_usize);
    while !stop.load(SeqCst) {
        let repeated = count % 10 == 9 && count > 10;
        let number = if repeated { count - 9 } else { count };
        let made = event(&format!("{prefix}-{number:08}")).run(&format!("run-{}", number % KEYS));
        let made = if repeated || count % 10 < 5 { made } else { made.event_type("WORKFLOW_FAILED") };
        matched += usize::from(!repeated && count % 10 < 5);
        let (key, value) = (made.key(), made.json().to_string());
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).expect("an event can be sent");
        count += 1;
        let due = began + Duration::from_secs_f64(count as f64 / RATE as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    producer.flush(Duration::from_secs(60)).expect("everything is acknowledged");
    (count, matched)
}

fn start(topic: &str, agent: &HttpAgent) -> Bridge {
    BridgeSetup::new(kafka(), topic)
        .config(&format!("dedup: {{window: {WINDOW}}}\nlog_outcomes: failures\n"))
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start()
}

#[test]
fn memory_and_disk_are_flat_for_as_long_as_asked() {
    let asked = std::env::var("SOAK_MINUTES").ok().filter(|asked| !asked.is_empty());
    let minutes: u32 = asked.map_or(60, |minutes| minutes.parse().expect("MINUTES is a whole number"));
    let (topic, prefix) = (kafka().topic("soak", PARTITIONS), unique("soak"));
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let mut bridge = start(&topic, &agent);
    let stop = AtomicBool::new(false);
    let (sizes, (published, matched)) = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&topic, &prefix, &stop));
        let sizes: Vec<Size> = (1..=minutes)
            .map(|minute| {
                thread::sleep(Duration::from_secs(60));
                let size = size(&mut bridge);
                println!("minute {minute}: {:.1} MiB resident, {:.1} MiB on disk", size.resident, size.folder);
                size
            })
            .collect();
        stop.store(true, SeqCst);
        (sizes, publisher.join().expect("events can be published"))
    });
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(120));
    bridge.stop();
    println!("{published} events, {matched} ids of the rule, {} requests", agent.count());
    let sent = agent.sent_by_event();
    assert_eq!((sent.len(), agent.count()), (matched, matched), "each id of the rule runs once");
    // Both halves begin after the window has passed twice.
    let steady = sizes.get(10..).unwrap_or_default();
    let (first, second) = steady.split_at(steady.len() / 2);
    let most = |sizes: &[Size], of: fn(&Size) -> f64| sizes.iter().map(of).fold(0.0, f64::max);
    for (name, of) in [("resident", (|size| size.resident) as fn(&Size) -> f64), ("on disk", |size| size.folder)] {
        println!(
            "{name}: at most {:.1} MiB in the first half, {:.1} MiB in the second",
            most(first, of),
            most(second, of)
        );
    }
    if minutes >= 30 {
        assert!(most(second, |size| size.resident) <= most(first, |size| size.resident) * 1.1, "memory grows");
        assert!(most(second, |size| size.folder) <= most(first, |size| size.folder) * 1.1, "the folder grows");
    }
}
