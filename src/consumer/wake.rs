//! A descriptor that becomes readable: how an event loop in another language learns that there is something to take.
//!
//! Invariant: writing never blocks. Both ends live as long as this does, so neither ever fails for lack of the other.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
};

/// See the module. The descriptors are closed by `exec`.
#[derive(Debug)]
pub(super) struct Wake {
    watched: UnixStream,
    written: UnixStream,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        let (watched, written) = UnixStream::pair()?;
        watched.set_nonblocking(true)?;
        written.set_nonblocking(true)?;
        Ok(Self { watched, written })
    }

    /// What the event loop watches for reading.
    pub(super) fn descriptor(&self) -> RawFd {
        self.watched.as_raw_fd()
    }

    #[cfg(test)]
    pub(super) fn watched_too(&self) -> io::Result<UnixStream> {
        self.watched.try_clone()
    }

    /// Makes it readable. False when it could not.
    pub(super) fn signal(&self) -> bool {
        match (&self.written).write(&[1]) {
            Ok(written) => written > 0,
            // Full: it is readable already.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Makes it unreadable until the next signal.
    pub(super) fn clear(&self) {
        let mut bytes = [0; 64];
        while (&self.watched).read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_made_it_readable_counts_as_a_signal() {
        let wake = Wake::new().unwrap();
        while (&wake.written).write(&[1; 4096]).is_ok() {}
        assert!(wake.signal(), "full: it is readable");
        wake.written.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!wake.signal());
    }
}
