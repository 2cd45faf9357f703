//! Filters and operators whose result can be far larger than their arguments: the size is computed
//! and charged first.

use std::borrow::Cow;

use minijinja::{Environment, Error, State, Value as Dynamic, filters as engine_filters, value::ValueKind};

use super::{
    functions::{callable, invalid},
    json,
    meter::{Meter, NODE, SLOT, length},
};

/// The widest indentation of a text.
const MAX_INDENT: usize = 64;

/// The widest field, and the most decimals, of `format`.
const MAX_WIDTH: usize = 999;

pub(super) fn install(engine: &mut Environment<'static>) {
    engine.add_filter("tojson", |state: &State<'_, '_>, value: Dynamic, indent: Option<Dynamic>| {
        let meter = Meter::of(state)?;
        json::filter(&value, indent.as_ref(), &meter)
    });
    engine.add_filter("indent", |state: &State<'_, '_>, text: Cow<'_, str>, width: usize, first: Option<bool>| {
        let meter = Meter::of(state)?;
        indent(&text, width, first == Some(true), &meter)
    });
    engine.add_filter("replace", |state: &State<'_, '_>, text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>| {
        let meter = Meter::of(state)?;
        replace(&text, &from, &to, &meter)
    });
    let format = Dynamic::from_function(engine_filters::format);
    engine.add_filter(
        "format",
        callable(move |state, arguments| {
            let meter = Meter::of(state)?;
            check_format(arguments, &meter)?;
            format.call(state, arguments)
        }),
    );
    for (name, original) in [
        ("split", Dynamic::from_function(engine_filters::split)),
        ("lines", Dynamic::from_function(engine_filters::lines)),
    ] {
        engine.add_filter(
            name,
            callable(move |state, arguments| {
                let meter = Meter::of(state)?;
                charge_parts(name, arguments, &meter)?;
                original.call(state, arguments)
            }),
        );
    }
}

/// Indents every line but the first, or all of them; empty lines stay empty.
fn indent(text: &str, width: usize, first: bool, meter: &Meter) -> Result<String, Error> {
    if width > MAX_INDENT {
        return Err(invalid(format!("indent: expected a width of at most {MAX_INDENT}, found {width}")));
    }
    meter.work(text.len() as u64)?;
    let lines = text.split('\n').count();
    let size = lines.saturating_mul(width).saturating_add(text.len());
    meter.memory(size as u64)?;
    let blanks = " ".repeat(width);
    let mut result = String::with_capacity(size);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            result.push('\n');
        }
        if !line.is_empty() && (number > 0 || first) {
            result.push_str(&blanks);
        }
        result.push_str(line);
    }
    Ok(result)
}

fn replace(text: &str, from: &str, to: &str, meter: &Meter) -> Result<String, Error> {
    meter.work((text.len() + from.len() + to.len()) as u64)?;
    let size = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    meter.memory(size as u64)?;
    Ok(text.replace(from, to))
}

/// Charges the list that `split` or `lines` makes.
fn charge_parts(name: &str, arguments: &[Dynamic], meter: &Meter) -> Result<(), Error> {
    for argument in arguments {
        meter.work(NODE.saturating_add(length(argument)))?;
    }
    let Some(text) = arguments.first().and_then(Dynamic::as_str) else { return Ok(()) };
    let parts = match (name, arguments.get(1).and_then(Dynamic::as_str)) {
        ("split", Some(separator)) => text.matches(separator).count() + 1,
        ("split", None) => text.split_whitespace().count() + 1,
        _ => text.lines().count(),
    };
    // A text beyond 22 bytes stands for itself, with its counters.
    meter.memory((parts as u64).saturating_mul(2 * SLOT).saturating_add(2 * text.len() as u64))
}

/// `format` repeats its arguments as often as its text names them, in fields of any width.
fn check_format(arguments: &[Dynamic], meter: &Meter) -> Result<(), Error> {
    let Some((text, values)) = arguments.split_first() else { return Ok(()) };
    let mut weight = 0;
    for value in values {
        weight += meter.weigh_printed(value)?;
    }
    let text = text.as_str().unwrap_or_default();
    meter.work(text.len() as u64)?;
    let mut digits = 0;
    let mut fields = 0;
    for c in text.bytes() {
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > 3 {
            return Err(invalid(format!("format: expected widths of at most {MAX_WIDTH}, found a longer number")));
        }
        if c == b'*' {
            return Err(invalid("format: expected widths as numbers, found `*`"));
        }
        fields += u64::from(c == b'%' || c == b'{');
    }
    meter.memory(fields.saturating_mul(weight.saturating_add(2 * MAX_WIDTH as u64)).saturating_add(text.len() as u64))
}

/// `left * right`: a product of numbers, or a repeated text or list.
pub(super) fn times(left: &Dynamic, right: &Dynamic, meter: &Meter) -> Result<Dynamic, Error> {
    let repeats = |value: &Dynamic| matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Iterable);
    let (value, number) = match (repeats(left), repeats(right)) {
        (true, false) => (left, right),
        (false, true) => (right, left),
        (false, false) => return product(left, right),
        (true, true) => return Err(impossible(left, right)),
    };
    let Some(times) = number.as_usize() else {
        return Err(invalid(format!(
            "can only repeat a text or a list by a whole number from 0, found {}",
            number.kind()
        )));
    };
    let count = times as u64;
    if let Some(text) = value.as_str() {
        meter.memory(count.saturating_mul(text.len() as u64))?;
        return Ok(Dynamic::from(text.repeat(times)));
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        meter.work(NODE)?;
        meter.memory(SLOT.saturating_mul(count.saturating_add(1)))?;
        items.push(item?);
    }
    let length = items.len().saturating_mul(times);
    Ok(items.into_iter().cycle().take(length).collect())
}

fn product(left: &Dynamic, right: &Dynamic) -> Result<Dynamic, Error> {
    let is_float = |value: &Dynamic| value.is_number() && !value.is_integer();
    let scalar = |value: &Dynamic| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !scalar(left) || !scalar(right) {
        return Err(impossible(left, right));
    }
    if is_float(left) || is_float(right) {
        return Ok(Dynamic::from(f64::try_from(left.clone())? * f64::try_from(right.clone())?));
    }
    let product = i128::try_from(left.clone())?.checked_mul(i128::try_from(right.clone())?);
    let product = product.ok_or_else(|| invalid(format!("unable to calculate {left} * {right}")))?;
    Ok(i64::try_from(product).map_or_else(|_| Dynamic::from(product), Dynamic::from))
}

fn impossible(left: &Dynamic, right: &Dynamic) -> Error {
    if left.is_undefined() || right.is_undefined() {
        return Error::from(minijinja::ErrorKind::UndefinedError);
    }
    let (left, right) = (left.kind(), right.kind());
    invalid(format!("tried to use * operator on unsupported types {left} and {right}"))
}
