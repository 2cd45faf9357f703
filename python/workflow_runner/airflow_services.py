"""Airflow for runner.yaml: the tenants' pools, the file in the DAGs folder, and the services.

Its invariants: a DAG whose file is in the folder has its pool; the file is replaced as a whole; a schedule keeps its
start while it is enabled and its times are the same. It speaks to Airflow by its command line alone.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import pprint
import sys
import tempfile
from datetime import datetime, timezone
from importlib import metadata
from typing import Callable, Dict, List, Optional

from . import files
from .config import RunnerConfig, ScheduleConfig, job_of
from .dags import pool_of
from .errors import OrchestratorError, RunnerConfigError
from .log import about, log
from .services import Stopping, run_services, run_to_end

FILE = "workflow_runner_dags.py"

_TEXT = """\
# The Airflow DAGs of a runner.yaml, written by `python -m workflow_runner start`: do not edit, run that again.
from workflow_runner.dags import get_dags_from_config

PREPARED = {prepared}

globals().update(
    get_dags_from_config(
        PREPARED["runner_config"],
        pools=PREPARED["pools"],
        start_dates={{name: kept["since"] for name, kept in PREPARED["schedules"].items()}},
    )
)
"""


def version() -> int:
    """The major version of the installed Airflow. Raises OrchestratorError when there is none."""
    # The first may be absent where only what it stands for was installed.
    for package in ("apache-airflow", "apache-airflow-core"):
        try:
            return int(metadata.version(package).split(".")[0])
        except metadata.PackageNotFoundError:
            continue
    raise OrchestratorError("Airflow is not installed here: pip install 'workflow-events[airflow]'")


def start(
    config: RunnerConfig,
    stopping: Stopping,
    write: Callable[[str], None],
    *,
    prepare_only: bool,
    dags_folder: Optional[str],
    host: str,
    port: int,
) -> None:
    """Prepares Airflow and, unless told otherwise, runs its services until a signal comes. Raises OrchestratorError."""
    major = version()
    variables = _variables(major, dags_folder, host, port)
    if not prepare_only:
        run_to_end(_airflow("db", "migrate"), variables, stopping)
    folder = dags_folder or _configured_folder(variables, stopping)
    prepare(config, folder, variables, stopping)
    if prepare_only:
        return
    listen = ["--port", str(port)]
    if major == 2:
        services = {"webserver": ["--hostname", host, *listen], "scheduler": []}
    else:
        services = {"api-server": ["--host", host, *listen], "dag-processor": [], "scheduler": [], "triggerer": []}
    commands = {name: _airflow(name, *arguments) for name, arguments in services.items()}
    run_services(commands, variables, write, stopping, (host, port))


def prepare(config: RunnerConfig, folder: str, variables: Dict[str, str], stopping: Stopping) -> str:
    """Makes the pools, then writes the file of the DAGs: its path. Raises OrchestratorError."""
    enabled = [schedule for schedule in config.orchestrator.schedules if schedule.enabled]
    for schedule in config.orchestrator.schedules:
        if not schedule.enabled:
            log(logging.INFO, "schedule_skipped", "the schedule is disabled", **about(schedule))
    pools: Dict[str, int] = {}
    for schedule in enabled:
        try:
            pools[pool_of(job_of(schedule).tenant_id)] = config.orchestrator.concurrency_per_tenant
        except RunnerConfigError as error:
            log(logging.ERROR, "schedule_config_error", str(error), **about(schedule))
    if pools:
        _make_pools(pools, variables, stopping)
    path = os.path.join(os.path.abspath(folder), FILE)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    before = _schedules_of(path)
    prepared = {
        "runner_config": config.path,
        "pools": pools,
        "schedules": {schedule.name: _kept(before.get(schedule.name), schedule, now) for schedule in enabled},
    }
    text = _TEXT.format(prepared=pprint.pformat(prepared, width=110, sort_dicts=True))
    try:
        files.replace(path, text)
    except OSError as error:
        raise OrchestratorError(f"{path} cannot be written: {error}") from None
    return path


def _make_pools(pools: Dict[str, int], variables: Dict[str, str], stopping: Stopping) -> None:
    description = "jobs of one tenant at once (workflow_runner)"
    content = {
        name: {"slots": slots, "description": description, "include_deferred": False} for name, slots in pools.items()
    }
    with tempfile.TemporaryDirectory(prefix="workflow_runner-") as folder:
        path = os.path.join(folder, "pools.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        run_to_end(_airflow("pools", "import", path), variables, stopping)


def _kept(before: Optional[Dict[str, str]], schedule: ScheduleConfig, now: str) -> Dict[str, str]:
    """Since when a schedule counts: the first time that it was seen with these times."""
    timing = f"{schedule.cron_fields} {schedule.timezone}" if schedule.cron else f"{schedule.interval_seconds} s"
    if isinstance(before, dict) and before.get("timing") == timing and before.get("since"):
        return {"timing": timing, "since": before["since"]}
    return {"timing": timing, "since": now}


def _schedules_of(path: str) -> Dict[str, Dict[str, str]]:
    """What the file of before says of the schedules; nothing when it is not ours."""
    try:
        with open(path, encoding="utf-8") as file:
            module = ast.parse(file.read())
        for statement in module.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PREPARED":
                schedules: Dict[str, Dict[str, str]] = dict(ast.literal_eval(statement.value)["schedules"])
                return schedules
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        pass
    return {}


def _airflow(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _variables(major: int, dags_folder: Optional[str], host: str, port: int) -> Dict[str, str]:
    variables: Dict[str, str] = {}
    if dags_folder:
        variables["AIRFLOW__CORE__DAGS_FOLDER"] = os.path.abspath(dags_folder)
    name = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    if major > 2 and name not in os.environ:
        # Where tasks report: port 8080 of localhost unless it is said.
        reached = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        variables[name] = f"http://{reached}:{port}/execution/"
    return variables


def _configured_folder(variables: Dict[str, str], stopping: Stopping) -> str:
    lines = run_to_end(_airflow("config", "get-value", "core", "dags_folder"), variables, stopping)
    folder = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if not os.path.isabs(folder):
        raise OrchestratorError(f"Airflow names no folder of DAGs but {folder!r}: pass --dags-folder")
    return folder
