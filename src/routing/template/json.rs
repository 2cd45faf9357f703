//! `tojson`: a value of the engine as JSON text, written at once and never larger than is allowed.

use minijinja::{Error, Value as Dynamic, value::ValueKind};

use super::{
    MAX_BYTES,
    builtins::invalid,
    meter::{MAX_DEPTH, Meter, NODE},
};

/// The widest step of an indentation.
const MAX_STEP: usize = 8;

/// JSON as it is: nothing is escaped for HTML. `indent` is `true` or a number of blanks.
pub(super) fn filter(value: &Dynamic, indent: Option<&Dynamic>, meter: &Meter) -> Result<String, Error> {
    let step = match indent {
        None => 0,
        Some(indent) if indent.kind() == ValueKind::Bool => 2 * usize::from(indent.is_true()),
        Some(indent) => indent.as_usize().ok_or_else(|| invalid("tojson: indent is true or a number"))?.min(MAX_STEP),
    };
    let mut writer = Writer { text: String::new(), step, meter };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'m> {
    text: String,
    step: usize,
    meter: &'m Meter,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) -> Result<(), Error> {
        if self.text.len() + text.len() > MAX_BYTES {
            return Err(invalid(format!("tojson: expected at most {MAX_BYTES} bytes, found more")));
        }
        // A growing text is copied when it is doubled.
        self.meter.memory(2 * text.len() as u64)?;
        self.text.push_str(text);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if self.step == 0 {
            return Ok(());
        }
        self.put("\n")?;
        self.put(&" ".repeat(self.step * depth))
    }

    fn quoted(&mut self, text: &str) -> Result<(), Error> {
        self.meter.work(text.len() as u64)?;
        let json = serde_json::to_string(text).map_err(|error| invalid(error.to_string()))?;
        self.put(&json)
    }

    fn value(&mut self, value: &Dynamic, depth: usize) -> Result<(), Error> {
        self.meter.work(2 * NODE)?;
        if depth > MAX_DEPTH {
            return Err(invalid(format!("expected JSON of at most {MAX_DEPTH} levels, found more")));
        }
        match value.kind() {
            ValueKind::Undefined => Err(minijinja::ErrorKind::UndefinedError.into()),
            ValueKind::None => self.put("null"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => match serde_json::to_value(value) {
                Ok(number @ serde_json::Value::Number(_)) => self.put(&number.to_string()),
                _ => Err(invalid("the number is none that JSON can hold")),
            },
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.put("[")?;
                let mut empty = true;
                for item in value.try_iter()?.checked() {
                    let item = item?;
                    self.put(if empty { "" } else { "," })?;
                    self.line(depth + 1)?;
                    self.value(&item, depth + 1)?;
                    empty = false;
                }
                if !empty {
                    self.line(depth)?;
                }
                self.put("]")
            }
            ValueKind::Map => {
                self.put("{")?;
                let mut empty = true;
                for key in value.try_iter()?.checked() {
                    let key = key?;
                    let item = value.get_item(&key)?;
                    self.put(if empty { "" } else { "," })?;
                    self.line(depth + 1)?;
                    if let Some(text) = key.as_str() {
                        self.quoted(text)?;
                    } else {
                        self.meter.memory(self.meter.weigh(&key)?)?;
                        self.quoted(&key.to_string())?;
                    }
                    self.put(if self.step == 0 { ":" } else { ": " })?;
                    self.value(&item, depth + 1)?;
                    empty = false;
                }
                if !empty {
                    self.line(depth)?;
                }
                self.put("}")
            }
            _ => Err(invalid("expected a value that JSON can hold, found a function or a type")),
        }
    }
}
