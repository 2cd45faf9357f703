"""The identity of an event: which publishes are the same event.

Owns the parts that an ``event_id`` is derived from. Its invariant: the same facts give the same id in
every process, on every host and in every release that keeps ``VERSION``, so that a publish that is
repeated by an automatic retry is a duplicate to the readers of the topic, and a publish after a clear is
not. Pure: it knows neither Airflow's objects nor the clock, and it never counts publishes, because a counter
shifts when a retry resumes half way.

An id is ``workflow_events.ids.derive(*parts)``: uuid5 over length-prefixed parts. The parts, in order:

====================  ==============================================================================
``VERSION``           the version of these rules; a change of the rules changes it
``kind``              ``dag``, ``task`` (a completion of one) or ``event`` (a generic publish)
``workflow_id``       the DAG that the event is about
``workflow_run_id``   its run
``event_type``        ``WORKFLOW_COMPLETED`` and so on
``clear_number``      of the DAG run, for what is about the whole DAG; else empty
``task_id``           for what is about a task; else empty
``map_index``         -1 when the task is not mapped
``max_tries``         constant over automatic retries, raised by a clear
``try_number``        only for ``WORKFLOW_FAILED`` of a task: each failed attempt is an event
``discriminator``     ``key:...`` when a key was given; ``digest:...`` of the payload for a generic publish;
                      ``deadline:...`` in the callback of a missed deadline; ``once:...`` when the attempt cannot
                      be known; else empty
``publisher``         four parts (DAG, run, task with map index, max_tries), only when the task that publishes
                      is another one than the task, or of another run than the DAG run, that the event is about
====================  ==============================================================================

An unknown value is an empty part, which differs from every known value.
"""

from __future__ import annotations

import hashlib
import json
from collections import namedtuple

from workflow_events.ids import derive

from .event_types import FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "airflow-1"

DAG = "dag"
TASK = "task"
EVENT = "event"


class Attempt(
    namedtuple("Attempt", "dag_id run_id task_id map_index max_tries try_number", defaults=(None, None, None)),
):
    """The parts of a task instance that identify it. ``None``: not known."""

    __slots__ = ()
    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None
    max_tries: int | None
    try_number: int | None

    def is_of(self, dag_id: str, run_id: str, task_id: str | None = None) -> bool:
        """Whether it belongs to this run and, when one is named, is an attempt of this task."""
        return (self.dag_id, self.run_id) == (dag_id, run_id) and task_id in (None, self.task_id)


def digest(payload: Any) -> str:
    """The SHA-256 of a payload that JSON can carry, in hexadecimal; the order of its keys does not matter."""
    text = json.dumps(payload, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def parts(
    kind: str,
    workflow_id: str,
    workflow_run_id: str,
    event_type: str,
    *,
    clear_number: int | None = None,
    task: Attempt | None = None,
    discriminator: str = "",
    publisher: Attempt | None = None,
) -> list[str]:
    """The parts of an event id, as the module's table lists them."""
    failed_task = task if event_type == FAILED else None
    listed = [
        VERSION,
        kind,
        workflow_id,
        workflow_run_id,
        event_type,
        _text(clear_number),
        task.task_id if task else "",
        _text(task.map_index) if task else "",
        _text(task.max_tries) if task else "",
        _text(failed_task.try_number) if failed_task else "",
        discriminator,
    ]
    if publisher is not None:
        listed += [
            publisher.dag_id,
            publisher.run_id,
            f"{publisher.task_id}[{_text(publisher.map_index)}]",
            _text(publisher.max_tries),
        ]
    return listed


def event_id(*args: Any, **kwargs: Any) -> str:
    """The id itself: ``parts`` with the same arguments, derived."""
    return derive(*parts(*args, **kwargs))


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
