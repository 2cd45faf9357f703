//! The flags that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    bridge::{Environment, process_environment},
    config::{Config, ConfigError, Sources},
};

/// The flags of every command that has settings.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Settings file [default: bridge.yaml, when there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Source {
    /// The settings; flags override some of them.
    pub(super) fn load(
        &self,
        flags: &[(&'static str, &Option<String>)],
        env: &Environment,
    ) -> Result<Config, ConfigError> {
        let flags = flags.iter().copied().chain([("log_format", &self.log_format)]);
        let flags = flags.filter_map(|(path, flag)| Some((path, flag.clone()?))).collect();
        Config::load(&Sources { flags, env: &**env, file: self.config.clone() })
    }
}

/// The flags of every command that talks to Kafka.
#[derive(Debug, Args)]
pub(super) struct Kafka {
    /// Kafka brokers, comma-separated [default: those that the settings name]
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Topic of events; several with commas, where a command reads [default: what the settings name]
    #[arg(long)]
    topic: Option<String>,
    /// Consumer group [default: the one that the settings name]
    #[arg(long)]
    group: Option<String>,
}

impl Kafka {
    /// The flags with the settings that they override.
    pub(super) fn flags(&self) -> [(&'static str, &Option<String>); 3] {
        [("kafka.bootstrap_servers", &self.brokers), ("kafka.topics", &self.topic), ("kafka.group_id", &self.group)]
    }
}

/// The flags of a command that runs a bridge, or checks its settings.
#[derive(Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    source: Source,
    /// Folder of routing files
    #[arg(long, value_name = "DIR")]
    routing: Option<String>,
    /// Folder of the dedup ledger
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    #[command(flatten)]
    kafka: Kafka,
    /// Address of the metrics, health and status pages
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
}

impl Settings {
    pub(super) fn load(&self, env: &Environment) -> Result<Config, ConfigError> {
        let own =
            [("routing_dir", &self.routing), ("data_dir", &self.data_dir), ("admin_addr", &self.admin)].into_iter();
        let flags: Vec<_> = own.chain(self.kafka.flags()).collect();
        self.source.load(&flags, env)
    }
}

/// The flags of a command that asks a running bridge.
#[derive(Debug, Args)]
pub(super) struct AdminFlags {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    pub(super) form: OutputFlag,
    /// Address of the bridge's metrics, health and status pages
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
}

impl AdminFlags {
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        self.source.load(&[("admin_addr", &self.admin)], &process_environment())
    }
}

/// The form of a command's result. `F` has its variants.
#[derive(Debug, Args)]
pub(super) struct OutputFlag<F: ValueEnum + Send + Sync + 'static = TextOrJson> {
    /// The form of the result
    #[arg(
        short,
        long,
        visible_alias = "format",
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true
    )]
    pub(super) output: F,
}

/// What most commands print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TextOrJson {
    Text,
    Json,
}

impl OutputFlag {
    pub(super) fn is_json(&self) -> bool {
        self.output == TextOrJson::Json
    }
}
