//! The bridge as a library: built in a program, with functions of it as handlers.
//!
//! Owns what a program may set, and that every mistake of it is an error of `build`. Its invariant: nothing of the process is
//! changed. No signal is handled, no log subscriber and no metrics recorder installed, no variable and no settings file read
//! (the variables that routing files name are).

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use super::{
    error::BridgeError,
    program::{Program, run_program},
    rules::{self, process_environment},
};
use crate::{
    agents::{HandlerCall, HandlerError, Handling},
    config::{self, Config},
    connection::Security,
    event::{Event, EventType},
    handlers::{HandlerOptions, Handlers, Registration},
    plan::Plan,
};

/// What a bridge in a program needs in any case: two of one service must not share the defaults.
const REQUIRED: [&str; 2] = ["kafka.group_id", "data_dir"];

/// Settings of the command that a program has not, and why.
const NO_SETTINGS: [(&str, &str); 1] =
    [("log_format", "logs are events of the `tracing` crate here: the subscriber of the program has the format")];
/// Settings of a routing folder alone.
const OF_ROUTING: [&str; 1] = ["routing_reload"];

/// A bridge that a program runs: Kafka in, handlers and agents out. [`Bridge::builder`] makes one.
///
/// ```no_run
/// use std::sync::Arc;
/// use workflow_bridge::{
///     bridge::{Bridge, HandlerError},
///     event::{Event, EventType},
/// };
///
/// async fn store(event: Arc<Event>) -> Result<(), HandlerError> {
///     println!("{} of {}", event.workflow_run_id(), event.workflow_id());
///     Ok(())
/// }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// Bridge::builder()
///     .bootstrap_servers("localhost:9092")
///     .topic("workflow-events")
///     .group_id("orders")
///     .data_dir("/var/lib/orders/bridge")
///     .handle("store", EventType::Completed, store)
///     .build()?
///     .run(async { drop(tokio::signal::ctrl_c().await) })
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct Bridge {
    config: Config,
    program: Program,
}

/// What a bridge is built from: see [`Bridge::builder`].
#[derive(Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct Builder {
    settings: BTreeMap<&'static str, String>,
    properties: BTreeMap<String, String>,
    security: Option<Security>,
    handlers: Vec<Registration>,
    problems: Vec<String>,
}

/// Every mistake in what a bridge was to be built from, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    problems: Vec<String>,
}

/// Why a bridge did not start, or ended by itself. What had no outcome by then is read again by the next start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunError(BridgeError);

impl Bridge {
    /// Begins to build a bridge. Required are [`group_id`](Builder::group_id), [`data_dir`](Builder::data_dir), and handlers or a
    /// [`routing_dir`](Builder::routing_dir) or both; the other settings have the defaults of docs/configuration.md, but the admin
    /// pages, which are off.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs until `until` resolves, and then stops in order: no new calls, three quarters of `drain_timeout` (6 s of 8 s) for those
    /// under way, the last commit. What is still under way then is dropped at its next `await`, and its events come again. So it is, without order and
    /// without a last commit, when the future of `run` is dropped.
    ///
    /// Handlers run on the runtime of the caller. One that blocks its thread holds up the others: use
    /// [`tokio::task::spawn_blocking`]. Kafka is polled on a thread of its own, so slow handlers cause no rebalance.
    ///
    /// # Errors
    /// [`RunError`]: the data folder is in use or damaged, a client cannot be made, or a part ended by itself.
    pub async fn run(self, until: impl Future<Output = ()>) -> Result<(), RunError> {
        let until = async {
            until.await;
            None
        };
        run_program(self.config, self.program, until).await.map_err(RunError)
    }
}

impl Builder {
    fn text(mut self, path: &'static str, value: impl Into<String>) -> Self {
        self.settings.insert(path, value.into());
        self
    }

    fn folder(mut self, path: &'static str, folder: &Path) -> Self {
        if let Some(folder) = folder.to_str() {
            return self.text(path, folder);
        }
        self.problems.push(format!("`{path}`: expected a path in UTF-8, found {}", folder.display()));
        self
    }

    /// The brokers, `host:port`, comma-separated; `localhost:9092` by default.
    pub fn bootstrap_servers(self, servers: impl Into<String>) -> Self {
        self.text("kafka.bootstrap_servers", servers)
    }

    /// The topic to read, or several with commas; `workflow-events` by default.
    pub fn topic(self, topic: impl Into<String>) -> Self {
        self.text("kafka.topics", topic)
    }

    /// The consumer group. Required.
    pub fn group_id(self, group: impl Into<String>) -> Self {
        self.text("kafka.group_id", group)
    }

    /// The folder of the ledger, which is created when it does not exist. One process at a time can have it. Required.
    pub fn data_dir(self, folder: impl AsRef<Path>) -> Self {
        self.folder("data_dir", folder.as_ref())
    }

