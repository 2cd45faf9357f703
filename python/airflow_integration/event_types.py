"""The types of events, and what a status of Airflow means: success, failure, or a start.

Pure but for the log: a name or a status that is not known is logged.
"""

from __future__ import annotations

import enum
import logging

from workflow_events.interrupts import call_or
from workflow_events.text import plain_text, text_of

from .log import log, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TRIGGERED = "WORKFLOW_TRIGGERED"
COMPLETED = "WORKFLOW_COMPLETED"
FAILED = "WORKFLOW_FAILED"
EVENT_TYPES = (TRIGGERED, COMPLETED, FAILED)

_TYPE_OF_STATUS = {
    **dict.fromkeys(("success", "succeeded", "successful", "completed", "complete", "done", "ok"), COMPLETED),
    **dict.fromkeys(("failed", "failure", "error", "errored", "upstream_failed", "up_for_retry", "timeout"), FAILED),
    **dict.fromkeys(("triggered", "started", "running", "queued"), TRIGGERED),
    **{name.lower(): name for name in EVENT_TYPES},
}


def event_type_name(event_type: Any) -> str:
    """The name on the wire of an ``EventType``, of its name in any case, or of ``workflow.completed``.

    Raises ``ValueError`` for a value that is no text. An unknown name is kept, with a warning.
    """
    value = plain_text(_plain(event_type))
    if value is None or not value.strip():
        raise ValueError(
            f"event_type is {text_of(event_type)!r}; expected an EventType or one of {', '.join(EVENT_TYPES)}"
        )
    name = _name(value).upper()
    if name not in EVENT_TYPES:
        log(logging.WARNING, "event_type %r is not one of %s; it is published unchanged", value, ", ".join(EVENT_TYPES))
        return value.strip()
    return name


def type_of_status(status: Any) -> tuple[str, str]:
    """The event type for a status of a task or of a DAG run, and the status as text.

    A status is a state of Airflow, a word for one, or an event type, as an enum or as its name. An unknown one is
    WORKFLOW_FAILED, with a warning.
    """
    value = _plain(status)
    words = plain_text(value)
    words = text_of(value).lower() if words is None else words.strip().lower()
    event_type = _TYPE_OF_STATUS.get(_name(words))
    if event_type is None:
        meant = nearest(_name(words), _TYPE_OF_STATUS)
        log(
            logging.WARNING,
            "status %r is not known (%s); it is published as %s",
            words,
            f"did you mean {meant!r}?" if meant else "success, failed or running are",
            FAILED,
        )
        event_type = FAILED
    return event_type, words


def is_status(value: Any) -> bool:
    """Whether it is a status that ``type_of_status`` knows."""
    words = plain_text(_plain(value))
    return words is not None and _name(words) in _TYPE_OF_STATUS


def _name(words: str) -> str:
    return words.strip().lower().replace(".", "_").replace("-", "_")


def _plain(value: Any) -> Any:
    return call_or(value, lambda: value.value if isinstance(value, enum.Enum) else value)
