"""The helpers that a task calls. Each gives back ``True`` when Kafka acknowledged the event, else ``False``.

Their invariant: none raises an ``Exception``, whatever is passed and whatever is broken, and none takes longer than
its deadline (5 s in a task); an event that Kafka did not acknowledge by then is in the spool, and the log says so.
They know Airflow only through ``context``, and Kafka only through a producer's ``publish_event_outcome``.

What an event is about decides its ``metadata.scope``:

- ``dag``: ``publish_dag_completion_event``, the DAG callbacks, the listener's DAG-run events, a generic publish where
  no task instance of that run is known, and ``scope="dag"``;
- ``task``: everything else; ``metadata.task_id`` names the task.

Every helper takes ``producer=``: anything with ``publish_event_outcome(event, topic=, timeout=)``, instead of the
shared producer. What each makes of a keyword that is none of its own: ``keywords``.
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
import math
import os
from collections import namedtuple

from workflow_events.interrupts import interrupts

from . import identity, shaping
from .coerce import steady_text, text_of, to_json
from .context import Given, Subject, given_number, given_text, in_dag_callback, resolve, text
from .identity import Attempt
from .keywords import knows_its_keywords
from .producer import forget, get_kafka_producer, get_spooling_producer, valid_topic
from .saying import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

IN_A_TASK = 5.0
"""Seconds that a helper may take in a task process."""
IN_A_DAG_CALLBACK = 1.0
"""Seconds that a DAG callback may take: it runs in a process that parses DAGs."""
SPOOL_ONLY = 0.0
"""In the scheduler: straight into the spool."""


class How(namedtuple("How", "metadata topic key timeout producer", defaults=(None, None, None, None, None))):
    """How an event is sent: what every helper takes besides what the event says."""

    __slots__ = ()
    metadata: Any
    topic: str | None
    key: Any
    timeout: Any
    producer: Any

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> How:
        """What a callback was given; a keyword that is none of these is told and left out."""
        unknown = [name for name in given if name not in cls._fields]
        if unknown:
            say(logging.WARNING, "%s: no such keyword; expected %s", ", ".join(unknown), ", ".join(cls._fields))
        return cls(**{name: value for name, value in given.items() if name in cls._fields})


def never_raises(function: Callable[..., bool]) -> Callable[..., bool]:
    """Turns any ``Exception`` of a publish, wrong arguments included, into a log with its traceback and ``False``.

    What a signal raises passes, also when it is an ``Exception``: Airflow 2 ends a task that way.
    """

    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> bool:
        try:
            return bool(function(*args, **kwargs))
        except Exception as error:
            if interrupts(error):
                raise
            say(logging.ERROR, "%s published nothing; the task goes on", function.__name__, exc_info=True)
            return False

    return quiet


@never_raises
@knows_its_keywords
def publish_workflow_event(
    event_type: Any,
    workflow_id: str | None = None,
    workflow_run_id: str | None = None,
    payload: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    key: str | None = None,
    timeout: float | None = None,
    scope: str | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes an event of any type, about any DAG run.

    event_type: an ``EventType``, or its name in any case; any other text is published as it stands, with a warning.
    workflow_id, workflow_run_id: the DAG and its run (``dag_id`` and ``dag_run_id`` are accepted too); default: those
        of the context, of the task that runs, of ``AIRFLOW_CTX_*``.
    payload: a dict, which goes out as ``{"data": {...}}``; ``{"data": {...}}`` and a ``WorkflowEventPayload`` go out as
        they are, any other value as ``{"data": {"value": ...}}``. What JSON cannot carry becomes what it can.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    key: tells the publishes of one task apart, and is to be the same in each retry; default: a digest of the payload.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    scope: ``dag`` or ``task``; default: ``task`` inside a task of that run, else ``dag``.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. A keyword that is neither of it nor of the task's own arguments is logged.

    Gives back ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why
    it is nowhere. Raises nothing.
    """
    given = Given(
        workflow_id if workflow_id is not None else dag_id,
        workflow_run_id if workflow_run_id is not None else dag_run_id,
        context=context,
    )
    how = How(metadata, topic, key, _patience(timeout, context), producer)
    return publish_generic(shaping.event_type_name(event_type), given, payload, scope, how)


