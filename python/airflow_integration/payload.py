"""The payload and the metadata of an event: ``payload`` wrapped once, ``metadata`` with its defaults.

Pure but for the log: the environment and the clock are passed in. Its invariant: the result is a dict that JSON can
carry; every change is logged with its path, and nothing is left out. It knows neither pydantic (a model is recognised
by its ``model_dump``) nor Kafka.
"""

from __future__ import annotations

import datetime
import json
import logging

from workflow_events.text import type_name
from workflow_events.to_json import BECAME_TEXT, to_json

from .log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENVIRONMENTS = ("dev", "staging", "prod")

_SMALL = 1_024


def payload_of(payload: Any) -> dict[str, Any]:
    """``{"data": {...}}`` of a dict, of ``{"data": {...}}``, of a model, of ``None``, or of any other value
    (``{"data": {"value": ...}}``)."""
    plain, notes = to_json(payload, "payload")
    _log_changes(notes)
    if plain is None:
        return {"data": {}}
    if not isinstance(plain, dict):
        return {"data": {"value": plain}}
    if set(plain) == {"data"} and isinstance(plain["data"], dict):
        return plain
    return {"data": plain}


def metadata_of(metadata: Any, known: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The environment's values, overridden by what is known of the task, overridden by what the caller passed."""
    plain, notes = to_json(metadata, "metadata")
    _log_changes(notes)
    merged: dict[str, Any] = {
        "environment": environ.get("ENVIRONMENT", "").strip() or "dev",
        "version": environ.get("EVENT_SCHEMA_VERSION", "").strip() or "1.0",
    }
    merged.update((name, value) for name, value in known.items() if value is not None)
    if isinstance(plain, dict):
        merged.update((name, value) for name, value in plain.items() if value is not None or name not in merged)
    elif plain is not None:
        log(logging.WARNING, "metadata is a %s; expected a dict or a WorkflowEventMetadata", type_name(metadata))
        merged["metadata"] = plain
    if merged["environment"] not in ENVIRONMENTS:
        log(
            logging.ERROR,
            "the environment of this event is %r; the variable ENVIRONMENT, or metadata['environment'], must be one of "
            "%s. The event is published with this value",
            merged["environment"],
            ", ".join(ENVIRONMENTS),
        )
    return merged


def timestamp(now: datetime.datetime) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def result_data(value: Any, limit: int) -> dict[str, Any]:
    """The result of a task for its completion event: ``{"result": ...}``, or why it was left out.

    A result is left out (``{"result_omitted": {"reason", "type", "bytes"}}``) when it is longer than ``limit``
    bytes as JSON, or when it is an object that has no form in JSON, such as a generator.
    """
    plain, notes = to_json(value, "result")
    if any(note.startswith("result: ") and note.endswith(BECAME_TEXT) for note in notes):
        return {"result_omitted": {"reason": "no form in JSON", "type": type_name(value)}}
    size = json_bytes(plain)
    if size > limit:
        return {"result_omitted": {"reason": "too large", "type": type_name(value), "bytes": size}}
    _log_changes(notes)
    return {"result": plain}


def shrunk(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with each large value replaced by its size, for an event that is too large for its topic."""
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


def _log_changes(notes: list[str]) -> None:
    if notes:
        log(logging.WARNING, "JSON cannot carry this as it is: %s", "; ".join(notes))
