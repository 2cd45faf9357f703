//! Log lines on stderr, as text or JSON, filtered by `RUST_LOG`.
//!
//! A closed stderr, or one on a full disk, loses lines but stops nothing; the default of tracing-subscriber would panic. A pipe
//! that nobody reads blocks whoever logs: a command at once, a service when more than `lines` keeps is not read.

mod json;
mod lines;

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter};

use super::output;
use crate::config::LogFormat;
pub(super) use lines::Log;

/// Installs the logger of a command; a second call changes nothing.
pub(super) fn install(format: LogFormat, default: &str) {
    install_with(format, default, io::stderr);
}

/// Installs the logger of a service, whose lines are written by a thread until the result is dropped.
pub(super) fn install_for_service(format: LogFormat, default: &str) -> Log {
    let (log, writer) = Log::start();
    install_with(format, default, writer);
    log
}

fn install_with<W>(format: LogFormat, default: &str, writer: W)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let wanted = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = EnvFilter::try_new(if wanted.trim().is_empty() { default } else { &wanted }).unwrap_or_else(|error| {
        output::note(format_args!(
            "warning: RUST_LOG: expected a level or directives such as info or warn,workflow_bridge=debug, found \
             {wanted:?} ({error}): {default} is used instead"
        ));
        EnvFilter::new(default)
    });
    let builder = fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    // It fails only if there is a logger already.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(is_coloured(&|name| env::var(name).ok())).try_init(),
        LogFormat::Json => builder.with_ansi(false).event_format(json::Json).try_init(),
    };
}

/// Colour is used on a terminal, unless the user disabled it.
fn is_coloured(env: &dyn Fn(&str) -> Option<String>) -> bool {
    allows_colour(env) && io::stderr().is_terminal()
}

/// Follows <https://no-color.org>, and a terminal without colours.
fn allows_colour(env: &dyn Fn(&str) -> Option<String>) -> bool {
    env("NO_COLOR").is_none_or(|value| value.is_empty()) && env("TERM").as_deref() != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_have_no_colour() {
        let with = |name: &'static str, value: &'static str| {
            allows_colour(&move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(!with("NO_COLOR", "1") && !with("NO_COLOR", "0") && !with("TERM", "dumb"));
        assert!(with("NO_COLOR", "") && with("TERM", "xterm-256color"));
    }
}
