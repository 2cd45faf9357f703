//! The specification of an agent: its section of a routing file, checked.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{HandlerSpec, Tls, address::address};

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

/// The kinds of endpoint.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each agent, behind its Arc")]
pub(crate) enum Endpoint {
    /// A LangGraph agent server: one accepted run per delivery.
    LangGraph(LangGraphSpec),
    /// Any HTTP endpoint: at least once, with an `Idempotency-Key`.
    Http(HttpSpec),
    /// A function of this process: at least once.
    Handler(HandlerSpec),
}

impl Endpoint {
    /// Whether a delivery that may have been accepted is looked for before it is made again.
    pub(crate) fn is_found_again(&self) -> bool {
        matches!(self, Self::LangGraph(_))
    }

    /// The address of a run on the server of a LangGraph agent, without secrets. `None` for an agent of another kind.
    pub(crate) fn run_url(&self, thread: &str, run: &str) -> Option<String> {
        let server = self.address();
        matches!(self, Self::LangGraph(_))
            .then(|| format!("{}/threads/{thread}/runs/{run}", server.trim_end_matches('/')))
    }

    /// Where it is; `None` for a function of this process.
    pub(crate) fn url(&self) -> Option<&Url> {
        match self {
            Self::LangGraph(langgraph) => Some(&langgraph.url),
            Self::Http(http) => Some(&http.url),
            Self::Handler(_) => None,
        }
    }

    /// The same for pages and logs: without credentials, query and fragment.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::LangGraph(LangGraphSpec { url, .. }) | Self::Http(HttpSpec { url, .. }) => address(url),
            Self::Handler(handler) => format!("handler:{}", handler.name),
        }
    }

    /// What tells it from others of its kind: see [`EndpointId`](super::EndpointId).
    pub(crate) fn identity(&self) -> String {
        let server = match self {
            Self::LangGraph(langgraph) => langgraph.server.as_ref(),
            Self::Http(http) => http.server.as_ref(),
            Self::Handler(_) => None,
        };
        server.map_or_else(|| self.address(), |name| format!("server:{name}"))
    }

    /// The certificate authorities that are trusted for this server; `None`: the system's.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::LangGraph(langgraph) => langgraph.tls.as_ref(),
            Self::Http(http) => http.tls.as_ref(),
            Self::Handler(_) => None,
        }
    }
}

/// A LangGraph agent server and the assistant on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LangGraphSpec {
    /// The server's base URL, without a trailing slash in its path.
    pub url: Url,
    /// What is one server at several URLs. `None`: the URL says it.
    pub server: Option<String>,
    /// The assistant's name or UUID.
    pub assistant: String,
    /// Sent as `x-api-key`.
    pub api_key: Option<Secret>,
    /// Credentials for a server or a gateway with an authentication of its own.
    pub auth: Option<Auth>,
    /// A private CA.
    pub tls: Option<Tls>,
    /// More headers for every request.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// The longest that a request may be under way, in proxies and queues too: at least twice the time-out.
    pub max_request_lifetime: Duration,
    /// The run's `config`, sent as it stands; one with templates in it is part of each delivery.
    pub config: Option<Value>,
    /// The run's `context`, likewise.
    pub context: Option<Value>,
    /// When the server clears a claim thread. `None`: never.
    pub ttl: Option<Ttl>,
    /// The LangSmith project that the run is traced to; `None`: the server's own.
    pub tracer_project: Option<String>,
}

/// When the server clears a claim thread, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    /// The time since it was last used.
    pub after: Duration,
    /// What is cleared.
    pub strategy: TtlStrategy,
}

/// What a server clears of an expired thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TtlStrategy {
    /// All checkpoints but the latest: the thread, which is the claim, stays.
    KeepLatest,
    /// The whole thread: the claim goes with it.
    Delete,
}

impl TtlStrategy {
    /// The server's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KeepLatest => "keep_latest",
            Self::Delete => "delete",
        }
    }
}

/// Any HTTP endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpSpec {
    /// Where the event goes.
    pub url: Url,
    /// What is one receiver at several URLs. `None`: the URL says it.
    pub server: Option<String>,
    /// POST or PUT.
    pub method: Method,
    /// More headers for every request.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// The bridge's credentials.
    pub auth: Option<Auth>,
    /// A private CA.
    pub tls: Option<Tls>,
    /// The secret of a Standard Webhooks signature.
    pub sign: Option<Secret>,
}

/// The bridge's credentials.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Auth {
    /// `Authorization: Bearer ...`
    Bearer(Secret),
    /// A header of the endpoint's choice, `x-api-key` by default.
    ApiKey {
        /// The header's name.
        header: HeaderName,
        /// Its value.
        key: Secret,
    },
}

/// The value of a header: written in the routing file, or a secret.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HeaderText {
    /// As it stands in the file.
    Plain(HeaderValue),
    /// Read from the environment or a file.
    Secret(Secret),
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

/// The source of a secret. Its value is never part of a message, and `Debug` shows only the source.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// An environment variable, read once when the routing folder is loaded.
    Env {
        /// The variable's name.
        name: String,
        /// Its value at that moment.
        value: Arc<str>,
    },
    /// A file, read again at every use, so that a rotated secret needs no restart. Trailing white
    /// space is removed.
    File(PathBuf),
}

/// A secret that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file cannot be read.
    #[error("secret file {path}: {error}: create it, readable to the bridge's user")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file has no content.
    #[error("secret file {path} is empty: write the secret into it")]
    EmptyFile {
        /// Which file.
        path: PathBuf,
    },
}

impl Secret {
    /// The value, as it is now.
    pub(crate) fn reveal(&self) -> Result<Arc<str>, SecretError> {
        match self {
            Self::Env { value, .. } => Ok(Arc::clone(value)),
            Self::File(path) => {
                let text = crate::files::read_text(path)
                    .map_err(|error| SecretError::Unreadable { path: path.clone(), error })?;
                match text.trim_end() {
                    "" => Err(SecretError::EmptyFile { path: path.clone() }),
                    secret => Ok(secret.into()),
                }
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name, .. } => write!(f, "Secret(env {name})"),
            Self::File(path) => write!(f, "Secret(file {})", path.display()),
        }
    }
}
