"""Dagster for runner.yaml: the limit of each tenant, the file of the definitions, and the services.

Its invariants: what a person has written in dagster.yaml is read and never changed; the definitions are replaced as a
whole.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Any, Callable

from . import files
from .config import RunnerConfig
from .dagster_jobs import TENANT, check_names
from .errors import OrchestratorError
from .services import Stopping, run_services

FILE = "workflow_runner_definitions.py"

_TEXT = """\
# The Dagster jobs of a runner.yaml, written by `python -m workflow_runner start`: do not edit, run that again.
from workflow_runner import RunnerConfig, create_dagster_definitions

defs = create_dagster_definitions(RunnerConfig.from_yaml({path!r}))
"""

_LIMIT = """\
concurrency:
  runs:
    tag_concurrency_limits:
      - key: {key}
        value:
          applyLimitPerUniqueValue: true
        limit: {limit}
"""


def start(
    config: RunnerConfig,
    stopping: Stopping,
    write: Callable[[str], None],
    *,
    prepare_only: bool,
    host: str,
    port: int,
) -> None:
    """Prepares Dagster and, unless told otherwise, runs it until a signal comes. Raises OrchestratorError."""
    try:
        metadata.version("dagster")
    except metadata.PackageNotFoundError:
        raise OrchestratorError("Dagster is not installed here: pip install 'workflow-events[dagster]'") from None
    check_names(config)
    home = os.environ.get("DAGSTER_HOME", "")
    if not os.path.isabs(home):
        raise OrchestratorError(
            "DAGSTER_HOME is no absolute path: set it to a folder that stays, where Dagster keeps its runs"
        )
    definitions = prepare(config, home)
    if prepare_only:
        return
    command = [sys.executable, "-m", "dagster", "dev", "-f", definitions, "-h", host, "-p", str(port)]
    run_services({"dagster": command}, {}, write, stopping, (host, port))


def prepare(config: RunnerConfig, home: str) -> str:
    """Limits the runs of a tenant, and writes the file of the definitions: its path. Raises OrchestratorError."""
    limit = config.orchestrator.concurrency_per_tenant
    settings, definitions = os.path.join(home, "dagster.yaml"), os.path.join(home, FILE)
    text = _LIMIT.format(key=TENANT, limit=limit)
    try:
        if os.path.exists(settings):
            _check(settings, limit, text)
        else:
            files.replace(settings, text)
        files.replace(definitions, _TEXT.format(path=config.path))
    except OSError as error:
        raise OrchestratorError(f"{home} cannot be written: {error}") from None
    return definitions


def _check(path: str, limit: int, expected: str) -> None:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    with open(path, encoding="utf-8") as file:
        try:
            content: Any = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise OrchestratorError(f"{path}: expected YAML: {error}") from None
    for name in ("concurrency", "runs", "tag_concurrency_limits"):
        content = content.get(name) if isinstance(content, dict) else None
    for found in content if isinstance(content, list) else []:
        wanted = {"key": TENANT, "value": {"applyLimitPerUniqueValue": True}, "limit": limit}
        if found == wanted:
            return
    raise OrchestratorError(
        f"{path}: expected the limit of a tenant, so that its jobs wait for each other; add or correct:\n{expected}"
    )
