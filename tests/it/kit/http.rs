//! A small HTTP/1.1 server that can close a connection without an answer, and a client.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::{PATIENCE, free_port, poll, runtime};

/// A request, read to its end.
pub type Asked = Request<Bytes>;
/// `None` closes the connection without an answer.
pub type Answer = Option<Response<Bytes>>;

/// A server on a loopback port of its own. Dropping it closes the port and every connection.
pub struct Server {
    address: SocketAddr,
    serve: Box<dyn Fn(TcpListener) -> tokio::task::JoinHandle<()> + Send + Sync>,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Server {
    /// Serves until dropped. The handler's future is dropped when its client goes away.
    pub fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let serve = move |listener: TcpListener| runtime().spawn(accept(listener, handler.clone()));
        let server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            serve: Box::new(serve),
            running: Mutex::default(),
        };
        server.open();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection: clients are refused.
    pub fn close(&self) {
        if let Some(task) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
            // Until the task is gone, its listener still accepts.
            while !task.is_finished() {
                std::thread::yield_now();
            }
        }
    }

    /// Opens the same port again.
    pub fn open(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            // A child that another test is starting may hold a copy of the last listener until it is its program.
            let listener = poll(PATIENCE, "the port is ours", || {
                runtime().block_on(TcpListener::bind(self.address)).map_err(|error| error.to_string())
            });
            *running = Some((self.serve)(listener));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = stream else { continue };
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| answer(handler.clone(), request));
            // An error is a client that left, or an answer withheld on purpose.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An `Err` makes hyper close the connection with nothing written.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for NoAnswer {}

async fn answer<H, F>(handler: H, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NoAnswer>
where
    H: Fn(Asked) -> F,
    F: Future<Output = Answer>,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
    let response = handler(Request::from_parts(head, body)).await.ok_or(NoAnswer)?;
    Ok(response.map(Full::new))
}

/// A response with this status and a JSON body.
pub fn json(status: u16, body: &serde_json::Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .expect("a status and a body make a response")
}

/// The kit's client: no proxy, no redirects, and a connection for each request, because a server may close one that is
/// idle in the moment in which it is used again.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .expect("a client can be made")
    })
}

/// How long a request may take: longer than a busy machine stands still.
const LIMIT: Duration = Duration::from_secs(60);

/// `GET` within [`LIMIT`]: the status and the body, or why there was none.
pub fn get(url: &str) -> Result<(u16, String), String> {
    send(client().get(url))
}

/// `POST` of JSON within [`LIMIT`]: the status and the body, or why there was none.
pub fn post(url: &str, body: &serde_json::Value) -> Result<(u16, String), String> {
    send(client().post(url).json(body))
}

/// Sends a request within [`LIMIT`]: the status and the body, or why there was none.
pub fn send(request: reqwest::RequestBuilder) -> Result<(u16, String), String> {
    super::block_on(async move {
        let response = request.timeout(LIMIT).send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(|error| format!("{error:?}"))?))
    })
}

/// Sends a request with a limit of its own: the response as it is, or the client's error.
pub fn send_within(limit: Duration, request: reqwest::RequestBuilder) -> reqwest::Result<reqwest::Response> {
    super::block_on(async move { request.timeout(limit).send().await })
}
