//! Why an agent cannot be set up.

#[cfg(feature = "service")]
use std::sync::Arc;

/// An agent that cannot be set up. This needs no network: an agent that cannot be reached fails its
/// attempts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// TLS cannot be set up.
    #[cfg(feature = "service")]
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
    #[cfg(feature = "service")]
    #[error("agent {agent}: expected a URL with http:// or https:// and a host, found the scheme {scheme:?}")]
    Url {
        /// Which agent.
        agent: Arc<str>,
        /// What it begins with.
        scheme: String,
    },
}
