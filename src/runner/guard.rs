//! Ends a job whose runner was killed: a shell that waits at the other end of a pipe.
//!
//! SIGKILL leaves the runner no time to end its job, and the job is in a process group of its own, so nobody else's signal
//! reaches it. The pipe closes with the runner, whatever ended that. docs/decisions/37-guard-of-a-job.md has the alternatives.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use rustix::process::Pid;

/// Reads the number of the group, then a line that says that the job has ended. Without it: SIGTERM, and SIGKILL 10 s later.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r group || exit 0
read -r ended && exit 0
kill -s TERM -- "-$group" 2>/dev/null || exit 0
left=10
while [ "$left" -gt 0 ]; do
  sleep 1
  kill -s 0 -- "-$group" 2>/dev/null || exit 0
  left=$((left - 1))
done
kill -s KILL -- "-$group" 2>/dev/null
"#;

/// The guard of one job.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "workflow-runner-guard"]).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// From now on it guards this group.
    pub(super) fn watch(&mut self, group: Pid) -> io::Result<()> {
        self.write(&format!("{}\n", group.as_raw_nonzero()))
    }

    /// The job and all of its group have ended.
    pub(super) fn release(mut self) {
        // It may be gone: somebody can kill it.
        let _ = self.write("ended\n");
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.0.stdin {
            Some(stdin) => stdin.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}
