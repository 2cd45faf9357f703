"""Values without a JSON form are converted, and the log says where."""

import datetime
import decimal
import enum
import itertools
import json
import os
import subprocess
import sys
import uuid
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import MagicMock

import numpy
import pytest
from airflow_integration import publish_workflow_event
from airflow_integration.payload import result_data
from recording import TaskInstance2, context
from workflow_events.text import steady_text
from workflow_events.to_json import CUT, MAX_NODES, MAX_NOTES, to_json


class Colour(enum.Enum):
    RED = "red"


class Words(str, enum.Enum):
    A = "a"


@dataclass
class Row:
    name: str
    at: datetime.date


class Nasty:
    def __str__(self):
        raise ValueError("no")

    __repr__ = __str__


class NumpyLike:
    def tolist(self):
        return [1, 2]


Point = namedtuple("Point", "x y")
UTC = datetime.timezone.utc


@pytest.mark.parametrize(
    ("value", "carried", "noted"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}, 0),
        (datetime.datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00", 1),
        (datetime.timedelta(minutes=1), 60.0, 1),
        (decimal.Decimal("1.10"), "1.10", 1),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000", 1),
        (Path("/a"), "/a", 1),
        ({3, 1, 2}, [1, 2, 3], 1),
        (float("nan"), "NaN", 1),
        (float("-inf"), "-Infinity", 1),
        (2**64, "0x10000000000000000", 1),
        (2**64 - 1, 2**64 - 1, 0),
        (b"abc", "abc", 1),
        (b"\xff", "/w==", 1),
        ("a\ud800b", "a?b", 1),
        (Colour.RED, "red", 0),
        (Words.A, "a", 0),
        (Point(1, 2), [1, 2], 0),
        (Row("a", datetime.date(2026, 1, 2)), {"name": "a", "at": "2026-01-02"}, 2),
        (NumpyLike(), [1, 2], 1),
        ({1: "a", "1": "b"}, {"1": "a", "1'": "b"}, 2),
        ({None: 1, True: 2, (1, 2): 3}, {"null": 1, "true": 2, "(1, 2)": 3}, 3),
        (ValueError("x"), "ValueError: x", 1),
        (Nasty(), "<test_helper_to_json.Nasty>", 1),
    ],
)
def test_each_kind_of_value_is_carried(value, carried, noted):
    plain, notes = to_json(value)
    assert plain == carried
    assert len(notes) == noted, notes
    json.dumps(plain, allow_nan=False).encode("utf-8")


def test_a_number_too_long_for_python_to_print_is_carried():
    assert to_json({"n": 10**5000})[0] == {"n": hex(10**5000)}


def test_cycles_and_depth_end():
    loop = {"a": []}
    loop["a"].append(loop)
    assert to_json(loop) == ({"a": ["<cycle>"]}, ["$.a[0]: a cycle, cut here"])
    deep = []
    for _ in range(100_000):
        deep = [deep]
    plain, notes = to_json(deep)
    json.dumps(plain)
    assert len(notes) == 1
    del plain
    while deep:
        deep = deep.pop()


class Endless(Mapping):
    """A mapping whose keys never end."""

    def __getitem__(self, key):
        return 1

    def __iter__(self):
        return itertools.count()

    def __len__(self):
        return 1


def shared(depth):
    value = [1]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        shared(40),
        shared(100),
        Endless(),
        list(range(5_000_000)),
        numpy.zeros(5_000_000),
        [Endless(), {"a": shared(70)}],
    ],
    ids=["shared", "shared and deep", "endless", "long", "a long array", "several"],
)
def test_a_value_that_is_too_large_is_cut_with_a_note(value):
    plain, notes = to_json(value)
    assert CUT in json.dumps(plain)
    assert len(json.dumps(plain)) < 20 * MAX_NODES
    assert any("cut" in note for note in notes)
    assert len(notes) <= MAX_NOTES + 1


class Alike:
    def __str__(self):
        return "k" * 1_000


