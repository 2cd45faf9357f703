//! After the faults: waits until everything has come to rest, and gathers the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    follower::{Gaps, Seen},
    history::{AUDIT, DeadLetter, History, LedgerEntry, Offsets, Parking, Published, Request, Run, was_left},
    lanes::{check_replicas, delete_ledger},
    oracle,
    schedule::REPLICAS,
    world::World,
};
use crate::kit::{
    Flavor,
    bridge::{Metrics, field},
    http,
};

/// How long the backlog of the faults may take.
const DRAIN: Duration = Duration::from_secs(240);
/// How long what the network holds for the LangGraph server, and its runs, may take.
const IDLE: Duration = Duration::from_secs(240);
/// How long a replica may take to say that it is ready, once everything is.
const READY: Duration = Duration::from_secs(120);
/// How long the replicas may take to write what they know into a ledger topic that was deleted.
const REFILL: Duration = Duration::from_secs(180);

/// Waits until everything is committed, deletes the ledger topic once more if so asked, and says what happened.
pub fn collect(world: &World, (published, unacknowledged): (Vec<Published>, usize), delete: bool) -> History {
    let mut unwell = Vec::new();
    let healed = Instant::now();
    let is_drained = || {
        check_replicas(world);
        world.kafka().lag(&world.group, &world.topic) == 0 && parked(world) == Ok(0.0) && have_all(world, &published)
    };
    let drained = wait(DRAIN, is_drained);
    println!(
        "{}drained {:.1} s after the last fault",
        if drained { "" } else { "NOT " },
        healed.elapsed().as_secs_f64()
    );
    unwell.extend((0..REPLICAS).filter_map(|replica| how_unwell(world, replica)));
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
    let deleted_at_rest = (delete && unwell.is_empty() && is_drained()).then(|| delete_at_rest(world)).flatten();
    if deleted_at_rest.is_some() {
        unwell.extend((0..REPLICAS).filter_map(|replica| how_unwell(world, replica)));
    }
    let parked_topic = format!("{}-parked-{}", world.group, world.topic);
    let mut ended = History { published, parkings: Logs::read(world).parkings, ..History::default() };
    // The position of a parked topic is committed a moment after its last delivery.
    wait(READY, || {
        ended.parked = offsets(world, &parked_topic);
        oracle::parked_in_the_end(&ended).is_empty()
    });
    for (number, replica) in world.replicas.iter().enumerate().take(REPLICAS) {
        if let Err(how) = replica.terminate() {
            world.note_exit(number, how);
        }
    }
    let (ledger, ledger_gaps) = ledger(world).unzip();
    let logs = Logs::read(world);
    History {
        published: ended.published,
        unacknowledged,
        requests: requests(world),
        failed_attempts: logs.failed_attempts,
        moves: logs.moves,
        parkings: logs.parkings,
        runs: runs(world),
        executions: executions(world),
        dead_letters: dead_letters(world),
        ledger,
        ledger_gaps: ledger_gaps.unwrap_or_default(),
        losses: world.losses.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        deleted_at_rest,
        source: offsets(world, &world.topic),
        parked: offsets(world, &parked_topic),
        faults: world.intervals.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        exits: world.exits.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        unwell,
    }
}

fn offsets(world: &World, topic: &str) -> Offsets {
    let ends: BTreeMap<i32, i64> =
        world.kafka().watermarks(topic).into_iter().map(|(partition, (_, high))| (partition, high)).collect();
    let committed = if ends.is_empty() { BTreeMap::new() } else { world.kafka().committed(&world.group, topic) };
    Offsets { committed, ends }
}

/// Deletes the ledger topic while nothing else happens, and waits until the replicas have written into the next one what
/// was in it, which the oracle judges. The number of the log that was deleted.
fn delete_at_rest(world: &World) -> Option<usize> {
    let deleted = delete_ledger(world)?;
    let losses = world.losses.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // What was seen before it was deleted.
    let seen = entries(world.follower.seen());
    let before = known(&seen, |entry| was_left(&losses, entry, deleted));
    let refilled = wait(REFILL, || {
        // The replicas have yet to create it.
        let Some((entries, _)) = ledger(world) else { return false };
        before.is_subset(&known(&entries, |entry| entry.log > deleted))
    });
    println!("the ledger topic was deleted once more, and {}refilled", if refilled { "" } else { "NOT " });
    Some(deleted)
}

/// The deliveries that these entries have as made.
fn known(entries: &[LedgerEntry], is_in: impl Fn(&LedgerEntry) -> bool) -> BTreeSet<(String, (String, String))> {
    let entries = entries.iter().filter(|entry| is_in(entry));
    entries.flat_map(|entry| entry.delivered.iter().map(|of| (entry.id.clone(), of.clone()))).collect()
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
    let accepted = world.agent.accepted_by_event();
    // A server that was killed may have lost the execution of a run that it keeps.
    let ran: BTreeSet<String> = match world.server {
        Flavor::Aegra => world.langgraph().runs().into_iter().filter(|(_, runs)| *runs > 0).map(|(id, _)| id).collect(),
        _ => executions(world).into_keys().collect(),
    };
    let has = |id: &str, agent: &str| if agent == AUDIT { accepted.contains_key(id) } else { ran.contains(id) };
    published.iter().all(|record| record.kind.deliveries().iter().all(|(_, agent)| has(&record.id, agent)))
}

