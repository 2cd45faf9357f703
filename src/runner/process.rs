//! One attempt of a job: a process group, its output line by line, and its end.
//!
//! Invariants: when a [`JobProcess`] has ended, was closed or dropped, no process of its group is left; a child that was
//! forked meanwhile leaves the group alone. A process that leaves its group (`setsid`) is not followed.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};

use super::{
    guard::Guard,
    output::{self, Line, Message, Stream, Tail},
};

/// How long the group has after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long the end of a stream is waited for when the group is gone: a process that left the group may keep it open.
const STREAMS: Duration = Duration::from_secs(1);
/// How long SIGKILL may take. What is left then has ended, and nobody reads its exit code.
const KILLED: Duration = Duration::from_secs(2);
/// Between two looks at the group.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines that wait to be taken: more make the job wait.
const WAITING_LINES: usize = 1_000;
/// Lines of one [`JobProcess::wait`].
const MOST_LINES: usize = 200;

const TIMED_OUT: i32 = 124;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct JobCommand {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it runs; `None`: here.
    pub working_directory: Option<PathBuf>,
    /// Variables beside those of this process.
    pub variables: Vec<(OsString, OsString)>,
    /// The longest time that it may take.
    pub timeout: Option<Duration>,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// As a shell has it: 127 when there is no such program (or folder), 126 when it cannot be executed.
    pub exit_code: i32,
    /// What was expected and found.
    pub message: String,
}

/// How an attempt has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 and its number for a signal, 124 for a time-out.
    pub code: i32,
    /// Whether it took longer than it may.
    pub timed_out: bool,
}

/// What became of a job since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It runs, and has written this.
    Running(Vec<Line>),
    /// It has ended, and so has everything in its group. It wrote this last.
    Ended(Vec<Line>, Exit),
}

/// An attempt that was started.
#[derive(Debug)]
pub struct JobProcess {
    /// The process that has started it: a forked child must not end the job of its parent.
    owner: u32,
    child: Child,
    group: Pid,
    guard: Option<Guard>,
    messages: Receiver<Message>,
    tail: Tail,
    deadline: Option<Instant>,
    timed_out: bool,
    /// When SIGTERM was sent.
    terminated: Option<Instant>,
    killed: Option<Instant>,
    status: Option<ExitStatus>,
    open_streams: usize,
    /// When nothing of the group was left.
    gone: Option<Instant>,
}

