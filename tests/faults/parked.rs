//! Figures of parking: `make parking MINUTES=`. One of two agents is down; what the other one and the memory notice of it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

use crate::kit::{Bridge, BridgeSetup, HttpAgent, Received, Reply, event, kafka, unique};

/// Events a second, each for both agents.
const RATE: usize = 500;
const PARTITIONS: i32 = 12;
const KEYS: usize = 200;
/// How long both agents work before and after.
const CALM: Duration = Duration::from_secs(30);

/// When each event was handed to Kafka, by the number in its id.
type Published = Vec<Instant>;

fn id(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:07}")
}

fn number(id: &str) -> usize {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("an id with its number")
}

/// Publishes until it is told to stop.
fn publish(topic: &str, prefix: &str, stop: &AtomicBool) -> Published {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().bootstrap()).set("linger.ms", "1");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    let began = Instant::now();
    let mut published = Vec::new();
    while !stop.load(SeqCst) {
        let number = published.len();
        let key = format!("run-{}", number % KEYS);
        let value = event(&id(prefix, number)).run(&key).json().to_string();
        published.push(Instant::now());
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).expect("an event can be sent");
        let due = began + Duration::from_secs_f64(published.len() as f64 / RATE as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    producer.flush(Duration::from_secs(60)).expect("everything is acknowledged");
    published
}

/// The median, the 99th percentile and the longest, in ms, of the events that were published within this time.
fn latency(published: &[Instant], first: &BTreeMap<usize, Instant>, (from, to): (Instant, Instant)) -> String {
    let within = published.iter().enumerate().filter(|(_, at)| (from..to).contains(*at));
    let mut waits: Vec<f64> =
        within.map(|(n, at)| first[&n].saturating_duration_since(*at).as_secs_f64() * 1_000.0).collect();
    waits.sort_by(f64::total_cmp);
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    format!("{} events, p50 {:.1} ms, p99 {:.1} ms, at most {:.0} ms", waits.len(), at(50), at(99), at(100))
}

/// What is slow, beside a request that is answered at once.
const SLOW_MS: u128 = 100;

/// The seconds within this time whose events waited for longer than [`SLOW_MS`], and how long at most.
fn slow_seconds(published: &[Instant], first: &BTreeMap<usize, Instant>, (from, to): (Instant, Instant)) -> String {
    let mut longest: BTreeMap<u64, u128> = BTreeMap::new();
    for (n, at) in published.iter().enumerate().filter(|(_, at)| (from..to).contains(*at)) {
        let waited = longest.entry(at.duration_since(from).as_secs()).or_default();
        *waited = (*waited).max(first[&n].saturating_duration_since(*at).as_millis());
    }
    longest.retain(|_, ms| *ms > SLOW_MS);
    format!("longer than {SLOW_MS} ms in {} seconds, second and ms: {longest:?}", longest.len())
}

/// The first accepted request of each event; panics when one was repeated, or came before an earlier one of its key.
fn accepted(agent: &HttpAgent, name: &str) -> BTreeMap<usize, Instant> {
    let mut first = BTreeMap::new();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for request in agent.requests().into_iter().filter(Received::accepted) {
        let number = number(&request.event_id);
        assert!(first.insert(number, request.at).is_none(), "{name} accepted event {number} twice");
        if let Some(before) = last.insert(number % KEYS, number) {
            assert!(before < number, "{name} accepted event {before} before {number}");
        }
    }
    first
}

fn megabytes(bridge: &mut Bridge) -> u64 {
    bridge.rss_bytes() >> 20
}

fn start(topic: &str, steady: &HttpAgent, down: &HttpAgent) -> Bridge {
    let routing = format!(
        "agents:
  steady: {{http: {{url: '{}/events'}}}}
  down: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: both, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [steady, down]}}
",
        steady.url(),
        down.url()
    );
    BridgeSetup::new(kafka(), topic).routing(&routing).start()
}

/// Takes the agent down for a while. Returns when it went down, when it came back, and the end of the calm after that.
fn take_down(down: &HttpAgent, bridge: &mut Bridge, lasts: Duration) -> [Instant; 3] {
    thread::sleep(CALM);
    println!("before: {} MiB resident", megabytes(bridge));
    let began = Instant::now();
    down.reply(Reply::Status(503));
    while began.elapsed() < lasts {
        thread::sleep(lasts / 5);
        let parked = bridge.metric("parked_deliveries", &[("agent", "down")]);
        println!("down: {parked} parked, {} MiB resident", megabytes(bridge));
    }
    let ended = Instant::now();
    down.reply(Reply::Status(200));
    thread::sleep(CALM);
    [began, ended, Instant::now()]
}

#[test]
fn one_of_two_agents_is_down_for_as_long_as_asked() {
    let asked = std::env::var("PARKING_MINUTES").ok().filter(|asked| !asked.is_empty());
    let minutes: f64 = asked.map_or(1.0, |minutes| minutes.parse().expect("MINUTES is a number"));
    let (topic, prefix) = (kafka().topic("parking-figures", PARTITIONS), unique("parking"));
    let (steady, down) = (HttpAgent::start(), HttpAgent::start());
    steady.keep_bodies(false);
    down.keep_bodies(false);
    let mut bridge = start(&topic, &steady, &down);
    bridge.wait_ready(Duration::from_secs(60));
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let ([began, ended, calm], published) = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&topic, &prefix, &stop));
        let moments = take_down(&down, &mut bridge, Duration::from_secs_f64(minutes * 60.0));
        stop.store(true, SeqCst);
        (moments, publisher.join().expect("events can be published"))
    });
    let deadline = Duration::from_secs_f64(60.0 + minutes * 120.0);
    down.wait_accepted(published.len(), deadline);
    println!("everything was delivered {:.1} s after the agent worked again", ended.elapsed().as_secs_f64());
    kafka().wait_committed(bridge.group(), &topic, deadline);
    println!("afterwards: {} MiB resident", megabytes(&mut bridge));
    bridge.stop();
    let (steady, down) = (accepted(&steady, "the steady agent"), accepted(&down, "the agent that was down"));
    assert_eq!((steady.len(), down.len()), (published.len(), published.len()), "nothing is lost");
    let phases =
        [("before", start, began), ("while the other is down", began, ended), ("while it catches up", ended, calm)];
    for (name, from, to) in phases {
        println!("the steady agent {name}: {}", latency(&published, &steady, (from, to)));
        println!("  {}", slow_seconds(&published, &steady, (from, to)));
    }
}
