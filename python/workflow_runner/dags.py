"""One DAG of Airflow for each schedule of runner.yaml.

Its invariants: a job's file that is wrong, or a tenant without a pool, makes a DAG that says so, and touches no
other; each task runs its own job; nothing here asks Airflow's database. Airflow is imported when a DAG is made.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta
from typing import Any, Callable, Mapping, Optional

from . import event, locks
from .config import JobConfig, Path, RunnerConfig, ScheduleConfig, job_of
from .errors import JobFailed, RunnerConfigError
from .job import TERMINATED, run_job
from .log import about, log, output_logger

#: Airflow's limit for a tag.
TAG = 100
#: The start of a schedule that was not prepared. It is long past, so Airflow runs the latest missed time at once.
LONG_AGO = "2024-01-01T00:00:00+00:00"


def create_airflow_dags(
    config: RunnerConfig,
    *,
    pools: Optional[Mapping[str, int]] = None,
    start_dates: Optional[Mapping[str, str]] = None,
) -> dict[str, Any]:
    """The DAGs of all enabled schedules, by their names.

    pools: the pools that were made for tenants; a tenant without one gets placeholders. None: every pool is taken to be
        there.
    start_dates: the moment, in ISO 8601, from which each schedule counts; one without waits for nothing, and runs its
        latest missed time at once.
    """
    dags = {}
    for schedule in config.orchestrator.schedules:
        if not schedule.enabled:
            log(logging.DEBUG, "schedule_skipped", "the schedule is disabled", **about(schedule))
            continue
        start = (start_dates or {}).get(schedule.name, LONG_AGO)
        dags[schedule.name] = _dag(config, schedule, start, pools)
    return dags


def get_dags_from_config(
    path: Path,
    *,
    pools: Optional[Mapping[str, int]] = None,
    start_dates: Optional[Mapping[str, str]] = None,
) -> dict[str, Any]:
    """The DAGs of a runner.yaml, for ``globals().update(...)`` in a file of the DAGs folder.

    Raises RunnerConfigError when the file is wrong: Airflow shows it as an import error. For the parameters see
    ``create_airflow_dags``.
    """
    return create_airflow_dags(RunnerConfig.from_yaml(path), pools=pools, start_dates=start_dates)


def create_task_function(
    schedule: ScheduleConfig, job: JobConfig, config: RunnerConfig, *, publish: bool = True
) -> Callable[..., dict[str, Any]]:
    """The function of a task: it runs this job with its retries, publishes how the run has ended, and raises JobFailed
    when it failed. It takes Airflow's context as keywords. Its attribute ``stop`` ends the job.

    A task that is ended publishes nothing: a clear may start it again, and the DAG's callback says how the run ended.
    """
    stopping = threading.Event()

    def run(**context: Any) -> dict[str, Any]:
        run_id = str(context["run_id"])
        try:
            # A scheduler that was killed starts a task again before the process of before has ended.
            with locks.slot(
                _home(), schedule, job, config.orchestrator.concurrency_per_tenant, stopping.is_set
            ) as free:
                result = run_job(config, schedule, job, run_id, _output, stopping.is_set) if free else None
        finally:
            stopping.clear()
        if result is None or result.stopped:
            raise JobFailed(f"job {schedule.name} was ended", TERMINATED)
        if publish:
            event.publish_result(schedule, job, result, event.AIRFLOW, run_id, context)
        if result.exit_code != 0:
            raise JobFailed(
                f"job {schedule.name} failed with exit code {result.exit_code} after {result.attempts} "
                f"{'attempt' if result.attempts == 1 else 'attempts'}: {result.error_message}",
                result.exit_code,
            )
        return {"exit_code": 0, "attempts": result.attempts, "execution_time_seconds": result.seconds}

    run.__name__ = run.__qualname__ = f"run_{schedule.name}"
    run.stop = stopping.set  # type: ignore[attr-defined]
    return run


def pool_of(tenant_id: str) -> str:
    """The name of the pool that limits a tenant's tasks."""
    return f"tenant_{tenant_id}"


