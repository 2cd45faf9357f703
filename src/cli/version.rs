//! `--version`: what a report of a problem should name.

use std::sync::LazyLock;

use crate::connection::library_versions;

/// The commit, if the build was told: a build from a tarball knows none.
const COMMIT: Option<&str> = option_env!("WORKFLOW_BRIDGE_COMMIT");

/// The version of the program, of its commit and of the libraries that it was built with.
pub(super) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| text(COMMIT));
    &TEXT
}

fn text(commit: Option<&str>) -> String {
    let commit = commit.map(str::trim).filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    let (librdkafka, openssl) = library_versions();
    format!("{}\ncommit: {commit}\nlibrdkafka: {librdkafka}\nOpenSSL: {openssl}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_version_names_the_commit_and_the_libraries() {
        let is_version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
        for (commit, expected) in
            [(Some("4be1d0c"), "commit: 4be1d0c"), (Some(" "), "commit: unknown"), (None, "commit: unknown")]
        {
            let text = text(commit);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[1]), (4, env!("CARGO_PKG_VERSION"), expected));
            assert!(lines[2].strip_prefix("librdkafka: ").is_some_and(is_version), "{text}");
            assert!(lines[3].strip_prefix("OpenSSL: ").is_some_and(is_version), "{text}");
        }
    }
}
