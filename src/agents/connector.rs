//! Connections to an agent.
//!
//! Owns the connection pool, TLS, and which malformed responses are tolerated. Its invariant: every
//! connection feeds its [`StatusLine`] with what the server writes. It does not know what is sent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use hyper::Uri;
use hyper_tls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use native_tls::TlsConnector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use super::{AgentSpec, Endpoint, Tls, status_line::StatusLine};

/// Under the 5 s after which uvicorn closes an idle connection, so that a post meets none that is
/// being closed.
const IDLE: Duration = Duration::from_millis(3500);
/// hyper initializes its table of headers, 64 bytes for each that it may have, for every response that it reads. A response
/// with more of them is known by its status line alone.
const MAX_HEADERS: usize = 256;
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What an agent's connections are made with. Proxy variables of the environment are ignored: a proxy can hold a request and
/// send it later, so it has to be configured explicitly, as the agent's URL, with `max_request_lifetime` in mind.
pub(super) fn connector(spec: &AgentSpec) -> Result<Connector, native_tls::Error> {
    let mut tls = TlsConnector::builder();
    if let Some(ca) = spec.endpoint.tls() {
        tls.disable_built_in_roots(true);
        for certificate in ca.certificates() {
            tls.add_root_certificate(certificate.clone());
        }
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEPALIVE));
    Ok(Connector(HttpsConnector::from((http, tls.build()?.into()))))
}

/// The pooled client of an agent.
pub(super) fn pool<B>(spec: &AgentSpec) -> Result<Client<Connector, B>, native_tls::Error>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let connector = connector(spec)?;
    // RFC 9112 allows a user agent to accept these: a server that writes a malformed head has answered.
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(spec.concurrency.max(1))
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(MAX_HEADERS)
        .build(connector))
}

/// Connects, and attaches a [`StatusLine`] to the connection.
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Observed>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        async move {
            let stream = TokioIo::new(connecting.await?);
            Ok(TokioIo::new(Observed { stream, status: StatusLine::default() }))
        }
        .boxed()
    }
}

type Stream = TokioIo<MaybeHttpsStream<TokioIo<tokio::net::TcpStream>>>;

/// A connection whose reads are copied to its [`StatusLine`].
#[derive(Debug)]
pub(super) struct Observed {
    stream: Stream,
    status: StatusLine,
}

impl Connection for Observed {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.status.clone())
    }
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = &polled {
            self.status.feed(buffer.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.status.open();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.status.open();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Endpoint {
    /// The certificate authorities that are trusted for this server; `None`: the system's.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::LangGraph(langgraph) => langgraph.tls.as_ref(),
            Self::Http(http) => http.tls.as_ref(),
            Self::Handler(_) => None,
        }
    }
}
