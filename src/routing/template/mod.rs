//! Templates: from an event to the JSON that an agent gets.
//!
//! Owns what a template may say and what it costs. Its invariant: a render ends within its budgets of
//! instructions, work, memory and size, whatever the event and the template are, and an undefined name
//! is an error, never an empty text. It does not know what becomes of the JSON.

mod builtins;
mod compile;
mod convert;
mod engine;
mod filters;
mod guard;
mod json;
mod meter;
mod variables;

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, State, Value as Dynamic};
use serde_json::{Map, Value};

use crate::{event::Event, yaml::quoted};
use meter::{INSTRUCTION, LEAF, Meter};

pub(super) use compile::{Compiler, Template};
pub(super) use engine::engine;
pub(super) use variables::Part;

/// The most bytes that one template may render to.
const MAX_BYTES: usize = 4 << 20;

/// The name that a single expression's value is caught under.
const CAUGHT: &str = "__value";

/// A template that an event cannot be rendered with. The delivery is a dead letter with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A leaf names something that the event does not have, or asks for something impossible of it.
    #[error("{owner}, {leaf}: cannot render {source_text}: {reason}")]
    Failed {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
        /// The leaf, such as `input.messages[0].content`.
        leaf: Arc<str>,
        /// The beginning of the template's text, quoted.
        source_text: String,
        /// What the engine says.
        reason: String,
    },
    /// With this event, rendering it takes more work or memory than is allowed.
    #[error("{owner}, {leaf}: cannot render {source_text}: {reason}")]
    TooCostly {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
        /// The leaf, such as `input.messages[0].content`.
        leaf: Arc<str>,
        /// The beginning of the template's text, quoted.
        source_text: String,
        /// Which bound was met.
        reason: String,
    },
    /// The result is larger than is allowed.
    #[error(
        "{owner}, {leaf}: expected at most {limit} bytes, found more: send an identifier and let the agent fetch the rest"
    )]
    TooLarge {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
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
            Self::TooCostly { .. } => "template_too_costly",
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
    /// As the file has it, with no value of a variable.
    source: Arc<str>,
    /// Whether a value of a variable stands in it, which what the engine says could repeat.
    has_variables: bool,
    /// The name under which the engine holds it.
    name: String,
}

impl Template {
    /// The JSON for an event.
    pub(super) fn render(
        &self,
        owner: &str,
        event: &Arc<Event>,
        engine: &Environment<'_>,
    ) -> Result<Value, TemplateError> {
        let meter = Meter::new();
        let context = convert::context(event, &meter);
        let mut render = Render { owner, engine, context, meter, left: MAX_BYTES };
        render.piece(&self.root)
    }

    /// The value itself, when no part of it is a template.
    pub(super) fn literal(&self) -> Option<&Value> {
        match &self.root {
            Piece::Literal(value) => Some(value),
            _ => None,
        }
    }
}

struct Render<'a> {
    owner: &'a str,
    engine: &'a Environment<'a>,
    context: Dynamic,
    meter: Arc<Meter>,
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
            .meter
            .work(LEAF)
            .and_then(|()| self.engine.get_template(&leaf.name))
            .and_then(|template| template.render_captured(self.context.clone()))
            .and_then(|captured| {
                self.spent(captured.state())?;
                Ok(captured.state().lookup(CAUGHT).unwrap_or(Dynamic::UNDEFINED))
            })
            .map_err(|error| self.failed(leaf, &error))?;
        convert::to_json(&value, &mut self.left).map_err(|error| match error {
            convert::Refused::TooLarge => self.too_large(leaf),
            convert::Refused::Value(reason) => TemplateError::Failed {
                owner: self.owner.into(),
                leaf: Arc::clone(&leaf.path),
                source_text: quoted(&leaf.source),
                reason: reason.into(),
            },
        })
    }

    fn text(&mut self, leaf: &Leaf) -> Result<String, TemplateError> {
        let mut writer = Limited { bytes: Vec::new(), limit: self.left, over: false };
        let rendered = self
            .meter
            .work(LEAF)
            .and_then(|()| self.engine.get_template(&leaf.name))
            .and_then(|template| template.render_captured_to(self.context.clone(), &mut writer))
            .and_then(|captured| self.spent(captured.state()));
        if writer.over {
            return Err(self.too_large(leaf));
        }
        rendered.map_err(|error| self.failed(leaf, &error))?;
        self.left -= writer.bytes.len();
        Ok(String::from_utf8_lossy(&writer.bytes).into_owned())
    }

    /// Charges the instructions of a leaf: each leaf has its own fuel, and a template has many.
    fn spent(&self, state: &State<'_, '_>) -> Result<(), Error> {
        let (instructions, _) = state.fuel_levels().unwrap_or_default();
        self.meter.work(instructions.saturating_mul(INSTRUCTION))
    }

    fn failed(&self, leaf: &Leaf, error: &Error) -> TemplateError {
        let (owner, leaf_path) = (self.owner.into(), Arc::clone(&leaf.path));
        let (source_text, reason) = (quoted(&leaf.source), engine::explain(error, leaf.has_variables));
        if self.meter.is_exhausted() || error.kind() == ErrorKind::OutOfFuel {
            return TemplateError::TooCostly { owner, leaf: leaf_path, source_text, reason };
        }
        TemplateError::Failed { owner, leaf: leaf_path, source_text, reason }
    }

    fn too_large(&self, leaf: &Leaf) -> TemplateError {
        TemplateError::TooLarge { owner: self.owner.into(), leaf: Arc::clone(&leaf.path), limit: MAX_BYTES }
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
