"""One run of a job: its attempts, one after the other, each a process group of its own.

Its invariants: retries happen here and nowhere else; when ``run_job`` returns or raises, whatever raised, no process of
the job is left. It knows neither an orchestrator nor events. A process is started and ended in Rust (src/runner).
"""

from __future__ import annotations

import logging
import re
import sys
import time
from dataclasses import dataclass
from typing import Callable, Optional

from workflow_events import _native

from .config import JobConfig, RunnerConfig, ScheduleConfig
from .log import about, log
from .retry import RetryPolicy

#: Seconds between two looks at a signal or a request to stop.
LOOK = 0.2
#: Seconds that a job has after SIGTERM.
GRACE = 10.0
#: Characters of the error output that go into an event.
MESSAGE = 500

TERMINATED = 143


@dataclass(frozen=True)
class JobResult:
    """How a run has ended.

    exit_code: of the last attempt, or 143 when it was told to stop.
    attempts: how often it was started.
    seconds: how long all of it took.
    error_message: the end of the error output of the last attempt; None after a success.
    stopped: whether it was told to stop.
    """

    exit_code: int
    attempts: int
    seconds: float
    error_message: Optional[str] = None
    stopped: bool = False


def run_job(
    config: RunnerConfig,
    schedule: ScheduleConfig,
    job: JobConfig,
    run_id: str,
    output: Callable[[bool, str], None],
    is_stopping: Callable[[], bool] = lambda: False,
) -> JobResult:
    """Runs a job to its end, with all of its retries.

    output: called with each line that the job writes, and whether it came from its standard error.
    is_stopping: asked several times a second; once it says so, the job is ended.
    """
    policy = RetryPolicy(job.retry_config)
    most = policy.config.max_retries
    began = time.monotonic()
    retries = 0
    while True:
        log(
            logging.INFO,
            "job_running",
            "the job starts",
            **about(schedule, job),
            attempt=retries + 1,
            max_retries=most,
        )
        code, errors, terminated = _attempt(config, schedule, job, run_id, retries + 1, output, is_stopping)
        # What had ended well by itself stays a success.
        stopped = terminated or (code != 0 and is_stopping())
        again = not stopped and policy.should_retry(code, errors, retries)
        if again:
            delay = policy.calculate_delay(retries)
            log(
                logging.WARNING,
                "retry_attempt",
                "the attempt failed, and another one follows",
                **about(schedule, job),
                exit_code=code,
                attempt=retries + 1,
                max_retries=most,
                delay_seconds=delay,
            )
            stopped = not _sleep(delay, is_stopping)
        if not again or stopped:
            break
        retries += 1
    seconds = round(time.monotonic() - began, 3)
    if stopped:
        code = TERMINATED
    message = None if code == 0 else errors.strip()[-MESSAGE:] or _sentence(code, schedule)
    result = JobResult(code, retries + 1, seconds, message, stopped)
    _log_end(schedule, job, result, most)
    return result


def command_of(config: RunnerConfig, schedule: ScheduleConfig, job: JobConfig) -> list[str]:
    """The command of a job, with its placeholders replaced."""
    values = {"python": sys.executable, "config": job.path, "name": schedule.name, "tenant": job.tenant_id}
    return [re.sub(r"\{(python|config|name|tenant)\}", lambda found: values[found[1]], word) for word in config.command]


def _attempt(
    config: RunnerConfig,
    schedule: ScheduleConfig,
    job: JobConfig,
    run_id: str,
    attempt: int,
    output: Callable[[bool, str], None],
    is_stopping: Callable[[], bool],
) -> tuple[int, str, bool]:
    """The exit code, the end of the error output, and whether it was told to stop."""
    variables = [
        ("RUNNER_JOB_NAME", schedule.name),
        ("RUNNER_TENANT_ID", job.tenant_id),
        ("RUNNER_RUN_ID", run_id),
        ("RUNNER_ATTEMPT", str(attempt)),
    ]
    try:
        process = _native.JobProcess(
            command_of(config, schedule, job), variables, config.working_directory, schedule.timeout_seconds
        )
    except _native.JobNotStarted as error:
        code, message = error.args
        output(True, message)
        return code, message, False
    terminated = False
    try:
        while True:
            lines, ended = process.wait(LOOK)
            for is_error, line in lines:
                output(is_error, line)
            if ended is not None:
                return ended[0], process.error_output(), terminated
            if is_stopping():
                terminated = True
                process.terminate()
    finally:
        # Also when a signal's handler raises, which is how an orchestrator ends a task.
        process.close(GRACE)


def _sleep(seconds: float, is_stopping: Callable[[], bool]) -> bool:
    """Whether it was not told to stop meanwhile."""
    until = time.monotonic() + seconds
    while not is_stopping():
        left = until - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, LOOK))
    return False


def _sentence(code: int, schedule: ScheduleConfig) -> str:
    if code == 124 and schedule.timeout_seconds is not None:
        return f"the job took longer than {schedule.timeout_seconds} s and was ended; it wrote no error"
    return f"the job ended with exit code {code} and wrote no error"


def _log_end(schedule: ScheduleConfig, job: JobConfig, result: JobResult, most: int) -> None:
    failed = result.exit_code != 0
    log(
        logging.ERROR if failed else logging.INFO,
        "job_error" if failed else "job_completed",
        "the job was told to stop" if result.stopped else "the job failed" if failed else "the job succeeded",
        **about(schedule, job),
        exit_code=result.exit_code,
        attempt=result.attempts,
        max_retries=most,
        execution_time_seconds=result.seconds,
        error_message=result.error_message,
    )
