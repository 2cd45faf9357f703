# mypy: disable-error-code="import-not-found"
"""One job of Dagster for each schedule of runner.yaml.

With dagster_runs.py the only module of the package that imports Dagster. Its invariants: a job's file that is wrong
makes a job that says so and touches no other; each job runs its own file; retries are the runner's, and Dagster makes
none.
"""

from __future__ import annotations

import keyword
import logging
import re
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import dagster_runs, event, locks
from .config import JobConfig, RunnerConfig, ScheduleConfig, job_of
from .errors import RunnerConfigError
from .job import run_job
from .log import about, log

#: Names that Dagster gives to nothing else; the keywords of Python are the others.
_RESERVED = frozenset(
    "context conf config meta arg_dict dict input_arg_dict output_arg_dict int str float bool input output type".split()
)

TENANT = "tenant"
"""The tag of a run that Dagster limits (dagster.yaml)."""


def name_of(schedule: ScheduleConfig) -> str:
    """The name of a schedule's job: Dagster has neither ``-`` nor ``.`` in names."""
    return re.sub(r"[-.]", "_", schedule.name)


def _step_of(name: str) -> str:
    """The name of a job's one step: names of jobs and of steps are different for Dagster."""
    return f"run_{name}"


def check_names(config: RunnerConfig) -> None:
    """Raises RunnerConfigError when two schedules would have one name, or one that Dagster refuses."""
    taken: Dict[str, str] = {}
    steps = {_step_of(name_of(schedule)): schedule.name for schedule in config.orchestrator.schedules}
    problems = []
    for schedule in config.orchestrator.schedules:
        name = name_of(schedule)
        if keyword.iskeyword(name) or name in _RESERVED:
            problems.append(
                f"{config.path}: schedule {schedule.name}: Dagster keeps the name {name} for itself: rename it"
            )
        first = taken.setdefault(name, schedule.name)
        if first != schedule.name:
            problems.append(
                f"{config.path}: schedule {schedule.name}: Dagster would call it {name_of(schedule)}, as it calls "
                f"{first}: rename one of them"
            )
        elif name in steps:
            problems.append(
                f"{config.path}: schedule {schedule.name}: Dagster would take it for the step of {steps[name]}: rename "
                "one of them"
            )
    if problems:
        raise RunnerConfigError(problems)


def create_dagster_definitions(config: RunnerConfig) -> Any:
    """The ``Definitions`` of all enabled schedules.

    Raises RunnerConfigError when two names are one for Dagster or it refuses one, and ImportError when Dagster is not
    installed.
    """
    import dagster

    check_names(config)
    jobs: List[Any] = []
    schedules: List[Any] = []
    sensors: List[Any] = []
    working: Dict[str, Tuple[ScheduleConfig, JobConfig]] = {}
    for schedule in config.orchestrator.schedules:
        if not schedule.enabled:
            log(logging.DEBUG, "schedule_skipped", "the schedule is disabled", **about(schedule))
            continue
        try:
            job = job_of(schedule)
            definition = _job(config, schedule, job)
            if schedule.interval_seconds is None:
                schedules.append(_schedule(schedule, definition))
            else:
                sensors.append(_sensor(schedule, schedule.interval_seconds, definition))
        except RunnerConfigError as error:
            jobs.append(_placeholder(schedule, error))
            continue
        except Exception as error:
            # What Dagster refuses of one schedule is to hide no other.
            message = f"schedule {schedule.name}: no job can be made: {type(error).__name__}: {error}"
            jobs.append(_placeholder(schedule, RunnerConfigError([message])))
            continue
        jobs.append(definition)
        working[definition.name] = (schedule, job)
        log(logging.DEBUG, "dag_created", "the job is made", **about(schedule, job))
    every = {name_of(schedule): schedule for schedule in config.orchestrator.schedules}
    sensors += dagster_runs.sensors(every, working, [one for one in jobs if one.name in working])
    return dagster.Definitions(jobs=jobs, schedules=schedules, sensors=sensors)


