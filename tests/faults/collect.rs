//! After the faults: waits until everything has come to rest, and gathers the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use super::{
    history::{AUDIT, DeadLetter, History, LedgerEntry, Published, Request, Run},
    lanes::check_replicas,
    schedule::REPLICAS,
    world::World,
};
use crate::kit::{
    bridge::{Metrics, field},
    http,
};

/// How long the backlog of the faults may take.
const DRAIN: Duration = Duration::from_secs(240);
/// How long what the network holds for the LangGraph server, and its runs, may take.
const IDLE: Duration = Duration::from_secs(240);
/// How long a replica may take to say that it is ready, once everything is.
const READY: Duration = Duration::from_secs(120);

/// Waits until everything is committed, and says what happened.
pub fn collect(world: &World, published: Vec<Published>, unacknowledged: usize) -> History {
    let mut unwell = Vec::new();
    let healed = Instant::now();
    let drained = wait(DRAIN, || {
        check_replicas(world);
        world.kafka().lag(&world.group, &world.topic) == 0 && parked(world) == Ok(0.0) && have_all(world, &published)
    });
    println!(
        "{}drained {:.1} s after the last fault",
        if drained { "" } else { "NOT " },
        healed.elapsed().as_secs_f64()
    );
    for replica in 0..REPLICAS {
        unwell.extend(how_unwell(world, replica));
    }
    let mut still_parked = Ok(0.0);
    let is_none_parked = wait(READY, || {
        still_parked = parked(world);
        still_parked == Ok(0.0)
    });
    if !is_none_parked {
        unwell.push(format!("deliveries are still parked: {still_parked:?}"));
    }
    if !wait(IDLE, || world.proxy.faults().holding == 0 && is_idle(world)) {
        unwell.push("the LangGraph server is still busy".to_owned());
    }
    for (number, replica) in world.replicas.iter().enumerate().take(REPLICAS) {
        if let Err(how) = replica.terminate() {
            world.note_exit(number, how);
        }
    }
    let kafka = world.kafka();
    let (ledger, ledger_gaps) = ledger(world).unzip();
    let taken = |what: &std::sync::Mutex<Vec<_>>| what.lock().unwrap_or_else(PoisonError::into_inner).clone();
    History {
        published,
        unacknowledged,
        requests: requests(world),
        failed_attempts: failed_attempts(world),
        runs: runs(world),
        executions: executions(world),
        dead_letters: dead_letters(world),
        ledger,
        ledger_gaps: ledger_gaps.unwrap_or_default(),
        truncations: world.truncations.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        committed: kafka.committed(&world.group, &world.topic),
        ends: kafka.watermarks(&world.topic).into_iter().map(|(partition, (_, high))| (partition, high)).collect(),
        faults: world.intervals.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        exits: taken(&world.exits),
        unwell,
    }
}

/// Whether it came true in time.
fn wait(deadline: Duration, mut is: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < deadline {
        if is() {
            return true;
        }
        thread::sleep(Duration::from_millis(200));
    }
    false
}

/// What of a replica is not well although nothing is wrong any more.
fn how_unwell(world: &World, number: usize) -> Option<String> {
    let replica = &world.replicas[number];
    let mut seen = String::new();
    let well = wait(READY, || {
        check_replicas(world);
        let mut bridge = replica.bridge();
        if !bridge.listens() {
            "it has no admin address".clone_into(&mut seen);
            return false;
        }
        let ask = |path: &str| http::get(&format!("{}{path}", bridge.admin()));
        let (healthy, ready) = (ask("/healthz"), ask("/readyz"));
        let well = matches!(healthy, Ok((200, _))) && matches!(ready, Ok((200, _)));
        seen = format!("/healthz {healthy:?}, /readyz {ready:?}");
        well
    });
    (!well).then(|| format!("r{number} within {READY:?}: {seen}"))
}

/// How many deliveries are parked, as the replicas' metrics say.
fn parked(world: &World) -> Result<f64, String> {
    let mut parked = 0.0;
    for replica in &world.replicas[..REPLICAS] {
        let mut bridge = replica.bridge();
        if !bridge.listens() {
            return Err("a replica has no admin address".to_owned());
        }
        let admin = bridge.admin().to_owned();
        drop(bridge);
        let (_, text) = http::get(&format!("{admin}/metrics"))?;
        parked += Metrics::parse(&text).sum("parked_deliveries", &[]);
    }
    Ok(parked)
}

