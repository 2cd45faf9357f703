//! Reads the files that a person names in settings and routing files.
//!
//! Its invariant: a read is bounded, and but for [`read_text_once`] never waits for the other end of a pipe.
//! What is not a regular file is an error that says what was found. It does not know what a file is for.

use std::{
    fs::{self, FileType, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// The largest file that is read, in bytes, where no other limit is given.
const MAX_BYTES: u64 = 32 << 20;

/// The content of a regular file of at most 32 MiB.
///
/// # Errors
/// What the system says, what was found in the place of a regular file, or that it is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, MAX_BYTES)
}

fn read_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Before it is opened: a socket cannot be, and the error of that names no cause.
    regular(fs::metadata(path)?.file_type())?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Once more: another file may have taken its place.
    regular(file.metadata()?.file_type())?;
    let mut content = Vec::new();
    // By what is read and not by the length that the file says it has: it may grow meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        let message = format!("expected at most {most} bytes, found more");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}

/// The content of a regular file in UTF-8.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    read_text_within(path, MAX_BYTES)
}

/// As [`read_text`], for a file of at most `most` bytes.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_within(path: &Path, most: u64) -> io::Result<String> {
    let content = read_within(path, most)?;
    String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("expected text in UTF-8, found other bytes at byte {at}"))
    })
}

/// As [`read_text`], for a file that is read once: it may also be a pipe that this process was handed, as a shell does
/// for `<(command)`, or /dev/null, which is empty.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_once(path: &Path) -> io::Result<String> {
    let handed = ["/dev/fd", "/proc/self/fd", "/dev/stdin", "/dev/null"];
    if !handed.iter().any(|handed| path.starts_with(handed)) {
        return read_text(path);
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("expected at most {MAX_BYTES} bytes, found more");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

fn regular(found: FileType) -> io::Result<()> {
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
    fn what_is_not_a_regular_file_is_named_and_not_waited_for() {
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
        fs::write(&file, b"ab\xff").unwrap();
        assert!(read_text(&file).unwrap_err().to_string().contains("at byte 2"));
    }
}
