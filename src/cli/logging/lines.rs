//! The lines of a service: a thread writes them, many at a time.
//!
//! Owns the lines that are not written yet. Invariants: they are written in the order in which they were logged; a warning or an error,
//! and all before it, is written when its call returns; and whoever logs waits when too much is not written. What a process that is killed has logged in its last
//! [`LINGER`] may be missing. It does not know what is in a line.

use std::{
    io::{self, ErrorKind, Stderr, Write},
    mem, panic,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::sync::{Condvar, Mutex};

/// How long the first line that is not written waits for others.
const LINGER: Duration = Duration::from_millis(5);
/// The lines that wait for no others any more, in bytes.
const ENOUGH: usize = 16 << 10;
/// The most bytes that are not written.
const MOST: usize = 256 << 10;
/// A pipe takes so many bytes as a whole (POSIX: at least 512; Linux: 4,096): lines of several processes do not mix in it.
const AT_ONCE: usize = 4_096;
/// How long a stream that takes nothing now, and does not block, is left alone.
const AGAIN: Duration = Duration::from_millis(1);

/// See the module.
struct Lines<W> {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    out: Mutex<Out<W>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// No thread writes them: who logs does.
    is_closed: bool,
}

struct Out<W> {
    to: W,
    /// The memory of lines that were written.
    spare: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn new(to: W) -> Self {
        let out = Mutex::new(Out { to, spare: Vec::new() });
        Self { waiting: Mutex::default(), wake: Condvar::new(), out }
    }

    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.waiting.lock();
        let before = waiting.lines.len();
        waiting.lines.extend_from_slice(line);
        let now = waiting.lines.len();
        let is_due = is_urgent || waiting.is_closed || now >= MOST;
        drop(waiting);
        if is_due {
            self.write();
        } else if before == 0 || (before < ENOUGH && now >= ENOUGH) {
            self.wake.notify_one();
        }
    }

    /// Writes what was logged before this call.
    fn write(&self) {
        // Locked before the lines are taken and until they are written: nobody overtakes them.
        let mut out = self.out.lock();
        let spare = mem::take(&mut out.spare);
        let mut lines = mem::replace(&mut self.waiting.lock().lines, spare);
        let mut left = &lines[..];
        while !left.is_empty() {
            let (next, rest) = left.split_at(at_once(left));
            write(&mut out.to, next);
            left = rest;
        }
        lines.clear();
        lines.shrink_to(4 * ENOUGH);
        out.spare = lines;
    }

    /// The thread.
    fn run(&self) {
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines.is_empty() {
                if waiting.is_closed {
                    return;
                }
                waiting = self.wake.wait(waiting);
            }
            let is_early = |waiting: &mut Waiting| !waiting.is_closed && waiting.lines.len() < ENOUGH;
            drop(self.wake.wait_timeout_while(waiting, LINGER, is_early));
            self.write();
        }
    }

    fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.wake.notify_all();
    }
}

/// The length of the whole lines at the beginning that are written at once: one at least.
fn at_once(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let last = lines.get(..AT_ONCE).map(|begin| begin.iter().rposition(is_end));
    match last {
        None => lines.len(),
        Some(Some(end)) => end + 1,
        Some(None) => lines.iter().position(is_end).map_or(lines.len(), |end| end + 1),
    }
}

/// Writes all of it, or loses the rest: nobody could be told that stderr is closed, or its disk full.
fn write(to: &mut impl Write, mut lines: &[u8]) {
    while !lines.is_empty() {
        match to.write(lines) {
            Ok(0) => return,
            Ok(written) => lines = lines.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(_) => return,
        }
    }
}

/// Writes the lines to stderr while it exists. When it is dropped, all are written; what is logged afterwards is written at once.
pub(in crate::cli) struct Log {
    lines: Arc<Lines<Stderr>>,
    thread: Option<JoinHandle<()>>,
}

/// What the logger writes to.
pub(super) struct Writer(Arc<Lines<Stderr>>);

/// Takes one line.
pub(super) struct Line<'a> {
    lines: &'a Lines<Stderr>,
    is_urgent: bool,
}

