//! Converts between the event's JSON and the engine's values.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::{
    Value as Dynamic,
    value::{Object, Serde, ValueKind},
};
use serde_json::{Map, Value};

use super::{
    guard::OURS,
    meter::{MAX_DEPTH, METER, Meter},
};
use crate::{event::Event, sync::Mutex};

/// The name of the whole event.
pub(super) const EVENT: &str = "event";

/// The variables of a template: the fields of the event, and the whole event as `event`. A field is converted
/// when a template names it, once for each render.
#[derive(Debug)]
struct Root {
    event: Arc<Event>,
    meter: Dynamic,
    converted: Mutex<BTreeMap<String, Dynamic>>,
}

impl Root {
    fn field(&self, name: &str) -> Option<Dynamic> {
        let document = self.event.document();
        let field = if name == EVENT { document } else { document.get(name)? };
        let mut converted = self.converted.lock();
        if let Some(value) = converted.get(name) {
            return Some(value.clone());
        }
        let value = Dynamic::from(Serde(field));
        converted.insert(name.to_owned(), value.clone());
        Some(value)
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        match key.as_str()? {
            METER => Some(self.meter.clone()),
            name if name.starts_with(OURS) => None,
            name => self.field(name),
        }
    }
}

pub(super) fn context(event: &Arc<Event>, meter: &Arc<Meter>) -> Dynamic {
    let meter = Dynamic::from_dyn_object(Arc::clone(meter));
    Dynamic::from_object(Root { event: Arc::clone(event), meter, converted: Mutex::default() })
}

/// Why a value cannot be JSON.
pub(super) enum Refused {
    /// It is larger than the rest of the budget.
    TooLarge,
    /// It is of a kind that JSON does not have.
    Value(&'static str),
}

/// Converts a value of the engine to JSON, with its type; subtracts its size from `left`.
pub(super) fn to_json(value: &Dynamic, left: &mut usize) -> Result<Value, Refused> {
    at_depth(value, left, 0)
}

fn at_depth(value: &Dynamic, left: &mut usize, depth: usize) -> Result<Value, Refused> {
    take(left, 1)?;
    if depth > MAX_DEPTH {
        return Err(Refused::Value("expected JSON of at most 256 levels, found more"));
    }
    match value.kind() {
        ValueKind::Undefined => {
            Err(Refused::Value("undefined value: the event has no such field; `default` gives one"))
        }
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => match serde_json::to_value(value) {
            Ok(number @ Value::Number(_)) => Ok(number),
            _ => Err(Refused::Value("the number is none that JSON can hold")),
        },
        ValueKind::String => text(value.as_str().unwrap_or_default(), left).map(Value::String),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|_| Refused::Value("the list cannot be read"))?;
            items.map(|item| at_depth(&item, left, depth + 1)).collect()
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|_| Refused::Value("the map cannot be read"))?;
            let mut fields = Map::new();
            for key in keys {
                let item = value.get_item(&key).map_err(|_| Refused::Value("the map cannot be read"))?;
                fields.insert(text(&key.to_string(), left)?, at_depth(&item, left, depth + 1)?);
            }
            Ok(Value::Object(fields))
        }
        _ => Err(Refused::Value("expected a value that JSON can hold, found a function or a type")),
    }
}

fn text(text: &str, left: &mut usize) -> Result<String, Refused> {
    take(left, text.len())?;
    Ok(text.to_owned())
}

fn take(left: &mut usize, bytes: usize) -> Result<(), Refused> {
    *left = left.checked_sub(bytes).ok_or(Refused::TooLarge)?;
    Ok(())
}
