# mypy: disable-error-code="import-not-found"
"""How a run of Dagster ends whose process was killed.

Dagster marks a run as failed when the process of the run is killed, and not when the process that watches it is killed
too: such a run would keep its tenant's place for ever. Each run therefore holds a lock until its process ends, and a
sensor ends the runs whose lock nobody holds. A second sensor publishes the failures that no process has published. Its
invariant: a job runs only while its run's lock is held and its run has not ended.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from typing import Any, Mapping, Tuple

from . import event, locks
from .config import JobConfig, ScheduleConfig
from .log import about, log

#: The tag of a run whose job has ended: how.
RESULT = "workflow_runner/result"
SUCCESS, FAILED = "success", "failed"

#: Seconds in which a run begins, or is taken for one whose process was killed before.
BEGINS_WITHIN = 180
#: Seconds between two looks at the runs that are under way, and at those that have failed.
LOOK_AT_RUNS, LOOK_AT_FAILURES = 30, 10

#: By the name of Dagster's job.
Jobs = Mapping[str, Tuple[ScheduleConfig, JobConfig]]
Schedules = Mapping[str, ScheduleConfig]

#: The locks of this process, by run.
_held: dict[str, int] = {}


def begin(instance: Any, run_id: str) -> bool:
    """Takes the lock of a run, for as long as this process lives. Whether its job may begin: the run has not ended."""
    if run_id in _held:
        return True
    try:
        path = _path(instance, run_id)
        while (held := locks.take(path)) is None:  # The sensor has it for a moment.
            time.sleep(0.05)
        _held[run_id] = held
        run = instance.get_run_by_id(run_id)
    except Exception as error:
        log(logging.WARNING, "lock_missing", f"run {run_id} has no lock, or cannot be read: {error}")
        return True
    return run is None or not run.is_finished


def note_result(instance: Any, run_id: str, result: str) -> None:
    """Says in the run how its job has ended, before that is published. What Dagster's storage refuses ends no job."""
    try:
        instance.add_run_tags(run_id, {RESULT: result})
    except Exception as error:
        log(logging.WARNING, "output_lost", f"Dagster did not take the tag {RESULT}={result} of run {run_id}: {error}")


def sensors(schedules: Schedules, jobs: Jobs, definitions: list[Any]) -> list[Any]:
    """The sensor that ends runs without a process, and the one that publishes failures.

    schedules: all of them, also those that are disabled or whose file is wrong.
    definitions: Dagster's, of these jobs.
    """
    import dagster

    def killed(context: Any) -> Any:
        count = end_runs_without_process(context.instance, schedules)
        return dagster.SkipReason(f"{count} runs had lost their process")

    def failures(context):  # type: ignore[no-untyped-def]
        publish_failure(context, jobs)

    always = dagster.DefaultSensorStatus.RUNNING
    looking = dagster.SensorDefinition(
        name="workflow_runner_killed",
        evaluation_fn=killed,
        minimum_interval_seconds=LOOK_AT_RUNS,
        default_status=always,
        description="Ends the runs whose process was killed together with what watched it",
    )
    if not definitions:
        return [looking]
    publishing = dagster.run_failure_sensor(
        name="workflow_runner_failures",
        monitored_jobs=definitions,
        minimum_interval_seconds=LOOK_AT_FAILURES,
        default_status=always,
        description="Publishes WORKFLOW_FAILED for the runs whose process could not, because it was killed",
    )(failures)
    return [looking, publishing]


def publish_failure(context: Any, jobs: Jobs) -> None:
    """Publishes the end of a run that Dagster calls failed, unless its process has done so. The id is the same."""
    run = context.dagster_run
    # The process raises a `Failure` after it has published.
    steps = context.get_step_failure_events()
    if run.job_name not in jobs or any(step.step_failure_data.user_failure_data is not None for step in steps):
        return
    has_succeeded = run.tags.get(RESULT) == SUCCESS
    error = f"the process of the run ended before its job: {context.failure_event.message}"
    event.publish_end(*jobs[run.job_name], event.DAGSTER, run.run_id, error=None if has_succeeded else error)


def end_runs_without_process(instance: Any, schedules: Schedules) -> int:
    """Ends the runs of these schedules whose process was killed: how many.

    Only where a run's process is on this host: other launchers of Dagster look after their runs themselves.
    """
    import dagster

    if not isinstance(instance.run_launcher, dagster.DefaultRunLauncher):
        return 0
    status = dagster.DagsterRunStatus
    under_way = [status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING]
    records = instance.get_run_records(dagster.RunsFilter(statuses=under_way))
    count = sum(_end(instance, record, schedules) for record in records)
    _forget(instance)
    return count


def _end(instance: Any, record: Any, schedules: Schedules) -> bool:
    """Ends this run, if it is ours and its process does not live."""
    import dagster

    run = record.dagster_run
    if run.job_name not in schedules:
        return False
    path = _path(instance, run.run_id)
    if not os.path.exists(path):
        # It has not begun. What is on other hosts is not known here, unless Dagster's storage is a file of this one.
        age = time.time() - record.update_timestamp.timestamp()
        if age < BEGINS_WITHIN or "Sqlite" not in type(instance.run_storage).__name__:
            return False
    held = locks.take(path)
    if held is None:
        return False
    try:
        current = instance.get_run_by_id(run.run_id)
        if current is None or current.is_finished:
            return False
        message = "The process of this run was killed."
        if current.status == dagster.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(current, message)
        else:
            instance.report_run_failed(current, message)
    finally:
        os.close(held)
    log(logging.ERROR, "job_error", f"run {run.run_id}: {message}", **about(schedules[run.job_name]))
    return True


def _forget(instance: Any) -> None:
    """Removes the locks of runs that have ended."""
    folder = _folder(instance)
    for run_id in os.listdir(folder):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, run_id))


def _path(instance: Any, run_id: str) -> str:
    return os.path.join(_folder(instance), run_id)


def _folder(instance: Any) -> str:
    folder = os.path.join(instance.root_directory, locks.FOLDER, "runs")
    os.makedirs(folder, exist_ok=True)
    return folder
