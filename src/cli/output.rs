//! What a command prints: results on stdout, the rest on stderr.
//!
//! Its invariant: a reader that has gone away or a full disk ends no command, whatever it is doing.
//! What could not be written is remembered, so that the exit code tells.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::Mutex,
};

use super::exit;

/// Why a result could not be written, for the exit code. A reader that wanted no more is no reason.
static UNWRITTEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line of the command's result.
pub(super) fn result(line: fmt::Arguments<'_>) {
    let text = format!("{line}\n");
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Remembers that a result could not be written.
pub(super) fn written(done: io::Result<()>) {
    if let Err(error) = done
        && error.kind() != io::ErrorKind::BrokenPipe
        && let Ok(mut unwritten) = UNWRITTEN.lock()
    {
        *unwritten = Some(error);
    }
}

/// Writes a line for the person at the terminal.
pub(super) fn note(line: fmt::Arguments<'_>) {
    // In one write, so that lines of several processes do not mix. A closed stderr cannot be told anything.
    let _ = io::stderr().lock().write_all(format!("workflow-bridge: {line}\n").as_bytes());
}

/// Writes a warning for each line.
pub(super) fn warnings(lines: &[String]) {
    for line in lines {
        note(format_args!("warning: {line}"));
    }
}

/// The exit code of a command: of a result that could not be written, when nothing else went wrong.
pub(super) fn exit_code(code: ExitCode) -> ExitCode {
    match UNWRITTEN.lock().ok().and_then(|mut unwritten| unwritten.take()) {
        Some(error) if code == ExitCode::SUCCESS => {
            note(format_args!("done, but the result could not be written to stdout: {error}"));
            ExitCode::from(exit::OUTPUT)
        }
        _ => code,
    }
}
