//! The output of a command: results on stdout, everything else on stderr.
//!
//! Invariant: a closed pipe or a full disk does not interrupt a command. A result that could not be written is
//! remembered and changes the exit code.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
};

use serde_json::Value;

use crate::{bridge::Exit, sync::Mutex, yaml::excerpt};

/// Why a result could not be written. A pipe that its reader closed is not an error.
static WRITE_ERROR: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line of the command's result.
pub(super) fn result(line: fmt::Arguments<'_>) {
    let text = format!("{line}\n");
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// JSON for people and programs. It allows some characters in a text that terminals obey: those are escaped.
pub(super) fn json(value: &Value) -> String {
    let is_obeyed = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if is_obeyed(c) {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// The most characters of a text that another program has sent.
pub(super) const MAX_CHARS: usize = 1_000;

/// A value of a page, for the terminal.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    excerpt(&text, MAX_CHARS)
}

/// Remembers that a result could not be written.
pub(super) fn written(done: io::Result<()>) {
    if let Err(error) = done
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        *WRITE_ERROR.lock() = Some(error);
    }
}

/// Writes a line for the person at the terminal.
pub(super) fn note(line: fmt::Arguments<'_>) {
    // One write, so that lines of several processes do not mix. An error cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(format!("workflow-bridge: {line}\n").as_bytes());
}

/// Writes lines that begin with the name of a file, for the person at the terminal and for editors.
pub(super) fn lines(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes what went wrong to stderr and returns the exit code.
pub(super) fn fail(exit: Exit, message: &dyn fmt::Display) -> ExitCode {
    note(format_args!("{message}"));
    exit.into()
}

/// Writes each line as a warning.
pub(super) fn warnings(lines: &[String]) {
    for line in lines {
        note(format_args!("warning: {line}"));
    }
}

/// The exit code of a command. If it succeeded but a result could not be written, it becomes an error.
pub(super) fn exit_code(code: ExitCode) -> ExitCode {
    match WRITE_ERROR.lock().take() {
        Some(error) if code == ExitCode::SUCCESS => {
            note(format_args!("done, but the result could not be written to stdout: {error}"));
            ExitCode::from(Exit::Io)
        }
        _ => code,
    }
}
