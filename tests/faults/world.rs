//! Everything that runs: the cluster, the agents, the networks before them, and the replicas.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    follower::Follower,
    history::{ANALYST, AUDIT, Exit, Interval, Loss},
    replica::Replica,
    schedule::{JOINER, REPLICAS, SESSION},
    since,
};
use crate::kit::{
    BridgeSetup, Cluster, FaultPlan, FaultProxy, Flavor, HttpAgent, Kafka, LangGraph, Link, Reply, TcpLink, unique,
};

/// The partitions that the topic begins with.
pub const PARTITIONS: i32 = 6;
/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the network holds a run request that it holds.
pub const HOLD: Duration = Duration::from_secs(5);
/// The agent's `max_request_lifetime`: nothing that a proxy here holds outlives it.
const MAX_REQUEST_LIFETIME: Duration = Duration::from_secs(15);

/// How the HTTP agent answers now, in percent of the requests.
#[derive(Default)]
pub struct AgentFaults {
    /// It accepts and answers 503.
    pub fails: AtomicU8,
    /// It accepts and closes the connection.
    pub loses: AtomicU8,
}

/// What runs, and what is noted while it does.
pub struct World {
    /// When the run began.
    pub began: Instant,
    /// The brokers.
    pub cluster: Cluster,
    /// The source topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// The HTTP agent.
    pub agent: HttpAgent,
    /// How it answers.
    pub agent_faults: Arc<AgentFaults>,
    /// The LangGraph server.
    langgraph: Mutex<LangGraph>,
    /// Which it is.
    pub server: Flavor,
    /// The network before it.
    pub proxy: FaultProxy,
    /// The replicas, the last of which comes and goes.
    pub replicas: Vec<Replica>,
    /// The networks between each replica and the two agents.
    agent_links: Vec<[TcpLink; 2]>,
    /// The reader of the ledger topic.
    pub follower: Follower,
    /// The faults as they were.
    pub intervals: Mutex<Vec<Interval>>,
    /// Exits that nobody had asked for.
    pub exits: Mutex<Vec<Exit>>,
    /// What the ledger topic lost.
    pub losses: Mutex<Vec<Loss>>,
}

impl World {
    /// Starts everything, and the replicas that are there from the start.
    pub fn start(seed: u64, server: Flavor) -> Self {
        let cluster = Cluster::start(REPLICAS + 1);
        let topic = cluster.kafka().topic("faults", PARTITIONS);
        let group = unique("faults");
        let agent = HttpAgent::start();
        agent.keep_bodies(false);
        agent.require_key(Some(&key(0)));
        let agent_faults = Arc::new(AgentFaults::default());
        answer(&agent, Arc::clone(&agent_faults), seed);
        let langgraph = LangGraph::start_that_executes_again(server);
        let proxy = FaultProxy::start(&langgraph.url(), FaultPlan::default(), seed);
        let agent_links: Vec<_> =
            (0..=JOINER).map(|_| [TcpLink::start(agent.address()), TcpLink::start(proxy.address())]).collect();
        let replicas = agent_links.iter().enumerate().map(|(replica, [audit, analyst])| {
            let bridge = BridgeSetup::new(&cluster.kafka_of(replica), &topic)
                .group(&group)
                .config(&config())
                .routing(&routing(replica, audit.address(), analyst.address()))
                .prepare();
            write_key(bridge.folder(), 0);
            Replica::new(bridge)
        });
        let replicas: Vec<Replica> = replicas.collect();
        for replica in &replicas[..REPLICAS] {
            replica.launch();
        }
        let began = Instant::now();
        let follower = Follower::start(cluster.kafka(), ledger_topic(&group), began);
        Self {
            began,
            cluster,
            topic,
            group,
            agent,
            agent_faults,
            langgraph: Mutex::new(langgraph),
            server,
            proxy,
            replicas,
            agent_links,
            follower,
            intervals: Mutex::default(),
            exits: Mutex::default(),
            losses: Mutex::default(),
        }
    }

    /// The cluster without faults of the network.
    pub fn kafka(&self) -> &Kafka {
        self.cluster.kafka()
    }

    /// The LangGraph server.
    pub fn langgraph(&self) -> MutexGuard<'_, LangGraph> {
        self.langgraph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the run began.
    pub fn now(&self) -> u64 {
        since(self.began)
    }

    /// The ledger topic's name.
    pub fn ledger_topic(&self) -> String {
        ledger_topic(&self.group)
    }

    /// The network between a replica and both agents.
    pub fn set_agent_links(&self, replica: usize, to: Link) {
        for link in &self.agent_links[replica] {
            link.set(to);
        }
    }

    /// Notes an exit that nobody had asked for.
    pub fn note_exit(&self, replica: usize, (code, how): (Option<i32>, String)) {
        let exit = Exit { replica, at: self.now(), code, how };
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).push(exit);
    }
}

fn ledger_topic(group: &str) -> String {
    format!("{group}-ledger")
}

/// The `number`th key of the HTTP agent.
pub fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Gives the replica of this folder the `number`th key; at no moment is there none.
pub fn write_key(folder: &Path, number: usize) {
    let next = folder.join("key.next");
    fs::write(&next, key(number)).expect("the scratch folder can be written");
    fs::rename(&next, folder.join("key.txt")).expect("the scratch folder can be written");
}

fn answer(agent: &HttpAgent, faults: Arc<AgentFaults>, seed: u64) {
    let random = Mutex::new(StdRng::seed_from_u64(seed));
    agent.behave(move |_| {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_millis(random.random_range(5..25));
        let percent = random.random_range(0..100);
        let (fails, loses) = (faults.fails.load(SeqCst), faults.loses.load(SeqCst));
        let reply = if percent < fails {
            Reply::Status(503)
        } else if percent < fails.saturating_add(loses) {
            Reply::Close
        } else {
            Reply::Status(200)
        };
        Reply::After(wait, Box::new(reply))
    });
}

fn config() -> String {
    format!(
        "kafka:
  properties:
    session.timeout.ms: '{}'
    heartbeat.interval.ms: '1000'
    topic.metadata.refresh.interval.ms: '3000'
    reconnect.backoff.max.ms: '1000'
drain_timeout: 3s
park_after: 2s
",
        SESSION.as_millis()
    )
}

fn routing(replica: usize, audit: SocketAddr, analyst: SocketAddr) -> String {
    let timeout = TIMEOUT.as_millis();
    format!(
        "agents:
  {AUDIT}:
    http:
      url: 'http://{audit}/events'
      # Each replica has its own way to the agents.
      server: {AUDIT}
      auth: {{bearer: {{file: key.txt}}}}
      # Signed, because a signature says when a request was sent.
      sign: {{secret: {{file: key.txt}}}}
      headers: {{x-replica: '{replica}'}}
    concurrency: 8
    timeout: {timeout}ms
    retry: {{initial: 100ms, max: 1s}}
  {ANALYST}:
    langgraph: {{url: 'http://{analyst}', server: {ANALYST}, assistant: analyst, max_request_lifetime: {}ms}}
    concurrency: 8
    timeout: {timeout}ms
    retry: {{initial: 100ms, max: 1s}}
rules:
  - {{name: check, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{AUDIT}]}}
  - {{name: analyse, when: {{event_type: [WORKFLOW_FAILED]}}, to: [{ANALYST}]}}
  - {{name: both, when: {{event_type: [WORKFLOW_TRIGGERED]}}, to: [{AUDIT}, {ANALYST}]}}
",
        MAX_REQUEST_LIFETIME.as_millis()
    )
}
