"""Events to bytes: the wire format, one JSON object in UTF-8.

Owns what a dict of the wire format may leave out, and the form of a timestamp. An event that has no JSON form
(`to_json`) is an `InvalidEvent`, here and nowhere later.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

from .interrupts import interrupts
from .to_json import NoJsonForm, is_plain, text_keys, to_json_strictly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Union

    from .models import WorkflowEvent

    # What the producer takes: a model, or a dict of the wire format.
    Event = Union[WorkflowEvent, Mapping[str, Any]]


class InvalidEvent(ValueError):
    """What was to be published is no event, or has no JSON form."""


def rfc3339(moment: datetime) -> str:
    """A moment as the wire format writes it, in UTC; one without an offset is UTC already."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def now() -> str:
    """This moment."""
    return rfc3339(datetime.now(timezone.utc))


class Encoded:
    """An event that is bytes already."""

    __slots__ = ("event_id", "value")

    def __init__(self, event_id: str, value: bytes) -> None:
        self.event_id = event_id
        self.value = value


def freeze(event: Event) -> Any:
    """The event as it is now; one that has no JSON form as it is, for whoever reports it."""
    try:
        return Encoded(*encode(event))
    except InvalidEvent:
        return event


def encode(event: Event) -> tuple[str, bytes]:
    """The event's id, and its bytes.

    A dict is of the wire format already; an id, a timestamp and the payload's `data` are put in where they are absent,
    and the dict itself stays as it is. Raises `InvalidEvent`.
    """
    try:
        return _encoded(event)
    except InvalidEvent:
        raise
    except NoJsonForm as error:
        raise InvalidEvent(str(error)) from None
    except Exception as error:  # Whatever the event's own methods raise.
        if interrupts(error):
            raise
        raise InvalidEvent(f"the event cannot be read: {_said(error)}") from error


def _encoded(event: Event) -> tuple[str, bytes]:
    if isinstance(event, Encoded):
        return event.event_id, event.value
    if isinstance(event, dict):
        fields = dict(event)
    elif hasattr(event, "model_dump"):
        # Also a model of the user's own making: the fields decide.
        fields = event.model_dump()
        if not isinstance(fields, dict):
            raise InvalidEvent(f"expected model_dump() to return a dict, found {type(fields).__name__}")
    else:
        try:
            fields = dict(event)
        except (TypeError, ValueError):
            raise InvalidEvent(f"expected a WorkflowEvent or a dict, found {type(event).__name__}") from None
    if any(type(key) is not str for key in fields):
        # An enum's member is none of the names below, and has one of them in JSON.
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
    """A value in a message, whatever its own methods do."""
    try:
        return repr(value)
    except Exception as error:
        if interrupts(error):
            raise
        return f"a value of type {type(value).__name__}"


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as raised:
        if interrupts(raised):
            raise
        return type(error).__name__


def encode_json(value: object) -> bytes:
    """JSON as the bridge reads it: UTF-8, no white space. Raises `InvalidEvent`."""
    try:
        return _encode(value if is_plain(value) else to_json_strictly(value)).encode()
    except NoJsonForm as error:
        raise InvalidEvent(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidEvent("expected text, found a lone surrogate, which has no form in UTF-8") from None
    except RecursionError:
        raise InvalidEvent("expected data that ends, found a circular reference or data nested too deeply") from None
    except Exception as error:  # Whatever a value's own methods raise.
        if interrupts(error):
            raise
        raise InvalidEvent(f"the event has no JSON form: {_said(error)}") from error


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
