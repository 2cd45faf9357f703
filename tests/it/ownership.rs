//! Several replicas of one group: who delivers an event while partitions move between them.
//!
//! Each replica calls the agent at a path of its own, so a request shows who made it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, Received, Reply, TestEvent, bridge::LONG_SESSION, event, kafka, poll, unique, when,
};

const SOON: Duration = Duration::from_secs(180);

/// Replicas that read one topic, and the agent that they call.
struct Replicas {
    topic: String,
    group: String,
    partitions: i32,
    config: String,
    agent: HttpAgent,
    concurrency: usize,
}

impl Replicas {
    fn new(prefix: &str, partitions: i32, config: &str) -> Self {
        let (topic, group) = (kafka().topic(prefix, partitions), unique("owners"));
        kafka().create_topic(&format!("{group}-ledger"), partitions, &[]);
        Self { topic, group, partitions, config: config.to_owned(), agent: HttpAgent::start(), concurrency: 8 }
    }

    /// Starts a replica that calls the agent at `/<name>`.
    fn start(&self, name: &str) -> Bridge {
        let (url, concurrency) = (self.agent.url(), self.concurrency);
        BridgeSetup::new(kafka(), &self.topic)
            .group(&self.group)
            .config(&self.config)
            .routing(&format!(
                "agents:
  audit: {{http: {{url: '{url}/{name}'}}, concurrency: {concurrency}, timeout: 60s, retry: {{initial: 50ms, max: 500ms}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
            ))
            .start()
    }

    /// Publishes the same number of events to each partition, each with a key of its own; the ids.
    fn publish(&self, prefix: &str, each: usize) -> BTreeSet<String> {
        self.publish_keyed(prefix, each, |partition, n| format!("{partition}-{n}"))
    }

    fn publish_keyed(&self, prefix: &str, each: usize, key: impl Fn(i32, usize) -> String) -> BTreeSet<String> {
        let prefix = unique(prefix);
        let events: Vec<(i32, TestEvent)> = (0..self.partitions)
            .flat_map(|partition| (0..each).map(move |n| (partition, n)))
            .map(|(partition, n)| (partition, event(&format!("{prefix}-{partition}-{n:04}")).run(&key(partition, n))))
            .collect();
        kafka().produce_all(&self.topic, events.iter().map(|(partition, event)| event.record().partition(*partition)));
        events.iter().map(|(_, event)| event.id().to_owned()).collect()
    }

    /// The requests of one replica.
    fn sent_by(&self, name: &str) -> Vec<Received> {
        let path = format!("/{name}");
        self.agent.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// Its requests that are not answered yet, by the order in which they came.
    fn unanswered(&self, name: &str) -> BTreeSet<usize> {
        let sent = self.sent_by(name);
        sent.iter().filter(|request| request.answered.is_none()).map(|request| request.order).collect()
    }

    /// How many they are.
    fn under_way(&self, name: &str) -> usize {
        self.unanswered(name).len()
    }

    #[track_caller]
    fn wait_accepted(&self, ids: &BTreeSet<String>) {
        poll(SOON, "the agent has accepted them all", || {
            let accepted = self.agent.accepted_by_event();
            let missing: Vec<_> = ids.iter().filter(|id| !accepted.contains_key(*id)).collect();
            when(missing.is_empty(), format!("{} missing, the first is {:?}", missing.len(), missing.first()))
        });
    }

    #[track_caller]
    fn assert_once(&self, counts: &BTreeMap<String, usize>) {
        let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        let who = |id: &str| -> Vec<String> {
            let requests = self.agent.requests();
            requests.iter().filter(|request| request.event_id == id).map(|request| request.path.clone()).collect()
        };
        assert!(repeated.is_empty(), "{} repeated, the first by {:?}", repeated.len(), who(repeated[0].0));
    }

    #[track_caller]
    fn wait_committed(&self) {
        kafka().wait_committed(&self.group, &self.topic, SOON);
    }
}

/// The partitions that a replica owns.
fn owned(bridge: &Bridge) -> BTreeSet<i64> {
    let status = bridge.status();
    let assigned = status["consumer"]["assigned"].as_array().cloned().unwrap_or_default();
    assigned.iter().filter_map(|partition| partition["partition"].as_i64()).collect()
}

#[track_caller]
fn wait_owned(bridge: &Bridge, count: usize) -> BTreeSet<i64> {
    poll(SOON, "the replica has its share", || {
        let owned = owned(bridge);
        if owned.len() == count { Ok(owned) } else { Err(owned) }
    })
}

fn pending(bridge: &Bridge) -> f64 {
    bridge.metric("pending_deliveries", &[])
}

fn in_flight(bridge: &Bridge) -> u64 {
    bridge.status()["consumer"]["in_flight_events"].as_u64().unwrap_or(u64::MAX)
}

/// Longer than a machine stands still: partitions are lost when the test wants it. The group waits for its end once.
const SHORT_SESSION: &str = "drain_timeout: 4s
kafka: {properties: {session.timeout.ms: '15000', heartbeat.interval.ms: '1000'}}
";

/// Stops it while it waits for four answers and has more to do: nothing that it did is on its way to the ledger topic.
#[track_caller]
fn stop_while_four_are_under_way(replicas: &Replicas, first: &mut Bridge) {
    poll(SOON, "it is stopped while it waits for four answers, and has more to do", || {
        let waits = replicas.unanswered("first");
        let unacknowledged = first.status()["ledger"]["unacknowledged"].clone();
        let seen = (waits.len(), pending(first), unacknowledged);
        if seen.0 != 4 || seen.1 <= 8.0 || seen.2 != 0 {
            return Err(seen);
        }
        first.sigstop();
        if replicas.unanswered("first") == waits {
            return Ok(());
        }
        // They were answered before it was stopped, and may be about to be recorded: the next four will do.
        first.sigcont();
        Err(seen)
    });
}

#[test]
fn a_replica_that_was_stopped_for_longer_than_its_session_sends_nothing_of_what_it_lost() {
    let mut replicas = Replicas::new("frozen", 4, SHORT_SESSION);
    replicas.concurrency = 4;
    // Time enough to stop the first one while it waits for them.
    let answers_after = |path: &str| Duration::from_millis(if path == "/first" { 15_000 } else { 50 });
    replicas.agent.behave(move |request| Reply::ok_after(answers_after(&request.path)));
    let mut first = replicas.start("first");
    wait_owned(&first, 4);
    // Only the one that is stopped is to lose anything.
    LONG_SESSION.clone_into(&mut replicas.config);
    let mut second = replicas.start("second");
    wait_owned(&first, 2);
    wait_owned(&second, 2);
    let ids = replicas.publish("frozen", 10);
    stop_while_four_are_under_way(&replicas, &mut first);
    let accepted_by = |name: &str| -> BTreeSet<String> {
        replicas.sent_by(name).into_iter().filter(Received::accepted).map(|request| request.event_id).collect()
    };
    let before = accepted_by("first");
    // The group gives its partitions away, and the other one delivers everything, what was under way too: nothing is left
    // that the first might send as a member again.
    poll(SOON, "the second has delivered what the first had not", || {
        let delivered = accepted_by("second");
        let missing = ids.iter().filter(|id| !before.contains(*id) && !delivered.contains(*id)).count();
        when(missing == 0, missing)
    });
    replicas.agent.reply(Reply::Status(200));
    let sent = replicas.sent_by("first").len();
    first.sigcont();
    poll(SOON, "it finds out that it lost them", || {
        let said = first.logged("assignment lost: nothing is committed, other members have the partitions by now");
        when(!said.is_empty(), first.log().tail(5))
    });
    poll(SOON, "nothing is left of what waited", || {
        let seen = (pending(&first), in_flight(&first));
        when(seen == (0.0, 0), seen)
    });
    assert_eq!(replicas.sent_by("first").len(), sent, "it sent nothing");
    let repeats = replicas.agent.sent_by_event().values().filter(|count| **count > 1).count();
    println!("{} events, {repeats} of them sent twice: the first had 4 attempts under way", ids.len());
    assert!(repeats <= 4, "{repeats} events were sent twice");

    // It is a member again, and takes part: the other one has given up two partitions for it.
    wait_owned(&second, 2);
    wait_owned(&first, 2);
    let more = replicas.publish("thawed", 5);
    replicas.wait_accepted(&more);
    assert!(replicas.sent_by("first").len() > sent);
    replicas.wait_committed();
    poll(SOON, "the lease is valid", || {
        let valid = first.metric("lease_valid", &[]);
        when(valid == 1.0, valid)
    });
    first.stop();
    second.stop();
}

#[test]
fn a_replica_whose_group_does_not_answer_waits_in_plain_sight_and_goes_on_afterwards() {
    let mut broker = crate::kit::Broker::start();
    let (topic, group) = (broker.topic("silent", 1), unique("owners"));
    broker.create_topic(&format!("{group}-ledger"), 1, &[]);
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(100)));
    let mut bridge = BridgeSetup::new(&broker, &topic)
        .group(&group)
        // Longer than the lease by more than the broker is away: the membership is not lost.
        .config("kafka: {properties: {session.timeout.ms: 45000}}\n")
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, concurrency: 1, timeout: 60s}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start();
    bridge.wait_ready(SOON);
    broker.produce_all(&topic, (0..600).map(|n| event(&format!("{topic}-{n}")).record()));
    agent.wait_accepted(10, SOON);
    broker.freeze();
    let wanted = "waiting for the group's answer since ";
    // What was not logged as a wait is not logged as its end either.
    let message = "the group does not answer: deliveries wait until it confirms that the partitions are still ours";
    poll(SOON, "the deliveries wait, and /readyz and the log say why", || {
        let (_, body) = bridge.ask("/readyz");
        let is_logged = !bridge.logged(message).is_empty();
        when(body.contains(wanted) && bridge.metric("lease_valid", &[]) == 0.0 && is_logged, (body, is_logged))
    });
    // As long as a delivery takes, many times. The agent may read late what was sent before.
    let (mut sent, mut since) = (agent.count(), Instant::now());
    poll(SOON, "nothing is sent while the group does not answer", || {
        let now = agent.count();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
        when(since.elapsed() > Duration::from_secs(3), now)
    });
    assert!(sent < 600, "there is more to do");
    assert_eq!(bridge.metric("lease_valid", &[]), 0.0);
    broker.thaw();
    agent.reply(Reply::Status(200));
    agent.wait_accepted(600, SOON);
    assert!(agent.sent_by_event().values().all(|count| *count == 1), "nothing is repeated");
    poll(SOON, "the log says that they start again", || {
        let told = bridge.logged("the group has answered: deliveries start again").len();
        when(told >= 1, told)
    });
    bridge.stop();
}

#[test]
fn a_replica_that_starts_after_a_crash_says_what_the_group_waits_for_and_how_long_at_most() {
    // The process has to start, and then to wait for the rest of the session until it says so.
    let session = "drain_timeout: 4s
kafka: {properties: {session.timeout.ms: '45000', heartbeat.interval.ms: '1000'}}
";
    let replicas = Replicas::new("crashed", 2, session);
    let mut bridge = replicas.start("first");
    wait_owned(&bridge, 2);
    let message =
        "the group has not assigned partitions yet: it may wait for a former member that ended without leaving";
    bridge.kill9();
    // A first join may take long too.
    let earlier = bridge.logged(message).len();
    let killed = Instant::now();
    bridge.start_again();
    let wanted = "the group may wait for a former member that ended without leaving, at most 45 s (session.timeout.ms)";
    poll(SOON, "/readyz says why it is not ready", || {
        let (status, body) = bridge.ask("/readyz");
        when(status == 503 && body.contains(wanted), body)
    });
    bridge.wait_ready(SOON);
    println!("ready {:.1} s after the crash, with a session of 45 s", killed.elapsed().as_secs_f64());
    let (_, body) = bridge.ask("/readyz");
    assert!(!body.contains(wanted), "{body}");
    let said = || bridge.logged(message).len();
    poll(SOON, "the log says it too", || when(said() > earlier, bridge.log().tail(10)));
    assert_eq!(said(), earlier + 1, "{}", bridge.log().tail(10));
    replicas.wait_accepted(&replicas.publish("crashed", 3));
    bridge.stop();
}

/// Replicas join and leave while attempts are under way, and no event is sent twice.
fn no_event_is_sent_twice(config: &str) {
    // A session, and a bound of what is waited for at a revocation, that a machine that stands still does not reach.
    let replicas = Replicas::new("moving", 12, &format!("drain_timeout: 30s\n{config}"));
    // So slow that there is more to do when the third has joined, however long that takes.
    replicas.agent.reply(Reply::ok_after(Duration::from_secs(3)));
    let mut first = replicas.start("first");
    wait_owned(&first, 12);
    // One lane for each partition: what was delivered is what can be committed, without a gap.
    let ids = replicas.publish_keyed("moving", 100, |partition, _| partition.to_string());
    poll(SOON, "attempts are under way", || {
        let seen = replicas.under_way("first");
        when(seen == 8, seen)
    });
    let mut second = replicas.start("second");
    wait_owned(&second, 6);
    poll(SOON, "both deliver", || {
        let seen = (replicas.under_way("first"), replicas.under_way("second"));
        when(seen.0 > 0 && seen.1 > 0, seen)
    });
    let mut third = replicas.start("third");
    wait_owned(&third, 4);
    poll(SOON, "the third delivers", || {
        let seen = replicas.under_way("third");
        when(seen > 0, seen)
    });
    assert!(replicas.agent.accepted_by_event().len() < ids.len(), "there is more to do");
    replicas.agent.reply(Reply::ok_after(Duration::from_millis(40)));
    first.stop();
    replicas.wait_accepted(&ids);
    replicas.wait_committed();
    replicas.assert_once(&replicas.agent.sent_by_event());
    for (name, bridge) in [("second", &mut second), ("third", &mut third)] {
        println!("{name}: {} of {} requests", replicas.sent_by(name).len(), ids.len());
        bridge.stop();
    }
}

#[test]
fn replicas_that_join_and_stop_while_attempts_are_under_way_send_no_event_twice() {
    no_event_is_sent_twice("");
}

#[test]
fn the_same_with_the_next_protocol_of_consumer_groups() {
    no_event_is_sent_twice("kafka: {properties: {group.protocol: consumer}}\n");
}

#[test]
fn the_same_with_an_eager_assignment() {
    no_event_is_sent_twice("kafka: {properties: {partition.assignment.strategy: range}}\n");
}

#[test]
fn what_waits_for_an_agent_that_is_down_moves_with_its_partition_and_comes_back_with_it() {
    let replicas = Replicas::new("waiting", 4, &format!("park_after: off\n{LONG_SESSION}"));
    replicas.agent.reply(Reply::Status(503));
    let mut first = replicas.start("first");
    wait_owned(&first, 4);
    let ids = replicas.publish("waiting", 100);
    let all = |bridge: &Bridge| (pending(bridge), in_flight(bridge));
    let holds = |bridge: &Bridge, events: u32| {
        poll(SOON, "exactly its own deliveries wait", || {
            let seen = all(bridge);
            when(seen == (f64::from(events), u64::from(events)), seen)
        });
    };
    holds(&first, 400);
    let mut second = replicas.start("second");
    wait_owned(&second, 2);
    holds(&first, 200);
    holds(&second, 200);
    // The partitions come back, and move away again.
    second.stop();
    wait_owned(&first, 4);
    holds(&first, 400);
    second.start_again();
    wait_owned(&second, 2);
    holds(&first, 200);
    holds(&second, 200);
    first.stop();
    wait_owned(&second, 4);
    holds(&second, 400);
    replicas.agent.reply(Reply::Status(200));
    replicas.wait_accepted(&ids);
    replicas.wait_committed();
    replicas.assert_once(&replicas.agent.accepted_by_event());
    holds(&second, 0);
    second.stop();
}
