//! JSON of plain values: what `json.dumps` writes of them, in a fraction of its time.
//!
//! Owns no verdict on a value: whatever is not plain, too large, or written in another way by Python is left to `wire.py`,
//! which says what is wrong with it. No Python code runs meanwhile, so nothing changes under the iteration.

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// How deep lists and objects are nested.
const MAX_DEPTH: u32 = 64;
/// The size of the JSON. Python takes its time for what is larger, and can be interrupted.
const MAX_BYTES: usize = 256 << 10;
/// Enough for most events.
const FIRST_BYTES: usize = 1_000;
/// The most bytes in JSON for a byte of a text: `\u0000`.
const MAX_ESCAPED: usize = 6;
/// The most bytes of a number.
const MAX_NUMBER: usize = 32;
/// Floats with these absolute values, and 0, are written without an exponent by `repr` and by serde_json alike.
const WITHOUT_EXPONENT: std::ops::Range<f64> = 1e-4..1e16;

/// A value as `JSONEncoder(ensure_ascii=False, separators=(",", ":"))` writes it, in UTF-8. None: it is to be encoded in Python.
#[pyfunction]
pub fn plain_json<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    let mut written = Vec::new();
    written.try_reserve(FIRST_BYTES).ok()?;
    write(&mut written, value, MAX_DEPTH)?;
    let copied = PyBytes::new_with(value.py(), written.len(), |bytes| {
        bytes.copy_from_slice(&written);
        Ok(())
    });
    copied.ok()
}

/// Only of the exact types: a subclass may write itself in another way.
fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: u32) -> Option<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        write_text(out, text)?;
    } else if value.is_none() {
        put(out, b"null")?;
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        put(out, if truth.is_true() { b"true" } else { b"false" })?;
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        out.try_reserve(MAX_NUMBER).ok()?;
        serde_json::to_writer(&mut *out, &number.extract::<i64>().ok()?).ok()?;
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        let number = number.value();
        if number != 0.0 && !WITHOUT_EXPONENT.contains(&number.abs()) {
            return None;
        }
        out.try_reserve(MAX_NUMBER).ok()?;
        serde_json::to_writer(&mut *out, &number).ok()?;
    } else if let Ok(fields) = value.cast_exact::<PyDict>() {
        let depth = depth.checked_sub(1)?;
        write_all(out, [b"{", b"}"], fields.iter(), |out, (name, value)| {
            write_text(out, name.cast_exact::<PyString>().ok()?)?;
            put(out, b":")?;
            write(out, &value, depth)
        })?;
    } else if let Ok(items) = value.cast_exact::<PyList>() {
        let depth = depth.checked_sub(1)?;
        write_all(out, [b"[", b"]"], items.iter(), |out, item| write(out, &item, depth))?;
    } else if let Ok(items) = value.cast_exact::<PyTuple>() {
        let depth = depth.checked_sub(1)?;
        write_all(out, [b"[", b"]"], items.iter(), |out, item| write(out, &item, depth))?;
    } else {
        return None;
    }
    (out.len() <= MAX_BYTES).then_some(())
}

fn write_all<T>(
    out: &mut Vec<u8>,
    [open, close]: [&[u8]; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Option<()>,
) -> Option<()> {
    put(out, open)?;
    for (at, item) in items.enumerate() {
        if at > 0 {
            put(out, b",")?;
        }
        write(out, item)?;
    }
    put(out, close)
}

/// None for a text that is too long, or has no form in UTF-8.
fn write_text(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> Option<()> {
    if text.len().ok()? > MAX_BYTES {
        return None;
    }
    let utf8 = text.encode_utf8().ok()?;
    let utf8 = std::str::from_utf8(utf8.as_bytes()).ok()?;
    out.try_reserve(MAX_ESCAPED * utf8.len() + 2).ok()?;
    serde_json::to_writer(out, utf8).ok()
}

/// None where there is no memory: what a vector takes unasked ends the process if there is none.
fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.try_reserve(bytes.len()).ok()?;
    out.extend_from_slice(bytes);
    Some(())
}
