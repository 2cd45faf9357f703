"""Sends an event: to Kafka within a deadline, else into the spool, and logs the outcome.

Its invariant: an event ends in Kafka, in the spool, or whole in the log, also when no producer can be made. It knows
Kafka only through a producer's ``publish_event_outcome``, and does not know what the event is about.
"""

from __future__ import annotations

import datetime
import functools
import logging
import math
import os
from collections import namedtuple

from workflow_events.interrupts import interrupts
from workflow_events.text import text_of
from workflow_events.to_json import to_json

from .context import in_dag_callback
from .log import log, log_lost
from .payload import metadata_of, shrunk, timestamp
from .producer import forget, get_kafka_producer, get_spooling_producer, valid_topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

    from .context import Subject

SOURCE = "AIRFLOW"
"""The source of an event."""
IN_A_TASK = 5.0
"""Seconds that a helper may take in a task process."""
IN_A_DAG_CALLBACK = 1.0
"""Seconds that a DAG callback may take: it runs in a process that parses DAGs."""
SPOOL_ONLY = 0.0
"""In the scheduler: straight into the spool."""


class SendOptions(
    namedtuple("SendOptions", "metadata topic key timeout producer", defaults=(None, None, None, None, None))
):
    """How an event is sent: the parameters that all helpers share."""

    __slots__ = ()
    metadata: Any
    topic: str | None
    key: Any
    timeout: Any
    producer: Any

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> SendOptions:
        """The keywords of a callback. An unknown one is logged and ignored."""
        unknown = [name for name in keywords if name not in cls._fields]
        if unknown:
            log(logging.WARNING, "%s: no such keyword; expected %s", ", ".join(unknown), ", ".join(cls._fields))
        return cls(**{name: value for name, value in keywords.items() if name in cls._fields})


def never_raises(function: Callable[..., bool]) -> Callable[..., bool]:
    """Turns any ``Exception`` of a publish, wrong arguments included, into a log with its traceback and ``False``.

    An exception of a signal's handler passes: Airflow 2 ends a task with one that is an ``Exception``.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> bool:
        try:
            return bool(function(*args, **kwargs))
        except Exception as error:
            if interrupts(error):
                raise
            log(logging.ERROR, "%s published nothing; the task continues", function.__name__, exc_info=True)
            return False

    return wrapped


def send(
    event_id: str,
    event_type: str,
    subject: Subject,
    payload: dict[str, Any],
    known: dict[str, Any],
    options: SendOptions,
    source: str = SOURCE,
) -> bool:
    event, _ = to_json(
        {
            "event_id": event_id,
            "event_type": event_type,
            "timestamp": timestamp(datetime.datetime.now(datetime.timezone.utc)),
            "source": source,
            "workflow_id": subject.dag_id,
            "workflow_run_id": subject.run_id,
            "metadata": metadata_of(options.metadata, known, os.environ),
        }
    )  # An environment variable or an id may hold text that is not valid UTF-8.
    event["payload"] = payload
    options = options._replace(topic=_topic(options.topic))
    try:
        outcome = _outcome(event, options)
    except Exception as error:
        # When a signal interrupts the publish, the producer has spooled the event.
        if not interrupts(error):
            log_lost(event)
        raise
    if getattr(outcome, "kind", None) == "too_large":
        log(logging.ERROR, "event %s is too large for the topic: its large values are left out", event_id)
        event["payload"] = shrunk(payload)
        original, outcome = outcome, _outcome(event, options)
        _log_original(event_id, original, outcome)
    return _log_outcome(event, outcome)


def _log_original(event_id: str, original: Any, shortened: Any) -> None:
    """Corrects the producer's own line, which says to move the file back once the topic accepts it."""
    ends = {"published": "is published", "spooled": "is in the spool"}
    if getattr(shortened, "status", None) not in ends:
        return
    path = getattr(original, "path", None)
    log(
        logging.ERROR,
        "event %s: a shortened event %s under this id. The original %s",
        event_id,
        ends[shortened.status],
        "is not kept"
        if path is None
        else f"in {path} is only for reading: leave it there or delete it. Moved back into the spool it would be a "
        "duplicate, which the bridge drops",
    )


def _topic(topic: Any) -> str | None:
    """The topic, if it is valid; else None, which is the default topic."""
    valid = valid_topic(topic)
    if valid is None and topic is not None:
        log(
            logging.ERROR,
            "topic is %s, which is no valid topic name: the event goes to the default topic",
            text_of(topic),
        )
    return valid


def _outcome(event: dict[str, Any], options: SendOptions) -> Any:
    timeout = _seconds(options.timeout, IN_A_TASK)
    if options.producer is not None:
        return options.producer.publish_event_outcome(event, topic=options.topic, timeout=timeout)
    try:
        shared = get_kafka_producer()
    except Exception as error:
        if interrupts(error):
            raise
        return _spooled(event, options.topic, error)
    outcome = shared.publish_event_outcome(event, topic=options.topic, timeout=timeout)
    if getattr(outcome, "kind", None) == "closed":
        forget(shared)
        outcome = get_kafka_producer().publish_event_outcome(event, topic=options.topic, timeout=timeout)
    return outcome


def _spooled(event: dict[str, Any], topic: str | None, error: Exception) -> Any:
    """Spools the event when no producer can be made. When that fails too, it is logged."""
    log(logging.ERROR, "%s. Until that is fixed, events wait in the spool", error)
    return get_spooling_producer(topic).publish_event_outcome(event, timeout=SPOOL_ONLY)


def _log_outcome(event: dict[str, Any], outcome: Any) -> bool:
    status = getattr(outcome, "status", None)
    what = (event["event_type"], event["event_id"], event["workflow_id"], event["workflow_run_id"])
    if status == "published":
        log(logging.INFO, "published %s %s of %s/%s", *what)
        return True
    if status == "spooled":
        log(logging.WARNING, "%s %s of %s/%s is in the spool, not yet in Kafka", *what)
    else:
        log(logging.ERROR, "%s %s of %s/%s was not published: %s", *what, getattr(outcome, "message", outcome))
    return False


def _seconds(timeout: Any, otherwise: float) -> float:
    if timeout is None:
        return otherwise
    try:
        seconds = float(timeout)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        log(logging.WARNING, "timeout is %s; expected a number of seconds, so it is %s", text_of(timeout), otherwise)
        return otherwise
    return seconds


def timeout_in(timeout: Any, context: Any) -> Any:
    return IN_A_DAG_CALLBACK if timeout is None and in_dag_callback(context) else timeout
