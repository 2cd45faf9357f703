//! Cuts a text into its events: one a line, or each over several lines, as a program prints JSON for people.
//!
//! Its invariant: a line that begins with `{` begins an event, whatever stands before it. So a line that is cut off takes no
//! event along but its own.

use std::io::{self, BufRead, Read as _};

/// The most bytes of one event with its white space: far more than a broker takes.
const MAX_BYTES: u64 = 64 << 20;

/// A part of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The number of its first line.
    pub(super) line: u64,
    pub(super) text: Vec<u8>,
}

/// The events of a text, one after the other.
pub(super) struct Documents<R> {
    lines: R,
    line: u64,
    /// A line that was read and belongs to the next event.
    ahead: Option<Vec<u8>>,
}

/// How many brackets a line leaves open; below 0 when it closes some of before. A string of JSON ends in its line.
fn depth(line: &[u8]) -> i64 {
    let (mut open, mut in_string, mut is_escaped) = (0, false, false);
    for byte in line {
        match (in_string, is_escaped, byte) {
            (true, true, _) => is_escaped = false,
            (true, false, b'\\') => is_escaped = true,
            (_, false, b'"') => in_string = !in_string,
            (false, _, b'{' | b'[') => open += 1,
            (false, _, b'}' | b']') => open -= 1,
            _ => {}
        }
    }
    open
}

impl<R: BufRead> Documents<R> {
    pub(super) fn new(lines: R) -> Self {
        Self { lines, line: 0, ahead: None }
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.take() {
            self.line += 1;
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let read = self.lines.by_ref().take(MAX_BYTES + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        too_long(line.len())?;
        Ok(Some(line))
    }

    /// The next event, or what is none; `None` at the end. Blank lines between them do not count.
    pub(super) fn next(&mut self) -> io::Result<Option<Document>> {
        let first = loop {
            match self.next_line()? {
                None => return Ok(None),
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => break line,
            }
        };
        let mut document = Document { line: self.line, text: first };
        let begins = document.text.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'['));
        let mut open = depth(&document.text);
        if !begins {
            open = 0;
        }
        while open > 0 {
            let Some(line) = self.next_line()? else { break };
            // The one before was cut off: an event never has another one at the beginning of a line.
            if line.first() == Some(&b'{') {
                self.line -= 1;
                self.ahead = Some(line);
                break;
            }
            open += depth(&line);
            document.text.extend_from_slice(&line);
            too_long(document.text.len())?;
        }
        let length = document.text.trim_ascii_end().len();
        document.text.truncate(length);
        Ok(Some(document))
    }
}

fn too_long(bytes: usize) -> io::Result<()> {
    if bytes as u64 <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("expected events of at most {MAX_BYTES} bytes, found more: is it a file of events?");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn documents(text: &str) -> Vec<(u64, String)> {
        let mut documents = Documents::new(text.as_bytes());
        std::iter::from_fn(|| documents.next().unwrap())
            .map(|document| (document.line, String::from_utf8(document.text).unwrap()))
            .collect()
    }

    #[test]
    fn an_event_is_a_line_or_an_object_over_several() {
        for (text, expected) in [
            ("{\"a\": 1}\n\n{\"b\": 2}\r\n", vec![(1, "{\"a\": 1}"), (3, "{\"b\": 2}")]),
            (
                "{\n  \"a\": {\n    \"b\": []\n  }\n}\n{\n}\n",
                vec![(1, "{\n  \"a\": {\n    \"b\": []\n  }\n}"), (6, "{\n}")],
            ),
            ("{\"a\":\n\"}{\\\"[\"}\n{}", vec![(1, "{\"a\":\n\"}{\\\"[\"}"), (3, "{}")]),
            // Cut off: only that line is none.
            ("{\"a\": [1\n{\"b\": 2}\nx\n{}\n", vec![(1, "{\"a\": [1"), (2, "{\"b\": 2}"), (3, "x"), (4, "{}")]),
            ("{\"a\": \"x\n{}\n", vec![(1, "{\"a\": \"x"), (2, "{}")]),
            ("}}\n{}\n", vec![(1, "}}"), (2, "{}")]),
            ("", vec![]),
            ("\n \n", vec![]),
            ("{\n  \"a\": 1\n", vec![(1, "{\n  \"a\": 1")]),
        ] {
            let found = documents(text);
            let found: Vec<_> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'['));
        assert!(Documents::new(endless).next().is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "\\PC{0,6}|[{}\\[\\]\"\\\\]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-c{\"]{1,2}", inner), 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn objects_come_back_whether_they_are_printed_on_one_line_or_on_several(
            values in proptest::collection::vec((value(), any::<bool>()), 0..6),
        ) {
            let values: Vec<_> = values.into_iter().map(|(value, is_pretty)| (json!({"value": value}), is_pretty)).collect();
            let text: String =
                values.iter().map(|(value, is_pretty)| if *is_pretty { format!("{value:#}\n") } else { format!("{value}\n") }).collect();
            let found: Vec<Value> = documents(&text).iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
            let expected: Vec<_> = values.into_iter().map(|(value, _)| value).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
