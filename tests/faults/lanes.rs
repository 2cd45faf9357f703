//! Does what the schedule says: a thread for each lane, beside the publisher, the reader of the ledger topic, and a
//! supervisor of the replicas.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    fault::{Fault, Lane},
    history::{Interval, Loss, Published},
    publisher,
    replica::{delete_data, flip_bits},
    schedule::{JOINER, Step},
    world::{HOLD, World, key, write_key},
};
use crate::kit::{FaultPlan, Link, broker::try_kafka_tool, cluster::BROKERS, process::Scratch};

/// Runs every lane to its end while events are published at this rate. What was published, and how many records were never
/// acknowledged.
pub fn run_all(world: &World, steps: &[Step], (seed, rate): (u64, u32)) -> (Vec<Published>, usize) {
    let mut lanes: BTreeMap<Lane, Vec<Step>> = BTreeMap::new();
    for step in steps {
        lanes.entry(step.lane).or_default().push(*step);
    }
    let stop = AtomicBool::new(false);
    let _stop = Raise(&stop);
    thread::scope(|scope| {
        let _stop = Raise(&stop);
        let publisher =
            scope.spawn(|| publisher::publish(world.kafka(), &world.topic, (seed, rate), world.began, &stop));
        scope.spawn(|| supervise(world, &stop));
        let lanes = lanes.values().map(|steps| scope.spawn(|| run_lane(world, steps)));
        for lane in lanes.collect::<Vec<_>>() {
            lane.join().expect("the faults of a lane can be made");
        }
        stop.store(true, SeqCst);
        publisher.join().expect("events can be published")
    })
}

/// Tells the other threads to end, also when this one panics.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Starts again what ended by itself, and notes it.
fn supervise(world: &World, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        check_replicas(world);
        thread::sleep(Duration::from_millis(100));
    }
}

/// One look at every replica.
pub fn check_replicas(world: &World) {
    for (number, replica) in world.replicas.iter().enumerate() {
        if let Some(ended) = replica.supervise() {
            println!("{:8.1} s  r{number} ended by itself: {}", seconds(world), ended.1);
            world.note_exit(number, ended);
        }
    }
}

fn seconds(world: &World) -> f64 {
    world.began.elapsed().as_secs_f64()
}

fn run_lane(world: &World, steps: &[Step]) {
    for step in steps {
        wait_until(world.began + step.at);
        let from = world.now();
        let healed = begin(world, step);
        wait_until(Instant::now() + step.lasts);
        healed();
        let interval = Interval { lane: step.lane, fault: step.fault, from, to: world.now() };
        world.intervals.lock().unwrap_or_else(PoisonError::into_inner).push(interval);
    }
}

/// The schedule is about time, so this waits on the clock.
fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

type Heal<'a> = Box<dyn FnOnce() + 'a>;

/// Makes the fault; the function returned heals it.
fn begin<'a>(world: &'a World, step: &Step) -> Heal<'a> {
    match step.lane {
        Lane::Replica(number) => begin_replica(world, number, step),
        Lane::Cluster => begin_cluster(world, step.fault),
        Lane::Network(number) => begin_network(world, number, step.fault),
        Lane::Http => begin_http(world, step.fault),
        Lane::LangGraph => begin_langgraph(world, step.fault),
    }
}

fn begin_replica<'a>(world: &'a World, number: usize, step: &Step) -> Heal<'a> {
    let replica = &world.replicas[number];
    let terminate = move || {
        if let Err(how) = replica.terminate() {
            world.note_exit(number, how);
        }
    };
    match step.fault {
        Fault::Kill => replica.kill(|_| {}),
        Fault::LoseData => replica.kill(delete_data),
        Fault::FlipBits => {
            let seed = u64::try_from(step.at.as_millis()).unwrap_or_default();
            replica.kill(|data| flip_bits(data, seed));
        }
        Fault::LoseUnacknowledged(broker) => {
            world.cluster.set_link(number, broker, Link::Refused);
            return Box::new(move || {
                replica.kill(delete_data);
                world.cluster.set_link(number, broker, Link::Open);
                replica.launch();
            });
        }
        Fault::Terminate | Fault::Leave => terminate(),
        Fault::Freeze => {
            replica.bridge().sigstop();
            return Box::new(|| replica.bridge().sigcont());
        }
        Fault::Join => {
            assert_eq!(number, JOINER, "only this one joins");
            delete_data(&replica.bridge().data_dir());
            replica.launch();
            return Box::new(terminate);
        }
        other => unreachable!("{other:?} is no fault of a replica's process"),
    }
    Box::new(|| replica.launch())
}

fn begin_cluster(world: &World, fault: Fault) -> Heal<'_> {
    match fault {
        Fault::KillBroker(broker) => world.cluster.kill(broker),
        Fault::StopBroker(broker) => world.cluster.stop(broker),
        Fault::MoveLeaders => move_leaders(world),
        Fault::AddPartition => {
            let partitions = world.kafka().watermarks(&world.topic).len();
            world.kafka().add_partitions(&world.topic, partitions + 1);
        }
        Fault::TruncateLedger(percent) => truncate_ledger(world, percent),
        Fault::DeleteLedger => {
            if delete_ledger(world).is_none() {
                println!("{:8.1} s  there was no ledger topic to delete yet", seconds(world));
            }
        }
        other => unreachable!("{other:?} is no fault of the cluster"),
    }
    Box::new(move || {
        if let Fault::KillBroker(broker) | Fault::StopBroker(broker) = fault {
            world.cluster.start_again(broker);
        }
    })
}

