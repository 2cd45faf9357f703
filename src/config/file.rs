//! Reads bridge.yaml into a map from the settings' paths to their values.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    keys,
    problem::{Location, Problem},
};
use crate::{
    connection::is_secret,
    files::{self, NotUtf8},
    yaml::{self, Data, Node, Position, is_key},
};

/// The file that is read if no other is given.
const DEFAULT: &str = "bridge.yaml";
/// Where a password stands.
const SECURITY: &str = "kafka.security";
/// The map of librdkafka properties.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// One value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileValue {
    Text(String),
    List(Vec<String>),
    SecretEnv(String),
    SecretFile(PathBuf),
}

impl FileValue {
    /// Whether the value is kept out of the file, and so of every message.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::SecretEnv(_) | Self::SecretFile(_))
    }
}

/// The content of the file: each path with the location and the value.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    pub(super) entries: BTreeMap<String, (Location, FileValue)>,
    /// librdkafka properties, with their locations.
    pub(super) properties: BTreeMap<String, (Location, FileValue)>,
}

pub(super) fn read(named: Option<&Path>, problems: &mut Vec<Problem>) -> SettingsFile {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let name = path.display().to_string();
    match files::read_text_once(path) {
        Ok(text) => parse(&name, &text, problems),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => SettingsFile::default(),
        Err(error) => {
            let place = error.get_ref().and_then(|error| error.downcast_ref::<NotUtf8>());
            let place = place.map(|place| Position { line: place.line, column: place.column });
            let location = Location::File(name.into(), place);
            problems.push(Problem { location, message: format!("the settings file cannot be read: {error}") });
            SettingsFile::default()
        }
    }
}

pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> SettingsFile {
    let mut faults = Vec::new();
    let root = yaml::read(text, &mut faults);
    let mut reader = Reader { name: name.into(), problems, file: SettingsFile::default() };
    for (at, message) in faults {
        reader.problem(at, message);
    }
    match root {
        None | Some(Node { data: Data::Null, .. }) => {}
        Some(root @ Node { data: Data::Map(_), .. }) => reader.section("", &root),
        Some(root) => {
            let found = root.found_type();
            reader.problem(root.at, format!("expected a map of settings, found {found}"));
        }
    }
    reader.file
}

struct Reader<'a> {
    name: Arc<str>,
    problems: &'a mut Vec<Problem>,
    file: SettingsFile,
}

impl Reader<'_> {
    fn problem(&mut self, at: Option<Position>, message: String) {
        let location = self.location(at);
        self.problems.push(Problem { location, message });
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
                self.problem(entry.value.at, format!("`{path}`: expected a map of settings, found {found}"));
            } else {
                let known = keys::ALL.iter().map(|key| key.path).chain([PROPERTIES]);
                let hint = yaml::suggestion(&path, known);
                // A password in the place of its key is not repeated.
                let is_shown = !hint.is_empty() || (is_key(&entry.key) && prefix != SECURITY);
                let shown = match prefix {
                    _ if is_shown => format!("`{path}`"),
                    "" => "this key (not shown)".to_owned(),
                    prefix => format!("a key of `{prefix}` (not shown)"),
                };
                let hint = if hint.is_empty() { " (docs/configuration.md lists all of them)".to_owned() } else { hint };
                self.problem(entry.at, format!("{shown} is not a setting{hint}"));
            }
        }
    }

    fn properties(&mut self, node: &Node) {
        let Data::Map(entries) = &node.data else {
            return self
                .problem(node.at, format!("expected a mapping of librdkafka properties, found {}", node.found_type()));
        };
        for entry in entries {
            // A secret in the place of a property's name, or joined to it.
            if !is_key(&entry.key) {
                let message = "`kafka.properties`: expected the name of a librdkafka property (small letters, `.`, `_` and `-`), found \
                               another text (not shown)";
                self.problem(entry.at, message.to_owned());
                continue;
            }
            match value_of(&entry.value) {
                Some(FileValue::List(_)) | None => {
                    let found = entry.value.found_type();
                    self.problem(entry.value.at, format!("expected a value, found {found}"));
                }
                Some(FileValue::Text(_)) if is_secret(&entry.key) => {
                    let message = format!(
                        "`{}`: a secret must not be in the file: write {{env: NAME}} or {{file: PATH}} instead, and replace the \
                         secret where the file was readable",
                        entry.key
                    );
                    self.problem(entry.value.at, message);
                }
                Some(value) => {
                    let location = self.location(entry.value.at);
                    self.file.properties.insert(entry.key.clone(), (location, value));
                }
            }
        }
    }

    fn location(&self, at: Option<Position>) -> Location {
        Location::File(Arc::clone(&self.name), at)
    }

    fn value(&mut self, path: &str, node: &Node) {
        let entry = value_of(node);
        match entry {
            Some(entry) => {
                let location = self.location(node.at);
                self.file.entries.insert(path.to_owned(), (location, entry));
            }
            None => self.problem(node.at, format!("`{path}`: expected a value, found {}", node.found_type())),
        }
    }
}

/// A value, a list of values, or the source of a secret.
fn value_of(node: &Node) -> Option<FileValue> {
    match &node.data {
        Data::List(items) => items.iter().map(scalar_text).collect::<Option<_>>().map(FileValue::List),
        Data::Map(entries) => match entries.as_slice() {
            [one] if one.key == "env" => scalar_text(&one.value).map(FileValue::SecretEnv),
            [one] if one.key == "file" => scalar_text(&one.value).map(|path| FileValue::SecretFile(path.into())),
            _ => None,
        },
        _ => scalar_text(node).map(FileValue::Text),
    }
}

/// A scalar as text, as in the environment; `None` for null, a list or a map.
fn scalar_text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Text(text) => Some(text.clone()),
        Data::Number(number) => Some(number.to_string()),
        Data::Bool(value) => Some(value.to_string()),
        Data::Null | Data::List(_) | Data::Map(_) => None,
    }
}
