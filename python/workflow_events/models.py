"""The workflow event as pydantic models.

Owns the event in Python, and its wire format (docs/python.md shows it). Its invariant: `model_dump()` consists of
JSON's types except for the contents of the payload and the metadata, and `model_dump_json()` is the record in Kafka. It
is imported when one of its names is first used, because pydantic takes longer to import than everything else here.
"""

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Dict, Literal, Union, cast
from uuid import UUID, uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_serializer, field_validator

from .names import EventSource, EventType
from .to_json import text_keys, to_json_strictly
from .wire import rfc3339

Environment = Literal["dev", "staging", "prod"]


def _environment() -> Environment:
    return cast(Environment, os.environ.get("ENVIRONMENT") or "dev")


def _version() -> str:
    return os.environ.get("EVENT_SCHEMA_VERSION") or "1.0"


def _read_dict(value: object) -> object:
    """A dict for a user's own model or another kind of mapping."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return text_keys(value) if isinstance(value, Mapping) else value


class WorkflowEventPayload(BaseModel):
    """The payload: `{"data": {...}}`. Other keys are kept."""

    model_config = ConfigDict(extra="allow")

    data: Annotated[Dict[str, Any], BeforeValidator(_read_dict)] = Field(default_factory=dict)

    @field_serializer("data", when_used="json")
    def _write_data(self, value: Dict[str, Any]) -> Dict[str, Any]:
        """The form that the producer writes."""
        plain: Dict[str, Any] = to_json_strictly(value, "payload.data")
        return plain


class WorkflowEventMetadata(BaseModel):
    """The metadata of an event. Unknown keys are kept, and rules can match them.

    `environment` is dev, staging or prod: $ENVIRONMENT when it is absent, else dev. `version` is that of the payload's
    schema: $EVENT_SCHEMA_VERSION, else 1.0.
    """

    model_config = ConfigDict(extra="allow", validate_default=True)

    environment: Environment = Field(default_factory=_environment)
    version: str = Field(default_factory=_version)

    @field_validator("environment", mode="before")
    @classmethod
    def _check_environment(cls, value: object) -> object:
        if value not in ("dev", "staging", "prod"):
            raise ValueError(f"expected dev, staging or prod, found {value!r}; when absent it comes from $ENVIRONMENT")
        return value


def _read_id(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def _read_payload(value: object) -> object:
    """A dict whose `data` is a dict is a payload; any other dict is the data of one."""
    if isinstance(value, WorkflowEventPayload):
        return value
    value = _read_dict(value)
    if isinstance(value, dict) and not isinstance(value.get("data"), (dict, BaseModel)):
        return {"data": value}
    return value


class WorkflowEvent(BaseModel):
    """One workflow event.

    Raises pydantic's ValidationError, a ValueError, for an invalid event. Unknown fields are kept.

    event_id: 1 to 255 bytes without control characters; a uuid4 when absent. The bridge takes two events with one id
        for one event.
    event_type: EventType, or its name in any spelling (`workflow.completed`).
    timestamp: when it happened; now when absent. One without an offset is UTC.
    source: EventSource, or its name.
    workflow_id, workflow_run_id: for Airflow the DAG's id and the run's; not empty.
    payload: a WorkflowEventPayload, its dict `{"data": {...}}`, or the data itself.
    metadata: a WorkflowEventMetadata or a dict.
    """

    model_config = ConfigDict(extra="allow")

    event_id: Annotated[str, BeforeValidator(_read_id)] = Field(default_factory=lambda: str(uuid4()))
    event_type: EventType
    timestamp: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    source: EventSource
    workflow_id: str
    workflow_run_id: str
    payload: Annotated[WorkflowEventPayload, BeforeValidator(_read_payload)]
    metadata: WorkflowEventMetadata = Field(default_factory=WorkflowEventMetadata)

    if TYPE_CHECKING:
        # The types that the fields accept; they hold fewer.
        def __init__(
            self,
            *,
            event_type: Union[EventType, str],
            source: Union[EventSource, str],
            workflow_id: str,
            workflow_run_id: str,
            payload: Union[WorkflowEventPayload, Mapping[str, Any]],
            metadata: Union[WorkflowEventMetadata, Mapping[str, Any]] = ...,
            event_id: Union[str, UUID] = ...,
            timestamp: Union[datetime, str] = ...,
            **more: Any,
        ) -> None: ...

    @field_validator("event_id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        size = len(value.encode("utf-8", "surrogatepass"))
        if not 1 <= size <= 255:
            raise ValueError(f"expected 1 to 255 bytes, found {size}")
        if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):
            raise ValueError("expected no control character, found one")
        return value

    @field_validator("workflow_id", "workflow_run_id")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("expected a name, found nothing")
        return value

    @field_validator("timestamp")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)

    @field_serializer("timestamp")
    def _write_timestamp(self, value: datetime) -> str:
        return rfc3339(value)

    @field_serializer("event_type", "source")
    def _write_name(self, value: Union[EventType, EventSource]) -> str:
        return str(value)

    @property
    def key(self) -> str:
        """The key of the record in Kafka: it keeps the events of a run in order."""
        return f"{self.workflow_id}/{self.workflow_run_id}"
