//! Secrets: named in the file, never written in it, and never part of a message.

use crate::yaml::{Data, Node};
use reqwest::header::HeaderValue;

use super::{Context, scalar::is_variable};
use crate::agents::Secret;

impl Context<'_> {
    /// `{env: NAME}` or `{file: PATH}`, found and not empty, and fit for a header.
    pub(super) fn secret(&mut self, node: &Node, what: &str) -> Option<Secret> {
        let entry = match &node.data {
            Data::Map(entries) if entries.len() == 1 => entries.first(),
            _ => None,
        };
        let secret = match entry.map(|entry| (entry.key.as_str(), &entry.value)) {
            Some(("env", name)) => self.env_secret(name, what),
            Some(("file", path)) => {
                let path = self.text(path, what)?;
                Some(Secret::File(path.into()))
            }
            _ => {
                let message = "expected {env: NAME} or {file: PATH}, found something else (not shown)";
                let advice = "put the secret into an environment variable or a file, and name that";
                self.report.error(node.at, format!("{what}: {message}: {advice}"));
                return None;
            }
        }?;
        match secret.reveal() {
            Err(error) => self.report.error(node.at, format!("{what}: {error}")),
            Ok(value) if HeaderValue::from_str(&value).is_err() => {
                let found = value.chars().enumerate().find(|(_, c)| c.is_control() && *c != '\t');
                let found = found.map_or_else(String::new, |(at, c)| {
                    format!("found `{}` as its character {} (the rest is not shown)", c.escape_debug(), at + 1)
                });
                let message = format!("expected visible characters, {found}: set the secret again without it");
                self.report.error(node.at, format!("{what}: {message}"));
            }
            Ok(_) => return Some(secret),
        }
        None
    }

    fn env_secret(&mut self, node: &Node, what: &str) -> Option<Secret> {
        let Some(name) = node.text().filter(|name| is_variable(name)) else {
            let message = "expected the name of an environment variable, found something else (not shown)";
            let advice = "a name has letters, digits and `_`; the secret is its value";
            self.report.error(node.at, format!("{what}: {message}: {advice}"));
            return None;
        };
        match (self.env)(name) {
            Some(value) if !value.is_empty() => Some(Secret::Env { name: name.to_owned(), value: value.into() }),
            found => {
                let found = if found.is_some() { "empty" } else { "unset" };
                let message = format!("expected a secret in the environment variable {name}, found it {found}");
                self.report.error(node.at, format!("{what}: {message}: set it"));
                None
            }
        }
    }
}
