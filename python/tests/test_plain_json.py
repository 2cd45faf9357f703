"""Plain values are written natively: as `json.dumps` writes them, or not at all."""

import enum
import json
import random
import resource
import string
import time
from collections import OrderedDict
from typing import Any, List

import pytest
from workflow_events._native import plain_json
from workflow_events.wire import InvalidEvent, encode_json

as_python = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

TEXTS = [
    "",
    "status",
    'quo"te',
    "back\\slash",
    "tab\tline\nreturn\r",
    "\x00\x1f\x7f",
    "\b\f",
    "ä€𝄞",
    "\u2028",
    "/",
    "a" * 300,
]
NUMBERS = [
    0,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    0.1,
    -5.0,
    1e15,
    123456789.123456789,
    1e-4,
    2**53 + 0.0,
]
ATOMS: List[Any] = [*TEXTS, *NUMBERS, True, False, None]


def plain(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(6) if depth else 0
    few = range(chance.randrange(5))
    if kind == 1:
        return {chance.choice(TEXTS) + chance.choice(string.printable): plain(chance, depth - 1) for _ in few}
    if kind == 2:
        return [plain(chance, depth - 1) for _ in few]
    if kind == 3:
        return tuple(plain(chance, depth - 1) for _ in few)
    if kind == 4:
        return chance.uniform(-1e15, 1e15)
    return chance.choice(ATOMS)


def test_it_writes_what_python_writes() -> None:
    chance = random.Random(56)
    for _ in range(5_000):
        value = plain(chance, 5)
        written = plain_json(value)
        # A random float may be too small to be written without an exponent.
        assert written is None and "e-" in as_python(value) or written == as_python(value).encode(), value
    for value in ATOMS:
        assert plain_json(value) == as_python(value).encode(), value


class Text(str):
    def __str__(self) -> str:
        raise AssertionError("no code of a value runs")


class Number(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Fields(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise AssertionError("no code of a value runs")


@pytest.mark.parametrize(
    "value",
    [
        Text("a"),
        Number(1),
        Colour.RED,
        Fields(a=1),
        OrderedDict(a=1),
        {Text("a"): 1},
        {1: 2},
        {None: 1},
        {"a"},
        b"a",
        object(),
    ],
    ids=repr,
)
def test_a_value_that_is_not_plain_is_for_python(value: Any) -> None:
    assert plain_json(value) is None
    assert plain_json({"in": [value]}) is None


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        10**400,
        float("nan"),
        float("inf"),
        -float("inf"),
        1e16,
        9.999e-5,
        1e300,
        "\ud800",
        {"\ud800": 1},
    ],
    ids=repr,
)
def test_what_python_writes_in_another_way_or_refuses_is_for_python(value: Any) -> None:
    assert plain_json(value) is None
    assert plain_json([1, value]) is None


def laughs(times: int, inner: Any) -> Any:
    for _ in range(times):
        inner = [inner] * 10
    return inner


def ring() -> Any:
    values: List[Any] = []
    values += [values] * 1_000
    return values


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (ring(), "[Cc]ircular"),
        (laughs(9, "ha"), "at most 2000000 values"),
        (laughs(9, []), "at most 2000000 values"),
    ],
    ids=["a circle", "a billion texts", "a billion lists"],
)
def test_what_is_endless_is_left_soon(value: Any, problem: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    assert plain_json(value) is None
    took = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # Not the minutes, and the gigabytes, that all of it would take.
    assert took < 5 and grown < 64 << 10, (took, grown)
    with pytest.raises(InvalidEvent, match=problem):
        encode_json(value)


def test_depth_and_size_are_bounded() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"in": value}
        return value

    assert plain_json(nested(64)) == as_python(nested(64)).encode()
    assert plain_json(nested(65)) is None
    assert encode_json(nested(65)) == as_python(nested(65)).encode()
    most = 2 << 20
    assert plain_json("a" * (most - 2)) == b'"' + b"a" * (most - 2) + b'"'
    assert plain_json("a" * (most - 1)) is None
    assert plain_json("a" * (64 << 20)) is None
    assert encode_json("a" * most) == b'"' + b"a" * most + b'"'
