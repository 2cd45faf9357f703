//! What a job writes: read by a thread for each stream, line by line, and the end of its error output.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Read, Take},
    sync::mpsc::SyncSender,
};

/// Longer lines are passed on in pieces.
const MAX_LINE: u64 = 16 << 10;

/// How much of the error output is kept for the retry policy and the error message.
const TAIL: usize = 64 << 10;

/// A stream of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A line that a job has written, without its end. What is not UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// To which stream.
    pub stream: Stream,
    /// The line.
    pub text: String,
}

/// What the threads of a job report.
pub(super) enum Message {
    Line(Line),
    /// Nothing more comes from one of the streams.
    Closed,
    /// The process that was started has ended. What it started may still run.
    Ended,
}

/// Reads a stream to its end, or until nobody listens.
pub(super) fn read(stream: Stream, from: impl Read, to: &SyncSender<Message>) {
    let mut from = BufReader::new(from).take(MAX_LINE);
    // A stream that cannot be read has nothing more to say.
    while let Ok(Some(text)) = next_line(&mut from) {
        if to.send(Message::Line(Line { stream, text })).is_err() {
            return;
        }
    }
    let _ = to.send(Message::Closed);
}

fn next_line(from: &mut Take<impl io::BufRead>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.set_limit(MAX_LINE);
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// The last lines of the error output.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub(super) fn add(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_owned());
        while self.bytes > TAIL {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len() + 1;
        }
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn lines(written: &[u8]) -> Vec<String> {
        let (to, from) = sync_channel(1_000);
        read(Stream::Output, written, &to);
        drop(to);
        let texts = from.into_iter().filter_map(|message| match message {
            Message::Line(line) => Some(line.text),
            Message::Closed | Message::Ended => None,
        });
        texts.collect()
    }

    #[test]
    fn lines_come_whole_and_a_long_one_in_pieces() {
        assert_eq!(lines(b"one\r\ntwo\n\nlast"), ["one", "two", "", "last"]);
        let long = lines(&vec![b'x'; 40_000]);
        assert_eq!(long.iter().map(String::len).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
        assert_eq!(lines(b"\xff\n"), ["\u{fffd}"]);
    }

    #[test]
    fn the_tail_keeps_the_last_64_kib() {
        let mut tail = Tail::default();
        for number in 0..20_000 {
            tail.add(&number.to_string());
        }
        let text = tail.text();
        assert!(text.len() <= TAIL && text.len() > TAIL - 10, "{}", text.len());
        assert!(text.ends_with("\n19998\n19999"));
    }
}
