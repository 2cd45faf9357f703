//! Reads files that are named in settings and routing files.
//!
//! Invariant: a read is bounded, and only [`read_text_once`] may wait for the other end of a pipe. Anything but a regular
//! file is an error that says what was found. It does not know what a file is for.

use std::{
    fs::{self, FileType, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// The default size limit, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// The content of a regular file of at most 32 MiB.
///
/// # Errors
/// The error of the system, what was found instead of a regular file, or that the file is too large.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, MAX_BYTES)
}

/// As [`read`], for a file of at most `most` bytes.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Checked before opening: a socket cannot be opened, and that error does not name the cause.
    check_regular(fs::metadata(path)?.file_type())?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Checked again: the path may have been replaced meanwhile.
    check_regular(file.metadata()?.file_type())?;
    let mut content = Vec::new();
    // Count the bytes read, not the reported length: the file may grow meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    check_size(content.len(), most)?;
    Ok(content)
}

/// The content of a regular file in UTF-8.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    read_text_within(path, MAX_BYTES)
}

/// As [`read_text`], for a file of at most `most` bytes.
///
/// # Errors
/// As [`read_text`].
pub(crate) fn read_text_within(path: &Path, most: u64) -> io::Result<String> {
    text(read_within(path, most)?)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|error| {
        let valid_to = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, NotUtf8::new(error.as_bytes(), valid_to))
    })
}

/// The first byte of a file that is not UTF-8.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected text in UTF-8, found the byte 0x{byte:02x} at offset {offset}, line {line}, column {column}: save the file as \
     UTF-8{hint}"
)]
pub(crate) struct NotUtf8 {
    byte: u8,
    /// How many bytes are before it.
    offset: usize,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Its column in characters, from 1.
    pub(crate) column: usize,
    hint: &'static str,
}

impl NotUtf8 {
    fn new(content: &[u8], offset: usize) -> Self {
        let (before, rest) = content.split_at(offset);
        let line_begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_character_begin = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
        Self {
            byte: rest.first().copied().unwrap_or_default(),
            offset,
            line: before.split(|byte| *byte == b'\n').count(),
            column: 1 + before[line_begin..].iter().filter(|byte| is_character_begin(byte)).count(),
            hint: if [&[0xff, 0xfe][..], &[0xfe, 0xff]].contains(&&content[..content.len().min(2)]) {
                " (it seems to be UTF-16)"
            } else {
                ""
            },
        }
    }
}

/// As [`read_text`], for a file that is read once. It may also be an inherited pipe, such as `<(command)` in a shell, or
/// /dev/null, which is empty.
///
/// # Errors
/// As [`read_text`].
pub(crate) fn read_text_once(path: &Path) -> io::Result<String> {
    let inherited = ["/dev/fd", "/proc/self/fd", "/dev/stdin", "/dev/null"];
    if !inherited.iter().any(|inherited| path.starts_with(inherited)) {
        return read_text(path);
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    check_size(content.len(), MAX_BYTES)?;
    text(content)
}

fn check_size(found: usize, most: u64) -> io::Result<()> {
    if found as u64 <= most {
        return Ok(());
    }
    let message = format!("expected at most {most} bytes, found more");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

fn check_regular(found: FileType) -> io::Result<()> {
    let what = if found.is_file() {
        return Ok(());
    } else if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe (FIFO)"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected a regular file, found {what}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn anything_but_a_regular_file_is_named_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, found) in [
            (pipe.as_path(), "a named pipe (FIFO)"),
            (&socket, "a socket"),
            (folder.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
    }

    #[test]
    fn a_regular_file_is_read_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link).unwrap(), "text");
        assert_eq!(read_text_once(Path::new("/dev/null")).unwrap(), "");
    }

    #[test]
    fn the_first_byte_that_is_not_utf_8_has_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (content, expected) in [
            (&b"ab\xff"[..], "found the byte 0xff at offset 2, line 1, column 3: save the file as UTF-8"),
            (b"a: 1\nb: \xc3\xa9\xe9\n", "found the byte 0xe9 at offset 10, line 2, column 5: save"),
            // Cut off within a character.
            (b"\n\xe2\x82", "found the byte 0xe2 at offset 1, line 2, column 1: save"),
            (
                b"\xff\xfea\0",
                "found the byte 0xff at offset 0, line 1, column 1: save the file as UTF-8 (it seems to be UTF-16)",
            ),
        ] {
            fs::write(&file, content).unwrap();
            let error = read_text(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
