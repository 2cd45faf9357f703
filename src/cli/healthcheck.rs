//! `healthcheck`: one request to a running bridge, so that an image needs no other client.

use std::{process::ExitCode, time::Duration};

use super::{ask::ask, flags::Source, output::fail};
use crate::{
    bridge::{Exit, process_environment},
    config::environment_help,
};
use clap::Args;

const TIMEOUT: Duration = Duration::from_secs(3);

const EXAMPLE: &str = "Example: workflow-bridge healthcheck --admin 127.0.0.1:9464";

/// Flags of `healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", environment_help()))]
pub(super) struct Healthcheck {
    #[command(flatten)]
    source: Source,
    /// Address of the bridge's metrics, health and status pages
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Ask /readyz (partitions are assigned) instead of /healthz (the loop makes progress)
    #[arg(long)]
    ready: bool,
}

impl Healthcheck {
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.source.load(&[("admin_addr", &self.admin)], &process_environment()) {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let page = if self.ready { "readyz" } else { "healthz" };
        match ask(&config.admin_addr, &[page], TIMEOUT) {
            Ok((200..300, _)) => ExitCode::SUCCESS,
            Ok((_, body)) => fail(Exit::Unavailable, &format_args!("http://{}/{page} says: {body}", config.admin_addr)),
            Err(error) => fail(Exit::Unavailable, &error),
        }
    }
}
