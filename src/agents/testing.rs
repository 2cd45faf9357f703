//! What the tests of this room share: a delivery, specs, a manual clock, a scripted server.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{clock::Boottime, *};
use crate::event::{DeliveryId, Generation, Origin, decode};

pub(super) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub(super) const MAX_REQUEST_LIFETIME: Duration = Duration::from_secs(60);

/// Long enough for what is answered, on a machine that stands still for a while too.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Nothing listens there. A port that was free a moment ago may be another test's by now.
pub(super) const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// How long another process's claim is waited for before it is taken over.
pub(super) const TAKEOVER: Duration = MAX_REQUEST_LIFETIME.saturating_add(TIMEOUT.saturating_mul(2));

pub(super) fn delivery(event_id: &str) -> Delivery {
    let document = json!({
        "event_id": event_id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-01T00:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": "run 1",
        "payload": {"data": {"status": "success"}}, "metadata": {"environment": "prod", "version": "1.0"},
    });
    let raw = document.to_string().replace(',', ", ");
    Delivery {
        id: DeliveryId::new("rule", "agent", event_id, Generation::FIRST),
        rule: "rule".into(),
        agent: "agent".into(),
        event: Arc::new(decode(Some(raw.as_bytes())).unwrap()),
        origin: Origin { topic: "workflow-events".into(), partition: 3, offset: 42 },
        key: Some("etl/run 1".into()),
        raw: raw.into(),
        trace: TraceContext::read([TRACEPARENT], ["rojo=1"], ["team=core"]),
        body: None,
        settings: RunSettings::default(),
    }
}

pub(super) fn secret(value: &str) -> Secret {
    Secret::Env { name: "X".into(), value: value.into() }
}

fn agent(endpoint: Endpoint) -> AgentSpec {
    AgentSpec {
        name: "agent".into(),
        endpoint,
        concurrency: 4,
        rate: None,
        timeout: TIMEOUT,
        retry: RetrySpec {
            initial: Duration::from_millis(10),
            max: Duration::from_secs(1),
            give_up_after: Duration::from_secs(60),
            max_attempts: None,
        },
        classify: BTreeMap::new(),
    }
}

pub(super) fn langgraph_spec(addr: SocketAddr) -> (AgentSpec, LangGraphSpec) {
    let spec = LangGraphSpec {
        url: format!("http://{addr}").parse().unwrap(),
        server: None,
        assistant: "analyst".into(),
        api_key: None,
        auth: None,
        tls: None,
        headers: Vec::new(),
        max_request_lifetime: MAX_REQUEST_LIFETIME,
        config: None,
        context: None,
        ttl: None,
        tracer_project: None,
    };
    (agent(Endpoint::LangGraph(spec.clone())), spec)
}

pub(super) fn http_spec(addr: SocketAddr) -> (AgentSpec, HttpSpec) {
    let spec = HttpSpec {
        url: format!("http://{addr}/events").parse().unwrap(),
        server: None,
        method: reqwest::Method::POST,
        headers: Vec::new(),
        auth: None,
        tls: None,
        sign: None,
    };
    (agent(Endpoint::Http(spec.clone())), spec)
}

pub(super) fn connect(spec: AgentSpec) -> (Agent, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let agent = Agent::with_clock(&Arc::new(spec), Arc::<ManualClock>::clone(&clock)).unwrap();
    (agent, clock)
}

pub(super) fn failed(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(failure) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

pub(super) async fn until(done: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within a minute");
}

/// The answer of an attempt that times out once the server has `heard` all that it leaves without an answer: a short
/// time-out might pass before. For a runtime of one thread, whose clock it sets.
pub(super) async fn timed_out(attempt: impl Future<Output = Answer>, heard: impl Fn() -> bool) -> Answer {
    let mut attempt = Box::pin(attempt);
    tokio::select! {
        answer = &mut attempt => panic!("{answer:?}"),
        () = until(heard) => {}
    }
    tokio::time::pause();
    tokio::time::advance(TIMEOUT).await;
    // What the attempt asks after that is answered in real time.
    tokio::time::resume();
    attempt.await
}

/// A clock that advances only by `pass`, or at one call of `now`.
#[derive(Debug, Default)]
pub(super) struct ManualClock {
    milliseconds: AtomicU64,
    calls: AtomicU64,
    jump_at_call: AtomicU64,
}

impl ManualClock {
    pub(super) fn pass(&self, time: Duration) {
        self.milliseconds.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// At the nth call of `now` (the first is 1) an hour has gone by.
    pub(super) fn jump_at_call(&self, call: u64) {
        self.jump_at_call.store(call, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Boottime {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.jump_at_call.load(Ordering::SeqCst) {
            self.pass(Duration::from_secs(3600));
        }
        Boottime::new(Duration::from_millis(1_000_000 + self.milliseconds.load(Ordering::SeqCst)))
    }
}

/// A request that the scripted server received.
#[derive(Debug, Clone)]
pub(super) struct ReceivedRequest {
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
}

/// What the scripted server does with a request.
pub(super) enum Act {
    /// Answers these bytes and closes.
    Say(String),
    /// Answers these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Closes without an answer.
    Close,
    /// Keeps the connection open and says nothing.
    Hang,
}

impl Act {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "content-type: application/json\r\n", &body.to_string())
    }

    pub(super) fn text(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Say(format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }
}

/// A server that answers each request as `script` says.
pub(super) struct Scripted {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Scripted {
    pub(super) async fn start(script: impl Fn(&ReceivedRequest) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&heard), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(async move { serve(stream, &log, &*script).await });
            }
        });
        Self { addr, heard }
    }

    pub(super) fn heard(&self) -> Vec<ReceivedRequest> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.line).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<ReceivedRequest>>,
    script: &(dyn Fn(&ReceivedRequest) -> Act + Send + Sync),
) {
    let mut bytes = Vec::new();
    let heard = loop {
        if let Some(heard) = whole_request(&bytes) {
            break heard;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    log.lock().unwrap().push(heard.clone());
    match script(&heard) {
        Act::Say(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Act::Raw(answer) => {
            let _ = stream.write_all(&answer).await;
        }
        Act::Close => {}
        Act::Hang => std::future::pending().await,
    }
}

pub(super) fn whole_request(bytes: &[u8]) -> Option<ReceivedRequest> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    let body = bytes.get(end..end + length)?.to_vec();
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(ReceivedRequest { line, head, body })
}
