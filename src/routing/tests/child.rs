//! Tests that measure a process of their own.

use std::{env, fs, process::Command};

/// Set in the process that is measured.
const CHILD: &str = "WORKFLOW_BRIDGE_TEST_CHILD";

/// Whether this is the process that is measured. Else it runs the test of that name in one, which has to succeed and to print
/// `measured`.
pub(in crate::routing) fn is_child(name: &str, measured: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(measured), "the child measured nothing: {text}");
    println!("{text}");
    false
}

/// Memory of this process, in bytes: `VmRSS`, what is resident now, or `VmHWM`, the most that ever was.
pub(in crate::routing) fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
