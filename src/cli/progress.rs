//! How far a command is, on stderr, once it takes longer than a person waits without a sign.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use super::output;

/// A command that ends within this time says nothing.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// How often a line is written to a terminal, which replaces the one before.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often a line is written to anything else.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Progress {
    next: Instant,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + FIRST_AFTER, is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    /// For a command that prints results meanwhile: a line of progress must not stand where they are written.
    pub(super) fn in_lines() -> Self {
        Self { is_terminal: false, ..Self::new() }
    }

    /// Says how far the command is, if it is time to.
    pub(super) fn tick(&mut self, state: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        if self.is_terminal {
            self.is_shown = true;
            // The line is cleared first. An error cannot be reported anywhere.
            let _ = io::stderr().lock().write_all(format!("\r\u{1b}[K{}", state()).as_bytes());
            self.next = now + ON_TERMINAL;
        } else {
            output::note(format_args!("{}", state()));
            self.next = now + ELSEWHERE;
        }
    }

    /// Clears the line.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
