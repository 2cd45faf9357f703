//! Texts of a routing file with `${NAME}` in them: keeps the values of variables apart from template code.
//!
//! Its invariant: the value of a variable is never parsed as a template and
//! never part of a message. The engine's parser gets a mark instead of the value; `guard.rs` writes the value
//! in place of the mark, as a constant.

use std::{borrow::Cow, fmt::Write};

/// A part of a text: literal text of the file, or a variable.
#[derive(PartialEq, Eq)]
pub(in crate::routing) enum Part {
    Text(String),
    Variable {
        /// As the file has it, such as `${TEAM:-data}`.
        written: String,
        value: String,
    },
}

/// A text with a mark in place of each variable.
pub(super) struct Marked {
    /// The input of the parser.
    pub(super) text: String,
    mark: String,
    /// As the file has it, and the value.
    variables: Vec<(String, String)>,
}

impl Marked {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        let mut mark = "variable_".to_owned();
        while parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(&mark))) {
            mark.insert(0, 'v');
        }
        let mut text = String::new();
        let mut variables = Vec::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(&part),
                Part::Variable { written, value } => {
                    let _ = write!(text, "{mark}{}_", variables.len());
                    variables.push((written, value));
                }
            }
        }
        Self { text, mark, variables }
    }

    /// Whether it has a variable.
    pub(super) fn has_variables(&self) -> bool {
        !self.variables.is_empty()
    }

    /// Whether a part of the text has a variable.
    pub(super) fn marks(&self, part: &str) -> bool {
        self.has_variables() && part.contains(&self.mark)
    }

    /// The value of the variable that a name stands for.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (index, rest) = self.first(name.strip_prefix(&self.mark)?)?;
        rest.is_empty().then(|| self.variables[index].1.as_str())
    }

    /// A part of the text with the values. For the engine, never for a message.
    pub(super) fn filled<'a>(&self, part: &'a str) -> Cow<'a, str> {
        self.replaced(part, |(_, value)| value)
    }

    /// A part of the text, or a message about it, as the file has it.
    pub(super) fn written<'a>(&self, part: &'a str) -> Cow<'a, str> {
        self.replaced(part, |(written, _)| written)
    }

    fn replaced<'a>(&self, part: &'a str, with: impl Fn(&(String, String)) -> &String) -> Cow<'a, str> {
        if !self.marks(part) {
            return Cow::Borrowed(part);
        }
        let mut result = String::new();
        let mut rest = part;
        while let Some((before, after)) = rest.split_once(&self.mark) {
            result.push_str(before);
            if let Some((index, after)) = self.first(after) {
                result.push_str(with(&self.variables[index]));
                rest = after;
            } else {
                result.push_str(&self.mark);
                rest = after;
            }
        }
        result.push_str(rest);
        Cow::Owned(result)
    }

    /// The variable whose number a text begins with, and what follows.
    fn first<'a>(&self, text: &'a str) -> Option<(usize, &'a str)> {
        let (number, rest) = text.split_once('_')?;
        let index = number.parse().ok().filter(|index| *index < self.variables.len())?;
        Some((index, rest))
    }
}
