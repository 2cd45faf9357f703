//! An agent, connected: what the pipeline sends deliveries to.

use std::sync::Arc;

use super::{
    AgentSpec, Answer, Delivery, Endpoint, Failure, HandlerSpec,
    connect_error::ConnectError,
    remote::{DeliveryState, Remote},
};

/// An endpoint with its own connection pool, or a function.
#[derive(Debug)]
pub(crate) struct Agent(Connected);

#[derive(Debug)]
enum Connected {
    Remote(Remote),
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
pub(crate) struct Session(Option<Box<DeliveryState>>);

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
    #[cfg(feature = "service")]
    pub(crate) fn connect(spec: &Arc<AgentSpec>) -> Result<Self, ConnectError> {
        Self::with_clock(spec, Arc::new(super::SystemClock))
    }

    /// A function needs no client.
    #[cfg(not(feature = "service"))]
    #[expect(clippy::unnecessary_wraps, reason = "other kinds of agent may have a mistake")]
    pub(crate) fn connect(spec: &Arc<AgentSpec>) -> Result<Self, ConnectError> {
        let Endpoint::Handler(handler) = &spec.endpoint;
        Ok(Self(Connected::Handler(handler.clone())))
    }

    #[cfg(feature = "service")]
    pub(super) fn with_clock(spec: &Arc<AgentSpec>, clock: Arc<dyn super::Clock>) -> Result<Self, ConnectError> {
        Ok(Self(match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => Connected::Remote(Remote::langgraph(spec, langgraph, clock)?),
            Endpoint::Http(http) => Connected::Remote(Remote::http(spec, http, clock)?),
            Endpoint::Handler(handler) => Connected::Handler(handler.clone()),
        }))
    }

    /// The session of a delivery that has had no attempt in this process.
    pub(crate) fn session(&self) -> Session {
        Session(match &self.0 {
            Connected::Remote(remote) => remote.new_delivery(),
            Connected::Handler(_) => None,
        })
    }

    /// Looks on the server whether a delivery has a run, and changes nothing there. `None` for kinds of agent without runs.
    ///
    /// # Errors
    /// It cannot be known.
    pub(crate) async fn find_run(&self, delivery: &Delivery) -> Option<Result<Option<String>, Failure>> {
        match &self.0 {
            Connected::Remote(remote) => remote.find_run(delivery).await,
            Connected::Handler(_) => None,
        }
    }

    /// One attempt, which takes a few requests at most. The future may be dropped: see
    /// [`Session`]. A session belongs to the agent that made it and to one delivery; the session of another
    /// kind of agent is replaced.
    pub(crate) async fn attempt(&self, session: &mut Session, delivery: &Delivery) -> Answer {
        match &self.0 {
            Connected::Remote(remote) => remote.attempt(&mut session.0, delivery).await,
            Connected::Handler(handler) => handler.attempt(delivery).await,
        }
    }
}
