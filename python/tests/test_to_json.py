"""The conversion to JSON: the forms, which are the same in the producer and in the helpers of Airflow."""

import array
import decimal
import fractions
import json
import re
import sqlite3
import types
from collections import UserList, deque
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List

import numpy
import pandas
import pydantic
import pytest
from airflow_integration import publish_workflow_event
from pydantic import v1
from workflow_events import WorkflowEvent
from workflow_events.to_json import NoJsonForm, is_plain, to_json, to_json_strictly
from workflow_events.wire import encode_json


class Lazy(Sequence):  # type: ignore[type-arg]
    """As the results of a mapped task come: its text says how many they are, and nothing of what they are."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __repr__(self) -> str:
        return f"Lazy([{len(self)} items])"


class Proxy:
    """As a lazy proxy does: it says that it is of the class of what it stands for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def __class__(self) -> Any:
        return type(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __iter__(self) -> Any:
        return iter(self.value)


class Sized:
    """Can be read over and over, and is of no class of collections."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter((1, 2))


class Record:
    """As a row of asyncpg: neither a mapping nor a sequence by its classes."""

    def keys(self) -> List[str]:
        return ["a"]

    def __getitem__(self, key: str) -> int:
        return 1


class Old(v1.BaseModel):
    at: datetime
    share: decimal.Decimal


class New(pydantic.BaseModel):
    secret: pydantic.SecretStr
    size: int = 5_000_000


class OnlyInJson:
    pass


class WithSerializer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    odd: OnlyInJson

    @pydantic.field_serializer("odd", when_used="json")
    def _write(self, value: OnlyInJson) -> str:
        return "written"


def row_of_sqlite() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    (row,) = connection.execute("select 1 as a, 'x' as b").fetchall()
    connection.close()
    return row


NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
INSTANT = "2026-01-02T03:04:05"
SEQUENCES: List[Any] = [
    (Lazy(1, "b"), [1, "b"]),
    (Lazy(Lazy(1), range(2)), [[1], [0, 1]]),
    (range(3), [0, 1, 2]),
    (deque([1, 2]), [1, 2]),
    (UserList([1]), [1]),
    ({"b": 1, "a": 2}.values(), [1, 2]),
    ({"b": 1, "a": 2}.keys(), ["a", "b"]),
    ({"b": 1}.items(), [["b", 1]]),
    (array.array("i", [1, 2]), [1, 2]),
    (row_of_sqlite(), [1, "x"]),
    (types.MappingProxyType({"a": Lazy(1)}), {"a": [1]}),
    (Proxy([1]), [1]),
    (Proxy("text"), "text"),
    (Sized(), [1, 2]),
    (Record(), {"a": 1}),
]
MOMENTS: List[Any] = [
    *((numpy.datetime64(INSTANT, unit), INSTANT) for unit in ("s", "ms", "us", "ns")),
    *((numpy.datetime64("1970-01-01T00:00:05", unit), "1970-01-01T00:00:05") for unit in ("ns", "ps", "fs", "as")),
    (numpy.datetime64("2026-01-02", "D"), "2026-01-02"),
    (numpy.datetime64("2026", "Y"), "2026-01-01"),
    (numpy.datetime64("2026-01-02T03", "h"), "2026-01-02T03:00:00"),
    (numpy.datetime64("12026", "Y"), "12026"),
    (numpy.datetime64("2026-01-02T03:04:05.000000007"), "2026-01-02T03:04:05.000000007"),
    (numpy.array([INSTANT], "datetime64[ns]"), [INSTANT]),
    (numpy.array(INSTANT, "datetime64[ns]"), INSTANT),
    (numpy.array([(1, INSTANT)], [("n", "i4"), ("at", "datetime64[ns]")]), [[1, INSTANT]]),
    (pandas.Timestamp(INSTANT), INSTANT),
    (pandas.Series([INSTANT], dtype="datetime64[ns]"), [INSTANT]),
]
SPANS: List[Any] = [
    *((numpy.timedelta64(2, unit), seconds) for unit, seconds in (("s", 2.0), ("m", 120.0), ("D", 172800.0))),
    (numpy.timedelta64(1500, "ms"), 1.5),
    (numpy.timedelta64(1_500_000_000, "ns"), 1.5),
    (numpy.timedelta64(7, "ns"), 7e-9),
    (numpy.timedelta64(3, "M"), "3 months"),
    (numpy.timedelta64(3, "Y"), "3 years"),
    (numpy.timedelta64(10**12, "W"), 604800.0 * 10**12),
    (numpy.array([1500], "timedelta64[ms]"), [1.5]),
    (numpy.array([90], "timedelta64[25s]"), [2250.0]),
    (pandas.Timedelta("90s"), 90.0),
    (timedelta(minutes=1), 60.0),
]
MISSING: List[Any] = [
    (numpy.datetime64("NaT"), None),
    (numpy.timedelta64("NaT", "ns"), None),
    (pandas.NaT, None),
    (pandas.NA, None),
    (pandas.Series([1, None], dtype="Int64"), [1, None]),
    (numpy.array([INSTANT, "NaT"], "datetime64[ns]"), [INSTANT, None]),
]
NUMBERS: List[Any] = [
    (decimal.Decimal("1.10"), "1.10"),
    (decimal.Decimal("NaN"), "NaN"),
    (fractions.Fraction(3, 4), "3/4"),
    (numpy.longdouble("1.5"), 1.5),
    (numpy.longdouble("nan"), "NaN"),
    (numpy.longdouble("-inf"), "-Infinity"),
    (numpy.array([1.5], numpy.longdouble), [1.5]),
    (numpy.clongdouble(1), "(1+0j)"),
    (numpy.float16(0.5), 0.5),
    (1 + 2j, "(1+2j)"),
]
OBJECTS: List[Any] = [
    (Old(at=NOON, share="0.5"), {"at": "2026-01-02T12:00:00+00:00", "share": "0.5"}),
    (New(secret="hidden"), {"secret": "**********", "size": 5_000_000}),
    (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), {"a": [1, 2], "b": ["x", "y"]}),
    (pandas.Period("2026-01"), "2026-01"),
]
KEYS: List[Any] = [
    ({1: "a", 2.5: "b", None: "c", False: "d"}, {"1": "a", "2.5": "b", "null": "c", "false": "d"}),
    ({numpy.int64(1): "a", numpy.bool_(False): "b", b"raw": "c"}, {"1": "a", "false": "b", "raw": "c"}),
    ({NOON.date(): 1, decimal.Decimal("1.5"): 2}, {"2026-01-02": 1, "1.5": 2}),
    ({(1, numpy.int64(2)): 1}, {"(1, 2)": 1}),
    ({numpy.datetime64("2026-01-02"): 1, pandas.NaT: 2}, {"2026-01-02": 1, "NaT": 2}),
    ({1: "a", "1": "b"}, {"1": "a", "1'": "b"}),
    ({2: "a", "2": "b", "2'": "c"}, {"2": "a", "2'": "b", "2''": "c"}),
    ({None: 1, "null": 2}, {"null": 1, "null'": 2}),
]
ALL = [*SEQUENCES, *MOMENTS, *SPANS, *MISSING, *NUMBERS, *OBJECTS, *KEYS]


def name_of(value: Any) -> str:
    """The same in every process, so that a test can be asked for by its name."""
    return "{} {:.40}".format(type(value).__name__, re.sub(r" at 0x[0-9a-f]+", "", str(value)))


@pytest.mark.parametrize(("value", "form"), ALL, ids=name_of)
def test_the_producer_and_the_helpers_write_the_same_form(value: Any, form: Any) -> None:
    assert to_json({"of": value})[0] == {"of": form}
    assert to_json_strictly({"of": value}) == {"of": form}
    assert not is_plain({"of": value})


def without_repeated_keys(pairs: Any) -> Dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return dict(pairs)


@pytest.mark.parametrize(("value", "form"), KEYS)
def test_no_key_comes_twice_in_what_is_published(value: Any, form: Any) -> None:
    written = encode_json({"event": {"payload": {"data": {"of": value}}}})
    read = json.loads(written, object_pairs_hook=without_repeated_keys)
    assert read["event"]["payload"]["data"]["of"] == form


class Recording:
    def __init__(self) -> None:
        self.ids: List[str] = []

    def publish_event_outcome(self, event: Any, **_: Any) -> Any:
        self.ids.append(event["event_id"])
        return types.SimpleNamespace(status="published")


@pytest.mark.parametrize(
    "kind", [Lazy, lambda *values: deque(values), lambda *values: dict(enumerate(values)).values()]
)
def test_two_different_sequences_are_two_events(kind: Any) -> None:
    producer = Recording()
    for values in ((1, 2), (1, 3), (1, 2)):
        publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"of": kind(*values)}, producer=producer)
    first, second, again = producer.ids
    assert first == again != second


def test_a_model_that_only_its_own_serializer_can_write_is_written_by_it() -> None:
    assert to_json_strictly(WithSerializer(odd=OnlyInJson())) == {"odd": "written"}


def test_a_model_of_the_package_writes_the_form_that_the_producer_publishes() -> None:
    data = {1: "a", "1": "b", "nan": float("nan"), "span": timedelta(minutes=1), "of": Lazy(1)}
    event = WorkflowEvent(
        event_type="WORKFLOW_COMPLETED", source="AIRFLOW", workflow_id="d", workflow_run_id="r", payload={"data": data}
    )
    published = json.loads(encode_json(event.model_dump()), object_pairs_hook=without_repeated_keys)
    assert published["payload"]["data"] == {"1": "a", "1'": "b", "nan": "NaN", "span": 60.0, "of": [1]}
    assert json.loads(event.model_dump_json(), object_pairs_hook=without_repeated_keys) == published


def test_a_value_that_shares_its_parts_exponentially_is_invalid_and_ends() -> None:
    shared: Any = [1]
    for _ in range(40):
        shared = [shared, shared]
    with pytest.raises(NoJsonForm, match="at most 2000000 values"):
        to_json_strictly(shared)


@pytest.mark.parametrize("value", [iter([1]), (n for n in range(3)), map(str, [1]), int, object()])
def test_an_iterator_is_not_consumed(value: Any) -> None:
    with pytest.raises(NoJsonForm, match="turn it into one"):
        to_json_strictly(value)
    _, notes = to_json(value)
    assert "became its text" in notes[0]
