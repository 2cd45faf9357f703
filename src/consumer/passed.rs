//! What would be a dead letter and is passed over: a critical notice with the whole record.

use std::{fmt::Write as _, sync::Arc};

use tokio::sync::Semaphore;

use super::{
    calls::Calls,
    notices::{Notice, Severity},
};
use crate::{kafka::DeadLetter, pipeline::DeadLetterFunction};

/// How much of a key and of a value is shown, in bytes.
const MAX_VALUE: usize = 1 << 20;
/// Notices that wait to be taken: the value of each is in memory twice.
const MAX_WAITING: usize = 16;

/// Makes a notice of each, which has it when it was taken.
pub(super) fn function(calls: &Arc<Calls>) -> Arc<DeadLetterFunction> {
    let (calls, room) = (Arc::clone(calls), Arc::new(Semaphore::new(MAX_WAITING)));
    Arc::new(move |letter| {
        let (calls, room) = (Arc::clone(&calls), Arc::clone(&room));
        Box::pin(async move {
            // It is never closed.
            let _permit = room.acquire().await;
            calls.notify(Notice { severity: Severity::Critical, text: text(&letter) }).await;
        })
    })
}

/// One line: the record last, because it is long. Each field but the error and the value is without spaces.
fn text(letter: &DeadLetter) -> String {
    let mut line = format!(
        "an event was passed over, because dead letters are off: topic={} partition={} offset={}",
        letter.origin.topic, letter.origin.partition, letter.origin.offset
    );
    let mut add = |name: &str, value: &str| {
        // A text cannot fail.
        let _ = write!(line, " {name}={value}");
    };
    for (name, value) in [("event_id", &letter.event_id), ("event_type", &letter.rule), ("handler", &letter.agent)] {
        if let Some(value) = value {
            add(name, &word(value.as_bytes()));
        }
    }
    add("calls", &letter.attempts.to_string());
    add("reason", letter.reason);
    add("error", &escaped(letter.error.as_bytes()));
    if let Some(key) = &letter.key {
        add(&named("key", key), &word(cut(key)));
    }
    for (name, value) in letter.headers.iter() {
        let value = value.as_deref().map_or_else(|| "(none)".to_owned(), word);
        add(&format!("header:{}", word(name.as_bytes())), &value);
    }
    match &letter.value {
        Some(value) => add(&named("value", value), &escaped(cut(value))),
        None => add("value", "(none)"),
    }
    line
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MAX_VALUE)]
}

/// A field's name, which says what is missing of its bytes.
fn named(name: &str, bytes: &[u8]) -> String {
    match bytes.len() {
        whole if whole > MAX_VALUE => format!("{name} (the first {MAX_VALUE} of {whole} bytes)"),
        _ => name.to_owned(),
    }
}

/// The same without spaces and equal signs: where it ends is seen.
fn word(bytes: &[u8]) -> String {
    escaped(bytes).replace(' ', "\\x20").replace('=', "\\x3d")
}

/// Bytes as a text of one line that can be read back: a backslash is `\\`, a control character `\n`, `\r`, `\t` or `\u{…}`, and a byte
/// that is not of UTF-8 `\x…`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_so_that_they_can_be_read_back() {
        assert_eq!(escaped("é{} =".as_bytes()), "é{} =");
        assert_eq!(escaped(b"\xff\n\\xff\\n\x7f"), "\\xff\\n\\\\xff\\\\n\\u{7f}");
        assert_eq!(escaped(&"aé".as_bytes()[..2]), "a\\xc3", "cut in the middle of a character");
        assert_eq!(word(b"a b=c"), "a\\x20b\\x3dc");
    }

    #[test]
    fn what_is_cut_says_so() {
        let long = vec![b'k'; MAX_VALUE + 1];
        assert_eq!(
            (named("key", &long), cut(&long).len()),
            ("key (the first 1048576 of 1048577 bytes)".into(), MAX_VALUE)
        );
        assert_eq!((named("key", &long[1..]), cut(b"k")), ("key".into(), &b"k"[..]));
    }
}
