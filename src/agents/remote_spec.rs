//! The specification of an agent that is reached over HTTP.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use super::Tls;

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