@never_raises
@knows_its_keywords
def publish_event_from_taskflow_context(
    event_type: Any,
    payload: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    key: str | None = None,
    timeout: float | None = None,
    scope: str | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes an event about the run that the task's ``**context`` belongs to.

    event_type: an ``EventType``, or its name in any case; any other text is published as it stands, with a warning.
    payload: a dict, which goes out as ``{"data": {...}}``; ``{"data": {...}}`` and a ``WorkflowEventPayload`` go out as
        they are, any other value as ``{"data": {"value": ...}}``. What JSON cannot carry becomes what it can.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    dag_id, dag_run_id: stand before what the context says; its ``run_id`` stands behind its ``dag_run`` and ``ti``.
    key: tells the publishes of one task apart, and is to be the same in each retry; default: a digest of the payload.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    scope: ``dag`` or ``task``; default: ``task`` inside a task of that run, else ``dag``.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. A keyword that is neither of it nor of the task's own arguments is logged.

    Gives back ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why
    it is nowhere. Raises nothing.
    """
    given = Given(dag_id, dag_run_id, context=context)
    how = How(metadata, topic, key, _patience(timeout, context), producer)
    return publish_generic(shaping.event_type_name(event_type), given, payload, scope, how)


@never_raises
@knows_its_keywords
def publish_task_completion_event(
    task_id: str | None = None,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    task_result: Any = None,
    task_status: Any = "success",
    error_message: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    run_id: str | None = None,
    map_index: int | None = None,
    max_tries: int | None = None,
    try_number: int | None = None,
    key: str | None = None,
    timeout: float | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes that a task completed or failed, with scope ``task``.

    task_id, dag_id, dag_run_id (or run_id): whose completion it is; default: those of the context, of the task that
        runs, of ``AIRFLOW_CTX_*``.
    task_result: any value, into ``payload.data.result``; what JSON cannot carry becomes what it can.
    task_status: ``success`` is WORKFLOW_COMPLETED, ``failed`` is WORKFLOW_FAILED, and docs/airflow.md lists the rest;
        what is not known is WORKFLOW_FAILED, with a warning. Also in ``payload.data.status``.
    error_message: into ``payload.data.error_message``.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    map_index, max_tries, try_number: default: those of the running task.
    key: a part of the event's id, for where the attempt is not known (a child process): a retry keeps the id then.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. ``status``, ``result`` and ``error`` are other names of ``task_status``,
        ``task_result`` and ``error_message``; a keyword that is neither of the context nor of the task's own arguments
        is logged.

    Gives back ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why
    it is nowhere. Raises nothing.
    """
    event_type, status = shaping.type_of_status(task_status)
    data: dict[str, Any] = {"status": status}
    if task_result is not None:
        data["result"] = task_result
    if error_message is not None:
        data["error_message"] = error_message
    given = Given(
        dag_id, dag_run_id if dag_run_id is not None else run_id, None, map_index, max_tries, try_number, context
    )
    return publish_task(
        event_type, task_id, given, data, How(metadata, topic, key, _patience(timeout, context), producer)
    )


@never_raises
@knows_its_keywords
def publish_dag_completion_event(
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    dag_status: Any = "success",
    task_results: Any = None,
    error_message: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    run_id: str | None = None,
    clear_number: int | None = None,
    key: str | None = None,
    timeout: float | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes that a whole DAG run completed or failed, with scope ``dag``.

    dag_id, dag_run_id (or run_id): whose completion it is; default: those of the context, of the task that runs, of
        ``AIRFLOW_CTX_*``.
    dag_status: ``success`` is WORKFLOW_COMPLETED, ``failed`` is WORKFLOW_FAILED, and docs/airflow.md lists the rest;
        what is not known is WORKFLOW_FAILED, with a warning. Also in ``payload.data.status``.
    task_results: any value, into ``payload.data.task_results``; what JSON cannot carry becomes what it can.
    error_message: into ``payload.data.error_message``.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0) and ``scope``.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    clear_number: how often the run was cleared; default: that of the DAG run in sight.
    key: a part of the event's id, for where the attempt is not known (a child process): a retry keeps the id then.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. ``status`` and ``error`` are other names of ``dag_status`` and ``error_message``; a
        keyword that is neither of the context nor of the task's own arguments is logged.

    Gives back ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why
    it is nowhere. Raises nothing.
    """
    event_type, status = shaping.type_of_status(dag_status)
    data: dict[str, Any] = {"status": status}
    if task_results is not None:
        data["task_results"] = task_results
    if error_message is not None:
        data["error_message"] = error_message
    given = Given(dag_id, dag_run_id if dag_run_id is not None else run_id, clear_number, context=context)
    return publish_dag(event_type, given, data, How(metadata, topic, key, _patience(timeout, context), producer))


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
    told_apart_by = _told_apart_by(how.key, subject) or f"digest:{identity.digest(shaped)}"
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
    return _send(event_id, event_type, subject, shaped, known, how)


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
    return _send(event_id, event_type, subject, shaped, _of_task(task), how)


def publish_dag(event_type: str, given: Given, data: dict[str, Any], how: How, *, blind: bool = False) -> bool:
    """The completion (or the start) of a DAG run: one event for each clear of the run.

    ``blind``: called where a clear should be seen and is not, so that the id must not be the one before it.
    """
    subject = _subject(given)
    if subject is None:
        return False
    unknown = subject.clear_number is None and (blind or subject.blind)
    event_id = identity.event_id(
        identity.DAG,
        subject.dag_id,
        subject.run_id,
        event_type,
        clear_number=subject.clear_number,
        told_apart_by=_told_apart_by(how.key, subject._replace(blind=unknown)),
        publisher=_other_run(subject),
    )
    shaped = shaping.payload_of({"data": {"dag_id": subject.dag_id, **data}})
    known = {"scope": identity.DAG}
    return _send(event_id, event_type, subject, shaped, known, how)


def _send(
    event_id: str,
    event_type: str,
    subject: Subject,
    payload: dict[str, Any],
    known: dict[str, Any],
    how: How,
) -> bool:
    event, _ = to_json(
        {
            "event_id": event_id,
            "event_type": event_type,
            "timestamp": shaping.timestamp(datetime.datetime.now(datetime.timezone.utc)),
            "source": "AIRFLOW",
            "workflow_id": subject.dag_id,
            "workflow_run_id": subject.run_id,
            "metadata": shaping.metadata_of(how.metadata, known, os.environ),
        }
    )  # A variable of the environment, or an id, may hold what UTF-8 cannot carry.
    event["payload"] = payload
    how = how._replace(topic=_topic(how.topic))
    outcome = _outcome(event, how)
    if getattr(outcome, "kind", None) == "too_large":
        say(logging.ERROR, "event %s is too large for the topic: its large values are left out", event_id)
        event["payload"] = shaping.shrunk(payload)
        original, outcome = outcome, _outcome(event, how)
        _tell_of_the_original(event_id, original, outcome)
    return _say(event, outcome)


def _tell_of_the_original(event_id: str, original: Any, shortened: Any) -> None:
    """What the producer's own line says of a file (move it back once the topic takes it) is wrong by now."""
    ends = {"published": "is published", "spooled": "is in the spool"}
    if getattr(shortened, "status", None) not in ends:
        return
    path = getattr(original, "path", None)
    say(
        logging.ERROR,
        "event %s: a shortened event %s under this id. The original %s",
        event_id,
        ends[shortened.status],
        "is kept nowhere"
        if path is None
        else f"in {path} is only there to be read: leave it there or delete it, since back in the spool it would be "
        "a duplicate, which the bridge drops",
    )


def _topic(topic: Any) -> str | None:
    """The topic, if it can be one; else the default, rather than nothing."""
    valid = valid_topic(topic)
    if valid is None and topic is not None:
        say(
            logging.ERROR, "topic is %s, which is no name of a topic: the event goes to the default one", text_of(topic)
        )
    return valid


def _outcome(event: dict[str, Any], how: How) -> Any:
    timeout = _seconds(how.timeout, IN_A_TASK)
    if how.producer is not None:
        return how.producer.publish_event_outcome(event, topic=how.topic, timeout=timeout)
    try:
        shared = get_kafka_producer()
    except Exception as error:
        if interrupts(error):
            raise
        return _spooled(event, how.topic, error)
    outcome = shared.publish_event_outcome(event, topic=how.topic, timeout=timeout)
    if getattr(outcome, "kind", None) == "closed":
        forget(shared)
        outcome = get_kafka_producer().publish_event_outcome(event, topic=how.topic, timeout=timeout)
    return outcome


def _spooled(event: dict[str, Any], topic: str | None, error: Exception) -> Any:
    """No producer can be made, so the event is kept: in the spool, and when that fails in the log."""
    say(logging.ERROR, "%s. Until that is mended, events wait in the spool", error)
    try:
        return get_spooling_producer(topic).publish_event_outcome(event, timeout=SPOOL_ONLY)
    except Exception:
        say(logging.CRITICAL, "EVENT LOST, keep it and publish it again: %s", json.dumps(event))
        raise


def _say(event: dict[str, Any], outcome: Any) -> bool:
    status = getattr(outcome, "status", None)
    what = (event["event_type"], event["event_id"], event["workflow_id"], event["workflow_run_id"])
    if status == "published":
        say(logging.INFO, "published %s %s of %s/%s", *what)
        return True
    if status == "spooled":
        say(logging.WARNING, "%s %s of %s/%s is in the spool, not yet in Kafka", *what)
    else:
        say(logging.ERROR, "%s %s of %s/%s was not published: %s", *what, getattr(outcome, "message", outcome))
    return False


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


def _told_apart_by(key: Any, subject: Subject) -> str:
    if key is not None:
        return f"key:{steady_text(key)}"
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


def _seconds(timeout: Any, otherwise: float) -> float:
    if timeout is None:
        return otherwise
    try:
        seconds = float(timeout)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        say(logging.WARNING, "timeout is %s; expected a number of seconds, so it is %s", text_of(timeout), otherwise)
        return otherwise
    return seconds


def _patience(timeout: Any, context: Any) -> Any:
    return IN_A_DAG_CALLBACK if timeout is None and in_dag_callback(context) else timeout


def _known(given: int | None, seen: int | None) -> int | None:
    return seen if given is None else given


def _digits(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() else None


def _ctx(name: str) -> str | None:
    return os.environ.get(f"AIRFLOW_CTX_{name}")
