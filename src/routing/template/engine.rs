//! The template engine, set up once for a folder: strict, without escapes, with bounded work.

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::{
    builtins,
    meter::{Meter, TOO_MUCH_MEMORY, TOO_MUCH_WORK},
};

/// The most instructions of one leaf: enough for a loop over 10,000 items.
pub(super) const FUEL: u64 = 200_000;

/// The most characters of the engine's error that a message repeats.
const MAX_DETAIL: usize = 300;

/// The engine's own limit on the nesting of a template, and its error.
const MAX_LEVELS: usize = 150;
const TOO_DEEP: &str = "template exceeds maximum recursion limits";

pub(super) fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_fuel(Some(FUEL));
    engine.set_formatter(|out, state, value| {
        let meter = Meter::of(state)?;
        if let Some(text) = value.as_str() {
            meter.memory(2 * text.len() as u64)?;
            return out.write_str(text).map_err(Error::from);
        }
        let weight = meter.weigh_printed(value)?;
        meter.memory(weight.saturating_mul(2))?;
        write!(out, "{value}").map_err(Error::from)
    });
    builtins::install(&mut engine);
    engine
}

/// The engine's error without its internal name of the template. The details may repeat any
/// text of the template, so `has_variables` omits them.
pub(super) fn explain(error: &Error, has_variables: bool) -> String {
    let mut reason = error.kind().to_string();
    if let Some(detail) = error.detail() {
        reason = if detail == TOO_MUCH_WORK || detail == TOO_MUCH_MEMORY {
            format!("{detail}: loop over less, send an identifier, and let the agent fetch the rest")
        } else if detail == TOO_DEEP {
            format!(
                "expected at most {MAX_LEVELS} levels of parentheses, brackets, calls and blocks, counting those \
                     that the bridge adds, found more: take a part out with `set`"
            )
        } else if has_variables {
            format!("{reason} (the details are not shown: they may hold the value of a variable)")
        } else {
            // It may repeat a text of the event, whatever its length.
            let detail: String = detail.chars().take(MAX_DETAIL).collect();
            format!("{reason}: {detail}")
        };
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
