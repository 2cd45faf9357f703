"""Payloads whose event ids must not change from one release to the next: a retry may come after an upgrade."""

import datetime
import decimal
import enum
import uuid
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas
from pydantic import BaseModel

UTC = datetime.timezone.utc


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Words(str, enum.Enum):
    A = "a"


@dataclass
class Row:
    name: str
    at: datetime.date


class Model(BaseModel):
    count: int
    at: datetime.datetime
    share: decimal.Decimal


Point = namedtuple("Point", "x y")
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=UTC)

CORPUS = {
    "plain": {"a": [1, 2.5, True, None, "x", "Grüße"], "b": {"c": {}}},
    "aware": NOON,
    "elsewhere": NOON.astimezone(datetime.timezone(datetime.timedelta(hours=2))),
    "naive": datetime.datetime(2026, 1, 2, 3, 4, 5, 678),
    "date": datetime.date(2026, 1, 2),
    "time": datetime.time(12, 30),
    "span": datetime.timedelta(minutes=1, microseconds=5),
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=7),
    "path": Path("/a/b"),
    "set": {3, 1, 2},
    "mixed set": frozenset([1, "a", (2, 3)]),
    "keys": {"b": 1, "a": 2}.keys(),
    "items": {"b": 1, "a": 2}.items(),
    "nan": [float("nan"), float("inf"), float("-inf")],
    "large": [2**64 - 1, 2**64, -(2**63) - 1],
    "bytes": [b"abc", b"\xff", bytearray(b"x"), memoryview(b"y")],
    "surrogate": "a\ud800b",
    "enums": [Colour.RED, Level.HIGH, Words.A],
    "tuples": (Point(1, 2), (1,)),
    "dataclass": Row("a", datetime.date(2026, 1, 2)),
    "model": Model(count=1, at=NOON, share="0.5"),
    "mappings": [OrderedDict(a=1), UserDict(a=1)],
    "scalar keys": {7: "a", 2.5: "b", None: "c", True: "d"},
    "other keys": {NOON: 1, decimal.Decimal("1.5"): 2, uuid.UUID(int=1): 3, (1, "a"): 4, datetime.date(2026, 1, 2): 5},
    "keys of one text": {1: "a", "1": "b"},
    "key nan": {float("nan"): 1},
    "numpy": [numpy.int64(3), numpy.float32(0.5), numpy.bool_(True), numpy.str_("s"), numpy.arange(6).reshape(2, 3)],
    "numpy keys": {numpy.int64(3): 1},
    "moments": [numpy.datetime64("2026-01-02"), numpy.datetime64("2026-01-02T03:04:05.678901", "us")],
    "spans": [numpy.timedelta64(90, "s"), numpy.timedelta64(2, "D")],
    "pandas": [pandas.Timestamp("2026-01-02T03:04:05"), pandas.Timedelta("90s"), pandas.Series([1, 2])],
    "error": ValueError("x"),
}
