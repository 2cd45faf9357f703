//! Three real Kafka brokers as one cluster, and a network of its own for each client.
//!
//! A Kafka client goes where the brokers' metadata send it, so a network between one client and one broker needs a listener
//! of its own on that broker, which advertises the address of the link. The cluster itself, and the tests, use another
//! listener that no link touches.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    broker::{format_storage, launch, wait_started},
    free_port,
    kafka::Kafka,
    process::{Log, Process, Scratch},
    tcp::{Link, TcpLink},
};

/// How many brokers there are.
pub const BROKERS: usize = 3;

/// How long a broker may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// The settings of every broker beyond its addresses: one may be away, and is missed after 5 s.
const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "INTERNAL"),
    ("num.network.threads", "1"),
    ("num.io.threads", "4"),
    ("auto.create.topics.enable", "false"),
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("transaction.state.log.num.partitions", "2"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "2"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    // Leaders go to the preferred replicas within 5 s of a change.
    ("leader.imbalance.check.interval.seconds", "5"),
    ("leader.imbalance.per.broker.percentage", "0"),
    ("broker.heartbeat.interval.ms", "500"),
    // Three of them start at once, on a slow machine.
    ("initial.broker.registration.timeout.ms", "300000"),
    ("broker.session.timeout.ms", "5000"),
    // Twice the default: a busy machine is no reason to elect another controller.
    ("controller.quorum.fetch.timeout.ms", "4000"),
    ("controller.quorum.election.timeout.ms", "2000"),
    ("replica.lag.time.max.ms", "4000"),
];

struct Node {
    folder: Scratch,
    log: Arc<Log>,
    process: Mutex<Process>,
}

impl Node {
    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one broker listens, and what it tells its clients.
#[derive(Default)]
struct Addresses {
    listeners: Vec<String>,
    advertised: Vec<String>,
    protocols: Vec<String>,
}

impl Addresses {
    fn listen(&mut self, name: &str, port: u16, advertised: Option<u16>) {
        self.listeners.push(format!("{name}://127.0.0.1:{port}"));
        self.advertised.extend(advertised.map(|port| format!("{name}://127.0.0.1:{port}")));
        self.protocols.push(format!("{name}:PLAINTEXT"));
    }
}

/// The cluster.
pub struct Cluster {
    nodes: Vec<Node>,
    kafka: Kafka,
    /// By client, then broker.
    links: Vec<Vec<TcpLink>>,
}

impl Cluster {
    /// A cluster that is ready, with a network for each of so many clients.
    pub fn start(clients: usize) -> Self {
        let ports = || -> Vec<u16> { (0..BROKERS).map(|_| free_port()).collect() };
        let (internal, controllers) = (ports(), ports());
        let voters: Vec<String> =
            controllers.iter().enumerate().map(|(n, port)| format!("{}@127.0.0.1:{port}", n + 1)).collect();
        let mut links: Vec<Vec<TcpLink>> = (0..clients).map(|_| Vec::new()).collect();
        let mut nodes = Vec::new();
        for broker in 0..BROKERS {
            let mut addresses = Addresses::default();
            addresses.listen("INTERNAL", internal[broker], Some(internal[broker]));
            addresses.listen("CONTROLLER", controllers[broker], None);
            for (client, of_client) in links.iter_mut().enumerate() {
                let port = free_port();
                let link = TcpLink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                addresses.listen(&format!("CLIENT{client}"), port, Some(link.address().port()));
                of_client.push(link);
            }
            let folder = Scratch::new("kafka");
            let own = [
                ("node.id", (broker + 1).to_string()),
                ("controller.quorum.voters", voters.join(",")),
                ("listeners", addresses.listeners.join(",")),
                ("advertised.listeners", addresses.advertised.join(",")),
                ("listener.security.protocol.map", addresses.protocols.join(",")),
                ("log.dirs", folder.join("data").display().to_string()),
            ];
            let shared = SETTINGS.iter().map(|(key, value)| format!("{key}={value}"));
            let all: Vec<String> = shared.chain(own.iter().map(|(key, value)| format!("{key}={value}"))).collect();
            fs::write(folder.join("server.properties"), all.join("\n")).expect("the scratch folder can be written");
            nodes.push((folder, Arc::new(Log::default())));
        }
        thread::scope(|scope| {
            for (folder, log) in &nodes {
                scope.spawn(|| format_storage(folder, log));
            }
        });
        // All at once: the first is ready when it has a quorum.
        let launched = nodes.into_iter().map(|(folder, log)| {
            let process = Mutex::new(launch(&folder, Arc::clone(&log)));
            Node { folder, log, process }
        });
        let nodes: Vec<Node> = launched.collect();
        for node in &nodes {
            wait_started(&mut node.process(), 0);
        }
        let bootstrap: Vec<String> = internal.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self { nodes, kafka: Kafka::at(&bootstrap.join(",")), links }
    }

    /// The cluster as a client sees it that no link stands before.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// The cluster as this client sees it.
    pub fn kafka_of(&self, client: usize) -> Kafka {
        let addresses: Vec<String> = self.links[client].iter().map(|link| link.address().to_string()).collect();
        Kafka::at(&addresses.join(","))
    }

    /// The network between this client and all brokers.
    pub fn set_links(&self, client: usize, to: Link) {
        for link in &self.links[client] {
            link.set(to);
        }
    }

    /// The network between this client and one broker.
    pub fn set_link(&self, client: usize, broker: usize, to: Link) {
        self.links[client][broker].set(to);
    }

    /// SIGKILL of one broker.
    pub fn kill(&self, broker: usize) {
        self.nodes[broker].process().kill();
    }

    /// SIGTERM of one broker, and waits: its partitions have moved before it ends. One that cannot move them, as while there is
    /// no controller, is killed in the end, as an orchestrator would.
    pub fn stop(&self, broker: usize) {
        let mut process = self.nodes[broker].process();
        process.signal(Signal::TERM);
        let asked = Instant::now();
        while process.exit_status().is_none() {
            if asked.elapsed() > GRACE {
                process.kill();
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts it again on the same ports and data, and waits until it is ready.
    pub fn start_again(&self, broker: usize) {
        let node = &self.nodes[broker];
        let mut process = node.process();
        assert!(process.exit_status().is_some(), "the broker still runs");
        let seen = node.log.count();
        *process = launch(&node.folder, Arc::clone(&node.log));
        wait_started(&mut process, seen);
    }

    /// Whether each broker runs.
    pub fn all_run(&self) -> bool {
        self.nodes.iter().all(|node| node.process().exit_status().is_none())
    }

    /// What each broker wrote.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.nodes.iter().map(|node| &*node.log)
    }
}
