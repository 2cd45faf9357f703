//! bridge.yaml, flattened to the settings' paths.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::keys;
use crate::yaml::{self, Kind, Node};

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
    pub(super) properties: BTreeMap<String, String>,
}

pub(super) fn read(named: Option<&Path>, problems: &mut Vec<String>) -> File {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => parse(&name, &text, problems),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => File::default(),
        Err(error) => {
            problems.push(format!("{name}: the settings file cannot be read: {error}"));
            File::default()
        }
    }
}

pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<String>) -> File {
    let mut reader = Reader { name, problems, file: File::default() };
    match yaml::parse(text) {
        Ok(None) => {}
        Ok(Some(root)) => match &root.kind {
            Kind::Mapping(_) => reader.section("", &root),
            _ => reader.problem(&root, &format!("expected a mapping of settings, found {}", root.what())),
        },
        Err(errors) => {
            for error in errors {
                let place = error.place;
                reader.problems.push(format!("{name}:{place}: {}", error.message));
            }
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
    fn problem(&mut self, node: &Node, message: &str) {
        self.problems.push(format!("{}:{}: {message}", self.name, node.place));
    }

    fn section(&mut self, prefix: &str, node: &Node) {
        let Kind::Mapping(entries) = &node.kind else { return };
        for entry in entries {
            let path = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            if path == PROPERTIES {
                self.properties(&entry.value);
            } else if keys::ALL.iter().any(|key| key.path == path) {
                self.value(&path, &entry.value);
            } else if keys::ALL.iter().any(|key| key.path.starts_with(&format!("{path}.")))
                && matches!(entry.value.kind, Kind::Mapping(_))
            {
                self.section(&path, &entry.value);
            } else {
                let known = keys::ALL.iter().map(|key| key.path).chain([PROPERTIES]);
                let hint = yaml::nearest(&path, known).map(|near| format!(": did you mean `{near}`?"));
                let place = entry.place;
                self.problems.push(format!(
                    "{}:{place}: `{path}` is no setting{}",
                    self.name,
                    hint.unwrap_or_else(|| " (docs/configuration.md has all of them)".to_owned())
                ));
            }
        }
    }

    fn properties(&mut self, node: &Node) {
        let Kind::Mapping(entries) = &node.kind else {
            return self.problem(node, &format!("expected a mapping of librdkafka properties, found {}", node.what()));
        };
        for entry in entries {
            match entry.value.scalar_text() {
                Some(text) => {
                    self.file.properties.insert(entry.key.clone(), text);
                }
                None => self.problem(&entry.value, &format!("expected a value, found {}", entry.value.what())),
            }
        }
    }

    fn value(&mut self, path: &str, node: &Node) {
        let entry = match &node.kind {
            Kind::Sequence(items) => items.iter().map(Node::scalar_text).collect::<Option<_>>().map(Entry::List),
            Kind::Mapping(entries) => match entries.as_slice() {
                [one] if one.key == "env" => one.value.scalar_text().map(Entry::SecretEnv),
                [one] if one.key == "file" => one.value.scalar_text().map(|path| Entry::SecretFile(path.into())),
                _ => None,
            },
            Kind::Scalar { .. } => node.scalar_text().map(Entry::Text),
        };
        match entry {
            Some(entry) => {
                let place = format!("{}:{}", self.name, node.place);
                self.file.entries.insert(path.to_owned(), (place, entry));
            }
            None => self.problem(node, &format!("`{path}`: expected a value, found {}", node.what())),
        }
    }
}
