//! What would be a dead letter and is passed over: a critical notice with the whole record.

use std::{fmt::Write as _, sync::Arc};

use tokio::sync::Semaphore;

use super::{
    calls::Calls,
    notices::{Notice, Severity, one_line},
};
use crate::{kafka::DeadLetter, pipeline::DeadLetterFunction};

/// How much of a value is shown, in bytes.
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

/// One line: the record last, because it is long.
fn text(letter: &DeadLetter) -> String {
    let mut line = format!(
        "an event was passed over, because dead letters are off: topic={} partition={} offset={}",
        letter.origin.topic, letter.origin.partition, letter.origin.offset
    );
    let mut add = |name: &str, value: &str| {
        // A text cannot fail.
        let _ = write!(line, " {name}={}", one_line(value));
    };
    for (name, value) in [("event_id", &letter.event_id), ("event_type", &letter.rule), ("handler", &letter.agent)] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    add("calls", &letter.attempts.to_string());
    add("reason", letter.reason);
    add("error", &letter.error);
    if let Some(key) = &letter.key {
        add("key", &shown(key, MAX_VALUE));
    }
    match &letter.value {
        Some(value) if value.len() > MAX_VALUE => {
            let name = format!("value (the first {MAX_VALUE} of {} bytes)", value.len());
            add(&name, &shown(value, MAX_VALUE));
        }
        Some(value) => add("value", &shown(value, MAX_VALUE)),
        None => add("value", "(none)"),
    }
    line
}

/// Bytes as text, or with escapes where they are none.
fn shown(bytes: &[u8], most: usize) -> String {
    let cut = &bytes[..bytes.len().min(most)];
    match std::str::from_utf8(cut) {
        Ok(text) => text.to_owned(),
        // Cut within a character.
        Err(error) if error.error_len().is_none() && cut.len() < bytes.len() => {
            String::from_utf8_lossy(&cut[..error.valid_up_to()]).into_owned()
        }
        Err(_) => cut.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_so_that_they_can_be_read_back() {
        assert_eq!(shown("é{}".as_bytes(), 100), "é{}");
        assert_eq!(shown("aé".as_bytes(), 2), "a", "not in the middle of a character");
        assert_eq!(shown(b"\xff\n", 100), "\\xff\\n");
    }
}
