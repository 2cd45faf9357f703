//! Child processes that cannot outlive the tests, and the folders that go with them.
//!
//! Every child leads its own process group. A watchdog (one `sh` for the whole test process) reads
//! from a pipe which groups live; when the pipe closes, because the tests ended, panicked or were
//! killed by SIGKILL, it kills the groups and removes the scratch folders. A child runs its program
//! only once the watchdog knows it, so there is no moment in which one could be left behind.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    ops::Deref,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{poll, when};

const WATCHDOG: &str = r#"
trap '' INT TERM HUP
groups=' '
folders=
newline='
'
while read -r word name; do
  case $word in
    watch) groups="$groups$name " ;;
    forget) groups="${groups%% "$name" *} ${groups#* "$name" }" ;;
    folder) folders="$folders$name$newline" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
printf %s "$folders" | while read -r folder; do rm -rf -- "$folder"; done
"#;

/// Waits for a line that says the watchdog knows this process, then becomes the program.
const LAUNCH: &str = r#"read -r _ && exec "$@" </dev/null"#;

/// Lines kept of one process; the oldest go first.
const KEPT_LINES: usize = 50_000;

/// How long the last lines of a process that has ended may take.
const LAST_LINES: Duration = Duration::from_secs(60);

fn tell_watchdog(line: &str) {
    static WATCHED: OnceLock<(Mutex<ChildStdin>, Child)> = OnceLock::new();
    let (pipe, _) = WATCHED.get_or_init(|| {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("`sh` starts");
        (Mutex::new(watchdog.stdin.take().expect("its stdin is a pipe")), watchdog)
    });
    writeln!(pipe.lock().unwrap_or_else(PoisonError::into_inner), "{line}").expect("the watchdog reads");
}

/// A folder under `target/tmp` that goes when it is dropped, or when the tests are killed.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// An empty folder.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder under target/tmp can be made");
        tell_watchdog(&format!("folder {}", folder.path().display()));
        Self(folder)
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

/// What a process wrote on stdout and stderr, line by line.
#[derive(Default)]
pub struct Log {
    lines: Mutex<(usize, VecDeque<String>)>,
}

impl Log {
    /// Adds a line.
    pub fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.1.len() == KEPT_LINES {
            lines.1.pop_front();
        }
        lines.0 += 1;
        lines.1.push_back(line);
    }

    /// How many lines there have been.
    pub fn count(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The lines still kept from the `from`th on.
    pub fn since(&self, from: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = lines.0 - lines.1.len();
        lines.1.iter().skip(from.saturating_sub(gone)).cloned().collect()
    }

    /// The last `count` lines as one text.
    pub fn tail(&self, count: usize) -> String {
        self.since(self.count().saturating_sub(count)).iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "    {line}");
            text
        })
    }
}

/// A running (or ended) child. Dropping it kills its whole process group.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
    collectors: [thread::JoinHandle<()>; 2],
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the program of `command`; only its program, arguments, environment and folder count.
    pub fn spawn(name: &str, command: &Command, log: Arc<Log>) -> Self {
        let mut launch = Command::new("sh");
        launch.args(["-c", LAUNCH, "sh"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => launch.env(key, value),
                None => launch.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            launch.current_dir(folder);
        }
        let mut child = launch
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("`sh` starts");
        tell_watchdog(&format!("watch {}", child.id()));
        let collectors = [collect(child.stdout.take(), &log), collect(child.stderr.take(), &log)];
        let mut go = child.stdin.take().expect("its stdin is a pipe");
        go.write_all(b"go\n").expect("the launcher reads");
        Self { name: name.to_owned(), child, log, collectors, ended: None }
    }

    /// The process id, which is its group's id too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Sends a signal to the process alone. One that has ended is left in peace.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child of ours takes signals");
        }
    }

    /// SIGCONT, and waits until it is no longer stopped.
    #[track_caller]
    pub fn resume(&mut self) {
        poll(Duration::from_secs(60), "the process runs again", || {
            self.signal(Signal::CONT);
            let state = self.state();
            when(!matches!(state.as_deref(), Some("T" | "t")), state)
        });
    }

    /// Its state as `/proc` has it, such as `S` or `T`.
    fn state(&self) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().next().map(str::to_owned)
    }

    /// Its exit status, once it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait().expect("a child of ours can be waited for")
        {
            self.forget(status);
        }
        self.ended
    }

    /// Waits for it to end. (After a machine that stood still past the deadline there is one more look.)
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            let asked = start.elapsed();
            if let Some(status) = self.exit_status() {
                return status;
            }
            assert!(
                asked < deadline,
                "{} (pid {}) did not end within {deadline:?}; its last lines:\n{}",
                self.name,
                self.pid(),
                self.log.tail(40)
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the whole group and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // The leader is not reaped yet, so the id cannot be another's.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        if let Ok(status) = self.child.wait() {
            self.forget(status);
        }
    }

    /// Resident memory now, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The processor time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // utime and stime, the 14th and 15th of all, in the hundredths of a second that Linux shows to programs.
        let ticks: u32 = [fields[11], fields[12]].iter().filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        f64::from(ticks) / 100.0
    }

    /// How many times its threads have waited and gone on so far, by their names.
    pub fn wakes(&self) -> BTreeMap<String, u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let mut wakes: BTreeMap<String, u64> = BTreeMap::new();
        for task in tasks.flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file));
            // A thread may end meanwhile.
            let (Ok(name), Ok(status)) = (read("comm"), read("status")) else { continue };
            let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let waits: u64 = waits.and_then(|waits| waits.trim().parse().ok()).expect("Linux counts them");
            *wakes.entry(name.trim().to_owned()).or_default() += waits;
        }
        wakes
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux reports memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }

    /// Whether a process of this group listens on the port of the loopback interface.
    pub fn listens_on(&self, port: u16) -> bool {
        let Some(inode) = listener_inode(port) else { return false };
        let socket = format!("socket:[{inode}]");
        let Ok(processes) = std::fs::read_dir("/proc") else { return false };
        processes.flatten().any(|entry| {
            group_of(&entry.path()) == Some(self.pid())
                && std::fs::read_dir(entry.path().join("fd")).is_ok_and(|mut open| {
                    open.any(|file| {
                        file.is_ok_and(|file| {
                            std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
                        })
                    })
                })
        })
    }

    fn forget(&mut self, status: ExitStatus) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        tell_watchdog(&format!("forget {}", self.child.id()));
        // What it wrote last belongs in the log. A process that left the group may keep the pipe open.
        let killed = Instant::now();
        while self.collectors.iter().any(|collector| !collector.is_finished()) && killed.elapsed() < LAST_LINES {
            thread::sleep(Duration::from_millis(1));
        }
        self.ended = Some(status);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let state = self.state();
        self.kill();
        if thread::panicking() {
            let (name, log) = (&self.name, self.log.tail(80));
            eprintln!(
                "--- the last lines of {name} (it was in state {state:?}, and ended with {:?}):\n{log}",
                self.ended
            );
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>, log: &Arc<Log>) -> thread::JoinHandle<()> {
    let mut reader = BufReader::new(pipe.expect("the output is a pipe"));
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    })
}

/// The socket that listens on a port, from `/proc/net/tcp`: state `0A` is LISTEN.
fn listener_inode(port: u16) -> Option<String> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        (u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&"0A"))
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// The process group of a folder in `/proc`: the third field after the name, which is in brackets.
fn group_of(process: &Path) -> Option<u32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}
