//! Correcting the record of a letter, in an editor or from a file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    pass::Context,
    prepare::{self, Audit, Prepared},
    select::Letter,
};
use crate::{cli::output, files};

/// A letter with its corrected record, or why there is none.
pub(super) struct Edited {
    pub(super) audit: Audit,
    pub(super) prepared: Result<Prepared, String>,
}

/// Takes the value from a file.
pub(super) fn from_file(context: &Context, letter: &Letter<'_>, file: &Path) -> Edited {
    let value = files::read(file).map_err(|error| format!("{}: {error}", file.display()));
    let prepared = value.and_then(|value| prepare::corrected(context, letter, value));
    Edited { audit: Audit::of(letter), prepared }
}

/// Lets the person correct the value. It is kept in its file until it is published.
pub(super) fn in_editor(context: &Context, letter: &Letter<'_>) -> Edited {
    Edited { audit: Audit::of(letter), prepared: edited(context, letter) }
}

fn edited(context: &Context, letter: &Letter<'_>) -> Result<Prepared, String> {
    prepare::can_be_corrected(context, letter)?;
    let variable = |name| (context.environment)(name).filter(|editor| !editor.trim().is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR"));
    let editor =
        editor.ok_or("neither VISUAL nor EDITOR is set: set one, or use show --raw and redrive --value FILE")?;
    let before = letter.value.unwrap_or_default();
    let file = write(before, letter).map_err(|error| format!("no file for the editor can be written: {error}"))?;
    let shown = file.display();
    // As git does: the variable may have arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&file);
    let status = context.interrupt.without_ctrl_c(|| command.status());
    let ended = match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the editor ended with {status}: nothing is published; the text is in {shown}")),
        Err(error) => Err(format!("the editor cannot be started: {error}")),
    };
    let mut value = ended.and_then(|()| files::read(&file).map_err(|error| format!("{shown}: {error}")))?;
    if value.ends_with(b"\n") && !before.ends_with(b"\n") {
        // Editors add it.
        value.pop();
    }
    if value == before {
        drop(fs::remove_file(&file));
        return Err("it was not changed: nothing is published".to_owned());
    }
    let mut prepared = prepare::corrected(context, letter, value)
        .map_err(|why| format!("{why}: correct {shown}, and publish it with --value {shown}"))?;
    // Before anything is published: whatever ends the command from here on, the work can be found.
    output::note(format_args!("{}: the corrected text is kept in {shown} until Kafka has it", letter.place));
    prepared.edited = Some(file);
    Ok(prepared)
}

/// A file that only this user may read: an event may have secrets.
fn write(value: &[u8], letter: &Letter<'_>) -> io::Result<PathBuf> {
    let (partition, offset) = (letter.place.partition, letter.place.offset);
    for attempt in 0..100 {
        let name = format!("dead-letter-{partition}-{offset}-{}-{attempt}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => return file.write_all(value).map(|()| path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