impl Log {
    pub(super) fn start() -> (Self, Writer) {
        let lines = Arc::new(Lines::new(io::stderr()));
        let thread = thread::Builder::new().name("log".into()).spawn({
            let lines = Arc::clone(&lines);
            move || lines.run()
        });
        if thread.is_err() {
            lines.close();
        }
        // The message of a panic may be the last of the process.
        let (before, logged) = (panic::take_hook(), Arc::clone(&lines));
        panic::set_hook(Box::new(move |panic| {
            logged.write();
            before(panic);
        }));
        (Self { lines: Arc::clone(&lines), thread: thread.ok() }, Writer(lines))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // What was logged before it was closed, and while the thread ended.
        self.lines.write();
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Line<'a> {
        Line { lines: &self.0, is_urgent: *line.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Keeps what is written, each write as one.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().concat()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes a byte for each message that it gets.
    struct Slow(mpsc::Receiver<()>, Kept);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_waits_for_others_and_an_urgent_one_is_written_with_all_before_it() {
        let kept = Kept::default();
        let lines = Lines::new(kept.clone());
        lines.add(b"one\n", false);
        lines.add(b"two\n", false);
        assert_eq!(kept.text(), "");
        lines.add(b"three\n", true);
        assert_eq!(kept.text(), "one\ntwo\nthree\n");
        lines.add(b"four\n", false);
        assert_eq!(kept.text(), "one\ntwo\nthree\n");
        lines.close();
        lines.add(b"five\n", false);
        assert_eq!(kept.text(), "one\ntwo\nthree\nfour\nfive\n");
    }

    #[test]
    fn the_thread_writes_what_nobody_else_does_and_ends_with_the_last_line() {
        let kept = Kept::default();
        let lines = Lines::new(kept.clone());
        thread::scope(|scope| {
            scope.spawn(|| lines.run());
            lines.add(b"one\n", false);
            let began = Instant::now();
            while kept.text().is_empty() {
                assert!(began.elapsed() < PATIENCE, "nothing was written");
                thread::sleep(Duration::from_millis(1));
            }
            lines.add(b"two\n", false);
            lines.close();
        });
        assert_eq!(kept.text(), "one\ntwo\n");
    }

    #[test]
    fn no_line_of_any_thread_is_lost_cut_or_out_of_order() {
        let kept = Kept::default();
        let lines = Lines::new(kept.clone());
        thread::scope(|scope| {
            scope.spawn(|| lines.run());
            let logging: Vec<_> = (0..4)
                .map(|thread| {
                    let lines = &lines;
                    scope.spawn(move || {
                        for n in 0..20_000 {
                            lines.add(format!("{thread} {n}\n").as_bytes(), n % 1_000 == 999);
                        }
                    })
                })
                .collect();
            for thread in logging {
                thread.join().unwrap();
            }
            lines.close();
        });
        let mut next = [0; 4];
        for line in kept.text().lines() {
            let (thread, n) = line.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(n.parse::<usize>().unwrap(), *next, "{line}");
            *next += 1;
        }
        assert_eq!(next, [20_000; 4]);
        let writes = kept.0.lock();
        assert!(writes.iter().all(|write| write.ends_with(b"\n") && write.len() <= AT_ONCE));
        assert!(writes.len() < 20_000, "{} writes", writes.len());
    }

    #[test]
    fn whole_lines_that_a_pipe_takes_at_once_are_written_together() {
        let line = |length: usize| [&b"x".repeat(length - 1)[..], b"\n"].concat();
        let kept = Kept::default();
        let lines = Lines::new(kept.clone());
        for length in [3_000, 1_096, 1, 5_000, 4_096, 10] {
            lines.add(&line(length), false);
        }
        lines.write();
        assert_eq!(kept.0.lock().iter().map(Vec::len).collect::<Vec<_>>(), [4_096, 1, 5_000, 4_096, 10]);
    }

    #[test]
    fn whoever_logs_waits_for_a_reader_that_is_slow() {
        let (reads, slow) = mpsc::channel();
        let kept = Kept::default();
        let lines = Lines::new(Slow(slow, kept.clone()));
        let line = [&b"x".repeat(1_023)[..], b"\n"].concat();
        let (count, logged) = (2 * MOST / 1_024, Mutex::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..count {
                    lines.add(&line, false);
                    *logged.lock() += 1;
                }
            });
            let began = Instant::now();
            while *logged.lock() < MOST / 1_024 - 1 {
                assert!(began.elapsed() < PATIENCE, "{} lines were logged", logged.lock());
                thread::sleep(Duration::from_millis(1));
            }
            // The line that makes it too much is not logged before the reader has read.
            assert!(*logged.lock() < MOST / 1_024);
            assert_eq!(kept.text(), "");
            for _ in 0..count {
                reads.send(()).unwrap();
            }
        });
        lines.write();
        assert_eq!(kept.text().len(), count * 1_024);
    }

    #[test]
    fn a_stream_that_does_not_block_gets_all_and_a_broken_one_stops_nobody() {
        struct Moods(Vec<io::Result<usize>>, Vec<u8>);
        impl Write for Moods {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = self.0.pop().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
                self.1.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::new(Moods(
            vec![Ok(3), Err(ErrorKind::WouldBlock.into()), Err(ErrorKind::Interrupted.into()), Ok(2)],
            Vec::new(),
        ));
        lines.add(b"one two\n", true);
        assert_eq!(lines.out.lock().to.1, b"one two\n");
        lines.out.lock().to.0.push(Err(ErrorKind::BrokenPipe.into()));
        lines.add(b"lost\n", true);
        lines.add(b"three\n", true);
        assert_eq!(lines.out.lock().to.1, b"one two\nthree\n");
    }
}
