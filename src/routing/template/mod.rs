//! Templates: from an event to the JSON that an agent gets.
//!
//! Owns what a template may say and what it costs. Its invariant: a render ends within its fuel and
//! its size, and an undefined name is an error, never an empty text. It does not know what becomes
//! of the JSON.

mod compile;
mod convert;
mod engine;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use minijinja::{Environment, Error, Value as Dynamic};
use serde_json::{Map, Value};

use crate::event::Event;

pub(super) use compile::{Compiler, Template};
pub(super) use engine::engine;

/// The most bytes that one template may render to.
const MAX_BYTES: usize = 4 << 20;

/// The name that a single expression's value is caught under.
const CAUGHT: &str = "__value";

/// A template that an event cannot be rendered with. The delivery is a dead letter with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A leaf names something that the event does not have, or asks for something impossible of it.
    #[error("rule `{rule}`, {leaf}: cannot render {source_text:?}: {reason}")]
    Failed {
        /// The rule.
        rule: Arc<str>,
        /// The leaf, such as `input.messages[0].content`.
        leaf: Arc<str>,
        /// The template's text.
        source_text: Arc<str>,
        /// What the engine says.
        reason: String,
    },
    /// The result is larger than is allowed.
    #[error(
        "rule `{rule}`, {leaf}: expected at most {limit} bytes, found more: send an identifier and let the agent fetch the rest"
    )]
    TooLarge {
        /// The rule.
        rule: Arc<str>,
        /// The leaf that went over the limit.
        leaf: Arc<str>,
        /// How many bytes are allowed.
        limit: usize,
    },
}

impl TemplateError {
    /// A stable word for labels and dead letters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "template_failed",
            Self::TooLarge { .. } => "template_too_large",
        }
    }
}

/// A compiled value of a template's tree.
#[derive(Debug)]
enum Piece {
    /// As it stands.
    Literal(Value),
    List(Vec<Piece>),
    Map(Vec<(String, Piece)>),
    /// One expression, whose value keeps its type.
    Expression(Leaf),
    /// Anything else with a template in it: a string.
    Text(Leaf),
}

/// A string with a template in it.
#[derive(Debug)]
struct Leaf {
    path: Arc<str>,
    source: Arc<str>,
    /// The name under which the engine holds it.
    name: String,
}

impl Template {
    /// The JSON for an event.
    pub(super) fn render(
        &self,
        rule: &Arc<str>,
        event: &Event,
        engine: &Environment<'_>,
    ) -> Result<Value, TemplateError> {
        let mut render = Render { rule, engine, context: convert::context(event.document()), left: MAX_BYTES };
        render.piece(&self.root)
    }
}

struct Render<'a> {
    rule: &'a Arc<str>,
    engine: &'a Environment<'a>,
    context: Dynamic,
    /// Bytes that may still be rendered.
    left: usize,
}

impl Render<'_> {
    fn piece(&mut self, piece: &Piece) -> Result<Value, TemplateError> {
        match piece {
            Piece::Literal(value) => Ok(value.clone()),
            Piece::List(items) => items.iter().map(|item| self.piece(item)).collect(),
            Piece::Map(fields) => {
                let fields: Result<Map<_, _>, _> =
                    fields.iter().map(|(key, value)| Ok((key.clone(), self.piece(value)?))).collect();
                fields.map(Value::Object)
            }
            Piece::Expression(leaf) => self.expression(leaf),
            Piece::Text(leaf) => self.text(leaf).map(Value::String),
        }
    }

    fn expression(&mut self, leaf: &Leaf) -> Result<Value, TemplateError> {
        let value = self
            .engine
            .get_template(&leaf.name)
            .and_then(|template| template.render_captured(self.context.clone()))
            .map(|captured| captured.state().lookup(CAUGHT).unwrap_or(Dynamic::UNDEFINED))
            .map_err(|error| self.failed(leaf, &error))?;
        convert::to_json(&value, &mut self.left).map_err(|error| match error {
            convert::Refused::TooLarge => self.too_large(leaf),
            convert::Refused::Value(reason) => TemplateError::Failed {
                rule: Arc::clone(self.rule),
                leaf: Arc::clone(&leaf.path),
                source_text: Arc::clone(&leaf.source),
                reason: reason.into(),
            },
        })
    }

    fn text(&mut self, leaf: &Leaf) -> Result<String, TemplateError> {
        let mut writer = Limited { bytes: Vec::new(), limit: self.left, over: false };
        let rendered = self
            .engine
            .get_template(&leaf.name)
            .and_then(|template| template.render_captured_to(self.context.clone(), &mut writer).map(drop));
        if writer.over {
            return Err(self.too_large(leaf));
        }
        rendered.map_err(|error| self.failed(leaf, &error))?;
        self.left -= writer.bytes.len();
        Ok(String::from_utf8_lossy(&writer.bytes).into_owned())
    }

    fn failed(&self, leaf: &Leaf, error: &Error) -> TemplateError {
        TemplateError::Failed {
            rule: Arc::clone(self.rule),
            leaf: Arc::clone(&leaf.path),
            source_text: Arc::clone(&leaf.source),
            reason: engine::explain(error),
        }
    }

    fn too_large(&self, leaf: &Leaf) -> TemplateError {
        TemplateError::TooLarge { rule: Arc::clone(self.rule), leaf: Arc::clone(&leaf.path), limit: MAX_BYTES }
    }
}

/// A writer that takes so much and no more.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
    over: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
