//! What tests/fuzz runs: functions that take any bytes, and panic when something does not hold that should.
//!
//! A new target is a function and a line in [`TARGETS`], with one input or more in `tests/fuzz/corpus/<name>/`.

mod decode;

use crate::{dedup, kafka, routing};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode", decode::decode),
    ("pattern", |input| text(input, routing::fuzz::patterns)),
    ("routing", |input| text(input, routing::fuzz::files)),
    ("template", |input| text(input, routing::fuzz::templates)),
    ("record", dedup::fuzz::records),
    ("entry", dedup::fuzz::entries),
    ("merge", dedup::fuzz::merges),
    ("header", dedup::fuzz::headers),
    ("parked", |input| kafka::fuzz::parked(&decode::headers(input))),
];

/// Routing files are refused unless they are UTF-8, before anything else looks at them.
fn text(input: &[u8], target: fn(&str)) {
    if let Ok(input) = std::str::from_utf8(input) {
        target(input);
    }
}

#[cfg(test)]
mod tests;
