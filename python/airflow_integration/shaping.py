"""The dict of an event, as it goes on the wire: ``payload`` wrapped once, ``metadata`` filled in.

Pure but for the two environment variables and the clock that are passed in. Its invariant: whatever is passed,
what comes back is a dict that JSON can carry; what had to change is logged with its path, and nothing is left out.
It knows neither pydantic (a model is met by its ``model_dump``) nor Kafka.
"""

from __future__ import annotations

import datetime
import enum
import json
import logging

from workflow_events.interrupts import interrupts
from workflow_events.text import plain_text, text_of, type_name
from workflow_events.to_json import BECAME_TEXT, to_json

from .log import nearest, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENVIRONMENTS = ("dev", "staging", "prod")

TRIGGERED = "WORKFLOW_TRIGGERED"
COMPLETED = "WORKFLOW_COMPLETED"
FAILED = "WORKFLOW_FAILED"
EVENT_TYPES = (TRIGGERED, COMPLETED, FAILED)

_SMALL = 1_024

_TYPE_OF_STATUS = {
    **dict.fromkeys(("success", "succeeded", "successful", "completed", "complete", "done", "ok"), COMPLETED),
    **dict.fromkeys(("failed", "failure", "error", "errored", "upstream_failed", "up_for_retry", "timeout"), FAILED),
    **dict.fromkeys(("triggered", "started", "running", "queued"), TRIGGERED),
    **{name.lower(): name for name in EVENT_TYPES},
}


def event_type_name(event_type: Any) -> str:
    """The name on the wire of an ``EventType``, of its name in any case, or of ``workflow.completed``.

    Raises ``ValueError`` for what is no text at all. A name that is not one of the three is kept: it is an event
    that no rule names.
    """
    value = plain_text(_plain(event_type))
    if value is None or not value.strip():
        raise ValueError(
            f"event_type is {text_of(event_type)!r}; expected an EventType or one of {', '.join(EVENT_TYPES)}"
        )
    name = _name(value).upper()
    if name not in EVENT_TYPES:
        say(logging.WARNING, "event_type %r is none of %s; it is published as it stands", value, ", ".join(EVENT_TYPES))
        return value.strip()
    return name


def type_of_status(status: Any) -> tuple[str, str]:
    """The event type that a status of a task or of a DAG run calls for, and the status as a text.

    A status is a state of Airflow, a word for one, or an event type, as an enum or as its name. What is not known is
    WORKFLOW_FAILED, with a warning.
    """
    value = _plain(status)
    words = plain_text(value)
    words = text_of(value).lower() if words is None else words.strip().lower()
    event_type = _TYPE_OF_STATUS.get(_name(words))
    if event_type is None:
        meant = nearest(_name(words), _TYPE_OF_STATUS)
        say(
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


def payload_of(payload: Any) -> dict[str, Any]:
    """``{"data": {...}}`` of a dict, of ``{"data": {...}}``, of a model, of ``None``, or of any other value
    (``{"data": {"value": ...}}``)."""
    plain, notes = to_json(payload, "payload")
    _tell(notes)
    if plain is None:
        return {"data": {}}
    if not isinstance(plain, dict):
        return {"data": {"value": plain}}
    if set(plain) == {"data"} and isinstance(plain["data"], dict):
        return plain
    return {"data": plain}


def metadata_of(metadata: Any, known: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, then what is known of the task, then what the caller passed, who has the last word."""
    plain, notes = to_json(metadata, "metadata")
    _tell(notes)
    merged: dict[str, Any] = {
        "environment": environ.get("ENVIRONMENT", "").strip() or "dev",
        "version": environ.get("EVENT_SCHEMA_VERSION", "").strip() or "1.0",
    }
    merged.update((name, value) for name, value in known.items() if value is not None)
    if isinstance(plain, dict):
        merged.update((name, value) for name, value in plain.items() if value is not None or name not in merged)
    elif plain is not None:
        say(logging.WARNING, "metadata is a %s; expected a dict or a WorkflowEventMetadata", type_name(metadata))
        merged["metadata"] = plain
    if merged["environment"] not in ENVIRONMENTS:
        say(
            logging.ERROR,
            "the environment of this event is %r; the variable ENVIRONMENT, or metadata['environment'], must be one of "
            "%s. The event is published with the value as it stands",
            merged["environment"],
            ", ".join(ENVIRONMENTS),
        )
    return merged


def timestamp(now: datetime.datetime) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def result_of(value: Any, limit: int) -> dict[str, Any]:
    """What a task returned, for its completion event: ``{"result": ...}``, or why it was left out.

    A result is left out (``{"result_omitted": {"reason", "type", "bytes"}}``) when it is longer than ``limit``
    bytes as JSON, or when it is an object that has no form in JSON, such as a generator.
    """
    plain, notes = to_json(value, "result")
    if any(note.startswith("result: ") and note.endswith(BECAME_TEXT) for note in notes):
        return {"result_omitted": {"reason": "no form in JSON", "type": type_name(value)}}
    size = json_bytes(plain)
    if size > limit:
        return {"result_omitted": {"reason": "too large", "type": type_name(value), "bytes": size}}
    _tell(notes)
    return {"result": plain}


def shrunk(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload without its large values, each replaced by its size, for an event that no broker takes whole."""
    data = payload.get("data")
    if not isinstance(data, dict):
        return {"data": {"omitted_bytes": json_bytes(data)}}
    kept: dict[str, Any] = {}
    for name, value in data.items():
        size = json_bytes(value)
        short = name[:200]
        while short in kept:
            short += "'"
        kept[short] = value if size <= _SMALL else {"omitted_bytes": size}
    if json_bytes(kept) > 64 * _SMALL:
        return {"data": {"omitted_bytes": json_bytes(data)}}
    return {"data": kept}


def json_bytes(plain: Any) -> int:
    """The length of a plain value as JSON in UTF-8."""
    return len(json.dumps(plain, ensure_ascii=False).encode("utf-8"))


def _name(words: str) -> str:
    return words.strip().lower().replace(".", "_").replace("-", "_")


def _plain(value: Any) -> Any:
    try:
        return value.value if isinstance(value, enum.Enum) else value
    except Exception as error:
        if interrupts(error):
            raise
        return value


def _tell(notes: list[str]) -> None:
    if notes:
        say(logging.WARNING, "JSON cannot carry this as it is: %s", "; ".join(notes))
