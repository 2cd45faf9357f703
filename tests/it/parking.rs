//! Parking: one agent that is down delays nobody, and gets everything in order once it works again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::kit::{Bridge, BridgeSetup, HttpAgent, Kafka, Reply, TestEvent, event, kafka, poll, unique, when};

const SOON: Duration = Duration::from_secs(180);
/// Far fewer than the events of each test.
const MAX_EVENTS: usize = 60;
const KEYS: usize = 7;

/// One topic, one event to two agents.
struct Parked {
    topic: String,
    group: String,
    down: HttpAgent,
    steady: HttpAgent,
}

impl Parked {
    fn new(prefix: &str, partitions: i32) -> Self {
        let (topic, group) = (kafka().topic(prefix, partitions), unique("parking"));
        let (down, steady) = (HttpAgent::start(), HttpAgent::start());
        down.reply(Reply::Status(503));
        Self { topic, group, down, steady }
    }

    /// The time-outs are longer than a machine stands still: no request is repeated because its answer was late.
    fn rules(&self, more: &str) -> String {
        format!(
            "agents:
  down: {{http: {{url: '{}/events'}}, timeout: 60s, retry: {{initial: 50ms, max: 300ms{more}}}}}
  steady: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: both, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [down, steady]}}
",
            self.down.url(),
            self.steady.url()
        )
    }

    fn setup(&self, more: &str) -> BridgeSetup {
        BridgeSetup::new(kafka(), &self.topic).group(&self.group).config(&config("30s")).routing(&self.rules(more))
    }

    fn parked_topic(&self) -> String {
        format!("{}-parked-{}", self.group, self.topic)
    }

    #[track_caller]
    fn wait_committed(&self) {
        kafka().wait_committed(&self.group, &self.topic, SOON);
    }

    /// Everything has its end: both topics are committed to their ends, and each agent got each event once, in order.
    #[track_caller]
    fn assert_drained(&self, ids: &BTreeSet<String>) {
        wait_accepted(&self.down, ids);
        kafka().wait_committed(&self.group, &self.parked_topic(), SOON);
        self.wait_committed();
        for agent in [&self.down, &self.steady] {
            let accepted = agent.accepted_by_event();
            assert_eq!(accepted.keys().cloned().collect::<BTreeSet<_>>(), *ids);
            let repeated: Vec<_> = accepted.iter().filter(|(_, count)| **count > 1).collect();
            assert!(repeated.is_empty(), "{repeated:?}");
            assert_in_order(agent);
        }
    }
}

/// A drain of more than 8 s makes the session longer: 30 s keep the membership, and what is under way at a revocation, when the
/// machine stands still for some seconds.
fn config(drain_timeout: &str) -> String {
    format!("drain_timeout: {drain_timeout}\npark_after: 1s\nkafka: {{budget: {{max_events: {MAX_EVENTS}}}}}\n")
}

#[track_caller]
fn wait_accepted(agent: &HttpAgent, ids: &BTreeSet<String>) {
    poll(SOON, "the agent has accepted everything", || {
        let accepted = agent.accepted_by_event();
        let missing: Vec<_> = ids.iter().filter(|id| !accepted.contains_key(*id)).collect();
        when(missing.is_empty(), format!("{} missing, the first is {:?}", missing.len(), missing.first()))
    });
}

/// Events over some keys, with ids that sort in the order of publishing.
fn publish(kafka: &Kafka, topic: &str, prefix: &str, count: usize) -> BTreeSet<String> {
    let events: Vec<_> =
        (0..count).map(|n| event(&format!("{prefix}-{n:06}")).run(&format!("run-{}", n % KEYS))).collect();
    kafka.produce_all(topic, events.iter().map(TestEvent::record));
    events.iter().map(|event| event.id().to_owned()).collect()
}

#[track_caller]
fn assert_in_order(agent: &HttpAgent) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for request in agent.accepted() {
        let run = request.json()["workflow_run_id"].as_str().unwrap_or_default().to_owned();
        if let Some(before) = last.insert(run.clone(), request.event_id.clone()) {
            assert!(before < request.event_id, "run {run}: {before} was accepted before {}", request.event_id);
        }
    }
}

fn parked(bridge: &Bridge) -> f64 {
    bridge.metric("parked_deliveries", &[("agent", "down")])
}

#[track_caller]
fn wait_parked(bridge: &Bridge, count: usize) {
    poll(SOON, &format!("{count} deliveries are parked"), || {
        let now = parked(bridge);
        when(now >= count as f64, now)
    });
}

#[track_caller]
fn wait_live(bridge: &Bridge) {
    poll(SOON, "the agent is no longer parked", || {
        let status = bridge.status();
        let agents = status["agents"].as_array().cloned().unwrap_or_default();
        let down = agents.into_iter().find(|agent| agent["agent"] == "down").unwrap_or_default();
        when(down["parked"] == false && down["parked_deliveries"] == 0, down)
    });
}

