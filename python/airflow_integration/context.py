"""The subject of an event: which DAG, run, task and attempt it is about.

Derives a ``Subject`` from what a caller has: arguments, an Airflow context, the environment of a task process. Its
invariant: it reads attributes, or keys of a mapping in place of an object, and nothing else; it never iterates, copies
or unpacks a context (Airflow 2.8 warns on its deprecated keys), never imports Airflow, and never raises, whatever
object it gets. It knows nothing of events or Kafka.

Ids are taken from the first of these that has them: arguments, ``dag_run``, ``ti``/``task_instance``, ``dag.dag_id``
with ``run_id``, the context of the task that runs in this process, ``AIRFLOW_CTX_*``.
"""

from __future__ import annotations

import logging
import operator
import os
import sys
from collections import namedtuple
from collections.abc import Mapping

from workflow_events.interrupts import call_or, interrupts
from workflow_events.text import plain_text, steady_text, text_of

from .identity import Attempt
from .log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_ABSENT = object()


class Subject(namedtuple("Subject", "dag_id run_id clear_number publisher blind")):
    """What an event is about, and which task publishes it."""

    __slots__ = ()
    dag_id: str
    run_id: str
    clear_number: int | None
    """Of the DAG run; ``None`` when no DAG run is known."""
    publisher: Attempt | None
    """The task instance that runs this code, if it is known."""
    blind: bool
    """A clear cannot be detected: in a task's environment without its task instance, in a DAG callback without a
    run."""


class CallArgs(
    namedtuple(
        "CallArgs",
        "dag_id run_id clear_number map_index max_tries try_number context alone",
        defaults=(None, None, None, None, None, None, None, False),
    )
):
    """The arguments of a call, before anything is looked up."""

    __slots__ = ()
    dag_id: Any
    run_id: Any
    clear_number: Any
    map_index: Any
    max_tries: Any
    try_number: Any
    context: Any
    alone: bool
    """Use nothing but these arguments: a callback's context is not that of the task that runs here."""


def read(holder: Any, name: str) -> Any:
    """An attribute, or a key of a mapping; ``None`` when it is absent or raises."""

    def found() -> Any:
        return holder[name] if isinstance(holder, Mapping) and name in holder else getattr(holder, name, None)

    return call_or(None, found)


def look_up(context: Any, name: str) -> Any:
    """One key of a context, or ``None``. Looks into a context that was passed as ``context=``, too."""
    for holder in (context, _key(context, "context")):
        value = _key(holder, name)
        if value is not _ABSENT and value is not None:
            return value
    return None


def text(value: Any) -> str | None:
    """The value when it is text that is not blank."""
    words = plain_text(value)
    return words if words is not None and words.strip() else None


def number(value: Any) -> int | None:
    """The value when it is a whole number."""
    return call_or(None, lambda: int(value) if isinstance(value, int) and not isinstance(value, bool) else None)


def id_text(value: Any) -> str | None:
    """An id of any type as text; ``None`` for ``None`` and for blank text."""
    if value is None:
        return None
    words = plain_text(value)
    return text(steady_text(value) if words is None else words)


def whole_number(value: Any, name: str) -> int | None:
    """A whole number of any type, or the text of one. Anything else is logged, and ``None``."""
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        try:
            return operator.index(value)
        except TypeError:
            return int(str(value))
    except Exception as error:
        if interrupts(error):
            raise
        log(logging.ERROR, "%s is %s; expected a whole number, so it is ignored", name, text_of(value))
        return None


def attempt_of(ti: Any) -> Attempt | None:
    """The coordinates of a task instance of Airflow 2 or 3; ``None`` when its DAG, run or task is not known."""
    dag_id, run_id, task_id = text(read(ti, "dag_id")), _run_id(ti), text(read(ti, "task_id"))
    if dag_id is None or run_id is None or task_id is None:
        return None
    return Attempt(dag_id, run_id, task_id, number(read(ti, "map_index")), number(read(ti, "max_tries")), tries(ti))


def tries(ti: Any) -> int | None:
    """The number of this attempt, from 1. In callbacks and listeners Airflow 2 adds one, hence ``_try_number``."""
    hidden = number(read(ti, "_try_number"))
    if hidden is not None:
        return max(hidden, 1)
    return number(read(ti, "try_number"))


