"""How an event is sent: to Kafka within a deadline, else into the spool, and what the log says of it.

Its invariant: an event ends in Kafka, in the spool, or in the log in full, also when no producer can be made. It knows
Kafka only through a producer's ``publish_event_outcome``, and not what the event is about.
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

from . import shaping
from .context import in_dag_callback
from .log import say, say_lost
from .producer import forget, get_kafka_producer, get_spooling_producer, valid_topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

    from .context import Subject

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


def send(
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
    try:
        outcome = _outcome(event, how)
    except Exception as error:
        # What a signal interrupts, the producer has spooled.
        if not interrupts(error):
            say_lost(event)
        raise
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
    return get_spooling_producer(topic).publish_event_outcome(event, timeout=SPOOL_ONLY)


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


def patience(timeout: Any, context: Any) -> Any:
    return IN_A_DAG_CALLBACK if timeout is None and in_dag_callback(context) else timeout
