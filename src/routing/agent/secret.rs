//! Secrets: named in the file, never written in it, and never part of a message.

use super::{context::Context, scalar::is_variable};
use crate::{
    agents::{Secret, SecretError, check_signing_secret, is_invisible},
    yaml::{Data, Node, shown_path, shown_variable},
};

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
            Err(error) => self.report.error(node.at, format!("{what}: {}", as_written(error, node))),
            Ok(value) => match unsendable(&value) {
                Some(found) => {
                    let message = format!("expected visible characters, found {found}; the secret is not shown");
                    self.report.error(node.at, format!("{what}: {message}: set it again without that character"));
                }
                None => return Some(secret),
            },
        }
        None
    }

    /// A secret that can sign.
    pub(super) fn signing_secret(&mut self, node: &Node, what: &str) -> Option<Secret> {
        let secret = self.secret(node, what)?;
        match secret.reveal().map(|value| check_signing_secret(&value)) {
            Ok(Ok(())) => return Some(secret),
            Ok(Err(error)) => self.report.error(node.at, format!("{what}: {error}")),
            Err(error) => self.report.error(node.at, format!("{what}: {}", as_written(error, node))),
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
            Some(value) if !value.trim().is_empty() => Some(Secret::Env { name: name.to_owned(), value: value.into() }),
            found => {
                let found = match found.as_deref() {
                    None => "unset",
                    Some("") => "empty",
                    Some(_) => "blank",
                };
                let message = format!("expected a secret in {}, found it {found}", shown_variable(name));
                self.report.error(node.at, format!("{what}: {message}: set it"));
                None
            }
        }
    }
}

/// The error with the path that the file says, if it is one: what a variable in it holds may be a secret itself.
fn as_written(error: SecretError, node: &Node) -> SecretError {
    let path = shown_path(node.get("file").and_then(Node::text).unwrap_or_default()).into();
    match error {
        SecretError::Unreadable { error, .. } => SecretError::Unreadable { path, error },
        SecretError::EmptyFile { .. } => SecretError::EmptyFile { path },
    }
}

/// The first character that a header cannot hold, or that nobody sees, and where it stands.
fn unsendable(secret: &str) -> Option<String> {
    let (index, c) = secret.chars().enumerate().find(|(_, c)| is_invisible(*c))?;
    let name = match c {
        '\n' => "a line feed, ",
        '\r' => "a carriage return, ",
        '\t' => "a tab, ",
        '\u{feff}' => "a byte order mark, ",
        _ => "",
    };
    Some(format!("{name}U+{:04X}, as character {} of {}", u32::from(c), index + 1, secret.chars().count()))
}
