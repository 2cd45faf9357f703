//! One HTTP request and its answer.
//!
//! Owns the client of an agent: its connection pool, its time-out, how much of an answer is read.
//! Its invariant: no request outlives the agent's time-out, no answer is read past its limit, and
//! nothing that it reports holds the query of a URL or a secret. It does not know what an answer means.

use std::{
    fmt::{self, Write as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, Uri,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT},
};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use super::{
    AgentSpec, Observation,
    address::address,
    connector,
    failure::causes,
    gate::{Closed, Gate},
    retry_after,
    status_line::StatusLine,
};

/// How much of an answer is read where only its text for a log matters.
pub(super) const TEXT_LIMIT: usize = 64 * 1024;
/// How much of a list of runs is read.
pub(super) const LIST_LIMIT: usize = 4 * 1024 * 1024;
/// How long the body of a response is read to make the connection reusable.
const READ_REST_FOR: Duration = Duration::from_secs(1);
const USER_AGENT_VALUE: &str = concat!("workflow-bridge/", env!("CARGO_PKG_VERSION"));

/// What is read of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All, up to a limit.
    Whole(usize),
    /// On success only so much that the connection can be reused; on a refusal the text.
    OnRefusal,
}

/// Where a request goes, made once for all that go there.
#[derive(Debug)]
pub(super) struct Target {
    url: Url,
    /// The same for the client, or why it cannot be sent.
    uri: Result<Uri, String>,
}

impl Target {
    pub(super) fn new(url: Url) -> Arc<Self> {
        let uri = url.as_str().parse::<Uri>().map_err(|error| format!("the URL cannot be sent: {error}"));
        Arc::new(Self { url, uri })
    }
}

/// A request.
pub(super) struct Call {
    pub method: Method,
    pub to: Arc<Target>,
    pub headers: HeaderMap,
    pub body: Option<(Bytes, Arc<Gate>)>,
    pub read: Read,
}

/// A request, for a log: the method and the address.
pub(super) struct Asked {
    method: Method,
    to: Arc<Target>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, address(&self.to.url))
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub asked: Asked,
    /// The target of a redirect, without credentials and query.
    pub location: Option<String>,
    /// What was read of the body: it may be cut off at the limit.
    pub body: Bytes,
    /// Why nothing but the status could be read.
    pub malformed: Option<String>,
}

impl Reply {
    /// `answered 308, a redirect to http://h/x`: what follows the request in a sentence.
    pub(super) fn answered(&self) -> String {
        let mut text = format!("answered {}", self.status);
        if let Some(location) = &self.location {
            let _ =
                write!(text, ", a redirect to {location} (not followed: put the final address into the routing file)");
        }
        if let Some(malformed) = &self.malformed {
            let _ = write!(text, ", and its headers cannot be read ({malformed})");
        }
        text
    }
}

/// No answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// [`Observation::Connect`], [`Observation::Timeout`] or [`Observation::Io`].
    pub observation: Observation,
    pub asked: Asked,
    /// The client's error.
    pub text: String,
}

/// The client of one agent.
#[derive(Debug)]
pub(super) struct Client {
    pool: hyper_util::client::legacy::Client<connector::Connector, GatedBody>,
    timeout: Duration,
}

/// Builds the client. Nothing is sent.
pub(super) fn client(spec: &AgentSpec) -> Result<Client, native_tls::Error> {
    Ok(Client { pool: connector::pool(spec)?, timeout: spec.timeout })
}

