"""The event as pydantic models: what they accept, and that they write the wire format."""

import json
import uuid
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Dict

import pytest
from pydantic import BaseModel, ValidationError
from workflow_events import EventSource, EventType, WorkflowEvent, WorkflowEventMetadata, WorkflowEventPayload
from workflow_events.wire import encode

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 250000, tzinfo=timezone.utc)


def an_event(**fields: Any) -> WorkflowEvent:
    given: Dict[str, Any] = {
        "event_type": EventType.WORKFLOW_COMPLETED,
        "source": EventSource.AIRFLOW,
        "workflow_id": "example_dag",
        "workflow_run_id": "run_123",
        "payload": WorkflowEventPayload(data={"status": "success", "count": 100}),
        "metadata": WorkflowEventMetadata(environment="dev"),
    }
    given.update(fields)
    return WorkflowEvent(**given)


def test_an_event_is_written_in_exactly_the_wire_format() -> None:
    event = an_event(event_id="6f1c", timestamp=MOMENT)
    expected = {
        "event_id": "6f1c",
        "event_type": "WORKFLOW_COMPLETED",
        "timestamp": "2026-01-31T12:00:00.250000Z",
        "source": "AIRFLOW",
        "workflow_id": "example_dag",
        "workflow_run_id": "run_123",
        "payload": {"data": {"status": "success", "count": 100}},
        "metadata": {"environment": "dev", "version": "1.0"},
    }
    assert event.model_dump() == expected
    assert event.model_dump(mode="json") == expected
    assert json.loads(event.model_dump_json()) == expected
    assert list(event.model_dump()) == list(expected), "in this order"
    assert encode(event) == ("6f1c", json.dumps(expected, separators=(",", ":")).encode())
    # In model_dump() too every value is JSON's own, and no member of an enum.
    assert {type(value) for value in event.model_dump().values()} == {str, dict}


def test_a_written_event_is_read_again_as_the_same_event() -> None:
    event = an_event()
    assert WorkflowEvent.model_validate_json(event.model_dump_json()) == event
    assert WorkflowEvent(**event.model_dump()) == event
    assert WorkflowEvent.model_validate(json.loads(encode(event)[1])) == event


def test_an_event_has_a_uuid4_and_the_time_of_now_unless_they_are_given() -> None:
    before = datetime.now(timezone.utc)
    first, second = an_event(), an_event()
    assert uuid.UUID(first.event_id).version == 4
    assert first.event_id != second.event_id
    assert before <= first.timestamp <= datetime.now(timezone.utc)
    given = uuid.uuid4()
    assert an_event(event_id=given).event_id == str(given)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (datetime(2026, 1, 31, 12), "2026-01-31T12:00:00Z"),
        (datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.5+00:00", "2026-01-31T12:00:00.500000Z"),
    ],
)
def test_a_time_without_an_offset_is_utc_and_any_other_becomes_it(given: Any, written: str) -> None:
    event = an_event(timestamp=given)
    assert event.timestamp.utcoffset() == timedelta(0)
    assert event.model_dump()["timestamp"] == written


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        (WorkflowEventPayload(data={"a": 1}), {"data": {"a": 1}}),
        ({"data": {"a": 1}}, {"data": {"a": 1}}),
        ({"data": {"a": 1}, "more": 2}, {"data": {"a": 1}, "more": 2}),
        ({"a": 1}, {"data": {"a": 1}}),
        ({"data": [1]}, {"data": {"data": [1]}}),
        ({"data": "text", "b": 1}, {"data": {"data": "text", "b": 1}}),
        ({}, {"data": {}}),
        (MappingProxyType({"a": 1}), {"data": {"a": 1}}),
    ],
)
def test_a_payload_is_wrapped_exactly_once(payload: Any, written: Dict[str, Any]) -> None:
    event = an_event(payload=payload)
    assert event.model_dump()["payload"] == written
    assert WorkflowEvent.model_validate(event.model_dump()).model_dump()["payload"] == written