/// Whether the agents have every event: while a partition moves, no replica counts what is parked of it.
fn have_all(world: &World, published: &[Published]) -> bool {
    let (accepted, executed) = (world.agent.accepted_by_event(), executions(world));
    let has = |id: &str, agent: &str| match agent {
        AUDIT => accepted.contains_key(id),
        _ => executed.contains_key(id),
    };
    published.iter().all(|record| record.kind.deliveries().iter().all(|(_, agent)| has(&record.id, agent)))
}

fn is_idle(world: &World) -> bool {
    let search = serde_json::json!({"status": "busy", "limit": 1});
    matches!(http::post(&format!("{}/threads/search", world.langgraph.url()), &search), Ok((200, body)) if body.trim() == "[]")
}

fn requests(world: &World) -> Vec<Request> {
    let ago_ms = i64::try_from(world.now()).unwrap_or(i64::MAX);
    let began_ms = jiff::Timestamp::now().as_millisecond().saturating_sub(ago_ms);
    let requests = world.agent.requests().into_iter();
    requests
        .map(|request| {
            let at = u64::try_from(request.at.saturating_duration_since(world.began).as_millis()).unwrap_or(u64::MAX);
            let second: Option<i64> = request.header("webhook-timestamp").and_then(|second| second.parse().ok());
            let since_began = |second: i64| second.saturating_mul(1_000).saturating_sub(began_ms);
            Request {
                at,
                sent: second.map_or(at, |second| u64::try_from(since_began(second)).unwrap_or_default().min(at)),
                replica: request.header("x-replica").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX),
                key: request.key.clone().unwrap_or_default(),
                answered: request.answered,
                id: request.event_id,
            }
        })
        .collect()
}

fn failed_attempts(world: &World) -> BTreeSet<(usize, String)> {
    let mut failed = BTreeSet::new();
    for (number, replica) in world.replicas.iter().enumerate() {
        for line in replica.bridge().logged("attempt failed: retrying") {
            if field(&line, "agent") == Some(AUDIT) {
                failed.extend(field(&line, "event_id").map(|id| (number, id.to_owned())));
            }
        }
    }
    failed
}

fn runs(world: &World) -> Vec<Run> {
    let mut runs = Vec::new();
    for (claim, listed) in world.langgraph.runs_by_claim() {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        for run in listed {
            let created: jiff::Timestamp =
                run["created_at"].as_str().and_then(|at| at.parse().ok()).expect("a run has a time of creation");
            runs.push(Run {
                id: text(&claim["event_id"]),
                rule: text(&claim["rule"]),
                agent: text(&claim["agent"]),
                run: text(&run["run_id"]),
                created_us: created.as_microsecond(),
            });
        }
    }
    runs
}

fn executions(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut executions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in world.langgraph.executed() {
        let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
        executions.entry(text("event_id")).or_default().push(text("run_id"));
    }
    executions
}

fn dead_letters(world: &World) -> Vec<DeadLetter> {
    let letters = world.kafka().read_all(&format!("{}.dlq", world.topic)).into_iter();
    letters
        .map(|letter| {
            let number = |name: &str| letter.header(name).and_then(|text| text.parse().ok()).unwrap_or(-1);
            DeadLetter {
                reason: letter.header("dlq-reason").unwrap_or_default(),
                error: letter.header("dlq-error").unwrap_or_default(),
                partition: i32::try_from(number("dlq-partition")).unwrap_or(-1),
                offset: number("dlq-offset"),
            }
        })
        .collect()
}

/// The ledger topic's records and the partitions of which some were not seen, if there is one.
fn ledger(world: &World) -> Option<(Vec<LedgerEntry>, BTreeSet<i32>)> {
    let Some((seen, gaps)) = world.follower.read_to_the_end() else {
        println!("SKIPPED: what is about the ledger topic: there is no topic {}", world.ledger_topic());
        return None;
    };
    let entries = seen.into_iter().filter_map(|seen| {
        let deliveries = workflow_bridge::testing::ledger_entry(&seen.value)?;
        let delivered = deliveries.into_iter().filter(|(_, _, status)| *status == "delivered");
        Some(LedgerEntry {
            id: String::from_utf8_lossy(&seen.key).into_owned(),
            partition: seen.partition,
            offset: seen.offset,
            seen: seen.at,
            delivered: delivered.map(|(rule, agent, _)| (rule, agent)).collect(),
        })
    });
    Some((entries.collect(), gaps))
}