impl JobProcess {
    /// Starts the job in a process group of its own, with nothing to read.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn start(job: &JobCommand) -> Result<Self, StartError> {
        if let Some(folder) = job.working_directory.as_ref().filter(|folder| !folder.is_dir()) {
            let message = format!("expected a folder as working_directory, found none at {}", folder.display());
            return Err(StartError { exit_code: NOT_FOUND, message });
        }
        let unguarded = |error| StartError {
            exit_code: NOT_EXECUTABLE,
            message: format!("/bin/sh, which guards a job, cannot be started: {error}"),
        };
        let mut guard = Guard::start().map_err(unguarded)?;
        let spawned = spawn(job).map_err(|error| refused(job, &error));
        let started = spawned.and_then(|child| Self::watched(child, &mut guard, job.timeout).map_err(unguarded));
        match started {
            Ok(mut started) => {
                started.guard = Some(guard);
                Ok(started)
            }
            Err(error) => {
                guard.release();
                Err(error)
            }
        }
    }

    fn watched(mut child: Child, guard: &mut Guard, timeout: Option<Duration>) -> io::Result<Self> {
        let group = Pid::from_child(&child);
        let (to, messages) = sync_channel(WAITING_LINES);
        let listening = guard.watch(group).and_then(|()| listen(&mut child, group, &to));
        let mut started = Self {
            owner: process::id(),
            child,
            group,
            guard: None,
            messages,
            tail: Tail::default(),
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            timed_out: false,
            terminated: None,
            killed: None,
            status: None,
            open_streams: 2,
            gone: None,
        };
        if listening.is_err() {
            started.close(Duration::ZERO);
        }
        listening.map(|()| started)
    }

    /// Waits for at most this long for something to happen.
    ///
    /// # Errors
    /// When the exit code cannot be read: somebody else has waited for the process.
    pub fn wait(&mut self, most: Duration) -> io::Result<Progress> {
        let until = Instant::now() + most;
        let mut lines = Vec::new();
        loop {
            self.enforce(Instant::now());
            while lines.len() < MOST_LINES
                && let Ok(message) = self.messages.try_recv()
            {
                self.take(message, &mut lines)?;
            }
            if lines.len() < MOST_LINES && self.has_ended() {
                self.release();
                return Ok(Progress::Ended(lines, self.exit()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if !lines.is_empty() || left.is_zero() {
                return Ok(Progress::Running(lines));
            }
            let within = left.min(self.next_look());
            match self.messages.recv_timeout(within) {
                Ok(message) => self.take(message, &mut lines)?,
                Err(RecvTimeoutError::Timeout) => {}
                // Both streams and the process have ended; a part of its group has not.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(within.min(PAUSE)),
            }
        }
    }

    /// The last 64 KiB of the error output, as far as it was taken by [`wait`](Self::wait).
    pub fn error_output(&self) -> String {
        self.tail.text()
    }

    /// Sends SIGTERM to the whole group; [`wait`](Self::wait) sends SIGKILL 10 s later.
    pub fn terminate(&mut self) {
        if self.owner == process::id() && self.terminated.is_none() && self.gone.is_none() {
            self.terminated = Some(Instant::now());
            self.signal(Signal::TERM);
        }
    }

    /// Ends the whole group: SIGTERM, and SIGKILL when it is not gone after `grace`. What it writes meanwhile is dropped.
    pub fn close(&mut self, grace: Duration) {
        if self.owner != process::id() {
            return;
        }
        self.terminate();
        let until = Instant::now() + grace;
        while self.gone.is_none() {
            // A job that writes must not wait for its reader.
            while let Ok(message) = self.messages.try_recv() {
                if matches!(message, Message::Ended) {
                    let _ = self.reap();
                }
            }
            let now = Instant::now();
            if now >= until && self.killed.is_none() {
                self.kill(now);
            }
            self.enforce(now);
            if self.gone.is_none() {
                thread::sleep(PAUSE);
            }
        }
        self.release();
    }

    /// Whatever is due: the end of the time, of the grace, of the group.
    fn enforce(&mut self, now: Instant) {
        if self.owner != process::id() || self.gone.is_some() {
            return;
        }
        let is_overdue = self.deadline.is_some_and(|deadline| now >= deadline);
        // One that has ended in time may have written more than was taken yet.
        if self.terminated.is_none() && self.status.is_none() && is_overdue && !self.has_exited() {
            self.timed_out = true;
            self.terminate();
        }
        if self.killed.is_none() && self.terminated.is_some_and(|since| now >= since + GRACE) {
            self.kill(now);
        }
        // Its own process is a member until it is reaped, so nobody else can have the number of the group before.
        if self.status.is_some() && test_kill_process_group(self.group).is_err() {
            self.gone = Some(now);
        }
        if self.killed.is_some_and(|since| now >= since + KILLED) {
            if let (None, Ok(Some(status))) = (self.status, self.child.try_wait()) {
                self.status = Some(status);
            }
            self.gone = Some(now);
        }
    }

    /// Whether its own process has ended, be it reaped or not.
    fn has_exited(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        matches!(waitid(WaitId::Pid(self.group), look), Ok(Some(_)))
    }

    fn take(&mut self, message: Message, lines: &mut Vec<Line>) -> io::Result<()> {
        match message {
            Message::Line(line) => {
                if line.stream == Stream::Error {
                    self.tail.add(&line.text);
                }
                lines.push(line);
            }
            Message::Closed => self.open_streams = self.open_streams.saturating_sub(1),
            Message::Ended => {
                // What it has left behind in its group ends with it.
                self.terminate();
                self.reap()?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        if self.status.is_none() {
            self.status = Some(self.child.wait()?);
        }
        Ok(())
    }

    fn kill(&mut self, now: Instant) {
        self.killed = Some(now);
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // An error says that nobody is left.
        let _ = kill_process_group(self.group, signal);
    }

    fn has_ended(&self) -> bool {
        self.gone.is_some_and(|since| self.open_streams == 0 || since.elapsed() >= STREAMS)
    }

    /// How long nothing has to be looked at.
    fn next_look(&self) -> Duration {
        if self.terminated.is_some() {
            return PAUSE;
        }
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn exit(&self) -> Exit {
        let code = match self.status {
            _ if self.timed_out => TIMED_OUT,
            Some(status) => status.code().or_else(|| status.signal().map(|number| 128 + number)).unwrap_or(1),
            None => 128 + 9,
        };
        Exit { code, timed_out: self.timed_out }
    }

    fn release(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.release();
        }
    }
}

impl Drop for JobProcess {
    fn drop(&mut self) {
        self.close(GRACE);
    }
}

fn spawn(job: &JobCommand) -> io::Result<Child> {
    let mut command = Command::new(&job.program);
    command.args(&job.arguments).envs(job.variables.iter().map(|(name, value)| (name, value))).process_group(0);
    if let Some(folder) = &job.working_directory {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn refused(job: &JobCommand, error: &io::Error) -> StartError {
    let exit_code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let program = job.program.display();
    StartError { exit_code, message: format!("the program {program} cannot be started: {error}") }
}

/// Threads that read both streams and wait for the process, without reaping it.
fn listen(child: &mut Child, pid: Pid, to: &SyncSender<Message>) -> io::Result<()> {
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    if let Some(from) = child.stdout.take() {
        let to = to.clone();
        named("job-stdout").spawn(move || output::read(Stream::Output, from, &to))?;
    }
    if let Some(from) = child.stderr.take() {
        let to = to.clone();
        named("job-stderr").spawn(move || output::read(Stream::Error, from, &to))?;
    }
    let to = to.clone();
    named("job-end").spawn(move || {
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {
        }
        let _ = to.send(Message::Ended);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
