//! Writes a template's text token by token: names, constants and line breaks.

use minijinja::{Error, Value as Dynamic, value::ValueKind};

use super::names::OURS;
use crate::routing::template::variables::Marked;

/// The longest name in a template, in bytes: looking one up reads all of it.
const MAX_NAME: usize = 256;

/// Why a template cannot be rewritten.
pub(in crate::routing::template) enum Refused {
    /// It is no template.
    Syntax(Error),
    /// It is one, with something in it that templates here do not have.
    Unsupported { what: String, line: u16 },
}

pub(super) type Result<T = ()> = std::result::Result<T, Refused>;

pub(super) struct Printer<'m> {
    pub(super) text: String,
    /// The line that is being written.
    pub(super) line: u16,
    /// How many expressions are being written, each a part of the one before.
    pub(super) depth: usize,
    pub(super) marked: &'m Marked,
}

impl<'m> Printer<'m> {
    pub(super) fn new(marked: &'m Marked) -> Self {
        Self { text: String::new(), line: 1, depth: 0, marked }
    }

    pub(super) fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Goes on to a line. Only within tags, where a line break means nothing.
    pub(super) fn go_to(&mut self, line: u16) {
        while self.line < line {
            self.text.push('\n');
            self.line += 1;
        }
    }

    pub(super) fn refuse<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Refused::Unsupported { what: what.into(), line: self.line })
    }

    /// The name of a variable, a filter, a test or a function.
    pub(super) fn name(&mut self, name: &str) -> Result {
        if name.starts_with(OURS) {
            return self.refuse(format!("a name that begins with `{OURS}`"));
        }
        self.attribute(name)
    }

    pub(super) fn attribute(&mut self, name: &str) -> Result {
        if self.marked.marks(name) {
            let name: String = name.chars().take(MAX_NAME).collect();
            return self.refuse(format!("a variable in a name, `{name}` (a variable is a text: `x['${{NAME}}']`)"));
        }
        if name.len() > MAX_NAME {
            return self.refuse(format!("a name longer than {MAX_NAME} bytes"));
        }
        self.put(name);
        Ok(())
    }

    pub(super) fn constant(&mut self, value: &Dynamic) -> Result {
        match value.kind() {
            ValueKind::None => self.put("none"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Number => {
                let text = value.to_string();
                if !text.starts_with(|c: char| c.is_ascii_digit()) {
                    return self.refuse("a number beyond the range of f64");
                }
                self.put(&text);
            }
            _ => return self.refuse("this constant"),
        }
        Ok(())
    }

    /// A text of the file, with the values of its variables.
    pub(super) fn quoted(&mut self, text: &str) {
        self.put_quoted(&self.marked.filled(text));
    }

    /// A text as the engine reads one: with the escapes of JSON.
    pub(super) fn put_quoted(&mut self, text: &str) {
        self.put(&serde_json::Value::from(text).to_string());
    }
}
