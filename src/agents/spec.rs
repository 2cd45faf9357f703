//! The specification of an agent: its section of a routing file, checked.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use super::HandlerSpec;
#[cfg(feature = "service")]
use super::{
    address::address,
    remote_spec::{HttpSpec, LangGraphSpec},
};

/// An agent: an endpoint that rules send to, with its limits. Equal ones can stand for each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentSpec {
    /// Unique over the routing folder; part of every delivery's identity.
    pub name: Arc<str>,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The most requests at the same time.
    pub concurrency: usize,
    /// The most attempts started in a period; `None` means no limit.
    pub rate: Option<Rate>,
    /// How long one request may take.
    pub timeout: Duration,
    /// When a failed delivery is tried again, and for how long.
    pub retry: RetrySpec,
    /// HTTP statuses with another meaning than in the common table.
    pub classify: BTreeMap<u16, Class>,
}

/// `50/s`: at most `count` attempts started in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Attempts in a period.
    pub count: NonZeroU32,
    /// The period.
    pub per: Duration,
}

/// Exponential backoff with jitter, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetrySpec {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// A delivery is dead-lettered when its first attempt is this long ago.
    pub give_up_after: Duration,
    /// A delivery is dead-lettered after this many ambiguous answers; `None` is without limit.
    pub max_attempts: Option<u32>,
}

/// The kinds of endpoint. Without the service there is one.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "service",
    expect(clippy::large_enum_variant, reason = "there is one for each agent, behind its Arc")
)]
pub(crate) enum Endpoint {
    /// A LangGraph agent server: one accepted run per delivery.
    #[cfg(feature = "service")]
    LangGraph(LangGraphSpec),
    /// Any HTTP endpoint: at least once, with an `Idempotency-Key`.
    #[cfg(feature = "service")]
    Http(HttpSpec),
    /// A function of this process: at least once.
    Handler(HandlerSpec),
}

impl Endpoint {
    /// Whether it is a function of this process.
    pub(crate) fn is_handler(&self) -> bool {
        matches!(self, Self::Handler(_))
    }

    /// How long a request may be under way, in proxies and queues too, of a kind of endpoint whose runs can be looked for: a delivery
    /// that may have been accepted is looked for before it is made again. `None` for the other kinds.
    pub(crate) fn max_request_lifetime(&self) -> Option<Duration> {
        match self {
            #[cfg(feature = "service")]
            Self::LangGraph(langgraph) => Some(langgraph.max_request_lifetime),
            #[cfg(feature = "service")]
            Self::Http(_) => None,
            Self::Handler(_) => None,
        }
    }

    /// Whether a delivery that may have been accepted is looked for before it is made again.
    pub(crate) fn is_found_again(&self) -> bool {
        self.max_request_lifetime().is_some()
    }

    /// The address of a run on the server of a LangGraph agent, without secrets. `None` for an agent of another kind.
    pub(crate) fn run_url(&self, thread: &str, run: &str) -> Option<String> {
        let server = self.address();
        self.is_found_again().then(|| format!("{}/threads/{thread}/runs/{run}", server.trim_end_matches('/')))
    }

    /// Where it is, for pages and logs: without credentials, query and fragment.
    pub(crate) fn address(&self) -> String {
        match self {
            #[cfg(feature = "service")]
            Self::LangGraph(LangGraphSpec { url, .. }) | Self::Http(HttpSpec { url, .. }) => address(url),
            Self::Handler(handler) => format!("handler:{}", handler.name),
        }
    }

    /// What tells it from others of its kind: see [`EndpointId`](super::EndpointId).
    pub(crate) fn identity(&self) -> String {
        let server: Option<&String> = match self {
            #[cfg(feature = "service")]
            Self::LangGraph(langgraph) => langgraph.server.as_ref(),
            #[cfg(feature = "service")]
            Self::Http(http) => http.server.as_ref(),
            Self::Handler(_) => None,
        };
        server.map_or_else(|| self.address(), |name| format!("server:{name}"))
    }
}

/// What an agent's answer means for the delivery. The words are those of `classify:` in a routing file, which
/// has one word for both kinds of agent fault: there, the status decides which of them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// The agent has it.
    Accepted,
    /// The agent is well and says: later.
    Busy,
    /// It may or may not have been accepted.
    Ambiguous,
    /// The agent will never take this event, and would take another.
    EventFault,
    /// The agent accepts no event at the moment and may recover by itself: it is slow, overloaded or failing.
    AgentUnavailable,
    /// The agent accepts no event until somebody fixes it: a wrong key or address, nobody listening.
    AgentFault,
}

impl Class {
    /// The classes that a routing file can name, in the order of the docs.
    pub(crate) const NAMED: [Self; 5] =
        [Self::Accepted, Self::Busy, Self::Ambiguous, Self::EventFault, Self::AgentFault];

    /// The word in routing files, labels and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Busy => "busy",
            Self::Ambiguous => "ambiguous",
            Self::EventFault => "event_fault",
            Self::AgentUnavailable | Self::AgentFault => "agent_fault",
        }
    }
}
