//! An agent, connected: what the pipeline holds.

use std::sync::Arc;

use super::{
    AgentSpec, Answer, ClaimPolicy, Clock, Delivery, Endpoint, SystemClock,
    http::Http,
    langgraph::{self, LangGraph},
    wire,
};

/// An endpoint with its own connection pool.
#[derive(Debug)]
pub struct Agent {
    spec: Arc<AgentSpec>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    LangGraph(Box<LangGraph>),
    Http(Box<Http>),
}

/// The memory of one delivery over its attempts in this process: keep it from the first attempt to
/// the last.
///
/// When an attempt is dropped before its answer (a shutdown), the session keeps what it had learnt
/// by the last step that ended: which claim was asked for and when, when another's claim was first
/// seen, and that a post was begun. A post whose first byte was written counts as ambiguous; one
/// that was not will never be sent. Without the session (another process) the claim itself, on the
/// server, is what remains.
#[derive(Debug)]
pub struct Session(Option<Box<langgraph::Memory>>);

/// An agent that cannot be connected. No network is needed to connect: that an agent is away shows
/// in its answers.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS cannot be set up.
    #[error("agent {agent}: TLS cannot be set up: {error}: check the system's TLS certificates")]
    Client {
        /// Which agent.
        agent: Arc<str>,
        /// What the client says.
        error: native_tls::Error,
    },
    /// The threads beside the agents cannot be started.
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

impl ConnectError {
    /// A stable label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client { .. } => "client",
            Self::Url { .. } => "url",
            Self::Threads { .. } => "threads",
        }
    }
}

impl Session {
    /// The delivery is to be given up: a LangGraph run is not posted any more. What may be on its way is
    /// settled and looked for by the next attempts, the last of which says [`Answer::Ended`] when there
    /// is no run. Without effect for other kinds, where nothing can be looked for.
    pub fn end(&mut self) {
        if let Some(memory) = &mut self.0 {
            memory.end();
        }
    }
}

impl Agent {
    /// Builds the agent's client. Nothing is sent.
    pub fn connect(spec: &Arc<AgentSpec>) -> Result<Self, ConnectError> {
        Self::build(spec, ClaimPolicy::default(), Arc::new(SystemClock))
    }

    /// With safeguards switched off, for tests that prove that they are needed.
    #[doc(hidden)]
    pub fn connect_with_policy(spec: &Arc<AgentSpec>, policy: ClaimPolicy) -> Result<Self, ConnectError> {
        Self::build(spec, policy, Arc::new(SystemClock))
    }

    pub(super) fn build(
        spec: &Arc<AgentSpec>,
        policy: ClaimPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let url = match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => &langgraph.url,
            Endpoint::Http(http) => &http.url,
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ConnectError::Url { agent: Arc::clone(&spec.name), scheme: url.scheme().to_owned() });
        }
        let client =
            wire::client(spec).map_err(|error| ConnectError::Client { agent: Arc::clone(&spec.name), error })?;
        let kind = match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => {
                Kind::LangGraph(Box::new(LangGraph::new(client, clock, spec, langgraph, policy)))
            }
            Endpoint::Http(http) => Kind::Http(Box::new(Http::new(client, clock, spec, http))),
        };
        Ok(Self { spec: Arc::clone(spec), kind })
    }

    /// What the routing file says of it.
    pub fn spec(&self) -> &Arc<AgentSpec> {
        &self.spec
    }

    /// The memory for a delivery that has had no attempt in this process.
    pub fn session(&self) -> Session {
        Session(match &self.kind {
            Kind::LangGraph(langgraph) => Some(Box::new(langgraph.memory())),
            Kind::Http(_) => None,
        })
    }

    /// One attempt, which takes a few requests' time at most. The future may be dropped: see
    /// [`Session`]. A session belongs to the agent that made it and to one delivery; one of another
    /// kind of agent is begun anew.
    pub async fn attempt(&self, session: &mut Session, delivery: &Delivery) -> Answer {
        match &self.kind {
            Kind::Http(http) => http.attempt(delivery).await,
            Kind::LangGraph(langgraph) => {
                let memory = session.0.get_or_insert_with(|| Box::new(langgraph.memory()));
                langgraph.attempt(memory, delivery).await
            }
        }
    }
}
