//! The template engine, set up once for a folder: strict, without escapes, with bounded work.

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value as Dynamic, value::ValueKind};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{MAX_BYTES, convert};

/// Instructions that one leaf may execute: a loop over 10,000 items, and not one for ever.
const FUEL: u64 = 200_000;

pub(in crate::routing) fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_fuel(Some(FUEL));
    engine.add_filter("tojson", to_json);
    engine.add_filter("indent", indent);
    // It prints the whole context: for an author at a prompt, not for a bridge.
    engine.remove_global("debug");
    // Without it a loop cannot build on itself, neither in size nor in depth.
    engine.remove_global("namespace");
    engine
}

/// The widest indentation.
const MAX_INDENT: usize = 64;

/// Blanks before each line but the first, or before all of them; empty lines stay as they are. The
/// engine's own takes any width, and with it any amount of memory.
fn indent(text: &str, width: usize, first: Option<bool>) -> Result<String, Error> {
    if width > MAX_INDENT {
        let reason = format!("indent: expected a width of at most {MAX_INDENT}, found {width}");
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    let blanks = " ".repeat(width);
    let mut result = String::with_capacity(text.len() + width);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            result.push('\n');
        }
        if !line.is_empty() && (number > 0 || first == Some(true)) {
            result.push_str(&blanks);
        }
        result.push_str(line);
    }
    if result.len() > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidOperation, "indent: the text is too large"));
    }
    Ok(result)
}

/// JSON as it is: nothing is escaped for HTML. `indent` is `true` or a number of blanks.
fn to_json(value: &Dynamic, indent: Option<Dynamic>) -> Result<String, Error> {
    let invalid = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let mut left = MAX_BYTES;
    let json = convert::to_json(value, &mut left).map_err(|refused| match refused {
        convert::Refused::TooLarge => invalid("the JSON is too large".into()),
        convert::Refused::Value(reason) => invalid(reason.into()),
    })?;
    let blanks = match indent {
        None => 0,
        Some(indent) if indent.kind() == ValueKind::Bool => 2 * usize::from(indent.is_true()),
        Some(indent) => indent.as_usize().ok_or_else(|| invalid("tojson: indent is true or a number".into()))?.min(8),
    };
    if blanks == 0 {
        return Ok(json.to_string());
    }
    let mut bytes = Vec::new();
    let indent = [b' '; 8];
    let formatter = PrettyFormatter::with_indent(&indent[..blanks]);
    json.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|error| invalid(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the engine says, without the name that it holds the template under.
pub(super) fn explain(error: &Error) -> String {
    let mut reason = error.kind().to_string();
    if let Some(detail) = error.detail() {
        reason = format!("{reason}: {detail}");
    }
    if let Some(line) = error.line().filter(|line| *line > 1) {
        reason = format!("{reason} (in line {line} of the template)");
    }
    match error.kind() {
        ErrorKind::UndefinedError => format!("{reason}: the event has no such field; `default` gives one"),
        ErrorKind::OutOfFuel => format!("{reason}: a template may execute {FUEL} instructions"),
        _ => reason,
    }
}
