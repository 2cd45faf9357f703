//! The black-box test kit: a real Kafka, a real LangGraph server, faulty networks and the bridge itself.
//!
//! Its invariant: nothing that it starts outlives the test process, however that ends. It knows the
//! bridge only from outside: the command line, the environment, HTTP, Kafka. Tests are plain
//! `#[test]` functions; what is asynchronous runs on the kit's own runtime.

pub mod agent;
pub mod bridge;
pub mod broker;
pub mod cluster;
pub mod commands;
pub mod embedded;
pub mod events;
pub mod http;
pub mod kafka;
pub mod langgraph;
pub mod once;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod stub;
pub mod tcp;
pub mod topic_id;

use std::{
    collections::HashSet,
    fmt::{Debug, Write as _},
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rand::RngExt;
use tokio::runtime::Runtime;

/// How long what is certain to happen may take on a slow machine: a process starts, a broker comes back, a leader moves.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub use self::{
    agent::{HttpAgent, Received, Reply},
    bridge::{Bridge, BridgeSetup},
    broker::{Broker, kafka},
    cluster::Cluster,
    events::{TestEvent, event},
    kafka::{Kafka, Record, Stored},
    langgraph::{Flavor, LangGraph},
    proxy::{FaultPlan, FaultProxy, Faults},
    tcp::{Link, TcpLink},
};

/// The runtime of the kit's servers and clients.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("kit")
            .enable_all()
            .build()
            .expect("a runtime can be built")
    })
}

/// Runs a future to its end. Not for use inside the runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The folder of what `make` prepared: `target/it` of the repository.
pub fn prepared(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/it").join(path)
}

/// A name that no other test, and no other run, uses.
pub fn unique(prefix: &str) -> String {
    let suffix: u64 = rand::rng().random();
    format!("{prefix}-{suffix:016x}")
}

/// A loopback port that nobody listens on and that no outgoing connection can take, so that a server
/// can be stopped and started again on it.
pub fn free_port() -> u16 {
    static GIVEN: OnceLock<Mutex<HashSet<u16>>> = OnceLock::new();
    let mut given = GIVEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        // Below 32768, where Linux starts to choose ports for outgoing connections.
        let port = rand::rng().random_range(15_000..32_000);
        // It does not listen: a child that is being started would keep the port until it has become its program.
        if !given.contains(&port) && tcp::reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between 15000 and 32000 in 1000 tries");
}

/// Asks again and again until the answer is `Ok`. `Err` says what was seen instead; when a question that was asked after the
/// deadline has no better answer, the panic tells everything that was seen, and when. (A machine that stands still past the
/// deadline has one more look.)
#[track_caller]
pub fn poll<T, S: Debug>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Result<T, S>) -> T {
    let start = Instant::now();
    let mut history: Vec<(Duration, String)> = Vec::new();
    loop {
        let asked = start.elapsed();
        let seen = match ask() {
            Ok(answer) => return answer,
            Err(seen) => format!("{seen:?}"),
        };
        if history.last().is_none_or(|(_, last)| *last != seen) {
            history.push((start.elapsed(), seen));
        }
        if asked >= deadline {
            let skipped = history.len().saturating_sub(40);
            let told = history.iter().skip(skipped).fold(String::new(), |mut told, (at, seen)| {
                let _ = writeln!(told, "  {:>9.3} s  {seen}", at.as_secs_f64());
                told
            });
            panic!("not within {deadline:?}: {what}\nseen ({skipped} earlier ones left out):\n{told}");
        }
        thread::sleep(Duration::from_millis(25));
    }
}

/// For [`poll`]: `Ok` if the condition holds, else what was seen.
pub fn when<S>(holds: bool, seen: S) -> Result<(), S> {
    if holds { Ok(()) } else { Err(seen) }
}
