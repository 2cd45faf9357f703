//! bridge.yaml, flattened to the settings' paths.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::keys;
use crate::{
    connection::is_secret,
    files,
    yaml::{self, Data, Node, Position},
};

/// The file that is read when no other is named, if it is there.
const DEFAULT: &str = "bridge.yaml";
/// A map of any librdkafka property.
const PROPERTIES: &str = "kafka.properties";

/// One value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Text(String),
    List(Vec<String>),
    SecretEnv(String),
    SecretFile(PathBuf),
}

/// What the file says: for each path the value and its place.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) entries: BTreeMap<String, (String, Entry)>,
    /// librdkafka's own: each with its place.
    pub(super) properties: BTreeMap<String, (String, Entry)>,
}

pub(super) fn read(named: Option<&Path>, problems: &mut Vec<String>) -> File {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let name = path.display().to_string();
    match files::read_text_once(path) {
        Ok(text) => parse(&name, &text, problems),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => File::default(),
        Err(error) => {
            problems.push(format!("{name}: the settings file cannot be read: {error}"));
            File::default()
        }
    }
}

pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<String>) -> File {
    let mut faults = Vec::new();
    let root = yaml::read(text, &mut faults);
    let mut reader = Reader { name, problems, file: File::default() };
    for (at, message) in faults {
        reader.problem(at, &message);
    }
    match root {
        None | Some(Node { data: Data::Null, .. }) => {}
        Some(root @ Node { data: Data::Map(_), .. }) => reader.section("", &root),
        Some(root) => {
            let found = root.found_type();
            reader.problem(root.at, &format!("expected a map of settings, found {found}"));
        }
    }
    reader.file
}

struct Reader<'a> {
    name: &'a str,
    problems: &'a mut Vec<String>,
    file: File,
}

impl Reader<'_> {
    fn problem(&mut self, at: Option<Position>, message: &str) {
        let place = at.map_or_else(String::new, |at| format!("{at}:"));
        self.problems.push(format!("{}:{place} {message}", self.name));
    }

    fn section(&mut self, prefix: &str, node: &Node) {
        let Data::Map(entries) = &node.data else { return };
        for entry in entries {
            let path = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            if path == PROPERTIES {
                self.properties(&entry.value);
            } else if keys::ALL.iter().any(|key| key.path == path) {
                self.value(&path, &entry.value);
            } else if keys::ALL.iter().any(|key| key.path.starts_with(&format!("{path}.")))
                && matches!(entry.value.data, Data::Map(_))
            {
                self.section(&path, &entry.value);
            } else if path == "kafka" || keys::ALL.iter().any(|key| key.path.starts_with(&format!("{path}."))) {
                let found = entry.value.found_type();
                self.problem(entry.value.at, &format!("`{path}`: expected a map of settings, found {found}"));
            } else {
                let known = keys::ALL.iter().map(|key| key.path).chain([PROPERTIES]);
                let hint = yaml::suggestion(&path, known);
                let hint = if hint.is_empty() { " (docs/configuration.md has all of them)".to_owned() } else { hint };
                self.problem(entry.at, &format!("`{path}` is no setting{hint}"));
            }
        }
    }

    fn properties(&mut self, node: &Node) {
        let Data::Map(entries) = &node.data else {
            return self.problem(
                node.at,
                &format!("expected a mapping of librdkafka properties, found {}", node.found_type()),
            );
        };
        for entry in entries {
            match entry_of(&entry.value) {
                Some(Entry::List(_)) | None => {
                    let found = entry.value.found_type();
                    self.problem(entry.value.at, &format!("expected a value, found {found}"));
                }
                Some(Entry::Text(_)) if is_secret(&entry.key) => {
                    let message = format!(
                        "`{}` stands in the file: write {{env: NAME}} or {{file: PATH}} instead, and change it where it \
                         was readable",
                        entry.key
                    );
                    self.problem(entry.value.at, &message);
                }
                Some(value) => {
                    let place = self.place(entry.value.at);
                    self.file.properties.insert(entry.key.clone(), (place, value));
                }
            }
        }
    }

    fn place(&self, at: Option<Position>) -> String {
        at.map_or_else(|| self.name.to_owned(), |at| format!("{}:{at}", self.name))
    }

    fn value(&mut self, path: &str, node: &Node) {
        let entry = entry_of(node);
        match entry {
            Some(entry) => {
                let place = self.place(node.at);
                self.file.entries.insert(path.to_owned(), (place, entry));
            }
            None => self.problem(node.at, &format!("`{path}`: expected a value, found {}", node.found_type())),
        }
    }
}

/// A value, a list of values, or where a secret is.
fn entry_of(node: &Node) -> Option<Entry> {
    match &node.data {
        Data::List(items) => items.iter().map(scalar_text).collect::<Option<_>>().map(Entry::List),
        Data::Map(entries) => match entries.as_slice() {
            [one] if one.key == "env" => scalar_text(&one.value).map(Entry::SecretEnv),
            [one] if one.key == "file" => scalar_text(&one.value).map(|path| Entry::SecretFile(path.into())),
            _ => None,
        },
        _ => scalar_text(node).map(Entry::Text),
    }
}

/// A scalar as one would write it in the environment; nothing for null, a list or a map.
fn scalar_text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Text(text) => Some(text.clone()),
        Data::Number(number) => Some(number.to_string()),
        Data::Bool(value) => Some(value.to_string()),
        Data::Null | Data::List(_) | Data::Map(_) => None,
    }
}
