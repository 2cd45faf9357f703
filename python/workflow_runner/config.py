"""runner.yaml and the files of its jobs, as Python objects.

The files are read and checked in Rust (src/runner): this gives names to what came out. Its invariant: an object made by
``from_yaml`` has no mistake.
"""

from __future__ import annotations

import json
import os
import re
import zoneinfo
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Union

from workflow_events import _native

from .errors import RunnerConfigError

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class RetryConfig:
    """When a failed job is started again.

    max_retries: how many attempts may follow the first.
    initial_delay_seconds, backoff_multiplier, max_delay_seconds: the delay before retry n, from 0, is
        ``min(initial_delay_seconds * backoff_multiplier**n, max_delay_seconds)``.
    retryable_exit_codes: the exit codes that are worth another attempt.
    retryable_error_patterns: regular expressions, in any case; one that matches in the last 64 KiB of the error output
        is worth another attempt, whatever the exit code.
    """

    max_retries: int = 3
    initial_delay_seconds: float = 5
    backoff_multiplier: float = 2.0
    max_delay_seconds: float = 300
    retryable_exit_codes: List[int] = field(default_factory=lambda: [1, 2])
    retryable_error_patterns: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class JobConfig:
    """What the runner reads of a job's file.

    path: the file.
    tenant_id: whose job it is.
    connector: what it reads from, if the file says so.
    environment: dev, staging, prod, or anything else.
    retry_config: None: the job is started once.
    """

    path: str
    tenant_id: str
    connector: Optional[str] = None
    environment: Optional[str] = None
    retry_config: Optional[RetryConfig] = None

    @classmethod
    def from_yaml(cls, path: Path) -> JobConfig:
        """Reads a job's file. Raises RunnerConfigError with every mistake in the keys that are read."""
        name = os.path.abspath(path)
        fields = _read(_native.read_job, name)
        retry = fields.pop("retry_config")
        return cls(path=name, retry_config=RetryConfig(**retry) if retry is not None else None, **fields)


@dataclass(frozen=True)
class ScheduleConfig:
    """When a job runs.

    name: unique in the file.
    config: the path of the job's file.
    cron, timezone: the times; cron_fields are the same in five fields, also for a preset.
    interval_seconds: instead of cron.
    enabled: whether it runs at all.
    max_concurrent_runs: how many runs there may be at once.
    tags: further tags.
    timeout_seconds: the longest time of one attempt.
    """

    name: str
    config: str
    cron: Optional[str] = None
    cron_fields: Optional[str] = None
    interval_seconds: Optional[int] = None
    enabled: bool = True
    timezone: str = "UTC"
    max_concurrent_runs: int = 1
    tags: Dict[str, str] = field(default_factory=dict)
    timeout_seconds: Optional[int] = None


@dataclass(frozen=True)
class OrchestratorConfig:
    """Who starts the jobs.

    type: "dagster" or "airflow".
    concurrency_per_tenant: how many jobs of a tenant run at once.
    schedules: in the order of the file.
    """

    type: str
    concurrency_per_tenant: int
    schedules: List[ScheduleConfig]


@dataclass(frozen=True)
class RunnerConfig:
    """The content of runner.yaml.

    path: the file.
    mode: "orchestrated" or "oneshot".
    command: the program and its arguments, with placeholders.
    working_directory: where jobs run; None: where the runner does.
    """

    path: str
    mode: str
    command: List[str]
    working_directory: Optional[str]
    orchestrator: OrchestratorConfig

    @classmethod
    def from_yaml(cls, path: Path) -> RunnerConfig:
        """Reads runner.yaml, and no job's file. Raises RunnerConfigError with every mistake."""
        name = os.path.abspath(path)
        zones = sorted({"UTC", *zoneinfo.available_timezones()})
        fields = _read(lambda path: _native.read_runner(path, zones), name)
        orchestrator = fields.pop("orchestrator")
        schedules = [ScheduleConfig(**schedule) for schedule in orchestrator.pop("schedules")]
        return cls(path=name, orchestrator=OrchestratorConfig(schedules=schedules, **orchestrator), **fields)

    def schedule(self, name: str) -> Optional[ScheduleConfig]:
        """The schedule of this name, if there is one."""
        return next((schedule for schedule in self.orchestrator.schedules if schedule.name == name), None)


def job_of(schedule: ScheduleConfig) -> JobConfig:
    """The job of a schedule. Raises RunnerConfigError, whose mistakes name the schedule."""
    try:
        return JobConfig.from_yaml(schedule.config)
    except RunnerConfigError as error:
        raise RunnerConfigError([_about(schedule, problem) for problem in error.problems]) from None


def _about(schedule: ScheduleConfig, problem: str) -> str:
    """A mistake with the schedule's name, behind its position, where editors look for that."""
    place = re.match(r".*?:\d+:\d+: ", problem)
    end = place.end() if place else 0
    return f"{problem[:end]}schedule {schedule.name}: {problem[end:]}"


def _read(read: Callable[[str], str], path: str) -> Dict[str, Any]:
    try:
        fields: Dict[str, Any] = json.loads(read(path))
    except _native.ConfigProblems as error:
        raise RunnerConfigError(error.args[0]) from None
    return fields
