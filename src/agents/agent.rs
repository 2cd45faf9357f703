//! An agent, connected: what the pipeline sends deliveries to.

use std::sync::Arc;

use reqwest::Url;

use super::{
    AgentSpec, Answer, Clock, Delivery, Endpoint, Failure, HandlerSpec, SystemClock,
    http::Http,
    langgraph::{self, LangGraph},
    wire,
};

/// An endpoint with its own connection pool, or a function.
#[derive(Debug)]
pub(crate) struct Agent(Connected);

#[derive(Debug)]
enum Connected {
    LangGraph(Box<LangGraph>),
    Http(Box<Http>),
    Handler(HandlerSpec),
}

/// The state of one delivery over its attempts in this process: keep it from the first attempt to
/// the last.
///
/// If an attempt is dropped before its answer (a shutdown), the session keeps the state after the last
/// completed step: which round was requested and when, when another process's claim was first
/// observed, and that a run request was started. A run request whose first byte was written counts as
/// ambiguous; one that was not will never be sent. Another process, without the session, has only the
/// claim on the server.
#[derive(Debug)]
pub(crate) struct Session(Option<Box<langgraph::DeliveryState>>);

/// An agent that cannot be set up. This needs no network: an agent that cannot be reached fails its
/// attempts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// TLS cannot be set up.
    #[error("agent {agent}: TLS cannot be set up: {error}: check the system's TLS certificates")]
    Client {
        /// Which agent.
        agent: Arc<str>,
        /// What the client says.
        error: native_tls::Error,
    },
    /// The threads that render templates cannot be started.
    #[error("the threads that render templates cannot be started: {error}: raise the limit of threads")]
    Threads {
        /// What the system says.
        error: std::io::Error,
    },
    /// The URL is not one of HTTP.
    #[error("agent {agent}: expected a URL with http:// or https:// and a host, found the scheme {scheme:?}")]
    Url {
        /// Which agent.
        agent: Arc<str>,
        /// What it begins with.
        scheme: String,
    },
}

impl Session {
    /// The delivery is to be given up: no LangGraph run is created any more. The next attempts wait for the
    /// requests that are under way and look for a run; the last of them returns [`Answer::Ended`] if there
    /// is none. No effect for other kinds, where nothing can be found.
    pub(crate) fn end(&mut self) {
        if let Some(delivery) = &mut self.0 {
            delivery.end();
        }
    }

    /// Whether the agent may have a run of the delivery, as far as the answers of this session show. `false` for other kinds, where
    /// the class of an answer says it.
    pub(crate) fn may_have_run(&self) -> bool {
        self.0.as_ref().is_some_and(|delivery| delivery.may_have_run())
    }
}

impl Agent {
    /// Builds the agent's client. Nothing is sent.
    pub(crate) fn connect(spec: &Arc<AgentSpec>) -> Result<Self, ConnectError> {
        Self::with_clock(spec, Arc::new(SystemClock))
    }

    pub(super) fn with_clock(spec: &Arc<AgentSpec>, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let kind = match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => {
                Connected::LangGraph(Box::new(LangGraph::new(client(spec, &langgraph.url)?, clock, spec, langgraph)))
            }
            Endpoint::Http(http) => Connected::Http(Box::new(Http::new(client(spec, &http.url)?, clock, spec, http))),
            Endpoint::Handler(handler) => Connected::Handler(handler.clone()),
        };
        Ok(Self(kind))
    }

    /// The session of a delivery that has had no attempt in this process.
    pub(crate) fn session(&self) -> Session {
        Session(match &self.0 {
            Connected::LangGraph(langgraph) => Some(Box::new(langgraph.new_delivery())),
            Connected::Http(_) | Connected::Handler(_) => None,
        })
    }

    /// Looks on the server whether a delivery has a run, and changes nothing there. `None` for kinds of agent without runs.
    ///
    /// # Errors
    /// It cannot be known.
    pub(crate) async fn find_run(&self, delivery: &Delivery) -> Option<Result<Option<String>, Failure>> {
        match &self.0 {
            Connected::Http(_) | Connected::Handler(_) => None,
            Connected::LangGraph(langgraph) => Some(langgraph.find_run(delivery).await),
        }
    }

    /// One attempt, which takes a few requests at most. The future may be dropped: see
    /// [`Session`]. A session belongs to the agent that made it and to one delivery; the session of another
    /// kind of agent is replaced.
    pub(crate) async fn attempt(&self, session: &mut Session, delivery: &Delivery) -> Answer {
        match &self.0 {
            Connected::Http(http) => http.attempt(delivery).await,
            Connected::Handler(handler) => handler.attempt(&delivery.event).await,
            Connected::LangGraph(langgraph) => {
                let state = session.0.get_or_insert_with(|| Box::new(langgraph.new_delivery()));
                langgraph.attempt(state, delivery).await
            }
        }
    }
}

fn client(spec: &AgentSpec, url: &Url) -> Result<wire::Client, ConnectError> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConnectError::Url { agent: Arc::clone(&spec.name), scheme: url.scheme().to_owned() });
    }
    wire::client(spec).map_err(|error| ConnectError::Client { agent: Arc::clone(&spec.name), error })
}
