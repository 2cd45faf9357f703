"""The listener: publishes the events of chosen DAGs from Airflow's listener hooks, with no change to any DAG.

Its invariant: no hook raises, and none that runs in the scheduler (or in an API server) waits for Kafka: those only
spool. It knows neither pluggy nor Airflow's classes; ``plugin`` registers it.

``WORKFLOW_EVENTS_LISTENER_DAGS`` chooses the DAGs: globs, separated by commas; all of them when it is not set.
"""

from __future__ import annotations

import fnmatch
import os
import sys

from workflow_events.text import text_of

from .callbacks import MAX_MESSAGE, facts_of_run, failure_of
from .context import CallArgs, attempt_of, is_of_airflow_3, read, text
from .event_types import COMPLETED, FAILED, TRIGGERED
from .events import publish_dag, publish_task
from .sending import IN_A_TASK, SPOOL_ONLY, SendOptions, never_raises

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SWITCH = "WORKFLOW_EVENTS_LISTENER"
DAGS = "WORKFLOW_EVENTS_LISTENER_DAGS"


def switched_on(environ: Mapping[str, str]) -> bool:
    """Whether ``WORKFLOW_EVENTS_LISTENER`` says so: 1, true, yes or on."""
    return environ.get(SWITCH, "").strip().lower() in ("1", "true", "yes", "on")


def chosen(dag_id: Any, environ: Mapping[str, str]) -> bool:
    """Whether the events of this DAG are published."""
    globs = [glob.strip() for glob in environ.get(DAGS, "").split(",") if glob.strip()] or ["*"]
    name = text(dag_id)
    return name is not None and any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def task_deadline(ti: Any, environ: Mapping[str, str]) -> float:
    """5 s in the process that runs the task, else 0: Airflow also calls the hooks when a state is set by hand."""
    if is_of_airflow_3(ti):
        return IN_A_TASK
    attempt = attempt_of(ti)
    names = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")
    here = attempt is not None and tuple(environ.get(name) for name in names) == tuple(attempt[:3])
    return IN_A_TASK if here else SPOOL_ONLY


class WorkflowEventsListener:
    """One method for each hook, with the arguments that Airflow 2.8 and 3 have in common."""

    def __init__(self, environ: Mapping[str, str] | None = None, producer: Any = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.producer = producer

    def on_dag_run_running(self, dag_run: Any, msg: Any) -> None:
        """WORKFLOW_TRIGGERED, scope ``dag``."""
        self._dag(TRIGGERED, "running", dag_run, msg)

    def on_dag_run_success(self, dag_run: Any, msg: Any) -> None:
        """WORKFLOW_COMPLETED, scope ``dag``."""
        self._dag(COMPLETED, "success", dag_run, msg)

    def on_dag_run_failed(self, dag_run: Any, msg: Any) -> None:
        """WORKFLOW_FAILED, scope ``dag``."""
        self._dag(FAILED, "failed", dag_run, msg)

    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """WORKFLOW_COMPLETED, scope ``task``."""
        self._task(COMPLETED, {"status": "success"}, task_instance)

    def on_task_instance_failed(self, previous_state: Any, task_instance: Any) -> None:
        """WORKFLOW_FAILED, scope ``task``: each failed attempt, also one that Airflow will retry."""
        # Airflow 2.8 does not pass the exception, but calls this hook while it handles it.
        self.task_failed(task_instance, sys.exc_info()[1])

    def task_failed(self, task_instance: Any, error: Any) -> None:
        """The same, with the exception, or with a text about it."""
        self._task(FAILED, None, task_instance, error)

    def _dag(self, event_type: str, status: str, dag_run: Any, msg: Any) -> None:
        _spool_dag(event_type, status, dag_run, msg, self.environ, self.producer)

    def _task(self, event_type: str, data: dict[str, Any] | None, ti: Any, error: Any = None) -> None:
        _publish_task(event_type, data, ti, error, self.environ, self.producer)


@never_raises
def _spool_dag(event_type: str, status: str, dag_run: Any, msg: Any, environ: Mapping[str, str], producer: Any) -> bool:
    if not chosen(read(dag_run, "dag_id"), environ):
        return False
    data: dict[str, Any] = {"status": status, **facts_of_run(dag_run)}
    if text(msg):
        data["reason"] = text_of(msg)[:MAX_MESSAGE]
    args = CallArgs(context={"dag_run": dag_run}, alone=True)
    return publish_dag(event_type, args, data, SendOptions(timeout=SPOOL_ONLY, producer=producer), blind=True)


@never_raises
def _publish_task(
    event_type: str, data: dict[str, Any] | None, ti: Any, error: Any, environ: Mapping[str, str], producer: Any
) -> bool:
    if not chosen(read(ti, "dag_id"), environ):
        return False
    context = {"ti": ti}
    options = SendOptions(timeout=task_deadline(ti, environ), producer=producer)
    return publish_task(
        event_type, None, CallArgs(context=context, alone=True), data or failure_of(error, context), options
    )