/// Whether no run is under way. The threads of runs that were lost with an aegra that was killed stay busy.
fn is_idle(world: &World) -> bool {
    let search = serde_json::json!({"status": "busy", "limit": 1});
    world.server == Flavor::Aegra
        || matches!(http::post(&format!("{}/threads/search", world.langgraph().url()), &search), Ok((200, body)) if body.trim() == "[]")
}

/// When the run began, in ms since 1970.
fn began_ms(world: &World) -> i64 {
    jiff::Timestamp::now().as_millisecond().saturating_sub(i64::try_from(world.now()).unwrap_or(i64::MAX))
}

/// In ms since the run began; 0 when that was before.
fn since_began(began_ms: i64, at_ms: i64) -> u64 {
    u64::try_from(at_ms.saturating_sub(began_ms)).unwrap_or_default()
}

fn requests(world: &World) -> Vec<Request> {
    let began_ms = began_ms(world);
    let requests = world.agent.requests().into_iter();
    requests
        .map(|request| {
            let at = u64::try_from(request.at.saturating_duration_since(world.began).as_millis()).unwrap_or(u64::MAX);
            let second: Option<i64> = request.header("webhook-timestamp").and_then(|second| second.parse().ok());
            Request {
                at,
                sent: second.map_or(at, |second| since_began(began_ms, second.saturating_mul(1_000)).min(at)),
                replica: request.header("x-replica").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX),
                key: request.key.clone().unwrap_or_default(),
                answered: request.answered,
                id: request.event_id,
            }
        })
        .collect()
}

/// What the replicas' logs say.
#[derive(Default)]
struct Logs {
    failed_attempts: BTreeMap<(usize, String), Vec<u64>>,
    moves: Vec<(usize, u64)>,
    parkings: Vec<Parking>,
}

impl Logs {
    fn read(world: &World) -> Self {
        let began_ms = began_ms(world);
        let at = |line: &Value| {
            let at: jiff::Timestamp = field(line, "timestamp")?.parse().ok()?;
            Some(since_began(began_ms, at.as_millisecond()))
        };
        let mut logs = Self::default();
        for (number, replica) in world.replicas.iter().enumerate() {
            let bridge = replica.bridge();
            for line in bridge.logged("attempt failed: retrying") {
                if let (Some(AUDIT), Some(id), Some(at)) = (field(&line, "agent"), field(&line, "event_id"), at(&line))
                {
                    logs.failed_attempts.entry((number, id.to_owned())).or_default().push(at);
                }
            }
            for wanted in MOVES {
                logs.moves.extend(bridge.logged(wanted).iter().filter_map(|line| Some((number, at(line)?))));
            }
            for line in bridge.logged("delivery parked") {
                logs.parkings.extend(parking(&line, at(&line)));
            }
        }
        logs
    }
}

fn parking(line: &Value, at: Option<u64>) -> Option<Parking> {
    let text = |name: &str| field(line, name).map(str::to_owned);
    let offset = line.get("parked_offset")?.as_i64()?;
    Some(Parking { at: at?, id: text("event_id")?, agent: text("agent")?, offset })
}

/// What a replica logs when it gets or gives up partitions.
const MOVES: [&str; 3] = [
    "partitions assigned",
    "partitions revoked",
    "assignment lost: nothing is committed, other members have the partitions by now",
];

fn runs(world: &World) -> Vec<Run> {
    let began_ms = began_ms(world);
    let mut runs = Vec::new();
    for (claim, listed) in world.langgraph().runs_by_claim() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for run in listed {
            let created: jiff::Timestamp =
                run["created_at"].as_str().and_then(|at| at.parse().ok()).expect("a run has a time of creation");
            runs.push(Run {
                id: text(&claim["event_id"]),
                rule: text(&claim["rule"]),
                agent: text(&claim["agent"]),
                run: text(&run["run_id"]),
                at: since_began(began_ms, created.as_millisecond()),
                created_us: created.as_microsecond(),
            });
        }
    }
    runs
}

fn executions(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut executions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in world.langgraph().executed() {
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

/// The ledger topic's records, and what of it was not seen; `None` when there is no such topic.
fn ledger(world: &World) -> Option<(Vec<LedgerEntry>, Gaps)> {
    let (seen, gaps) = world.follower.read_to_the_end()?;
    Some((entries(seen), gaps))
}

fn entries(seen: Vec<Seen>) -> Vec<LedgerEntry> {
    let entries = seen.into_iter().filter_map(|seen| {
        let deliveries = workflow_bridge::testing::ledger_entry(&seen.value)?;
        let delivered = deliveries.into_iter().filter(|(_, _, status)| *status == "delivered");
        Some(LedgerEntry {
            id: String::from_utf8_lossy(&seen.key).into_owned(),
            log: seen.log,
            partition: seen.partition,
            offset: seen.offset,
            seen: seen.at,
            delivered: delivered.map(|(rule, agent, _)| (rule, agent)).collect(),
        })
    });
    entries.collect()
}
