"""One run of a job with its retries, as processes. src/runner/process/tests.rs has the process itself."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Tuple

import pytest
from kit.jobs import lives
from kit.poll import poll
from workflow_runner import RunnerConfig
from workflow_runner.config import job_of
from workflow_runner.job import JobResult, run_job


def run(jobs: Any, name: str, stopping: Any = lambda: False) -> Tuple[JobResult, List[Tuple[bool, str]]]:
    config = RunnerConfig.from_yaml(jobs.path)
    schedule = config.schedule(name)
    assert schedule is not None
    lines: List[Tuple[bool, str]] = []

    def output(is_error: bool, line: str) -> None:
        lines.append((is_error, line))

    return run_job(config, schedule, job_of(schedule), "run-1", output, stopping), lines


def test_a_job_sees_its_command_and_its_variables(jobs: Any) -> None:
    jobs.add(
        "nightly", 'echo "$@"; echo $RUNNER_JOB_NAME $RUNNER_TENANT_ID $RUNNER_RUN_ID $RUNNER_ATTEMPT; echo no >&2'
    )
    result, lines = run(jobs, "nightly")
    assert (result.exit_code, result.attempts, result.error_message, result.stopped) == (0, 1, None, False)
    assert (False, f"{jobs.folder / 'nightly.yaml'} acme") in lines
    assert (False, "nightly acme run-1 1") in lines
    assert (True, "no") in lines


def test_a_retryable_failure_starts_it_once_more_for_each_retry(jobs: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "workflow_runner")
    retry = {"max_retries": 3, "initial_delay_seconds": 0.05, "backoff_multiplier": 2, "retryable_exit_codes": [7]}
    jobs.add("flaky", "echo attempt $RUNNER_ATTEMPT >&2; exit 7", {"retry_config": retry})
    result, lines = run(jobs, "flaky")
    assert (result.exit_code, result.attempts, result.error_message) == (7, 4, "attempt 4")
    assert [line for _, line in lines] == ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]
    logged = [json.loads(record.getMessage()) for record in caplog.records if record.name == "workflow_runner"]
    assert [line["event_type"] for line in logged] == ["job_running", "retry_attempt"] * 3 + [
        "job_running",
        "job_error",
    ]
    assert [line["delay_seconds"] for line in logged if "delay_seconds" in line] == [0.05, 0.1, 0.2]
    last = logged[-1]
    assert {"timestamp", "level", "message", "execution_time_seconds"} <= set(last)
    assert {name: last[name] for name in ("job_name", "tenant_id", "connector_type", "exit_code", "attempt")} == {
        "job_name": "flaky",
        "tenant_id": "acme",
        "connector_type": "stripe",
        "exit_code": 7,
        "attempt": 4,
    }
    assert (last["level"], last["max_retries"]) == ("ERROR", 3)


def test_a_final_code_is_final_at_once_and_a_pattern_is_not(jobs: Any) -> None:
    retry = {"max_retries": 2, "initial_delay_seconds": 0, "retryable_error_patterns": ["connection reset"]}
    jobs.add("final", "echo disk full >&2; exit 3", {"retry_config": retry})
    assert run(jobs, "final")[0].attempts == 1
    jobs.add("reset", "echo Connection RESET by peer >&2; exit 3", {"retry_config": retry})
    assert run(jobs, "reset")[0].attempts == 3
    jobs.add("once", "exit 1")
    result, _ = run(jobs, "once")
    assert (result.attempts, result.error_message) == (1, "the job ended with exit code 1 and wrote no error")


def test_a_later_attempt_may_succeed(jobs: Any) -> None:
    jobs.add("second", "[ $RUNNER_ATTEMPT = 2 ]", {"retry_config": {"initial_delay_seconds": 0}})
    result, _ = run(jobs, "second")
    assert (result.exit_code, result.attempts, result.error_message) == (0, 2, None)


def test_a_time_out_is_124_and_a_missing_program_127(jobs: Any) -> None:
    jobs.add("slow", "sleep 100", timeout_seconds=1)
    result, _ = run(jobs, "slow")
    assert (result.exit_code, result.error_message) == (
        124,
        "the job took longer than 1 s and was ended; it wrote no error",
    )
    text = jobs.path.read_text().replace("/bin/sh", "/no/such/program")
    jobs.path.write_text(text)
    result, lines = run(jobs, "slow")
    assert result.exit_code == 127
    assert result.error_message == lines[0][1] and lines[0][1].startswith(
        "the program /no/such/program cannot be started"
    )


def test_the_message_is_the_last_500_characters_of_the_errors(jobs: Any) -> None:
    jobs.add("long", "i=0; while [ $i -lt 300 ]; do echo number $i >&2; i=$((i+1)); done; exit 9")
    result, _ = run(jobs, "long")
    assert result.error_message is not None and len(result.error_message) == 500
    assert result.error_message.endswith("number 298\nnumber 299")


def test_a_job_that_is_told_to_stop_ends_with_143_and_nothing_of_it_is_left(jobs: Any) -> None:
    jobs.add("long", "sleep 100 & echo $!; wait", {"retry_config": {"retryable_exit_codes": [143]}})
    config = RunnerConfig.from_yaml(jobs.path)
    schedule = config.schedule("long")
    assert schedule is not None
    stop = threading.Event()
    pids: List[int] = []

    def output(is_error: bool, line: str) -> None:
        pids.append(int(line))
        stop.set()

    result = run_job(config, schedule, job_of(schedule), "r", output, stop.is_set)
    assert (result.exit_code, result.attempts, result.stopped) == (143, 1, True)
    assert not lives(pids[0])


def test_a_stop_ends_the_wait_before_a_retry(jobs: Any) -> None:
    jobs.add("flaky", "exit 1", {"retry_config": {"initial_delay_seconds": 3600, "max_delay_seconds": 3600}})
    began = time.monotonic()
    result, _ = run(jobs, "flaky", lambda: time.monotonic() > began + 1)
    assert (result.exit_code, result.attempts, result.stopped) == (143, 1, True)
    assert time.monotonic() < began + 60


def test_an_exception_of_a_signals_handler_ends_the_job(jobs: Any) -> None:
    """As Airflow 2 ends a task."""
    jobs.add("long", "sleep 100 & echo $!; wait")
    pids: List[int] = []

    class Ended(Exception):
        pass

    def ended(number: int, _: Any) -> None:
        raise Ended

    before = signal.signal(signal.SIGUSR1, ended)
    try:
        config = RunnerConfig.from_yaml(jobs.path)
        schedule = config.schedule("long")
        assert schedule is not None

        def output(is_error: bool, line: str) -> None:
            pids.append(int(line))
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()

        with pytest.raises(Ended):
            run_job(config, schedule, job_of(schedule), "r", output)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not lives(pids[0])


PROGRAM = """
import sys
from workflow_runner import RunnerConfig
from workflow_runner.config import job_of
from workflow_runner.job import run_job
config = RunnerConfig.from_yaml(sys.argv[1])
schedule = config.orchestrator.schedules[0]
run_job(config, schedule, job_of(schedule), "r", lambda is_error, line: print(line, flush=True))
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_runner_that_is_killed_leaves_no_process(jobs: Any, stubborn: bool) -> None:
    ignore = "trap '' TERM; " if stubborn else ""
    jobs.add("long", f"{ignore}sleep 100 & echo $$ $!; wait; wait")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(jobs.path)], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        pids = [int(pid) for pid in runner.stdout.readline().split()]
        runner.kill()
    states: Dict[int, bool] = poll(
        60, "the job has ended", lambda: {pid: lives(pid) for pid in pids}, lambda states: not any(states.values())
    )
    assert len(states) == 2