def _home() -> str:
    """Airflow's folder, as Airflow finds it."""
    return os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow"))


def _output(is_error: bool, line: str) -> None:
    output_logger.info("%s", line)


def _dag(config: RunnerConfig, schedule: ScheduleConfig, start: str, pools: Optional[Mapping[str, int]]) -> Any:
    try:
        job = job_of(schedule)
        if pools is not None and pool_of(job.tenant_id) not in pools:
            raise RunnerConfigError(
                [
                    f"schedule {schedule.name}: tenant {job.tenant_id} has no pool yet: run `python -m workflow_runner "
                    "start orchestrated --prepare-only` again"
                ]
            )
        return _working(config, schedule, job, start)
    except RunnerConfigError as error:
        wrong = error
    except Exception as error:
        # What Airflow refuses of one schedule is to hide no other.
        wrong = RunnerConfigError([f"schedule {schedule.name}: no DAG can be made: {type(error).__name__}: {error}"])
    log(logging.ERROR, "schedule_config_error", str(wrong), **about(schedule))
    return _placeholder(schedule, wrong)


def _working(config: RunnerConfig, schedule: ScheduleConfig, job: JobConfig, start: str) -> Any:
    from .airflow_operator import JobOperator

    tags = [f"tenant:{job.tenant_id}"]
    if job.connector is not None:
        tags.append(f"connector:{job.connector}")
    tags += [f"{key}:{value}" for key, value in schedule.tags.items()]
    dag = _empty_dag(
        schedule,
        _timing(schedule),
        start,
        tags,
        description=f"Runs {job.path} of tenant {job.tenant_id}, as {config.path} says",
        **event.callbacks_of(schedule, job),
    )
    JobOperator(
        task_id=f"run_{schedule.name}",
        python_callable=create_task_function(schedule, job, config),
        pool=pool_of(job.tenant_id),
        retries=0,
        # Airflow 2 waits for it when a task is cleared that runs: five minutes by default.
        retry_delay=timedelta(0),
        dag=dag,
    )
    log(logging.DEBUG, "dag_created", "the DAG is made", **about(schedule, job))
    return dag


def _placeholder(schedule: ScheduleConfig, error: RunnerConfigError) -> Any:
    """A DAG that never runs by itself and shows the mistake."""
    from .airflow_operator import JobOperator

    problems = list(error.problems)

    def fail(**_: Any) -> None:
        raise RunnerConfigError(problems)

    dag = _empty_dag(schedule, None, LONG_AGO, ["config-error"], description="\n".join(problems)[:1000])
    JobOperator(task_id=f"run_{schedule.name}", python_callable=fail, retries=0, dag=dag)
    return dag


def _timing(schedule: ScheduleConfig) -> Any:
    from .airflow_operator import CronTriggerTimetable

    if schedule.interval_seconds is not None:
        return timedelta(seconds=schedule.interval_seconds)
    timetable = CronTriggerTimetable(schedule.cron_fields, timezone=schedule.timezone)
    try:
        # Airflow itself asks later, in another process.
        timetable.validate()
    except Exception as error:
        raise RunnerConfigError([f"schedule {schedule.name}: `cron`: Airflow refuses it: {error}"]) from None
    return timetable


def _empty_dag(schedule: ScheduleConfig, timing: Any, start: str, tags: list[str], **more: Any) -> Any:
    from .airflow_operator import DAG, pendulum

    return DAG(
        dag_id=schedule.name,
        schedule=timing,
        start_date=pendulum.parse(start).in_timezone(schedule.timezone),
        catchup=False,
        max_active_runs=schedule.max_concurrent_runs,
        is_paused_upon_creation=False,
        tags=[tag[:TAG] for tag in tags],
        **more,
    )