fn in_flight(bridge: &Bridge) -> u64 {
    bridge.status()["consumer"]["in_flight_events"].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn an_agent_that_is_down_delays_nobody_and_gets_everything_in_order_afterwards() {
    let test = Parked::new("parked", 3);
    let mut bridge = test.setup("").start();
    let mut ids = publish(kafka(), &test.topic, &unique("a"), 600);
    wait_accepted(&test.steady, &ids);
    test.wait_committed();
    let (memory, flying) = (bridge.rss_bytes(), in_flight(&bridge));
    ids.extend(publish(kafka(), &test.topic, &unique("b"), 3_000));
    wait_accepted(&test.steady, &ids);
    test.wait_committed();
    wait_parked(&bridge, 3_500);
    assert!(in_flight(&bridge) <= MAX_EVENTS as u64, "{} before, {} now", flying, in_flight(&bridge));
    let grown = bridge.rss_bytes().saturating_sub(memory);
    println!("3,600 parked: {grown} bytes more than with 600, {} in flight", in_flight(&bridge));
    assert!(grown < 24 << 20, "{grown} bytes");
    // An event is counted a moment after its offset can be committed.
    poll(SOON, "the events count as parked", || {
        let parked = bridge.metric("events_total", &[("outcome", "parked")]);
        when(parked >= 3_500.0, parked)
    });
    assert!(bridge.metric("parked_oldest_seconds", &[("agent", "down")]) > 0.0);
    assert_eq!(bridge.metric("dead_letters_total", &[]), 0.0);

    // Newer ones are parked behind the old ones, or wait for the last of them.
    test.down.reply(Reply::Status(200));
    ids.extend(publish(kafka(), &test.topic, &unique("c"), 600));
    test.assert_drained(&ids);
    wait_live(&bridge);
    let directly = bridge.metric("parked_deliveries_total", &[("agent", "down"), ("outcome", "parked")]);
    ids.extend(publish(kafka(), &test.topic, &unique("d"), 100));
    test.assert_drained(&ids);
    assert_eq!(directly, bridge.metric("parked_deliveries_total", &[("agent", "down"), ("outcome", "parked")]));
    poll(SOON, "what was parked counts as delivered", || {
        let delivered = bridge.metric("parked_deliveries_total", &[("agent", "down"), ("outcome", "delivered")]);
        when(delivered == directly, delivered)
    });
    let ends = || bridge.logged("agent no longer parked in the partitions of this replica").len();
    poll(SOON, "the log says that it is no longer parked", || when(ends() > 0, bridge.log().tail(5)));
    // Once for each time that it was parked: again, if the machine stood still meanwhile. Not at each look.
    let ends = ends();
    assert!(ends <= 3, "{ends} lines");
    bridge.stop();
    assert!(kafka().read_all(&format!("{}.dlq", test.topic)).is_empty());
}

#[test]
fn what_is_parked_is_delivered_once_and_in_order_although_the_bridge_is_killed() {
    let test = Parked::new("parked-killed", 2);
    // The group waits for the end of the session after each kill.
    let mut bridge = test.setup("").config(&config("8s")).start();
    let mut ids = publish(kafka(), &test.topic, &unique("a"), 300);
    wait_parked(&bridge, 200);
    bridge.kill9();
    bridge.start_again();
    ids.extend(publish(kafka(), &test.topic, &unique("b"), 300));
    wait_accepted(&test.steady, &ids);
    test.wait_committed();
    wait_parked(&bridge, 550);
    bridge.stop();
    bridge.start_again();
    wait_parked(&bridge, 550);
    poll(SOON, "the log says what was found", || {
        let found = bridge.logged("parked deliveries found: they are delivered before newer ones of the same key");
        when(!found.is_empty(), bridge.log().tail(5))
    });

    // Slow, so that it is killed while it drains. What it had accepted but not recorded by then may come again.
    test.down.reply(Reply::ok_after(Duration::from_millis(20)));
    poll(SOON, "some were delivered", || {
        let accepted = test.down.accepted().len();
        when(accepted > 100, accepted)
    });
    bridge.kill9();
    let before = test.down.requests().len();
    bridge.start_again();
    wait_accepted(&test.down, &ids);
    kafka().wait_committed(&test.group, &test.parked_topic(), SOON);
    test.wait_committed();
    let repeated = test.down.accepted_by_event().values().filter(|count| **count > 1).count();
    assert!(repeated <= 16, "{repeated} repeated; at most those under way at the kill, of {before}");
    assert_eq!(test.steady.accepted_by_event().keys().cloned().collect::<BTreeSet<_>>(), ids);
    wait_live(&bridge);
    bridge.stop();
}

#[test]
fn what_is_parked_moves_with_its_partitions() {
    let test = Parked::new("parked-moves", 4);
    let mut first = test.setup("").start();
    let mut ids = publish(kafka(), &test.topic, &unique("a"), 400);
    wait_parked(&first, 350);
    let mut second = test.setup("").start();
    poll(SOON, "both have partitions", || {
        let owned = [&first, &second].map(|bridge| bridge.metric("partitions_assigned", &[]));
        when(owned == [2.0, 2.0], owned)
    });
    ids.extend(publish(kafka(), &test.topic, &unique("b"), 400));
    wait_accepted(&test.steady, &ids);
    test.wait_committed();
    test.down.reply(Reply::Status(200));
    poll(SOON, "some were delivered", || {
        let accepted = test.down.accepted().len();
        when(accepted > 100, accepted)
    });
    first.stop();
    test.assert_drained(&ids);
    wait_live(&second);
    second.stop();
}

#[test]
fn a_parked_delivery_is_given_up_and_one_whose_rule_is_gone_is_plan_gone() {
    const EACH: usize = 200;
    let test = Parked::new("parked-ends", 1);
    // Each batch has an end of its own, however long the machine takes for it.
    let mut bridge = test.setup(", give_up_after: 6s").start();
    let mut ids = publish(kafka(), &test.topic, &unique("a"), EACH);
    wait_accepted(&test.steady, &ids);
    test.wait_committed();
    poll(SOON, "they were given up", || {
        let given_up = bridge.metric("dead_letters_total", &[("reason", "gave_up")]);
        when(given_up >= EACH as f64, given_up)
    });
    kafka().wait_committed(&test.group, &test.parked_topic(), SOON);
    bridge.stop();
    bridge.write_routing("rules.yaml", &test.rules(", give_up_after: 1h"));
    bridge.start_again();
    ids.extend(publish(kafka(), &test.topic, &unique("b"), EACH));
    wait_accepted(&test.steady, &ids);
    // What is committed and not delivered is parked.
    test.wait_committed();
    bridge.stop();
    let other = test.rules("").replace("WORKFLOW_COMPLETED", "WORKFLOW_FAILED").replace("name: both", "name: other");
    bridge.write_routing("rules.yaml", &other);
    bridge.start_again();
    kafka().wait_committed(&test.group, &test.parked_topic(), SOON);
    bridge.stop();
    let letters = kafka().read_all(&format!("{}.dlq", test.topic));
    // By offsets, for dead letters are at least once.
    let mut reasons: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for letter in &letters {
        let offset = letter.header("dlq-offset").and_then(|offset| offset.parse().ok()).expect("an offset");
        reasons.entry(letter.header("dlq-reason").unwrap_or_default()).or_default().insert(offset);
        assert_eq!(letter.header("dlq-agent").as_deref(), Some("down"));
        assert_eq!(letter.header("dlq-topic").as_deref(), Some(test.topic.as_str()), "the source's coordinates");
        assert_eq!(letter.header("event_id").as_ref(), ids.iter().nth(offset), "the original headers");
        assert!(letter.header("parked-agent").is_none());
    }
    let ends = [("gave_up", 0..EACH), ("plan_gone", EACH..2 * EACH)];
    let ends = ends.map(|(reason, offsets)| (reason.to_owned(), offsets.collect::<BTreeSet<_>>()));
    assert_eq!(reasons, BTreeMap::from(ends), "each delivery has its end");
    assert!(test.down.accepted().is_empty());
}

#[test]
fn a_duplicate_of_a_parked_event_is_a_duplicate() {
    let test = Parked::new("parked-twice", 1);
    let mut bridge = test.setup("").start();
    let prefix = unique("a");
    let ids = publish(kafka(), &test.topic, &prefix, 30);
    test.wait_committed();
    wait_parked(&bridge, 20);
    publish(kafka(), &test.topic, &prefix, 30);
    test.wait_committed();
    poll(SOON, "they count as duplicates", || {
        let duplicates = bridge.metric("events_total", &[("outcome", "duplicate")]);
        when(duplicates >= 30.0, duplicates)
    });
    test.down.reply(Reply::Status(200));
    test.assert_drained(&ids);
    wait_live(&bridge);
    bridge.stop();
}

#[test]
fn with_parking_off_deliveries_wait_and_what_was_parked_before_is_delivered() {
    let test = Parked::new("parked-off", 1);
    let mut bridge = test.setup("").start();
    let mut ids = publish(kafka(), &test.topic, &unique("a"), 30);
    test.wait_committed();
    wait_parked(&bridge, 20);
    bridge.stop();
    bridge.set_env("BRIDGE_PARK_AFTER", "off");
    test.down.reply(Reply::Status(200));
    bridge.start_again();
    test.assert_drained(&ids);
    wait_live(&bridge);
    test.down.reply(Reply::Status(503));
    let more = publish(kafka(), &test.topic, &unique("b"), 10);
    poll(SOON, "the breaker is open for longer than park_after was", || {
        let (open, attempts) = (bridge.metric("breaker_open", &[("agent", "down")]), test.down.count());
        when(open > 0.5 && attempts > 60, (open, attempts))
    });
    assert_eq!(bridge.metric("parked_deliveries_total", &[("outcome", "parked")]), 0.0);
    test.down.reply(Reply::Status(200));
    ids.extend(more);
    test.assert_drained(&ids);
    bridge.stop();
}
