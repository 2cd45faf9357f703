//! Real processes: `sh`, and what it starts.

use std::{fs, path::Path};

use super::*;

fn shell(script: &str) -> JobCommand {
    JobCommand { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()], ..JobCommand::default() }
}

/// Waits for the end: every line that was written, and the exit.
#[track_caller]
fn to_its_end(job: &mut JobProcess) -> (Vec<String>, Exit) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    loop {
        assert!(Instant::now() < until, "it does not end; it wrote {seen:?}");
        match job.wait(Duration::from_secs(1)).unwrap() {
            Progress::Running(lines) => seen.extend(lines.into_iter().map(|line| line.text)),
            Progress::Ended(lines, exit) => {
                seen.extend(lines.into_iter().map(|line| line.text));
                return (seen, exit);
            }
        }
    }
}

#[track_caller]
fn run(job: &JobCommand) -> (Vec<String>, Exit) {
    to_its_end(&mut JobProcess::start(job).unwrap())
}

/// Waits until it has written this line.
#[track_caller]
fn written(job: &mut JobProcess, expected: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line == expected) {
        assert!(Instant::now() < until, "it does not write {expected:?}; it wrote {seen:?}");
        match job.wait(Duration::from_secs(1)).unwrap() {
            Progress::Running(lines) => seen.extend(lines.into_iter().map(|line| line.text)),
            Progress::Ended(lines, exit) => panic!("it ended with {exit:?} and wrote {seen:?}, {lines:?}"),
        }
    }
}

/// Whether a process exists and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

#[test]
fn the_exit_code_and_both_streams_come_back() {
    let mut job = JobProcess::start(&shell("echo out; echo err >&2; exit 7")).unwrap();
    let (mut lines, exit) = to_its_end(&mut job);
    lines.sort();
    assert_eq!((lines, exit), (vec!["err".into(), "out".into()], Exit { code: 7, timed_out: false }));
    assert_eq!(job.error_output(), "err");
}

#[test]
fn a_signal_is_128_and_its_number() {
    assert_eq!(run(&shell("kill -KILL $$")).1.code, 137);
    assert_eq!(run(&shell("kill -TERM $$")).1.code, 143);
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let missing = JobCommand { program: "no-such-program".into(), ..JobCommand::default() };
    let error = JobProcess::start(&missing).unwrap_err();
    assert_eq!(error.exit_code, 127);
    assert!(error.message.starts_with("the program no-such-program cannot be started: "), "{error}");
    let folder = JobCommand { program: "/".into(), ..JobCommand::default() };
    assert_eq!(JobProcess::start(&folder).unwrap_err().exit_code, 126);
    let elsewhere = JobCommand { working_directory: Some("/no/such/folder".into()), ..shell("true") };
    let error = JobProcess::start(&elsewhere).unwrap_err();
    assert_eq!(error.to_string(), "expected a folder as working_directory, found none at /no/such/folder");
}

#[test]
fn variables_and_the_working_directory_reach_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let job = JobCommand {
        working_directory: Some(folder.path().into()),
        variables: vec![("RUNNER_JOB_NAME".into(), "nightly".into())],
        ..shell("pwd -P; echo $RUNNER_JOB_NAME; read -r line || echo nothing to read")
    };
    let here = folder.path().canonicalize().unwrap().display().to_string();
    assert_eq!(run(&job).0, [here, "nightly".into(), "nothing to read".into()]);
}

#[test]
fn a_job_that_takes_too_long_ends_with_124_and_all_of_its_group() {
    let job = JobCommand { timeout: Some(Duration::from_millis(300)), ..shell("sleep 100 & echo $!; wait") };
    let (lines, exit) = run(&job);
    assert_eq!(exit, Exit { code: 124, timed_out: true });
    assert!(!lives(&lines[0]), "{lines:?}");
}

#[test]
fn a_group_that_ignores_sigterm_is_killed_after_its_grace() {
    let mut job = JobProcess::start(&shell("trap '' TERM; sleep 100 & echo $!; echo ready; wait; wait")).unwrap();
    written(&mut job, "ready");
    let began = Instant::now();
    job.close(Duration::from_millis(500));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(job.status.and_then(|status| status.signal()), Some(9));
    assert!(test_kill_process_group(job.group).is_err(), "a process of the group is left");
}

#[test]
fn a_job_may_end_in_order_after_sigterm() {
    let script = "trap 'echo rolled back; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut job = JobProcess::start(&shell(script)).unwrap();
    written(&mut job, "ready");
    job.terminate();
    let (lines, exit) = to_its_end(&mut job);
    // A shell may also report on the other stream that its `sleep` was terminated.
    assert!(lines.iter().any(|line| line == "rolled back"), "{lines:?}");
    assert_eq!(exit.code, 3);
}

#[test]
fn what_a_job_leaves_behind_ends_with_it() {
    let (lines, exit) = run(&shell("sleep 100 & echo $!"));
    assert_eq!(exit.code, 0);
    assert!(!lives(&lines[0]), "{lines:?}");
}

#[test]
fn a_process_outside_of_the_group_that_keeps_the_output_open_does_not_delay_the_end_for_long() {
    let began = Instant::now();
    let (lines, exit) = run(&shell("setsid sh -c 'echo $$; sleep 20' & sleep 0.3; exit 5"));
    assert_eq!(exit.code, 5);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let pid = lines[0].trim().parse().ok().and_then(Pid::from_raw).unwrap();
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

#[test]
fn a_job_that_writes_much_is_not_held_up_by_its_end() {
    let (lines, exit) = run(&shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"));
    assert_eq!((lines.len(), exit.code), (20_000, 0));
    assert_eq!(lines[19_999], "line 19999");
}

#[test]
fn dropping_a_job_that_fills_its_pipe_ends_it() {
    let mut job = JobProcess::start(&shell("echo ready; yes")).unwrap();
    written(&mut job, "ready");
    let group = job.group;
    drop(job);
    assert!(test_kill_process_group(group).is_err(), "a process of the group is left");
}

/// As a runner that is killed: the pipe closes, and nobody has said that the job has ended.
#[test]
fn the_guard_ends_the_job_of_a_runner_that_is_gone() {
    let mut child = spawn(&shell("sleep 100 & wait")).unwrap();
    let mut guard = Guard::start().unwrap();
    guard.watch(Pid::from_child(&child)).unwrap();
    drop(guard);
    let until = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the job still runs");
        thread::sleep(PAUSE);
    }
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_job_that_has_ended_in_time_is_no_time_out_although_its_lines_are_taken_late() {
    let mut job =
        JobProcess::start(&JobCommand { timeout: Some(Duration::from_secs(1)), ..shell("seq 1 3000") }).unwrap();
    let (until, deadline) = (Instant::now() + Duration::from_secs(60), job.deadline.unwrap());
    while !job.has_exited() || Instant::now() < deadline {
        assert!(Instant::now() < until, "it does not end");
        thread::sleep(PAUSE);
    }
    let (lines, exit) = to_its_end(&mut job);
    assert_eq!((lines.len(), exit), (3_000, Exit { code: 0, timed_out: false }));
}