def test_keys_of_one_text_get_a_number_and_the_notes_are_counted():
    plain, notes = to_json({Alike(): number for number in range(20_000)})
    assert len(plain) == 20_000
    assert sorted(plain.values()) == list(range(20_000))
    assert max(map(len, plain)) < 1_010
    assert len(notes) == MAX_NOTES + 1
    assert notes[-1] == "and 39989 more"


def test_an_object_without_a_text_of_its_own_is_the_same_in_each_attempt():
    class Plain:
        pass

    def odd():
        return {"o": Plain(), "f": lambda: 0, "g": (n for n in ()), "m": Plain().__init__, Plain(): 1}

    kept = [odd(), odd()]
    first, second = (to_json(one)[0] for one in kept)
    assert first == second
    assert "0x" not in json.dumps(first)
    assert to_json("at 0x7f")[0] == "at 0x7f"


def test_the_same_object_twice_is_no_cycle():
    row = {"a": 1}
    assert to_json([row, row]) == ([row, row], [])


def test_mocks_generators_and_classes_end():
    for value in (MagicMock(), (n for n in range(3)), int, Row, lambda: 0, object()):
        plain, notes = to_json({"a": value})
        json.dumps(plain)
        assert notes


def test_numpy_values_are_carried_as_numbers_and_lists():
    value = {"i": numpy.int64(3), "f": numpy.float64("nan"), "a": numpy.arange(3), "b": numpy.bool_(True)}
    assert to_json(value)[0] == {"i": 3, "f": "NaN", "a": [0, 1, 2], "b": True}


def test_a_warning_names_the_path(producer, caplog):
    payload = {"rows": [{"when": datetime.date(2026, 1, 2)}]}
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", payload, producer=producer)
    assert producer.event["payload"] == {"data": {"rows": [{"when": "2026-01-02"}]}}
    assert "payload.rows[0].when: datetime.date became an ISO 8601 text" in caplog.text


def test_a_result_that_is_large_or_has_no_form_in_json_is_left_out_with_the_reason():
    assert result_data({"rows": 3}, 100) == {"result": {"rows": 3}}
    assert result_data("x" * 200, 100)["result_omitted"] == {"reason": "too large", "type": "str", "bytes": 202}
    assert result_data(object(), 100)["result_omitted"] == {"reason": "no form in JSON", "type": "object"}
    assert result_data(datetime.date(2026, 1, 2), 100) == {"result": "2026-01-02"}


def test_a_context_as_payload_is_carried_too(producer):
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "r", {"ti": TaskInstance2()}, producer=producer)
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "r", context(), producer=producer)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (frozenset("cab"), "frozenset({'a', 'b', 'c'})"),
        (frozenset(), "frozenset()"),
        ((1, frozenset({("b", frozenset("zy")), ("a",)})), "(1, frozenset({('a',), ('b', frozenset({'y', 'z'}))}))"),
        ([set("ba"), {"k": set()}], "[{'a', 'b'}, {'k': set()}]"),
        ((1, 2), "(1, 2)"),
        ((), "()"),
        (7.5, "7.5"),
    ],
)
def test_the_text_of_pythons_own_containers_is_the_same_in_each_process(value, words):
    assert steady_text(value) == words


def test_the_form_of_a_payload_does_not_depend_on_a_processs_hashes():
    program = (
        "from workflow_events.to_json import to_json; from airflow_integration.identity import digest\n"
        "letters = frozenset('abcdefgh')\n"
        "print(digest(to_json({letters: 1, (1, letters): {letters}, 'of': {('x', letters): letters}})[0]))"
    )
    digests = set()
    for seed in "1234":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        digests.add(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True, timeout=180))
    assert len(digests) == 1, digests


@pytest.mark.parametrize("value", [object(), {NumpyLike(): 1}])
def test_a_value_that_became_its_text_is_noted_with_the_consequence(value):
    _, (note,) = to_json(value)
    assert note.endswith("(when it differs in a retry, so does the id of a generic event: pass key=)")
