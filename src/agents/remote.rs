//! An agent that is reached over HTTP, connected.

use std::sync::Arc;

use reqwest::Url;

pub(super) use super::langgraph::DeliveryState;
use super::{
    AgentSpec, Answer, Clock, Delivery, Failure, HttpSpec, LangGraphSpec, connect_error::ConnectError, http::Http,
    langgraph::LangGraph, wire,
};

/// An endpoint with its own connection pool.
#[derive(Debug)]
pub(super) enum Remote {
    LangGraph(Box<LangGraph>),
    Http(Box<Http>),
}

impl Remote {
    /// Builds the client of a LangGraph server. Nothing is sent.
    pub(super) fn langgraph(spec: &AgentSpec, of: &LangGraphSpec, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        Ok(Self::LangGraph(Box::new(LangGraph::new(client(spec, &of.url)?, clock, spec, of))))
    }

    /// The same of an HTTP endpoint.
    pub(super) fn http(spec: &AgentSpec, of: &HttpSpec, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        Ok(Self::Http(Box::new(Http::new(client(spec, &of.url)?, clock, spec, of))))
    }

    /// The state of a delivery that has had no attempt in this process.
    pub(super) fn new_delivery(&self) -> Option<Box<DeliveryState>> {
        match self {
            Self::LangGraph(langgraph) => Some(Box::new(langgraph.new_delivery())),
            Self::Http(_) => None,
        }
    }

    /// See [`Agent::find_run`](super::Agent::find_run).
    pub(super) async fn find_run(&self, delivery: &Delivery) -> Option<Result<Option<String>, Failure>> {
        match self {
            Self::Http(_) => None,
            Self::LangGraph(langgraph) => Some(langgraph.find_run(delivery).await),
        }
    }

    /// One attempt.
    pub(super) async fn attempt(&self, state: &mut Option<Box<DeliveryState>>, delivery: &Delivery) -> Answer {
        match self {
            Self::Http(http) => http.attempt(delivery).await,
            Self::LangGraph(langgraph) => {
                let state = state.get_or_insert_with(|| Box::new(langgraph.new_delivery()));
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
