//! An HTTP agent that counts: every request is kept, and the test says how each is answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Response};
use serde_json::{Value, json};

use super::{
    http::{self, Answer, Asked, Server},
    poll, when,
};

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status with a small JSON body.
    Status(u16),
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u32),
    /// Never.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// Later, as the inner one says.
    After(Duration, Box<Reply>),
    /// As it stands.
    Full(Response<Bytes>),
}

impl Reply {
    /// 200 after a while.
    pub fn ok_after(wait: Duration) -> Self {
        Self::After(wait, Box::new(Self::Status(200)))
    }
}

/// One request that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it was read to its end.
    pub at: Instant,
    /// How many came before it.
    pub order: usize,
    /// The request line's method.
    pub method: String,
    /// The path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// The body's `event_id`, or the header of that name, or else empty.
    pub event_id: String,
    /// The body; empty when bodies are not kept.
    pub body: Bytes,
    /// The status that it was answered with, if it was.
    pub answered: Option<u16>,
}

impl Received {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it was answered with a 2xx.
    pub fn accepted(&self) -> bool {
        self.answered.is_some_and(|status| (200..300).contains(&status))
    }
}

type Behaviour = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

struct State {
    behaviour: RwLock<Behaviour>,
    api_key: RwLock<Option<String>>,
    received: Mutex<Vec<Received>>,
    keep_bodies: AtomicBool,
}

/// The agent.
pub struct HttpAgent {
    server: Server,
    state: Arc<State>,
}

impl HttpAgent {
    /// An agent that answers 200 to everything.
    pub fn start() -> Self {
        let state = Arc::new(State {
            behaviour: RwLock::new(Arc::new(|_| Reply::Status(200))),
            api_key: RwLock::default(),
            received: Mutex::default(),
            keep_bodies: AtomicBool::new(true),
        });
        let shared = Arc::clone(&state);
        Self { server: Server::start(move |request| handle(Arc::clone(&shared), request)), state }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on every request is answered like this.
    pub fn reply(&self, reply: Reply) {
        self.behave(move |_| reply.clone());
    }

    /// From now on requests are answered as this says. It sees the request before it is recorded as answered.
    pub fn behave(&self, behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.state.behaviour.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(behaviour);
    }

    /// From now on, 401 unless `x-api-key`, or `Authorization: Bearer`, is this.
    pub fn require_key(&self, key: Option<&str>) {
        *self.state.api_key.write().unwrap_or_else(PoisonError::into_inner) = key.map(str::to_owned);
    }

    /// Whether the bodies are kept (they are, unless told otherwise).
    pub fn keep_bodies(&self, keep: bool) {
        self.state.keep_bodies.store(keep, SeqCst);
    }

    /// Refuses connections and cuts those that stand.
    pub fn close(&self) {
        self.server.close();
    }

    /// Listens again.
    pub fn open(&self) {
        self.server.open();
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.received().len()
    }

    /// Every request, in the order in which they came.
    pub fn requests(&self) -> Vec<Received> {
        self.received().clone()
    }

    /// Those that were answered with a 2xx, in the order in which they came.
    pub fn accepted(&self) -> Vec<Received> {
        self.received().iter().filter(|request| request.accepted()).cloned().collect()
    }

    /// How often each event was accepted.
    pub fn accepted_by_event(&self) -> BTreeMap<String, usize> {
        count(self.received().iter().filter(|request| request.accepted()))
    }

    /// How often each event was sent, accepted or not.
    pub fn sent_by_event(&self) -> BTreeMap<String, usize> {
        count(self.received().iter())
    }

    /// The distinct `Idempotency-Key`s of each event.
    pub fn keys_by_event(&self) -> BTreeMap<String, Vec<String>> {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for request in self.received().iter() {
            let seen = keys.entry(request.event_id.clone()).or_default();
            let key = request.key.clone().unwrap_or_default();
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
        keys
    }

    /// Forgets every request.
    pub fn forget(&self) {
        self.received().clear();
    }

    /// Waits until this many different events have been accepted.
    #[track_caller]
    pub fn wait_accepted(&self, events: usize, deadline: Duration) {
        poll(deadline, &format!("{events} different events accepted"), || {
            let requests = self.count();
            // Of many, they are not counted in vain.
            let accepted = if requests < events { None } else { Some(self.accepted_by_event().len()) };
            when(
                accepted.is_some_and(|accepted| accepted >= events),
                format!("{accepted:?} accepted, {requests} requests"),
            )
        });
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.state.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count<'a>(requests: impl Iterator<Item = &'a Received>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(request.event_id.clone()).or_default() += 1;
    }
    counts
}

async fn handle(state: Arc<State>, request: Asked) -> Answer {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let event_id = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|body| Some(body.get("event_id")?.as_str()?.to_owned()))
        .or_else(|| text("event_id"))
        .unwrap_or_default();
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let given = text("x-api-key").or(bearer);
    let mut request = Received {
        at: Instant::now(),
        order: 0,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        key: text("idempotency-key"),
        headers: head.headers,
        event_id,
        body: if state.keep_bodies.load(SeqCst) { body } else { Bytes::new() },
        answered: None,
    };
    {
        let mut received = state.received.lock().unwrap_or_else(PoisonError::into_inner);
        request.order = received.len();
        received.push(request.clone());
    }
    let wanted = state.api_key.read().unwrap_or_else(PoisonError::into_inner).clone();
    let mut reply = if wanted.is_some() && wanted != given {
        Reply::Status(401)
    } else {
        let behaviour = Arc::clone(&state.behaviour.read().unwrap_or_else(PoisonError::into_inner));
        behaviour(&request)
    };
    while let Reply::After(wait, then) = reply {
        tokio::time::sleep(wait).await;
        reply = *then;
    }
    let response = match reply {
        Reply::Status(status) => http::json(status, &json!({"status": status})),
        Reply::RetryAfter(status, seconds) => {
            let mut response = http::json(status, &json!({"status": status}));
            response.headers_mut().insert("retry-after", seconds.into());
            response
        }
        Reply::Full(response) => response,
        Reply::Hang => std::future::pending().await,
        Reply::Close => return None,
        Reply::After(..) => unreachable!("the loop has waited"),
    };
    let mut received = state.received.lock().unwrap_or_else(PoisonError::into_inner);
    // Not there any more, or another's place, if the test has said `forget`.
    if let Some(kept) = received.get_mut(request.order).filter(|kept| kept.at == request.at) {
        kept.answered = Some(response.status().as_u16());
    }
    Some(response)
}