/// Sends the request and reads the response as far as `call.read` says.
pub(super) async fn send(client: &Client, call: Call) -> Result<Reply, NoAnswer> {
    let deadline = Instant::now() + client.timeout;
    let gate = call.body.as_ref().map(|(_, gate)| Arc::clone(gate));
    let read_body = call.read;
    let asked = Asked { method: call.method.clone(), to: Arc::clone(&call.to) };
    let mut request = match request(call) {
        Ok(request) => request,
        // Nothing was sent, and nothing will be.
        Err(text) => return Err(NoAnswer { observation: Observation::Connect, asked, text }),
    };
    let connection = capture_connection(&mut request);
    let response = match timeout_at(deadline, client.pool.request(request)).await {
        Ok(Ok(response)) => response,
        failed => {
            let error = failed.ok().and_then(Result::err);
            // Revoked from here on: a request that is not sent by now never will be.
            let refused = error.as_ref().is_some_and(hyper_util::client::legacy::Error::is_connect);
            let unsent = gate.map_or(refused, |gate| gate.revoke().is_none());
            let text =
                error.as_ref().map_or_else(|| format!("no answer within {:?}", client.timeout), |error| causes(error));
            return no_response(asked, text, error.is_none(), unsent, &connection);
        }
    };
    if let Some(line) = status_line(&connection) {
        line.close();
    }
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|value| retry_after(value, jiff::Timestamp::now()));
    let redirects = status.is_redirection();
    let location =
        header(LOCATION).filter(|_| redirects).and_then(|to| asked.to.url.join(to).ok()).map(|to| address(&to));
    let coding = header(CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let coding = coding.map(|coding| format!("[a body in the coding {coding}, not shown]"));
    let mut body = BytesMut::new();
    match read_body {
        Read::Whole(limit) => read(response, &mut body, limit, deadline).await,
        Read::OnRefusal if status.is_success() => {
            // The status is the answer: the body need not be complete.
            read(response, &mut body, TEXT_LIMIT, deadline.min(Instant::now() + READ_REST_FOR)).await;
        }
        Read::OnRefusal => read(response, &mut body, TEXT_LIMIT, deadline).await,
    }
    let body = coding.map_or_else(|| body.freeze(), Bytes::from);
    Ok(Reply { status: status.as_u16(), retry_after, asked, location, body, malformed: None })
}

/// The client has no response. If the server wrote a whole status line, it has answered all the same.
fn no_response(
    asked: Asked,
    text: String,
    timed_out: bool,
    unsent: bool,
    connection: &CaptureConnection,
) -> Result<Reply, NoAnswer> {
    let observation = match (unsent, timed_out) {
        (true, _) => Observation::Connect,
        (false, true) => Observation::Timeout,
        (false, false) => Observation::Io,
    };
    match status_line(connection).and_then(|line| line.status()).filter(|_| !unsent) {
        Some(status) => {
            Ok(Reply { status, retry_after: None, asked, location: None, body: Bytes::new(), malformed: Some(text) })
        }
        None => Err(NoAnswer { observation, asked, text }),
    }
}

fn status_line(connection: &CaptureConnection) -> Option<StatusLine> {
    let mut extras = hyper::http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.remove()
}

fn request(call: Call) -> Result<Request<GatedBody>, String> {
    let mut body = GatedBody::default();
    let mut request = Request::new(());
    *request.uri_mut() = call.to.uri.clone()?;
    *request.method_mut() = call.method;
    *request.headers_mut() = call.headers;
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
    if let Some((bytes, gate)) = call.body {
        request.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
        if bytes.is_empty() {
            // The client does not poll an empty body.
            gate.pass().map_err(|closed| closed.to_string())?;
        } else {
            body.0 = Some((bytes, gate));
        }
    }
    Ok(request.map(|()| body))
}

/// A body that passes its gate, once.
#[derive(Debug, Default)]
struct GatedBody(Option<(Bytes, Arc<Gate>)>);

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        Poll::Ready(self.0.take().map(|(bytes, gate)| gate.pass().map(|()| Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64))
    }
}

/// Reads up to `limit` bytes, or until the connection breaks or the time is over.
async fn read(response: Response<Incoming>, body: &mut BytesMut, limit: usize, deadline: Instant) {
    let mut incoming = response.into_body();
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, incoming.frame()).await {
        let Ok(chunk) = frame.into_data() else { continue };
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return;
        }
    }
}
