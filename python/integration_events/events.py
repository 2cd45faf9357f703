"""The events of a service: those that it keeps to itself, and those that it tells others.

Owns the integration event in Python, its topic, its key, and its envelope on the wire. The envelope is that of the
library which these names come from: each reads what the other writes.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Dict, Optional, Type, TypeVar, Union
from uuid import UUID, uuid4

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

_Event = TypeVar("_Event", bound="IntegrationEvent")

#: The fields of the envelope, beside `payload`.
ENVELOPE = (
    "event_id",
    "event_type",
    "event_version",
    "occurred_at",
    "correlation_id",
    "causation_id",
    "source_service",
)

TOPIC_PREFIX = "integration-events."
_SUFFIXES = ("IntegrationEvent", "Event")
# Before a capital that begins a word: `HTTPServer` is `HTTP`, `Server`.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _text(value: object) -> object:
    return str(value) if isinstance(value, (UUID, int, float)) and not isinstance(value, bool) else value


#: An id or a version as text; a UUID or a number becomes it.
_Text = Annotated[str, BeforeValidator(_text)]


def _unless_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


class _Occurred(BaseModel):
    """What the two kinds of events have in common."""

    event_id: UUID = Field(default_factory=uuid4)
    event_type: str = ""
    occurred_at: datetime = Field(default_factory=_now)
    aggregate_id: Union[UUID, int, str, None] = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, given: Any) -> Any:
        """The type of an event is the name of its class, unless it is given or a subclass has a default for it."""
        if not isinstance(given, Mapping) or given.get("event_type"):
            return given
        rest = {name: value for name, value in given.items() if name != "event_type"}
        return {**rest, "event_type": cls.__name__} if cls.model_fields["event_type"].default == "" else rest

    @field_validator("aggregate_id", mode="before")
    @classmethod
    def _no_blank_aggregate(cls, value: object) -> object:
        return _unless_blank(value)

    @field_validator("occurred_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value


class DomainEvent(_Occurred):
    """Something that happened within a service. It goes to others only by way of a mapping (`EventMapper`).

    event_id, occurred_at: a new UUID and now when absent; a time without an offset is UTC.
    event_type: the name of the class when absent, unless the class has a default of its own.
    aggregate_id: what it happened to.
    """


class IntegrationEvent(_Occurred):
    """Something that other services are told. Subclasses add its fields.

    event_id, occurred_at: a new UUID and now when absent; a time without an offset is UTC.
    event_type: the name of the class when absent, unless the class has a default of its own.
    event_version: that of the class's fields.
    correlation_id: the same in all events of one process of the business; a UUID becomes its text.
    causation_id: the event that this one follows from; a UUID becomes its text.
    source_service: who publishes it; the publisher's `service_name` when absent.
    aggregate_id, aggregate_type: what it happened to. Events with one `aggregate_id` that are published one after
        another stay in order; without it they do not.

    An optional field that is blank is None.
    """

    event_version: _Text = "1.0"
    correlation_id: Optional[_Text] = None
    causation_id: Optional[_Text] = None
    source_service: Optional[str] = None
    aggregate_type: Optional[str] = None

    @field_validator("correlation_id", "causation_id", "source_service", "aggregate_type", mode="before")
    @classmethod
    def _no_blank(cls, value: object) -> object:
        return _unless_blank(value)

    def get_topic_name(self) -> str:
        """Where it is published: `integration-events.` and the name of the class, without `IntegrationEvent` or `Event`
        at its end, in snake case."""
        name = type(self).__name__
        for suffix in _SUFFIXES:
            if name.endswith(suffix) and name != suffix:
                name = name[: -len(suffix)]
                break
        return TOPIC_PREFIX + _WORD.sub("_", name).lower()

    def get_partition_key(self) -> Optional[str]:
        """What keeps events in one partition, and so in order: `aggregate_id`. None: no key, and no order."""
        return None if self.aggregate_id is None else str(self.aggregate_id)

    def to_dict(self) -> Dict[str, Any]:
        """The envelope, which is the value of the record in Kafka: its fields, and the whole event as `payload`."""
        payload = self.model_dump(mode="json")
        return {**{field: payload[field] for field in ENVELOPE}, "payload": payload}

    @classmethod
    def from_dict(cls: Type[_Event], envelope: Mapping[str, Any]) -> _Event:
        """The event of an envelope. What the payload lacks is taken from beside it; unknown fields are ignored.

        Raises ValueError: pydantic's ValidationError, or that there is no payload.
        """
        payload = envelope.get("payload")
        if not isinstance(payload, Mapping):
            raise ValueError(f"payload: expected an object with the fields of {cls.__name__}, found {payload!r:.80}")
        beside = {field: envelope[field] for field in ENVELOPE if field in envelope}
        return cls.model_validate({**beside, **payload})
