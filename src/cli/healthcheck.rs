//! `healthcheck`: one request to a running bridge, so that an image needs no other client.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use tokio::runtime::Builder;

use super::{Source, environment_help, exit, fail};
use crate::bridge::process_environment;

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
            Err(error) => return fail(exit::CONFIG, &error),
        };
        // A bridge that listens on every address is asked on this host's own.
        let addr = config.admin_addr.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        let url = format!("http://{addr}/{}", if self.ready { "readyz" } else { "healthz" });
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(exit::UNAVAILABLE, &format_args!("cannot start: {error}")),
        };
        match runtime.block_on(ask(&url)) {
            Ok((true, _)) => ExitCode::SUCCESS,
            Ok((false, body)) => fail(exit::UNAVAILABLE, &format_args!("{url} says: {body}")),
            Err(error) => {
                fail(exit::UNAVAILABLE, &format_args!("{url}: {}: is the bridge running there?", cause(&error)))
            }
        }
    }
}

async fn ask(url: &str) -> Result<(bool, String), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let response = client.get(url).send().await?;
    Ok((response.status().is_success(), response.text().await?))
}

/// The innermost cause: `connection refused` rather than `error sending request`.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
