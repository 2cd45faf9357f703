//! The help text about environment variables.

use std::fmt::Write as _;

use super::{keys, variables};

/// The environment section of `run --help`.
pub(crate) fn environment_help() -> String {
    let mut text = String::from("Environment (flags override it; it overrides bridge.yaml and the defaults):\n");
    for key in keys::ALL {
        let default = if key.default.is_empty() { String::new() } else { format!(" [{}]", key.default) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<34} {}{default}", key.env, key.help);
    }
    text.push_str("\nOther environment variables:\n");
    for (name, help) in variables::OTHERS {
        let _ = writeln!(text, "  {name:<34} {help}");
    }
    text
}