/// Gives every partition of the topic the next broker as its preferred leader, which the controller elects within 5 s.
fn move_leaders(world: &World) {
    static TURN: AtomicUsize = AtomicUsize::new(1);
    let turn = TURN.fetch_add(1, SeqCst);
    let partitions = world.kafka().watermarks(&world.topic).len();
    let moves = (0..partitions).map(|partition| {
        let replicas: Vec<usize> = (0..BROKERS).map(|n| (partition + turn + n) % BROKERS + 1).collect();
        serde_json::json!({"topic": world.topic, "partition": partition, "replicas": replicas})
    });
    let plan = serde_json::json!({"version": 1, "partitions": moves.collect::<Vec<_>>()});
    let folder = Scratch::new("leaders");
    let file = folder.join("plan.json");
    fs::write(&file, plan.to_string()).expect("the scratch folder can be written");
    let (servers, file) = (world.kafka().bootstrap(), file.display().to_string());
    let arguments = ["--bootstrap-server", servers, "--reassignment-json-file", &file, "--execute"];
    // The tool gives up on a slow machine; then this fault did not happen.
    if let Err(error) = try_kafka_tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &arguments) {
        println!("{:8.1} s  the leaders were not moved: {error}", seconds(world));
    }
}

/// Removes the oldest records of the ledger topic, if there is one.
fn truncate_ledger(world: &World, percent: u8) {
    let topic = world.ledger_topic();
    let log = world.follower.log();
    for (partition, (low, high)) in world.kafka().watermarks(&topic) {
        let before = low + (high - low) * i64::from(percent) / 100;
        if before > low {
            note_loss(world, Loss { at: world.now(), log, truncated: Some((partition, before)) });
            world.kafka().delete_records(&topic, partition, before);
        }
    }
}

/// Deletes the ledger topic, if there is one; the number of the log.
pub fn delete_ledger(world: &World) -> Option<usize> {
    let mut deleted = None;
    world.follower.over_deletion(|log| {
        note_loss(world, Loss { at: world.now(), log, truncated: None });
        deleted = world.kafka().delete_topic(&world.ledger_topic()).then_some(log);
    });
    deleted
}

fn note_loss(world: &World, loss: Loss) {
    world.losses.lock().unwrap_or_else(PoisonError::into_inner).push(loss);
}

fn begin_network(world: &World, replica: usize, fault: Fault) -> Heal<'_> {
    match fault {
        Fault::Brokers(link) => world.cluster.set_links(replica, link),
        Fault::OneBroker(broker, link) => world.cluster.set_link(replica, broker, link),
        Fault::Agents(link) => world.set_agent_links(replica, link),
        other => unreachable!("{other:?} is no fault of a network"),
    }
    Box::new(move || match fault {
        Fault::Agents(_) => world.set_agent_links(replica, Link::Open),
        _ => world.cluster.set_links(replica, Link::Open),
    })
}

fn begin_http(world: &World, fault: Fault) -> Heal<'_> {
    static KEYS: AtomicUsize = AtomicUsize::new(1);
    let faults = &world.agent_faults;
    match fault {
        Fault::AgentDown | Fault::Outage => {
            world.agent.close();
            Box::new(|| world.agent.open())
        }
        Fault::RotateKey => {
            let number = KEYS.fetch_add(1, SeqCst);
            world.agent.require_key(Some(&key(number)));
            Box::new(move || {
                for replica in &world.replicas {
                    write_key(replica.bridge().folder(), number);
                }
            })
        }
        Fault::FailAfterAccepting(percent) => {
            faults.fails.store(percent, SeqCst);
            Box::new(|| faults.fails.store(0, SeqCst))
        }
        Fault::LoseAnswers(percent) => {
            faults.loses.store(percent, SeqCst);
            Box::new(|| faults.loses.store(0, SeqCst))
        }
        other => unreachable!("{other:?} is no fault of the HTTP agent"),
    }
}

fn begin_langgraph(world: &World, fault: Fault) -> Heal<'_> {
    let share = |percent: u8| f64::from(percent) / 100.0;
    let plan = match fault {
        Fault::AgentDown | Fault::Outage => {
            world.proxy.close();
            return Box::new(|| world.proxy.open());
        }
        Fault::ExecuteAgain(percent) => {
            world.langgraph().execute_again(percent);
            return Box::new(|| world.langgraph().execute_again(0));
        }
        Fault::RestartServer => {
            world.langgraph().stop();
            return Box::new(|| world.langgraph().start_again());
        }
        Fault::KillServer => {
            world.langgraph().kill();
            return Box::new(|| world.langgraph().start_again());
        }
        Fault::FailAfterAccepting(percent) => FaultPlan { fail_responses: share(percent), ..FaultPlan::default() },
        Fault::LoseAnswers(percent) => FaultPlan { drop_responses: share(percent), ..FaultPlan::default() },
        Fault::HoldRuns(percent) => FaultPlan { hold_runs: share(percent), hold_for: HOLD, ..FaultPlan::default() },
        other => unreachable!("{other:?} is no fault of the LangGraph server"),
    };
    world.proxy.set_plan(plan);
    Box::new(|| world.proxy.set_plan(FaultPlan::default()))
}
