"""Encodes events: the wire format, one JSON object in UTF-8.

Owns the defaults of a dict in the wire format, and the form of a timestamp. An event without a JSON form (`to_json`)
raises `InvalidEvent` here, and nowhere later.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

from ._native import plain_json
from .interrupts import call_or, interrupts
from .to_json import NoJsonForm, is_plain, text_keys, to_json_strictly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Optional, Union

    from .models import WorkflowEvent

    # What the producer takes: a model, or a dict of the wire format.
    Event = Union[WorkflowEvent, Mapping[str, Any]]
    # An encoded event of another kind: topic, event id, key, headers beside `event_id`, and value.
    Record = tuple[str, str, Optional[str], Sequence[tuple[str, str]], bytes]


class InvalidEvent(ValueError):
    """The argument is no event, or has no JSON form."""


def rfc3339(moment: datetime) -> str:
    """A time in the wire format, in UTC; without an offset it is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def now() -> str:
    """The current time in the wire format."""
    return rfc3339(datetime.now(timezone.utc))


class Encoded:
    """An encoded event."""

    __slots__ = ("event_id", "value")

    def __init__(self, event_id: str, value: bytes) -> None:
        self.event_id = event_id
        self.value = value


def freeze(event: Event) -> Any:
    """The event, encoded now; an invalid one as it is, to be reported later."""
    try:
        return Encoded(*encode(event))
    except InvalidEvent:
        return event


def encode(event: Event) -> tuple[str, bytes]:
    """The event's id, and its bytes.

    A dict is in the wire format; a missing id and a missing timestamp are added to a copy of it. Raises `InvalidEvent`.
    """
    try:
        return _encoded(event)
    except InvalidEvent:
        raise
    except NoJsonForm as error:
        raise InvalidEvent(str(error)) from None
    except Exception as error:  # From the event's own methods.
        if interrupts(error):
            raise
        raise InvalidEvent(f"the event cannot be read: {_describe(error)}") from error


def _encoded(event: Event) -> tuple[str, bytes]:
    if isinstance(event, Encoded):
        return event.event_id, event.value
    if isinstance(event, dict):
        fields = dict(event)
    elif hasattr(event, "model_dump"):
        # Also a user's own model: its fields are checked later.
        fields = event.model_dump()
        if not isinstance(fields, dict):
            raise InvalidEvent(f"expected model_dump() to return a dict, found {type(fields).__name__}")
    else:
        try:
            fields = dict(event)
        except (TypeError, ValueError):
            raise InvalidEvent(f"expected a WorkflowEvent or a dict, found {type(event).__name__}") from None
    if any(type(key) is not str for key in fields):
        # A key may be an enum's member, whose JSON form is one of the names below.
        fields = text_keys(fields, "event")
    event_id = fields.get("event_id")
    if event_id is None:
        from uuid import uuid4

        event_id = uuid4()
    fields["event_id"] = event_id = str.__str__(str(event_id))
    timestamp = fields.get("timestamp")
    if timestamp is None:
        fields["timestamp"] = now()
    elif isinstance(timestamp, datetime):
        fields["timestamp"] = rfc3339(timestamp)
    return event_id, encode_json(fields)


def shown(value: object) -> str:
    """The `repr` of a value for a message; its type when that raises."""
    text = call_or(None, repr, value)
    return call_or("a value", lambda: f"a value of type {type(value).__name__}") if text is None else text


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    return call_or(name, lambda: f"{name}: {error}")


def encode_json(value: object) -> bytes:
    """JSON as the bridge reads it: UTF-8, no white space. Raises `InvalidEvent`."""
    written = plain_json(value)
    if written is not None:
        return written
    try:
        return _encode(value if is_plain(value) else to_json_strictly(value)).encode()
    except NoJsonForm as error:
        raise InvalidEvent(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidEvent("expected text, found a lone surrogate, which has no form in UTF-8") from None
    except RecursionError:
        raise InvalidEvent("expected data that ends, found a circular reference or data nested too deeply") from None
    except Exception as error:  # From a value's own methods.
        if interrupts(error):
            raise
        raise InvalidEvent(f"the event has no JSON form: {_describe(error)}") from error


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