def is_of_airflow_3(ti: Any) -> bool:
    """Whether it is a task instance of a task process of Airflow 3."""
    return any(kind.__name__ == "RuntimeTaskInstance" for kind in type(ti).__mro__)


def current_context() -> Any:
    """The context of the task that runs in this process, if Airflow is loaded and runs one."""
    for module in ("airflow.sdk", "airflow.operators.python"):
        loaded = sys.modules.get(module)
        get_current_context = read(loaded, "get_current_context") if loaded is not None else None
        if get_current_context is not None:
            context = call_or(_ABSENT, get_current_context)
            if context is not _ABSENT:
                return context
    # Airflow 2 loads the module above for PythonOperator only, and keeps the context of every operator here.
    loaded = sys.modules.get("airflow.models.taskinstance")
    contexts = read(loaded, "_CURRENT_CONTEXT") if loaded is not None else None
    return contexts[-1] if isinstance(contexts, list) and contexts else None


def resolve(
    args: CallArgs,
    environ: Mapping[str, str] | None = None,
    current: Callable[[], Any] = current_context,
) -> Subject | None:
    """What the event is about; ``None`` when no DAG or no run can be found."""
    environ = {} if args.alone else os.environ if environ is None else environ
    sources = (args.context, None if args.alone else call_or(None, current))
    dag_runs = [look_up(source, "dag_run") for source in sources]
    tis = [task_instance(source) for source in sources]

    dag_id = _first(
        id_text(args.dag_id),
        text(read(dag_runs[0], "dag_id")),
        text(read(tis[0], "dag_id")),
        text(read(look_up(args.context, "dag"), "dag_id")),
        text(read(dag_runs[1], "dag_id")),
        text(read(tis[1], "dag_id")),
        text(environ.get("AIRFLOW_CTX_DAG_ID")),
    )
    run_id = _first(
        id_text(args.run_id),
        _run_id(dag_runs[0]),
        _run_id(tis[0]),
        text(look_up(args.context, "run_id")),
        _run_id(dag_runs[1]),
        _run_id(tis[1]),
        text(environ.get("AIRFLOW_CTX_DAG_RUN_ID")),
    )
    if dag_id is None or run_id is None:
        return None

    # The task instance of a DAG callback is the last that Airflow examined, and does not publish.
    of_a_dag = in_dag_callback(args.context)
    publisher = _first(*(attempt_of(ti) for ti in (tis[1:] if of_a_dag else tis)))
    of_environment = environ.get("AIRFLOW_CTX_TASK_ID") if publisher is None else None
    clear_number = _first(
        whole_number(args.clear_number, "clear_number"), *(_clear_number(run, dag_id, run_id) for run in dag_runs)
    )
    blind = clear_number is None if of_a_dag else bool(of_environment)
    return Subject(dag_id, run_id, clear_number, publisher, blind)


def in_dag_callback(context: Any) -> bool:
    """Whether this is the context of a DAG's callback: Airflow puts a ``reason`` into those only."""
    return text(look_up(context, "reason")) is not None


def deadline_id(context: Any) -> str | None:
    """The id of the missed deadline in the context of its callback (Airflow 3.1 and later)."""
    return id_text(read(look_up(context, "deadline"), "id"))


def task_instance(context: Any) -> Any:
    """The task instance of a context, under either of its names."""
    ti = look_up(context, "ti")
    return look_up(context, "task_instance") if ti is None else ti


def _clear_number(dag_run: Any, dag_id: str, run_id: str) -> int | None:
    if (read(dag_run, "dag_id"), _run_id(dag_run)) != (dag_id, run_id):
        return None
    return number(read(dag_run, "clear_number"))


def _run_id(holder: Any) -> str | None:
    # The DAG run of a deadline callback is a dict with `dag_run_id`. No Airflow has `ti.dag_run_id`, but stand-ins
    # written after older guides do.
    return text(read(holder, "run_id")) or text(read(holder, "dag_run_id"))


def _key(holder: Any, name: str) -> Any:
    return call_or(_ABSENT, lambda: holder[name])


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
