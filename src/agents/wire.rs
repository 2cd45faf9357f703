//! One HTTP request and its answer.
//!
//! Owns the client of an agent: its connection pool, its time-out, how much of an answer is read.
//! Its invariant: no request outlives the agent's time-out, no answer is read past its limit, and
//! nothing that it reports holds a URL or a secret. It does not know what an answer means.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::{
    Body, Client, Method, Url,
    header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};

use super::{AgentSpec, Auth, HeaderText, Observation, Secret, SecretError, gate::Gate, retry_after};

/// How much of an answer is read where only its text for a log matters.
pub(super) const TEXT_LIMIT: usize = 64 * 1024;
/// How much of a list of runs is read.
pub(super) const LIST_LIMIT: usize = 4 * 1024 * 1024;
/// How long the body of an answer may take that is read only to free the connection.
const DRAIN: Duration = Duration::from_secs(1);
/// Under the 5 s after which uvicorn closes an idle connection, so that a post meets none that is
/// being closed.
const IDLE: Duration = Duration::from_millis(3500);

/// What is read of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All, up to a limit.
    Whole(usize),
    /// On success only what frees the connection; on a refusal the text.
    OnRefusal,
}

/// A request.
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<(Bytes, Arc<Gate>)>,
    pub read: Read,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// What was read of the body: an answer of LangGraph that is cut short is no JSON any more.
    pub body: Bytes,
}

/// No answer.
#[derive(Debug)]
pub(super) struct Lost {
    /// [`Observation::Connect`], [`Observation::Timeout`] or [`Observation::Io`].
    pub observation: Observation,
    /// What the client says, without the URL.
    pub text: String,
}

/// The client of one agent. Proxies of the environment are not used: a proxy can hold a request and
/// send it later, so one has to be chosen, as the agent's URL, with `settle` in mind.
pub(super) fn client(spec: &AgentSpec) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("workflow-bridge/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(spec.concurrency.max(1))
        .pool_idle_timeout(IDLE)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(spec.timeout)
        .no_proxy()
        .build()
}

/// Sends the request and reads what was asked of the answer.
pub(super) async fn send(client: &Client, call: Call) -> Result<Reply, Lost> {
    let gate = call.body.as_ref().map(|(_, gate)| Arc::clone(gate));
    let mut request = client.request(call.method, call.url).headers(call.headers);
    if let Some((bytes, gate)) = call.body {
        request = request.header(CONTENT_LENGTH, bytes.len());
        request = if bytes.is_empty() {
            // Nobody asks for the first byte of an empty body.
            match gate.pass() {
                Ok(()) => request.body(bytes),
                Err(shut) => return Err(Lost { observation: Observation::Connect, text: shut.to_string() }),
            }
        } else {
            request.body(Body::wrap_stream(stream::once(async move { gate.pass().map(|()| bytes) })))
        };
    }
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            // Shut from here on: what is not sent by now never will be.
            let unsent = gate.map_or(error.is_connect(), |gate| gate.revoke().is_none());
            return Err(lost(error, unsent));
        }
    };
    let status = response.status();
    let now = jiff::Timestamp::now();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    let mut body = BytesMut::new();
    match call.read {
        Read::Whole(limit) => read(&mut response, &mut body, limit).await,
        Read::OnRefusal if status.is_success() => {
            // The status is the answer; what comes after it may as well not come.
            let _ = tokio::time::timeout(DRAIN, read(&mut response, &mut body, TEXT_LIMIT)).await;
        }
        Read::OnRefusal => read(&mut response, &mut body, TEXT_LIMIT).await,
    }
    Ok(Reply { status: status.as_u16(), retry_after, body: body.freeze() })
}

/// Reads up to `limit` bytes, or until the connection breaks.
async fn read(response: &mut reqwest::Response, body: &mut BytesMut, limit: usize) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return;
        }
    }
}

fn lost(error: reqwest::Error, unsent: bool) -> Lost {
    let observation = if unsent {
        Observation::Connect
    } else if error.is_timeout() {
        Observation::Timeout
    } else {
        Observation::Io
    };
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Lost { observation, text }
}

/// The headers of a request, and the secrets among them, so that no answer can repeat one into a
/// log.
#[derive(Default)]
pub(super) struct Headers {
    pub map: HeaderMap,
    pub secrets: Vec<Arc<str>>,
}

/// A secret that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the secret for header {0} holds characters that a header cannot: correct the secret")]
    Characters(HeaderName),
}

impl Headers {
    /// The headers that the routing file gives.
    pub fn add_all(&mut self, headers: &[(HeaderName, HeaderText)]) -> Result<(), HeaderError> {
        for (name, text) in headers {
            match text {
                HeaderText::Plain(value) => {
                    self.map.append(name, value.clone());
                }
                HeaderText::Secret(secret) => self.add_secret(name, secret, "")?,
            }
        }
        Ok(())
    }

    /// How the bridge proves who it is.
    pub fn authorize(&mut self, auth: &Auth) -> Result<(), HeaderError> {
        match auth {
            Auth::Bearer(secret) => self.add_secret(&reqwest::header::AUTHORIZATION, secret, "Bearer "),
            Auth::ApiKey { header, key } => self.add_secret(header, key, ""),
        }
    }

    /// A header whose value is never shown. It replaces one of the same name.
    pub fn add_secret(&mut self, name: &HeaderName, secret: &Secret, prefix: &str) -> Result<(), HeaderError> {
        let secret = secret.reveal()?;
        let mut value =
            HeaderValue::from_str(&format!("{prefix}{secret}")).map_err(|_| HeaderError::Characters(name.clone()))?;
        value.set_sensitive(true);
        self.map.insert(name, value);
        self.secrets.push(secret);
        Ok(())
    }

    /// A header of the bridge's own, which replaces one of the same name. Characters that a header
    /// cannot hold leave it out: no event may fail for its trace context.
    pub fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.map.insert(name, value);
        }
    }

    /// A header that the routing file may have given otherwise.
    pub fn set_default(&mut self, name: HeaderName, value: &'static str) {
        self.map.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
