"""Callbacks for ``on_success_callback``, ``on_failure_callback`` and ``on_retry_callback`` of DAGs and of tasks.

Their invariant: like every helper, none raises; a DAG callback takes at most a second, because it runs in a process
that parses DAGs. The ``ti`` of a DAG callback is only the last task instance that Airflow examined: the event is never
about it. With ``functools.partial`` they take ``topic=``, ``metadata=``, ``key=``, ``timeout=`` and ``producer=``.
"""

from __future__ import annotations

from workflow_events.text import text_of
from workflow_events.to_json import BECAME_TEXT, to_json

from .context import CallArgs, attempt_of, is_of_airflow_3, look_up, number, read, task_instance, text
from .event_types import COMPLETED, FAILED
from .events import publish_dag, publish_task
from .sending import IN_A_DAG_CALLBACK, SendOptions, never_raises

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MESSAGE = 2_000
"""Characters of an exception's message that go into an event."""


@never_raises
def dag_success_callback(context: Any, **options: Any) -> bool:
    """``on_success_callback`` of a DAG: WORKFLOW_COMPLETED, scope ``dag``."""
    return _dag(COMPLETED, "success", context, options)


@never_raises
def dag_failure_callback(context: Any, **options: Any) -> bool:
    """``on_failure_callback`` of a DAG: WORKFLOW_FAILED, scope ``dag``."""
    return _dag(FAILED, "failed", context, options)


@never_raises
def task_success_callback(context: Any, **options: Any) -> bool:
    """``on_success_callback`` of a task: WORKFLOW_COMPLETED, scope ``task``."""
    args = CallArgs(context=context, alone=True)
    return publish_task(COMPLETED, None, args, {"status": "success"}, SendOptions.of(options))


@never_raises
def task_failure_callback(context: Any, **options: Any) -> bool:
    """``on_failure_callback`` (and, if wanted, ``on_retry_callback``) of a task: WORKFLOW_FAILED, scope ``task``."""
    data = failure_of(look_up(context, "exception"), context)
    return publish_task(FAILED, None, CallArgs(context=context, alone=True), data, SendOptions.of(options))


def failure_of(error: Any, context: Any) -> dict[str, Any]:
    """The data of a failed attempt: its status, the error, and whether Airflow will retry."""
    data: dict[str, Any] = {"status": "failed"}
    if error is not None:
        data["error_message"] = text_of(error)[:MAX_MESSAGE]
    if issubclass(type(error), BaseException):
        data["error_type"] = type(error).__name__
    retries = will_retry(error, task_instance(context))
    if retries is not None:
        data["will_retry"] = retries
    return data


def will_retry(error: Any, ti: Any) -> bool | None:
    """Whether Airflow will retry a failed attempt; ``None`` when that is not known here."""
    # Airflow has decided by the time of a callback.
    state = text(read(read(ti, "state"), "value")) or text(read(ti, "state"))
    if state in ("up_for_retry", "failed"):
        return bool(state == "up_for_retry")
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"AirflowFailException", "AirflowSensorTimeout"}:
        return False
    # Airflow 2 may retry a task that was terminated, Airflow 3 does not.
    if "AirflowTaskTerminated" in names and is_of_airflow_3(ti):
        return False
    task = read(ti, "task")
    if read(task, "retry_policy") is not None:  # From Airflow 3.3: it decides by the exception.
        return None
    attempt, retries = attempt_of(ti), number(read(task, "retries"))
    if attempt is None or attempt.max_tries is None or attempt.try_number is None:
        return None
    return attempt.try_number <= attempt.max_tries and retries != 0


def facts_of_run(dag_run: Any) -> dict[str, Any]:
    """The data of a DAG run besides its ids."""
    facts: dict[str, Any] = {}
    for name in ("run_type", "logical_date", "data_interval_start", "data_interval_end"):
        value, notes = to_json(read(dag_run, name))
        if isinstance(value, str) and not any(BECAME_TEXT in note for note in notes):
            facts[name] = value
    return facts


def _dag(event_type: str, status: str, context: Any, options: dict[str, Any]) -> bool:
    dag_run = look_up(context, "dag_run")
    data: dict[str, Any] = {"status": status, **facts_of_run(dag_run)}
    reason = look_up(context, "reason")
    if reason is not None:
        data["reason"] = text_of(reason)[:MAX_MESSAGE]
    options.setdefault("timeout", IN_A_DAG_CALLBACK)
    return publish_dag(event_type, CallArgs(context=context, alone=True), data, SendOptions.of(options), blind=True)
