"""The event of a call: its run and task, its scope and its id.

Its invariant: an automatic retry that publishes the same again makes the same id, and a clear makes another one. Where
the attempt is not known, the id is random: a second run of the agent is better than none after a clear. It knows
Airflow only through ``context``.
"""

from __future__ import annotations

import logging
import os

from workflow_events.text import steady_text, text_of

from . import identity
from .context import CallArgs, Subject, deadline_id, id_text, resolve, text, whole_number
from .identity import Attempt
from .log import log
from .payload import payload_of
from .sending import SOURCE, SendOptions, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def publish_generic(event_type: str, args: CallArgs, payload: Any, scope: Any, options: SendOptions) -> bool:
    """A generic event: about the task that publishes it, when that is of the same run, else about the run."""
    subject = _subject(args)
    if subject is None:
        return False
    task = subject.publisher if subject.publisher and subject.publisher.is_of(subject.dag_id, subject.run_id) else None
    wanted = None if scope is None else text_of(scope).strip().lower()
    if wanted not in (None, identity.DAG, identity.TASK):
        log(logging.WARNING, "scope is %s; expected 'dag' or 'task'", text_of(scope))
        wanted = None
    if wanted == identity.DAG:
        task = None
    shaped = payload_of(payload)
    deadline = deadline_id(args.context)
    digest = f"digest:{identity.digest(shaped)}" + (f" deadline:{deadline}" if deadline else "")
    discriminator = _discriminator(options.key, subject) or digest
    event_id = identity.event_id(
        identity.EVENT,
        subject.dag_id,
        subject.run_id,
        event_type,
        clear_number=None if task else subject.clear_number,
        task=task,
        discriminator=discriminator,
        publisher=_other_run(subject),
    )
    known = _of_task(task) if task else {"scope": wanted or identity.DAG}
    return send(event_id, event_type, subject, shaped, known, options)


def publish_task(event_type: str, task_id: Any, args: CallArgs, data: dict[str, Any], options: SendOptions) -> bool:
    """The completion of one task instance: one event for each clear and, when it failed, for each attempt."""
    subject = _subject(args)
    if subject is None:
        return False
    wanted = id_text(task_id) or (subject.publisher.task_id if subject.publisher else text(_ctx("TASK_ID")))
    if wanted is None:
        log(logging.ERROR, "a task completion needs a task_id: pass task_id=, or **context; nothing was published")
        return False
    seen = subject.publisher if subject.publisher and subject.publisher.is_of(*subject[:2], wanted) else None
    tried = whole_number(args.try_number, "try_number")
    if tried is None and seen is None and subject.blind and wanted == _ctx("TASK_ID"):
        tried = _digits(_ctx("TRY_NUMBER"))
    task = Attempt(
        subject.dag_id,
        subject.run_id,
        wanted,
        _first_known(whole_number(args.map_index, "map_index"), seen.map_index if seen else None),
        _first_known(whole_number(args.max_tries, "max_tries"), seen.max_tries if seen else None),
        tried if tried is not None else seen.try_number if seen else None,
    )
    is_identified = task.max_tries is not None and task.map_index is not None
    event_id = identity.event_id(
        identity.TASK,
        subject.dag_id,
        subject.run_id,
        event_type,
        task=task,
        discriminator=_discriminator(options.key, subject._replace(blind=subject.blind and not is_identified)),
        publisher=None if seen else subject.publisher,
    )
    shaped = payload_of({"data": {"task_id": wanted, **data}})
    return send(event_id, event_type, subject, shaped, _of_task(task), options)


def publish_dag(
    event_type: str,
    args: CallArgs,
    data: dict[str, Any],
    options: SendOptions,
    *,
    blind: bool = False,
    source: str = SOURCE,
) -> bool:
    """The completion (or the start) of a DAG run: one event for each clear of the run.

    ``blind``: the caller cannot detect a clear, so without a clear number the id must not be derived. ``source``: whose
    run it is, when it is not one of Airflow.
    """
    subject = _subject(args)
    if subject is None:
        return False
    unknown = subject.clear_number is None and (blind or subject.blind)
    deadline = deadline_id(args.context)
    event_id = identity.event_id(
        identity.DAG,
        subject.dag_id,
        subject.run_id,
        event_type,
        clear_number=subject.clear_number,
        discriminator=_discriminator(options.key, subject._replace(blind=unknown and deadline is None), deadline),
        publisher=_other_run(subject),
    )
    dag_id = {"dag_id": subject.dag_id} if source == SOURCE else {}
    shaped = payload_of({"data": {**dag_id, **data}})
    known = {"scope": identity.DAG}
    return send(event_id, event_type, subject, shaped, known, options, source)


def _subject(args: CallArgs) -> Subject | None:
    subject = resolve(args)
    if subject is None:
        log(
            logging.ERROR,
            "no DAG or run is known, so nothing was published: pass **context, or the ids of the DAG and of its run "
            "(in dag_run, ti, dag and run_id, and AIRFLOW_CTX_DAG_ID and AIRFLOW_CTX_DAG_RUN_ID there was nothing)",
        )
    return subject


def _other_run(subject: Subject) -> Attempt | None:
    """The publishing task, when the event is about another run."""
    publisher = subject.publisher
    return None if publisher is None or publisher.is_of(subject.dag_id, subject.run_id) else publisher


def _discriminator(key: Any, subject: Subject, deadline: str | None = None) -> str:
    if key is not None:
        return f"key:{steady_text(key)}"
    if deadline is not None:
        return f"deadline:{deadline}"
    if not subject.blind:
        return ""
    log(
        logging.WARNING,
        "the attempt of %s/%s is not known here, so a retry of this publish cannot be distinguished from a clear: it "
        "gets an id of its own. Pass key= or **context for an id that a retry keeps",
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


def _first_known(passed: int | None, seen: int | None) -> int | None:
    return seen if passed is None else passed


def _digits(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() else None


def _ctx(name: str) -> str | None:
    return os.environ.get(f"AIRFLOW_CTX_{name}")
