//! YAML with the place of every key and value, for files that a person wrote.
//!
//! Owns parsing to a small tree and the core schema of scalars. Its invariant: what it returns is one document
//! without duplicate keys, anchors or tags, nested at most [`MAX_DEPTH`] deep. It knows nothing of what the
//! files mean.

mod scalar;

#[cfg(test)]
mod tests;

use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;

/// A place in a file: both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }
}

/// A mistake in the YAML itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct YamlError {
    /// Where.
    pub place: Place,
    /// What was expected and what was found.
    pub message: String,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A scalar: null, a boolean, a number or a string; and how it was written.
    Scalar {
        /// Its value by the core schema.
        value: Value,
        /// The text of the file.
        text: String,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of the file.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Mapping(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// What it is, for a message.
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { value: Value::Null, .. } => "nothing",
            Kind::Scalar { value: Value::Bool(_), .. } => "a boolean",
            Kind::Scalar { value: Value::Number(_), .. } => "a number",
            Kind::Scalar { .. } => "a string",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// The text of a scalar that is not null, as it was written.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Scalar { value: Value::Null, .. } | Kind::Sequence(_) | Kind::Mapping(_) => None,
            Kind::Scalar { text, .. } => Some(text.clone()),
        }
    }

    /// The same value without its places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar { value, .. } => value.clone(),
            Kind::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Mapping(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Parses a file with at most one document; `None` for an empty one.
///
/// # Errors
/// Every duplicate key, anchor, alias and tag; or the first place where the text is no YAML.
pub fn parse(text: &str) -> Result<Option<Node>, Vec<YamlError>> {
    let mut builder = Builder { events: Parser::new_from_str(text.trim_start_matches('\u{feff}')), errors: Vec::new() };
    let root = builder.document().unwrap_or_else(|fatal| {
        builder.errors.push(fatal);
        None
    });
    if builder.errors.is_empty() { Ok(root) } else { Err(builder.errors) }
}

struct Builder<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    errors: Vec<YamlError>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), YamlError> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.into())),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = Place { line: mark.line(), column: mark.col() + 1 };
                Err(YamlError { place, message: format!("this is no YAML: {}", error.info()) })
            }
            None => Ok((Event::StreamEnd, Place { line: 1, column: 1 })),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    let message = "expected one document, found another: put it into a file of its own".to_owned();
                    return Err(YamlError { place, message });
                }
                Event::DocumentStart(_) => {
                    let (event, place) = self.next()?;
                    let node = self.node(event, place, 0)?;
                    let empty = matches!(&node.kind, Kind::Scalar { value: Value::Null, text } if text.is_empty());
                    root = (!empty).then_some(node);
                }
                _ => {}
            }
        }
    }

    fn refuse(&mut self, place: Place, anchor: usize, tagged: bool) {
        if anchor != 0 {
            let message = "anchors are not supported here: write the value where it is used".to_owned();
            self.errors.push(YamlError { place, message });
        }
        if tagged {
            let message = "tags are not supported here: quote the value if it is a string".to_owned();
            self.errors.push(YamlError { place, message });
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, YamlError> {
        if depth > MAX_DEPTH {
            return Err(YamlError { place, message: format!("nested deeper than {MAX_DEPTH} levels") });
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(place, anchor, tag.is_some());
                let value = match style {
                    ScalarStyle::Plain => scalar::resolve(&text),
                    _ => Value::String(text.to_string()),
                };
                Kind::Scalar { value, text: text.into_owned() }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(place, anchor, tag.is_some());
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, place) => items.push(self.node(event, place, depth + 1)?),
                    }
                }
                Kind::Sequence(items)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(place, anchor, tag.is_some());
                Kind::Mapping(self.mapping(depth)?)
            }
            Event::Alias(_) => {
                let message = "aliases are not supported here: write the value where it is used".to_owned();
                self.errors.push(YamlError { place, message });
                Kind::Scalar { value: Value::Null, text: String::new() }
            }
            other => {
                return Err(YamlError { place, message: format!("expected a value, found {other:?}") });
            }
        };
        Ok(Node { place, kind })
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, YamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, place, depth + 1)?;
            let (event, value_place) = self.next()?;
            let value = self.node(event, value_place, depth + 1)?;
            let Kind::Scalar { text, .. } = key.kind else {
                let message = format!("expected a key, found {}", key.what());
                self.errors.push(YamlError { place, message });
                continue;
            };
            if let Some(first) = seen.insert(text.clone(), place) {
                let message = format!("`{text}` stands here twice, first at {first}: keep one of them");
                self.errors.push(YamlError { place, message });
                continue;
            }
            entries.push(Entry { key: text, place, value });
        }
    }
}

/// The candidate that a misspelt word was probably meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