def _job(config: RunnerConfig, schedule: ScheduleConfig, job: JobConfig) -> Any:
    import dagster

    def run(context: Any) -> None:
        run_id = str(context.run_id)

        def output(is_error: bool, line: str) -> None:
            try:
                context.log.info(line)
            except Exception as error:
                # Dagster writes each line to its storage. What that refuses ends no job.
                log(
                    logging.WARNING, "output_lost", f"{line} (Dagster did not take it: {error})", **about(schedule, job)
                )

        if not dagster_runs.begin(context.instance, run_id):
            raise RuntimeError(f"run {run_id} had ended before its process began: its job is not started")
        # A cancelled run ends by an exception, and publishes nothing.
        with locks.slot(context.instance.root_directory, schedule, job, config.orchestrator.concurrency_per_tenant):
            result = run_job(config, schedule, job, run_id, output)
        has_failed = result.exit_code != 0
        dagster_runs.note_result(context.instance, run_id, dagster_runs.FAILED if has_failed else dagster_runs.SUCCESS)
        event.publish_result(schedule, job, result, event.DAGSTER, run_id)
        if has_failed:
            raise dagster.Failure(
                f"job {schedule.name} failed with exit code {result.exit_code}: {result.error_message}",
                metadata={"exit_code": result.exit_code, "attempts": result.attempts},
                allow_retries=False,
            )

    # The tenant's limit holds by this tag, whatever the schedule's own are.
    tags = {**schedule.tags, TENANT: job.tenant_id}
    if job.connector is not None:
        tags["connector"] = job.connector
    return _one_step(schedule, run, tags, f"Runs {job.path} of tenant {job.tenant_id}, as {config.path} says")


def _placeholder(schedule: ScheduleConfig, error: RunnerConfigError) -> Any:
    """A job that is never started by itself and shows the mistake."""
    import dagster

    message = str(error)
    log(logging.ERROR, "schedule_config_error", message, **about(schedule))

    def run(context: Any) -> None:
        raise dagster.Failure(message, allow_retries=False)

    return _one_step(schedule, run, {"config-error": "true"}, message)


def _one_step(schedule: ScheduleConfig, run: Callable[[Any], None], tags: Dict[str, str], description: str) -> Any:
    import dagster

    name = name_of(schedule)

    # By the decorator, and not as an `OpDefinition`: what calls that one notes an interrupt and goes on.
    def compute(context) -> None:  # type: ignore[no-untyped-def]
        run(context)

    step: Any = dagster.op(name=_step_of(name), out=dagster.Out(dagster.Nothing))(compute)
    graph = dagster.GraphDefinition(name=name, node_defs=[step])
    # One process for a run: what ends it ends the job.
    return graph.to_job(name=name, tags=tags, description=description, executor_def=dagster.in_process_executor)


def _schedule(schedule: ScheduleConfig, definition: Any) -> Any:
    import dagster

    def due(context: Any) -> Any:
        busy = _too_many(schedule, definition, context.instance)
        return dagster.SkipReason(busy) if busy else dagster.RunRequest()

    return dagster.ScheduleDefinition(
        name=f"{definition.name}_schedule",
        job=definition,
        cron_schedule=schedule.cron_fields,
        execution_timezone=schedule.timezone,
        execution_fn=due,
        default_status=dagster.DefaultScheduleStatus.RUNNING,
    )


def _sensor(schedule: ScheduleConfig, seconds: int, definition: Any) -> Any:
    import dagster

    def due(context: Any) -> Any:
        busy = _too_many(schedule, definition, context.instance)
        # One run of an interval, however often this is asked.
        return dagster.SkipReason(busy) if busy else dagster.RunRequest(run_key=str(int(time.time()) // seconds))

    return dagster.SensorDefinition(
        name=f"{definition.name}_sensor",
        job=definition,
        evaluation_fn=due,
        minimum_interval_seconds=seconds,
        default_status=dagster.DefaultSensorStatus.RUNNING,
    )


def _too_many(schedule: ScheduleConfig, definition: Any, instance: Any) -> Optional[str]:
    """Why no further run may begin. Dagster has no limit of its own for each job."""
    import dagster

    statuses = [
        dagster.DagsterRunStatus.QUEUED,
        dagster.DagsterRunStatus.NOT_STARTED,
        dagster.DagsterRunStatus.STARTING,
        dagster.DagsterRunStatus.STARTED,
        dagster.DagsterRunStatus.CANCELING,
    ]
    count = instance.get_runs_count(dagster.RunsFilter(job_name=definition.name, statuses=statuses))
    if count < schedule.max_concurrent_runs:
        return None
    return f"{count} of {schedule.max_concurrent_runs} concurrent runs have not ended"