    /// A folder of routing files, whose agents get events beside the handlers. It is loaded again when it has changed.
    pub fn routing_dir(self, folder: impl AsRef<Path>) -> Self {
        self.folder("routing_dir", folder.as_ref())
    }

    /// Serves the admin pages at this address, `host:port`. `/metrics` is not among them: metrics go to the recorder that the
    /// program has installed for the `metrics` crate, if any.
    pub fn admin_addr(self, addr: impl Into<String>) -> Self {
        self.text("admin_addr", addr)
    }

    /// How Kafka is encrypted and authenticated; not at all by default.
    pub fn security(self, security: Security) -> Self {
        Self { security: Some(security), ..self }
    }

    /// A property of librdkafka that the bridge does not own.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Any setting of docs/configuration.md by its path in bridge.yaml, as text: `("drain_timeout", "30s")`. `log_format` is none of a
    /// program, and `routing_reload` needs a [`routing_dir`](Self::routing_dir). Secrets and
    /// `kafka.security` are set with [`security`](Self::security).
    pub fn setting(mut self, path: &str, value: impl Into<String>) -> Self {
        if let Some((_, reason)) = NO_SETTINGS.iter().find(|(refused, _)| *refused == path) {
            self.problems.push(format!("`{path}`: {reason}"));
            return self;
        }
        let key = config::ALL.iter().find(|key| key.path == path && !path.starts_with("kafka.security."));
        if let Some(key) = key {
            return self.text(key.path, value);
        }
        let path = path.escape_debug();
        self.problems.push(format!("`{path}`: expected the path of a setting, such as `drain_timeout`"));
        self
    }

    /// Calls a function for each event of a type, with the default [`HandlerOptions`]. As [`handle_with`](Self::handle_with).
    pub fn handle<F, R>(self, name: impl Into<String>, event_type: EventType, handler: F) -> Self
    where
        F: Fn(Arc<Event>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.handle_with(name, event_type, HandlerOptions::default(), handler)
    }

    /// Calls a function for each event of a type. Several for one type get each event independently of each other.
    ///
    /// The name is the handler's identity: what was handled is remembered under it, so that a new name handles again what is
    /// still read. It is one handler's, and no agent of the routing folder may have it.
    ///
    /// An event is handled when the function returns `Ok`, and not called again for then. A process that ends between that and the
    /// flush of the ledger calls it again, so handlers recognise a repetition by [`Event::id`]. See [`HandlerError`] for what
    /// follows otherwise; a panic is a failed call. Events of one key are handled one after the other.
    pub fn handle_with<F, R>(
        mut self,
        name: impl Into<String>,
        event_type: EventType,
        options: HandlerOptions,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<Event>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let function = Arc::new(move |call: HandlerCall| -> Handling { Box::pin(handler(call.event)) });
        self.handlers.push(Registration { name: name.into(), event_type, function, options });
        self
    }

    /// Checks everything, and loads the routing folder if there is one. Nothing is opened and nothing is connected to.
    ///
    /// # Errors
    /// [`BuildError`] has every mistake.
    pub fn build(self) -> Result<Bridge, BuildError> {
        let Self { settings, properties, security, handlers, mut problems } = self;
        for path in REQUIRED.into_iter().filter(|path| !settings.contains_key(path)) {
            problems.push(format!("`{path}` is not set: it has no default in a program"));
        }
        let (has_routing, has_pages) = (settings.contains_key("routing_dir"), settings.contains_key("admin_addr"));
        if !has_routing && handlers.is_empty() {
            problems.push("there is no handler and no `routing_dir`: every event would be passed over".to_owned());
        }
        for path in OF_ROUTING.into_iter().filter(|path| !has_routing && settings.contains_key(path)) {
            problems
                .push(format!("`{path}` is set and `routing_dir` is not: without a folder there is nothing to load"));
        }
        let config = Config::of(settings, security.unwrap_or_default(), properties)
            .map_err(|error| problems.extend(error.problems.into_iter().map(|problem| problem.message)));
        let handlers = Handlers::new(handlers).map(Arc::new).map_err(|found| problems.extend(found));
        let environment = process_environment();
        let mut routing = None;
        if let (Ok(config), true) = (&config, has_routing) {
            match rules::load_snapshot(&config.routing_dir, config.dedup_window, &environment) {
                Ok((loaded, fingerprint)) => routing = Some((Arc::new(loaded), fingerprint)),
                Err(error) => problems.push(error.to_string()),
            }
        }
        if let Ok(handlers) = &handlers {
            let rest = routing.as_ref().map(|(routing, _)| Arc::clone(routing) as Arc<dyn Plan>);
            problems.extend(handlers.beside(rest).err().into_iter().flatten());
        }
        match (config, handlers) {
            (Ok(config), Ok(handlers)) if problems.is_empty() => {
                let program = Program { routing, handlers, environment, has_pages, ..Program::default() };
                Ok(Bridge { config, program })
            }
            _ => Err(BuildError { problems }),
        }
    }
}

impl BuildError {
    /// The mistakes, each a sentence or more.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests;
