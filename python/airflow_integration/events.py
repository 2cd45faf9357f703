"""Which event a call means: about which run and task, of what scope, and under which id.

Its invariant: an automatic retry that publishes the same again makes the same id, and a clear makes another one. Where
the attempt cannot be seen, the id is one that nobody else has: a second run of the agent, rather than none after a
clear. It knows Airflow only through ``context``.
"""

from __future__ import annotations

import logging
import os

from workflow_events.text import steady_text, text_of

from . import identity, shaping
from .context import Given, Subject, deadline_id, given_number, given_text, resolve, text
from .identity import Attempt
from .log import say
from .sending import How, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def publish_generic(event_type: str, given: Given, payload: Any, scope: Any, how: How) -> bool:
    """A generic event: about the task that publishes it, when that is of the same run, else about the run."""
    subject = _subject(given)
    if subject is None:
        return False
    task = subject.publisher if subject.publisher and subject.publisher.is_of(subject.dag_id, subject.run_id) else None
    wanted = None if scope is None else text_of(scope).strip().lower()
    if wanted not in (None, identity.DAG, identity.TASK):
        say(logging.WARNING, "scope is %s; expected 'dag' or 'task'", text_of(scope))
        wanted = None
    if wanted == identity.DAG:
        task = None
    shaped = shaping.payload_of(payload)
    missed = deadline_id(given.context)
    digest = f"digest:{identity.digest(shaped)}" + (f" deadline:{missed}" if missed else "")
    told_apart_by = _told_apart_by(how.key, subject) or digest
    event_id = identity.event_id(
        identity.EVENT,
        subject.dag_id,
        subject.run_id,
        event_type,
        clear_number=None if task else subject.clear_number,
        task=task,
        told_apart_by=told_apart_by,
        publisher=_other_run(subject),
    )
    known = _of_task(task) if task else {"scope": wanted or identity.DAG}
    return send(event_id, event_type, subject, shaped, known, how)


def publish_task(event_type: str, task_id: Any, given: Given, data: dict[str, Any], how: How) -> bool:
    """The completion of one task instance: one event for each clear and, when it failed, for each attempt."""
    subject = _subject(given)
    if subject is None:
        return False
    wanted = given_text(task_id) or (subject.publisher.task_id if subject.publisher else text(_ctx("TASK_ID")))
    if wanted is None:
        say(logging.ERROR, "a task completion needs a task_id: pass task_id=, or **context; nothing was published")
        return False
    seen = subject.publisher if subject.publisher and subject.publisher.is_of(*subject[:2], wanted) else None
    tried = given_number(given.try_number, "try_number")
    if tried is None and seen is None and subject.blind and wanted == _ctx("TASK_ID"):
        tried = _digits(_ctx("TRY_NUMBER"))
    task = Attempt(
        subject.dag_id,
        subject.run_id,
        wanted,
        _known(given_number(given.map_index, "map_index"), seen.map_index if seen else None),
        _known(given_number(given.max_tries, "max_tries"), seen.max_tries if seen else None),
        tried if tried is not None else seen.try_number if seen else None,
    )
    told_apart = task.max_tries is not None and task.map_index is not None
    event_id = identity.event_id(
        identity.TASK,
        subject.dag_id,
        subject.run_id,
        event_type,
        task=task,
        told_apart_by=_told_apart_by(how.key, subject._replace(blind=subject.blind and not told_apart)),
        publisher=None if seen else subject.publisher,
    )
    shaped = shaping.payload_of({"data": {"task_id": wanted, **data}})
    return send(event_id, event_type, subject, shaped, _of_task(task), how)


def publish_dag(event_type: str, given: Given, data: dict[str, Any], how: How, *, blind: bool = False) -> bool:
    """The completion (or the start) of a DAG run: one event for each clear of the run.

    ``blind``: called where a clear should be seen and is not, so that the id must not be the one before it.
    """
    subject = _subject(given)
    if subject is None:
        return False
    unknown = subject.clear_number is None and (blind or subject.blind)
    missed = deadline_id(given.context)
    event_id = identity.event_id(
        identity.DAG,
        subject.dag_id,
        subject.run_id,
        event_type,
        clear_number=subject.clear_number,
        told_apart_by=_told_apart_by(how.key, subject._replace(blind=unknown and missed is None), missed),
        publisher=_other_run(subject),
    )
    shaped = shaping.payload_of({"data": {"dag_id": subject.dag_id, **data}})
    known = {"scope": identity.DAG}
    return send(event_id, event_type, subject, shaped, known, how)


def _subject(given: Given) -> Subject | None:
    subject = resolve(given)
    if subject is None:
        say(
            logging.ERROR,
            "no DAG or run is known, so nothing was published: pass **context, or the ids of the DAG and of its run "
            "(in dag_run, ti, dag and run_id, and AIRFLOW_CTX_DAG_ID and AIRFLOW_CTX_DAG_RUN_ID there was nothing)",
        )
    return subject


def _other_run(subject: Subject) -> Attempt | None:
    """The task that publishes, when the event is about another run than its own."""
    publisher = subject.publisher
    return None if publisher is None or publisher.is_of(subject.dag_id, subject.run_id) else publisher


def _told_apart_by(key: Any, subject: Subject, missed: str | None = None) -> str:
    if key is not None:
        return f"key:{steady_text(key)}"
    if missed is not None:
        return f"deadline:{missed}"
    if not subject.blind:
        return ""
    say(
        logging.WARNING,
        "the attempt of %s/%s is not known here, so a retry of this publish cannot be told from a clear: it gets an "
        "id of its own. Pass key= or **context for an id that a retry keeps",
        subject.dag_id,
        subject.run_id,
    )
    return f"once:{os.urandom(16).hex()}"


def _of_task(task: Attempt) -> dict[str, Any]:
    return {
        "scope": identity.TASK,
        "task_id": task.task_id,
        "map_index": task.map_index,
        "try_number": task.try_number,
    }


def _known(given: int | None, seen: int | None) -> int | None:
    return seen if given is None else given


def _digits(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() else None


def _ctx(name: str) -> str | None:
    return os.environ.get(f"AIRFLOW_CTX_{name}")
