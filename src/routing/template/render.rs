//! Rendering a compiled template for an event.

use std::{io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, State, Value as Dynamic};
use serde_json::{Map, Value};

use super::{
    convert, engine,
    error::{TemplateError, shown_template},
    meter::{INSTRUCTION, LEAF, MAX_BYTES, Meter},
    piece::{CAUGHT, Leaf, Piece, Template},
};
use crate::event::Event;

impl Template {
    /// The JSON for an event.
    pub(in crate::routing) fn render(
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
                source_text: shown_template(&leaf.source),
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
        let (source_text, reason) = (shown_template(&leaf.source), engine::explain(error, leaf.has_variables));
        if self.meter.is_exhausted() || error.kind() == ErrorKind::OutOfFuel {
            return TemplateError::TooCostly { owner, leaf: leaf_path, source_text, reason };
        }
        TemplateError::Failed { owner, leaf: leaf_path, source_text, reason }
    }

    fn too_large(&self, leaf: &Leaf) -> TemplateError {
        TemplateError::TooLarge { owner: self.owner.into(), leaf: Arc::clone(&leaf.path), limit: MAX_BYTES }
    }
}

/// A writer with a limit.
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
