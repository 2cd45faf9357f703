//! The values of a map, checked: each mistake goes into the file's report with its position.

use std::ops::RangeInclusive;

use super::yaml_file::YamlFile;
use crate::yaml::{Data, Entry, Node, Position, one_line, quoted, suggestion};

/// A map of a file, and what its mistakes begin with.
pub(super) struct Fields<'f, 'n> {
    file: &'f mut YamlFile,
    entries: &'n [Entry],
    at: Option<Position>,
    /// `schedule NAME: `, or nothing.
    subject: String,
    /// `orchestrator.`, or nothing.
    path: String,
}

/// What becomes of a key that is not known.
pub(super) enum Unknown {
    /// It is a mistake.
    Refused,
    /// It is a mistake when it is close to a known one: the file belongs to another program too.
    Misspelt,
    /// It belongs to another program.
    Ignored,
}

impl<'f, 'n> Fields<'f, 'n> {
    /// The map; `None`, and a mistake, when the node is none.
    pub(super) fn of(
        file: &'f mut YamlFile,
        node: &'n Node,
        subject: &str,
        path: &str,
        known: &[&str],
        unknown: &Unknown,
    ) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            let what = path.strip_suffix('.').map_or_else(String::new, |path| format!("`{path}`: "));
            file.problem(node.at, format!("{subject}{what}expected a map, found {}", node.found()));
            return None;
        };
        let mut fields = Self { file, entries, at: node.at, subject: subject.to_owned(), path: path.to_owned() };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = match unknown {
                Unknown::Ignored => continue,
                Unknown::Misspelt => match suggestion(&entry.key, known.iter().copied()) {
                    hint if hint.is_empty() => continue,
                    hint => hint,
                },
                Unknown::Refused => match suggestion(&entry.key, known.iter().copied()) {
                    hint if hint.is_empty() => format!("; expected one of {}", listed(known)),
                    hint => hint,
                },
            };
            let message = format!("`{}{}` is not known{hint}", fields.path, one_line(&entry.key));
            fields.problem(entry.at, &message);
        }
        Some(fields)
    }

    pub(super) fn problem(&mut self, at: Option<Position>, message: &str) {
        self.file.problem(at, format!("{}{message}", self.subject));
    }

    /// Where the map is.
    pub(super) fn at(&self) -> Option<Position> {
        self.at
    }

    /// The value of a key; `None` when it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value).filter(|value| value.data != Data::Null)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Adds a mistake about a key, and returns nothing in the place of its value.
    pub(super) fn wrong<T>(&mut self, key: &str, node: &Node, expected: &str) -> Option<T> {
        let message = format!("`{}{key}`: expected {expected}, found {}", self.path, node.found());
        self.problem(node.at, &message);
        None
    }

    /// Adds the mistake that a key is absent.
    pub(super) fn missing<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        let message = format!("`{}{key}` is missing: expected {expected}", self.path);
        self.problem(self.entry(key).map_or(self.at, |entry| entry.at), &message);
        None
    }

    /// A text that is not blank.
    pub(super) fn text(&mut self, key: &str) -> Option<&'n str> {
        let node = self.get(key)?;
        match node.text() {
            Some(text) if !text.trim().is_empty() && !text.contains('\0') => Some(text),
            _ => self.wrong(key, node, "a text"),
        }
    }

    /// A name: letters, digits, `_`, `.` and `-`. A number is the text of it.
    pub(super) fn name(&mut self, key: &str) -> Option<String> {
        let node = self.get(key)?;
        let name = match &node.data {
            Data::Text(text) => text.clone(),
            Data::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if (1..=200).contains(&name.len()) && name.chars().all(is_name) {
            return Some(name);
        }
        self.wrong(key, node, "1 to 200 letters, digits, `_`, `.` or `-`")
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(Node { data: Data::Bool(value), .. }) => *value,
            Some(node) => self.wrong(key, node, "true or false").unwrap_or(default),
        }
    }

    /// A whole number of this range; `None` when the key is absent, or wrong.
    pub(super) fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.get(key)?;
        match &node.data {
            Data::Number(number) if number.as_u64().is_some_and(|number| range.contains(&number)) => number.as_u64(),
            _ => self.wrong(key, node, &format!("a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// A number of this range; `None` when the key is absent, or wrong.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.get(key)?;
        match &node.data {
            Data::Number(number) if number.as_f64().is_some_and(|number| range.contains(&number)) => number.as_f64(),
            _ => self.wrong(key, node, &format!("a number from {} to {}", range.start(), range.end())),
        }
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let found = node.text().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = node.text().map(|text| suggestion(text, names.iter().copied())).unwrap_or_default();
        let message = format!("`{}{key}`: expected {}, found {}{hint}", self.path, listed(&names), node.found());
        self.problem(node.at, &message);
        None
    }

    /// A list; `None` when the key is absent, or wrong.
    pub(super) fn list(&mut self, key: &str, most: usize) -> Option<&'n [Node]> {
        let node = self.get(key)?;
        match &node.data {
            Data::List(items) if items.len() <= most => Some(items),
            Data::List(items) => {
                let message =
                    format!("`{}{key}`: expected at most {most} entries, found a list of {}", self.path, items.len());
                self.problem(node.at, &message);
                None
            }
            _ => self.wrong(key, node, "a list"),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str, most: usize) -> Option<Vec<(&'n str, Option<Position>)>> {
        let items = self.list(key, most)?;
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.text() {
                Some(text) if !text.contains('\0') => texts.push((text, item.at)),
                _ => {
                    let found = item.found();
                    let message = format!("`{}{key}`: expected a list of texts, found {found} in it", self.path);
                    self.problem(item.at, &message);
                }
            }
        }
        Some(texts)
    }
}

/// `` `a`, `b` or `c` ``.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A scalar as text, for a tag; `None` for null, a list or a map.
pub(super) fn scalar_text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Text(text) => Some(text.clone()),
        Data::Number(number) => Some(number.to_string()),
        Data::Bool(value) => Some(value.to_string()),
        Data::Null | Data::List(_) | Data::Map(_) => None,
    }
}

/// A text in a message.
pub(super) fn shown(text: &str) -> String {
    quoted(text)
}
