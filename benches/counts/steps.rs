//! The steps that are counted: reading an event, matching it, and delivering it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use workflow_bridge::{
    event,
    testing::work::{Delivering, Matcher},
};

use super::{
    counted_by_callgrind,
    samples::{events, folder_with, rules},
};

/// What is counted, and how often it is executed for that.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) times: usize,
    pub(crate) run: fn(usize) -> Result<(), String>,
}

pub(crate) const STEPS: &[Step] = &[
    Step { name: "decode", times: 1_000, run: decode },
    Step { name: "match-10", times: 1_000, run: |times| read_and_match(10, times) },
    Step { name: "match-1000", times: 1_000, run: |times| read_and_match(1_000, times) },
    Step { name: "deliver", times: 300, run: deliver },
];

/// Executions before the count begins: what is made once is made in them.
const WARM_UP: usize = 100;

/// Executes the step for each event, and counts all but the first ones.
fn each(events: &[Vec<u8>], mut step: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let (first, counted) = events.split_at(WARM_UP);
    first.iter().try_for_each(|event| step(event))?;
    counted_by_callgrind(&mut || counted.iter().try_for_each(|event| step(event)))
}

fn decode(times: usize) -> Result<(), String> {
    each(&events(WARM_UP + times), |event| event::decode(event).map(drop).map_err(|poison| poison.to_string()))
}

fn read_and_match(rule_count: usize, times: usize) -> Result<(), String> {
    let folder = folder_with(&rules(rule_count))?;
    let matcher = Matcher::load(&folder.path().join("routing"))?;
    let mut found = 0;
    each(&events(WARM_UP + times), |event| {
        found += matcher.deliveries(event)?;
        Ok(())
    })?;
    // One rule for each of the 20 workflows that has one.
    let expected = (WARM_UP + times) * rule_count.min(20) / 20;
    if found == expected { Ok(()) } else { Err(format!("expected {expected} deliveries, found {found}")) }
}

/// One after the other, through the intake, the rules, the ledger, an HTTP agent and the flush, on one thread.
fn deliver(times: usize) -> Result<(), String> {
    let requests = Arc::new(AtomicUsize::new(0));
    let agent = agent(&requests).map_err(|error| format!("an agent on 127.0.0.1: {error}"))?;
    let folder = folder_with(&format!(
        "agents:\n  audit: {{http: {{url: 'http://{agent}/events'}}}}\nrules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n"
    ))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
    let _inside = runtime.enter();
    let mut delivering = Delivering::start(&folder.path().join("routing"), &folder.path().join("data"))?;
    each(&events(WARM_UP + times), |event| runtime.block_on(delivering.deliver(event)))?;
    match requests.load(SeqCst) {
        found if found == WARM_UP + times => Ok(()),
        found => Err(format!("expected {} requests, found {found}", WARM_UP + times)),
    }
}

/// An agent that accepts everything, on threads of its own.
fn agent(requests: &Arc<AtomicUsize>) -> std::io::Result<SocketAddr> {
    let requests = Arc::clone(requests);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = Arc::clone(&requests);
            thread::spawn(move || answer(&stream, &requests));
        }
    });
    Ok(address)
}

/// Answers the requests of one connection until it is closed.
fn answer(stream: &TcpStream, requests: &AtomicUsize) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        requests.fetch_add(1, SeqCst);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
}