def test_a_job_that_had_ended_well_when_it_was_told_to_stop_is_a_success(
    jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add("nightly", "true")
    monkeypatch.setattr("workflow_runner.job._attempt", lambda *_: (0, "", False))
    result, _ = run(jobs, "nightly", lambda: True)
    assert (result.exit_code, result.stopped, result.error_message) == (0, False, None)


def test_a_forked_child_leaves_the_job_of_its_parent_alone(jobs: Any) -> None:
    jobs.add("long", "echo ready; sleep 2; echo done")
    lines: List[str] = []
    config = RunnerConfig.from_yaml(jobs.path)
    schedule = config.schedule("long")
    assert schedule is not None

    def output(is_error: bool, line: str) -> None:
        lines.append(line)
        if line == "ready":
            child = subprocess.Popen([sys.executable, "-c", "pass"])
            child.wait()
            pid = os.fork()
            if pid == 0:
                raise KeyboardInterrupt
            os.waitpid(pid, 0)

    parent = os.getpid()
    try:
        result = run_job(config, schedule, job_of(schedule), "r", output)
    except KeyboardInterrupt:
        # The stack was unwound in the child: what it inherited is closed there.
        if os.getpid() != parent:
            os._exit(0)
        raise
    assert (result.exit_code, lines) == (0, ["ready", "done"])
