//! `healthcheck`: one request to a running bridge, so that an image needs no other client.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};

use super::{
    ask::{Answer, ask},
    flags::AdminFlags,
    output::{self, fail},
};
use crate::{bridge::Exit, config::environment_help};
use clap::Args;

const TIMEOUT: Duration = Duration::from_secs(3);

const EXAMPLE: &str = "Example: workflow-bridge healthcheck --admin 127.0.0.1:9464";

/// Flags of `healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", environment_help()))]
pub(super) struct Healthcheck {
    #[command(flatten)]
    bridge: AdminFlags,
    /// Ask /readyz (partitions are assigned) instead of /healthz (the loop makes progress)
    #[arg(long)]
    ready: bool,
}

impl Healthcheck {
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.bridge.load() {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let page = if self.ready { "readyz" } else { "healthz" };
        let answer = ask(&config.admin_addr, &[page], TIMEOUT);
        if self.bridge.form.is_json() {
            output::result(format_args!("{}", output::json(&report(page, &answer))));
        }
        match answer {
            Ok((200..300, _)) => ExitCode::SUCCESS,
            Ok((_, body)) => fail(Exit::Unavailable, &format_args!("http://{}/{page} says: {body}", config.admin_addr)),
            Err(error) => fail(Exit::Unavailable, &error),
        }
    }
}

/// The page, whether it says that all is well, and its notes or why there is no answer.
fn report(page: &str, answer: &Result<Answer, String>) -> Value {
    match answer {
        Ok((status, body)) => {
            let notes = serde_json::from_str::<Value>(body).ok().map(|body| body["notes"].clone());
            json!({"page": page, "ok": (200..300).contains(status), "status": status, "notes": notes.unwrap_or_default()})
        }
        Err(error) => json!({"page": page, "ok": false, "status": null, "notes": [error]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_verdict_and_the_notes() {
        let said = Ok((503, r#"{"ok": false, "notes": ["no partition"]}"#.to_owned()));
        let expected = json!({"page": "readyz", "ok": false, "status": 503, "notes": ["no partition"]});
        assert_eq!(report("readyz", &said), expected);
        let expected = json!({"page": "healthz", "ok": false, "status": null, "notes": ["refused"]});
        assert_eq!(report("healthz", &Err("refused".to_owned())), expected);
    }
}