class Result(BaseModel):
    rows: int


def test_a_model_of_the_users_own_is_the_data_of_a_payload() -> None:
    for payload in (
        Result(rows=3),
        {"data": Result(rows=3)},
        WorkflowEventPayload.model_validate({"data": Result(rows=3)}),
    ):
        assert json.loads(encode(an_event(payload=payload))[1])["payload"] == {"data": {"rows": 3}}


@pytest.mark.parametrize("name", ["WORKFLOW_FAILED", "workflow_failed", "workflow.failed", " Workflow-Failed "])
def test_names_are_read_in_any_spelling_and_written_in_one(name: str) -> None:
    event = an_event(event_type=name, source="langgraph")
    assert event.event_type is EventType.WORKFLOW_FAILED
    assert event.model_dump()["event_type"] == "WORKFLOW_FAILED"
    assert event.source is EventSource.LANGGRAPH
    assert (str(event.event_type), f"{event.event_type}", f"{event.event_type:>16}") == (
        "WORKFLOW_FAILED",
        "WORKFLOW_FAILED",
        " WORKFLOW_FAILED",
    )


def test_metadata_is_a_model_or_a_dict_and_unknown_keys_are_kept() -> None:
    for metadata in (
        {"environment": "prod", "scope": "dag"},
        WorkflowEventMetadata.model_validate({"environment": "prod", "scope": "dag"}),
    ):
        event = an_event(metadata=metadata)
        assert event.model_dump()["metadata"] == {"environment": "prod", "version": "1.0", "scope": "dag"}
        assert event.metadata.environment == "prod"


def test_the_environment_has_the_defaults_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ENVIRONMENT", "EVENT_SCHEMA_VERSION"):
        monkeypatch.delenv(variable, raising=False)
    assert WorkflowEventMetadata().model_dump() == {"environment": "dev", "version": "1.0"}
    monkeypatch.setenv("ENVIRONMENT", "staging")
    monkeypatch.setenv("EVENT_SCHEMA_VERSION", "2.1")
    assert WorkflowEventMetadata().model_dump() == {"environment": "staging", "version": "2.1"}
    assert WorkflowEventMetadata(environment="prod", version="3").model_dump() == {
        "environment": "prod",
        "version": "3",
    }
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(ValidationError, match=r"expected dev, staging or prod, found 'production'.*\$ENVIRONMENT"):
        WorkflowEventMetadata()


def test_unknown_fields_of_an_event_are_kept() -> None:
    assert an_event(trace="abc").model_dump()["trace"] == "abc"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"event_type": "WORKFLOW_PAUSED"}, "event_type"),
        ({"source": "CRON"}, "source"),
        ({"workflow_id": " "}, "workflow_id"),
        ({"workflow_run_id": ""}, "workflow_run_id"),
        ({"event_id": ""}, "1 to 255 bytes, found 0"),
        ({"event_id": "ä" * 128}, "1 to 255 bytes, found 256"),
        ({"event_id": "a\nb"}, "no control character"),
        ({"metadata": {"environment": "production"}}, "expected dev, staging or prod"),
        ({"payload": [1]}, "payload"),
        ({"timestamp": "yesterday"}, "timestamp"),
    ],
)
def test_an_invalid_event_is_refused_with_the_field(fields: Dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        an_event(**fields)


def test_the_fields_that_an_event_cannot_do_without_have_no_default() -> None:
    with pytest.raises(ValidationError) as caught:
        WorkflowEvent()  # type: ignore[call-arg]
    missing = {error["loc"][0] for error in caught.value.errors() if error["type"] == "missing"}
    assert missing == {"event_type", "source", "workflow_id", "workflow_run_id", "payload"}


def test_the_schema_module_has_the_same_objects() -> None:
    import workflow_events
    from workflow_events import schema

    for name in schema.__all__:
        assert getattr(schema, name) is getattr(workflow_events, name)
