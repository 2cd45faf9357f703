"""The encoding of events: dicts of the wire format, and payloads with other types than JSON's."""

import dataclasses
import decimal
import enum
import itertools
import json
import pathlib
import uuid
from collections import deque
from datetime import date, datetime, timedelta, timezone
from typing import Any, Dict

import pytest
from workflow_events.wire import InvalidEvent, encode, encode_json, freeze, rfc3339

EVENT: Dict[str, Any] = {
    "event_id": "6f1c",
    "event_type": "WORKFLOW_COMPLETED",
    "timestamp": "2026-01-31T12:00:00Z",
    "source": "AIRFLOW",
    "workflow_id": "d",
    "workflow_run_id": "r",
    "payload": {"data": {"text": "Grüße"}},
    "metadata": {},
}


def test_a_dict_is_written_unchanged() -> None:
    event_id, value = encode(EVENT)
    assert event_id == "6f1c"
    assert value == json.dumps(EVENT, ensure_ascii=False, separators=(",", ":")).encode()


def test_an_id_and_a_time_are_put_in_where_they_are_absent_and_the_dict_stays_as_it_is() -> None:
    given = {key: value for key, value in EVENT.items() if key not in ("event_id", "timestamp")}
    kept = dict(given)
    event_id, value = encode(given)
    written = json.loads(value)
    assert given == kept
    assert uuid.UUID(event_id).version == 4
    assert written["event_id"] == event_id
    age = datetime.now(timezone.utc) - datetime.fromisoformat(written["timestamp"].replace("Z", "+00:00"))
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_a_time_may_be_a_datetime_and_an_id_a_uuid() -> None:
    given = uuid.uuid4()
    event_id, value = encode({**EVENT, "event_id": given, "timestamp": datetime(2026, 1, 31, 12)})
    assert event_id == json.loads(value)["event_id"] == str(given)
    assert json.loads(value)["timestamp"] == "2026-01-31T12:00:00Z"


@dataclasses.dataclass
class Row:
    count: int


class Colour(enum.Enum):
    RED = "red"


class Scalar:
    """As numpy's are."""

    ndim = 0

    def item(self) -> int:
        return 7


class Series:
    """As pandas' are."""

    def tolist(self) -> Any:
        return [1, float("nan")]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "NaN"),
        ([float("inf"), 1.5], ["Infinity", 1.5]),
        ({"a": (float("-inf"), {"b"})}, {"a": ["-Infinity", ["b"]]}),
        (datetime(2026, 1, 31, 12, tzinfo=timezone.utc), "2026-01-31T12:00:00+00:00"),
        (datetime(2026, 1, 31, 12), "2026-01-31T12:00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(minutes=1), 60.0),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/data"), "/data"),
        ({2, 1}, [1, 2]),
        (deque([1]), [1]),
        (b"bytes", "bytes"),
        (b"\xff", "/w=="),
        ({1: "a", "1": "b", "1'": "c"}, {"1": "a", "1'": "b", "1''": "c"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (2**64, "0x10000000000000000"),
        (Row(3), {"count": 3}),
        (Colour.RED, "red"),
        (Scalar(), 7),
        (Series(), [1, "NaN"]),
    ],
)
def test_every_value_of_a_payload_has_a_json_form(value: Any, written: Any) -> None:
    assert json.loads(encode_json({"value": value})) == {"value": written}


def circle() -> Any:
    ring: Dict[str, Any] = {}
    ring["self"] = ring
    return ring


class Broken:
    def __fspath__(self) -> str:
        raise OSError("not mounted")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), "event.payload.data.value: a value of type object is not JSON"),
        (lambda: None, "function"),
        (circle(), "[Cc]ircular"),
        ("\ud800", "lone surrogate"),
        ({object(): 3}, "a key of type object"),
        ({"a\ud800": 3}, "lone surrogate"),
        (Broken(), "OSError: not mounted"),
        (itertools.count(), "itertools.count"),
    ],
)
def test_an_event_without_a_json_form_is_invalid(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidEvent, match=complaint):
        encode({**EVENT, "payload": {"data": {"value": value}}})


def test_data_that_is_nested_too_deeply_is_an_invalid_event() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidEvent, match="nested too deeply"):
        encode_json(nested)


@pytest.mark.parametrize("event", [None, 5, "text", [1], object()])
def test_an_event_that_is_neither_a_model_nor_a_dict_is_invalid(event: Any) -> None:
    with pytest.raises(InvalidEvent, match="expected a WorkflowEvent or a dict, found"):
        encode(event)


def test_a_frozen_event_does_not_follow_its_dict() -> None:
    data = {"count": 1}
    frozen = freeze({**EVENT, "payload": {"data": data}})
    data["count"] = 2
    assert json.loads(encode(frozen)[1])["payload"] == {"data": {"count": 1}}


def test_a_moment_is_written_in_utc() -> None:
    assert rfc3339(datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-31T12:00:00Z"
