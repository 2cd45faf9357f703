"""Plain values are written natively: as `json.dumps` writes them, or not at all."""

import enum
import json
import random
import re
import string
import struct
import subprocess
import sys
from collections import OrderedDict
from typing import Any, List

import pytest
from workflow_events._native import plain_json
from workflow_events.wire import encode_json

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
        return float_between(chance, 1e-4, 1e16)
    return chance.choice(ATOMS)


def float_between(chance: random.Random, least: float, most: float) -> float:
    """One of all floats in between, each as likely as any other."""
    (low,), (high,) = (struct.unpack("<q", struct.pack("<d", bound)) for bound in (least, most))
    bits = chance.randrange(low, high)
    number: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return chance.choice((number, -number))


def test_it_writes_what_python_writes() -> None:
    chance = random.Random(56)
    for _ in range(5_000):
        value = plain(chance, 5)
        assert plain_json(value) == as_python(value).encode(), value
    for value in ATOMS:
        assert plain_json(value) == as_python(value).encode(), value
    for _ in range(20_000):
        number = float_between(chance, 1e-4, 1e16)
        assert plain_json(number) == repr(number).encode(), number


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
    ids=lambda value: type(value).__name__,
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


ENDLESS = {
    "a circle": ("values = []; values += [values] * 1_000", "[Cc]ircular"),
    "a billion texts": ("values = laughs('ha')", "at most 2000000 values"),
    "a billion lists": ("values = laughs([])", "at most 2000000 values"),
    "a long text": ("values = '\\x01' * (4 << 20)", None),
}
PROGRAM = """
import re, time
from pathlib import Path
from workflow_events._native import plain_json
from workflow_events.wire import InvalidEvent, encode_json

def laughs(inner):
    for _ in range(9):
        inner = [inner] * 10
    return inner

{}
def peak_kib():
    # Of this program alone; `getrusage` counts its parent's too.
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) if status.exists() else 0

before, began = peak_kib(), time.process_time()
assert plain_json(values) is None
took, grown = time.process_time() - began, peak_kib() - before
# Not the minutes, and the gigabytes, that all of it would take.
assert took < 5 and grown < 8 << 10, (took, grown)
try:
    encode_json(values)
except InvalidEvent as error:
    print(error)
"""


@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_endless_is_given_up_early(name: str) -> None:
    values, problem = ENDLESS[name]
    command = [sys.executable, "-c", PROGRAM.format(values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(problem, done.stdout) if problem else not done.stdout, done.stdout


SCARCE = """
import os, resource
from pathlib import Path
from workflow_events.wire import InvalidEvent, encode_json

values = [[1] * 120_000, [1.5] * 60_000, [None] * 50_000, [[]] * 80_000, "\\x01" * 200_000]
values.append([{str(n): n} for n in range(9_000)])
encode_json({})
ended, refused = {}, 0
for number, value in enumerate(values):
    for kib in range(0, 1_024, 32):
        child = os.fork()
        if not child:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (kib << 10), size + (kib << 10)))
            try:
                encode_json(value)
            except (InvalidEvent, MemoryError):
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status not in (0, 1 << 8):
            ended[number, kib] = status
        refused += status != 0
assert not ended, ended
print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory is enforced on Linux alone")
def test_without_memory_no_process_ends() -> None:
    done = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert int(done.stdout) > 0, "memory was never scarce"


def test_depth_and_size_are_bounded() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"in": value}
        return value

    assert plain_json(nested(64)) == as_python(nested(64)).encode()
    assert plain_json(nested(65)) is None
    assert encode_json(nested(65)) == as_python(nested(65)).encode()
    most = 256 << 10
    assert plain_json("a" * (most - 2)) == b'"' + b"a" * (most - 2) + b'"'
    assert plain_json("a" * (most - 1)) is None
    assert encode_json("a" * most) == b'"' + b"a" * most + b'"'
