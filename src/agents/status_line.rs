//! The status of a response, read beside the HTTP client.
//!
//! Owns one fact: the final status that the server wrote on a connection since the last request. The
//! client discards a response whose head it cannot parse, and the status with it; but the first line says what the
//! agent decided. Its invariant: a status is never that of an earlier request, because
//! every write resets it. It does not know what a status means.

use std::sync::Arc;

use crate::sync::Mutex;

/// The most bytes of a line that are kept: the status is at its beginning.
const MAX_LINE: usize = 64;

/// Shared by a connection, which feeds it, and the sender of its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusLine(Arc<Mutex<ParserState>>);

#[derive(Debug, Default)]
enum ParserState {
    /// No request is under way: input is ignored.
    #[default]
    Closed,
    /// In a line that may be the status line.
    Line(Vec<u8>),
    /// In the head of an interim response (1xx); the length of the line so far.
    Interim(usize),
    /// The status of the response.
    Read(u16),
    /// The first line is no status line.
    Unknown,
}

impl StatusLine {
    /// A part of a request is about to be written: anything read before is not its response.
    pub(super) fn open(&self) {
        *self.0.lock() = ParserState::Line(Vec::new());
    }

    /// The client has read the response, so its status is not needed any more. No effect if the next request
    /// has begun.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        if matches!(*state, ParserState::Read(_)) {
            *state = ParserState::Closed;
        }
    }

    /// Bytes that the server wrote.
    pub(super) fn feed(&self, bytes: &[u8]) {
        let mut state = self.0.lock();
        for byte in bytes {
            match &mut *state {
                ParserState::Closed | ParserState::Read(_) | ParserState::Unknown => return,
                ParserState::Line(line) if *byte == b'\n' => {
                    let line = line.trim_ascii_end();
                    *state = match parse(line) {
                        // Empty lines before the response are skipped, as clients do.
                        _ if line.is_empty() => ParserState::Line(Vec::new()),
                        Some(status) if (100..200).contains(&status) && status != 101 => ParserState::Interim(0),
                        Some(status) => ParserState::Read(status),
                        None => ParserState::Unknown,
                    };
                }
                ParserState::Line(line) if line.len() < MAX_LINE => line.push(*byte),
                ParserState::Line(_) => {}
                ParserState::Interim(length) => match *byte {
                    b'\n' if *length == 0 => *state = ParserState::Line(Vec::new()),
                    b'\n' => *length = 0,
                    b'\r' => {}
                    _ => *length += 1,
                },
            }
        }
    }

    /// The final status, if its whole line was read.
    pub(super) fn status(&self) -> Option<u16> {
        match *self.0.lock() {
            ParserState::Read(status) => Some(status),
            _ => None,
        }
    }
}

/// `HTTP/1.1 200 OK`, with any version and with or without a reason.
fn parse(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(&line[..line.len().min(16)])
        .or_else(|error| std::str::from_utf8(&line[..error.valid_up_to()]))
        .ok()?;
    let (version, rest) = line.split_once(' ')?;
    let version = version.strip_prefix("HTTP/")?;
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let (status, rest) = rest.trim_start_matches(' ').split_at_checked(3)?;
    let ends = rest.is_empty() || rest.starts_with(' ');
    status.parse().ok().filter(|status| ends && (100..=999).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<u16> {
        let line = StatusLine::default();
        line.open();
        // In pieces of one byte: nothing may depend on how the network cuts it.
        for byte in bytes {
            line.feed(&[*byte]);
        }
        line.status()
    }

    #[test]
    fn the_status_is_read_from_whatever_form_of_status_line() {
        for (bytes, status) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Some(200)),
            (b"HTTP/1.1 204\r\n", Some(204)),
            (b"HTTP/1.1 204 \n", Some(204)),
            (b"HTTP/1.0 503 no\r\nx", Some(503)),
            (b"HTTP/1.7 200 OK\r\n", Some(200)),
            (b"HTTP/2 200\r\n", Some(200)),
            (b"\r\n\r\nHTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.1 200 \xff\xfe\r\n", Some(200)),
            (b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 103 x\n\nHTTP/1.1 202 x\r\n", Some(202)),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Some(101)),
            (b"HTTP/1.1 100 Continue\r\n\r\n", None),
            (b"HTTP/1.1 200 OK", None),
            (b"HTTP/1.1 2000 OK\r\n", None),
            (b"HTTP/1.1 20\r\n", None),
            (b"HTTP/x 200 OK\r\n", None),
            (b"ICY 200 OK\r\n", None),
            (b"\xff\xff\r\nHTTP/1.1 200 OK\r\n", None),
            (b"", None),
        ] {
            assert_eq!(read(bytes), status, "{}", String::from_utf8_lossy(bytes));
        }
        let long = [&b"HTTP/1.1 200 "[..], &[b'x'; 1000], b"\r\n"].concat();
        assert_eq!(read(&long), Some(200));
    }

    #[test]
    fn a_status_of_an_earlier_request_never_counts() {
        let line = StatusLine::default();
        line.feed(b"HTTP/1.1 200 OK\r\n");
        assert_eq!(line.status(), None, "no request was written");
        line.open();
        line.feed(b"HTTP/1.1 200 OK\r\n");
        assert_eq!(line.status(), Some(200));
        line.open();
        assert_eq!(line.status(), None, "another request is written");
        line.feed(b"HTTP/1.1 200 OK\r\n");
        line.close();
        line.feed(b"HTTP/1.1 200 OK\r\n");
        assert_eq!(line.status(), None, "the body may hold anything");
        line.open();
        line.feed(b"HTTP/1.1 ");
        line.close();
        line.feed(b"500 x\r\n");
        assert_eq!(line.status(), Some(500), "the next request had begun when the last one was closed");
    }
}
