//! `tojson`: writes a value of the engine as JSON text, up to the limit.

use std::io;

use minijinja::{Error, Value as Dynamic, value::ValueKind};

use super::{
    functions::invalid,
    meter::{MAX_BYTES, MAX_DEPTH, Meter, NODE},
};

/// The widest step of an indentation.
const MAX_STEP: usize = 8;

/// Plain JSON: nothing is escaped for HTML. `indent` is `true` or a number of blanks.
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
        self.fits(text.len())?;
        // A growing text is copied when it is doubled.
        self.meter.memory(2 * text.len() as u64)?;
        self.text.push_str(text);
        Ok(())
    }

    fn fits(&self, bytes: usize) -> Result<(), Error> {
        if self.text.len() + bytes > MAX_BYTES {
            return Err(invalid(format!("tojson: expected at most {MAX_BYTES} bytes, found more")));
        }
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
        // Each byte becomes one or more: what cannot fit is refused before anything is written.
        self.fits(text.len())?;
        let mut refused = None;
        let escaped = serde_json::to_writer(Escaped { writer: self, refused: &mut refused }, text);
        match (escaped, refused) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(invalid(error.to_string())),
        }
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
                        self.meter.memory(self.meter.weigh_printed(&key)?)?;
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

/// Takes a text from its escaper piece by piece, so that the bounds are checked while it is written.
struct Escaped<'a, 'm> {
    writer: &'a mut Writer<'m>,
    /// Why the writer took no more.
    refused: &'a mut Option<Error>,
}

impl io::Write for Escaped<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        self.writer.put(text).map_err(|error| {
            *self.refused = Some(error);
            io::Error::from(io::ErrorKind::FileTooLarge)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_piece_by_piece_within_the_limit() {
        let meter = Meter::new();
        let mut writer = Writer { text: String::new(), step: 0, meter: &meter };
        let error = writer.quoted(&"\u{1}".repeat(MAX_BYTES + 1)).unwrap_err().to_string();
        assert!(error.contains("tojson: expected at most 4194304 bytes, found more"), "{error}");
        assert_eq!(writer.text.capacity(), 0, "it cannot fit, so nothing is written");

        let error = writer.quoted(&"\u{1}".repeat(MAX_BYTES / 2)).unwrap_err().to_string();
        assert!(error.contains("tojson: expected at most 4194304 bytes, found more"), "{error}");
        let written = MAX_BYTES - 8..=MAX_BYTES;
        assert!(written.contains(&writer.text.len()), "as much as fits, and no more: {}", writer.text.len());
        assert!(writer.text.starts_with("\"\\u0001\\u0001"));
    }
}
