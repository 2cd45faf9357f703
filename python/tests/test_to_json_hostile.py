"""Values whose own methods raise, never end, or change their answers: only such a value is lost, and soon."""

import datetime
import enum
import itertools
import json
import time
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List

import pytest
from airflow_integration import callbacks, context, event_types, listener, pending
from pydantic import v1
from workflow_events.checks import check_topic, check_traceparent
from workflow_events.text import MAX_TEXT, steady_text
from workflow_events.to_json import CUT, NoJsonForm, to_json, to_json_strictly
from workflow_events.wire import InvalidEvent, encode, encode_json

# Far more than any of these takes, and far less than what doubles 40 times.
SOON = 60.0


class Unbound:
    """As a proxy of werkzeug's outside of a request: reading its class raises."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("working outside of request context")

    def __str__(self) -> str:
        return "<Unbound>"


class UnboundList(Unbound, list):  # type: ignore[type-arg]
    pass


class UnboundError(Exception):
    __class__ = Unbound.__class__  # type: ignore[assignment]


class UnboundAwaitable(Unbound):
    def __await__(self) -> Iterator[Any]:
        return iter(())


class Recursive:
    def model_dump(self, **mode: Any) -> Any:
        return self.model_dump(**mode)


class RecursiveList:
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter(self)


class Node(v1.BaseModel):
    within: Any = None


def a_cycle_of_pydantic_1() -> Node:
    node = Node()
    node.within = node
    return node


class Dumped:
    """Its `model_dump` returns the next one, bare or in a list, and that of the last one what has no form."""

    calls = 0

    def __init__(self, left: int, in_a_list: bool) -> None:
        self.left, self.in_a_list = left, in_a_list

    def model_dump(self, mode: str = "python") -> Any:
        Dumped.calls += 1
        following = Dumped(self.left - 1, self.in_a_list) if self.left else object()
        return [following] if self.in_a_list else following


class Fresh:
    """Of another one each time, and so neither a cycle nor ever at its end."""

    def model_dump(self, **mode: Any) -> Any:
        return [Fresh(), Fresh()]


class Letters(frozenset):  # type: ignore[type-arg]
    pass


class Odd(str):
    """Equal to nothing but itself."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


class Says(datetime.tzinfo):
    """Its text is no plain `str`."""

    def __str__(self) -> str:
        return Odd("k")

    __repr__ = __str__


class Proxied:
    @property
    def __class__(self) -> Any:
        return str

    def __str__(self) -> str:
        return Odd("k")


class Day(datetime.date):
    def isoformat(self) -> str:
        return Odd("today\ud800")


class Field(enum.Enum):
    ID = "event_id"
    TIME = "timestamp"


def shared(kind: Any, times: int) -> Any:
    left, right = kind([1]), kind([2])
    for _ in range(times):
        left, right = kind([left, right, 1]), kind([left, right, 2])
    return left


def without_repeated_keys(pairs: Any) -> Dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return dict(pairs)


@pytest.mark.parametrize(
    ("make", "text"), [(Unbound, "<Unbound>"), (UnboundList, "<test_to_json_hostile.UnboundList>")]
)
def test_a_value_whose_class_cannot_be_read_affects_no_other_value(make: Any, text: str) -> None:
    value = make()
    plain, notes = to_json({"a": 1, "b": value, "c": [value]})
    assert plain == {"a": 1, "b": text, "c": [text]}
    assert len(notes) == 2
    assert steady_text(Unbound()) == "<Unbound>"
    with pytest.raises(InvalidEvent, match="RuntimeError: working outside of request context"):
        encode_json({"a": value})


def test_a_key_whose_class_cannot_be_read_affects_no_other_key() -> None:
    plain, notes = to_json({"a": 1, Unbound(): 2, Unbound(): 3})
    assert plain == {"a": 1, "<Unbound>": 2, "<Unbound>'": 3}
    assert notes[0] == "$: the key '<Unbound>' could not be read (RuntimeError)"
    with pytest.raises(InvalidEvent, match="RuntimeError"):
        encode_json({Unbound(): 2})


def test_an_argument_whose_class_cannot_be_read_is_as_one_of_no_known_type() -> None:
    assert context.text(Unbound()) is None
    assert context.number(Unbound()) is None
    assert context.id_text(Unbound()) == "<Unbound>"
    assert event_types.type_of_status(Unbound()) == (event_types.FAILED, "<unbound>")
    assert not event_types.is_status(Unbound())
    assert not listener.chosen(Unbound(), {})
    with pytest.raises(ValueError, match="expected an EventType"):
        event_types.event_type_name(Unbound())
    assert callbacks.failure_of(UnboundError("late"), {})["error_type"] == "UnboundError"
    assert "error_type" not in callbacks.failure_of(Unbound(), {})
    assert callbacks.will_retry(None, SimpleNamespace(state=Unbound())) is None
    with pytest.raises(InvalidEvent, match="topic: expected"):
        check_topic(Unbound())  # type: ignore[arg-type]
    assert check_traceparent(Unbound()) is None  # type: ignore[arg-type]


def test_an_awaitable_is_awaited_whatever_its_class_says() -> None:
    value = UnboundAwaitable()
    assert pending.is_pending(value)
    told: List[Any] = []
    pending.report_end(value, told.append, told.append).close()


@pytest.mark.parametrize("make", [Recursive, RecursiveList, a_cycle_of_pydantic_1])
def test_a_value_whose_methods_recurse_without_end_affects_no_other_value(make: Any) -> None:
    value = make()
    plain, notes = to_json({"a": 1, "b": value, "c": 2})
    assert (plain["a"], plain["c"]) == (1, 2)
    assert isinstance(plain["b"], str) and plain["b"] != CUT
    assert "could not be read (RecursionError), kept as text" in notes[-1]
    with pytest.raises(RecursionError):
        to_json_strictly({"b": value})


@pytest.mark.parametrize("in_a_list", [False, True])
def test_a_chain_of_models_with_no_form_at_its_end_is_not_tried_twice_at_each(in_a_list: bool) -> None:
    Dumped.calls = 0
    with pytest.raises(NoJsonForm, match="a value of type object is not JSON"):
        to_json_strictly(Dumped(14, in_a_list))
    assert Dumped.calls < 15 * 15


def test_each_conversion_counts_also_where_no_container_is() -> None:
    def chain(length: int) -> Any:
        value: Any = 1
        for _ in range(length):
            value = SimpleNamespace(model_dump=lambda kept=value, **mode: kept)
        return value

    from workflow_events import to_json as module

    with pytest.raises(NoJsonForm, match="at most 20 values"):
        module.StrictConversion(20).convert(chain(20), "event", 0)
    conversion = module.Conversion(20)
    assert conversion.convert(chain(20), "$", 0) == CUT
    assert conversion.all_notes() == ["$: more than 20 values in all, cut after 0"]
    assert module.Conversion(20).convert(chain(19), "$", 0) == 1


def test_models_that_never_end_are_cut() -> None:
    began = time.monotonic()
    plain, notes = to_json([Fresh()])
    assert CUT in json.dumps(plain)
    assert any("cut" in note for note in notes)
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("kind", [frozenset, Letters])
def test_the_text_of_containers_that_share_their_parts_ends(kind: Any) -> None:
    began = time.monotonic()
    key = shared(kind, 100)
    ((name, value),) = to_json({key: 1})[0].items()
    assert (len(name), value) == (MAX_TEXT, 1)
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("times", range(8))
def test_the_text_of_shared_containers_has_not_changed(times: int) -> None:
    def whole(value: Any) -> str:
        return "frozenset({" + ", ".join(sorted(map(whole, value))) + "})" if type(value) is frozenset else repr(value)

    key = shared(frozenset, times)
    assert steady_text(key) == whole(key)[:MAX_TEXT]
    assert steady_text([key, (key,)]) == f"[{whole(key)}, ({whole(key)},)]"[:MAX_TEXT]


def test_the_text_of_a_set_of_a_subclass_is_in_order() -> None:
    class Mutable(set):  # type: ignore[type-arg]
        pass

    class Named(frozenset):  # type: ignore[type-arg]
        def __str__(self) -> str:
            return "named"

    letters = "abcdefgh"
    within = ", ".join(map(repr, letters))
    assert steady_text(Letters(letters)) == f"Letters({{{within}}})"
    assert steady_text(Mutable(letters)) == f"Mutable({{{within}}})"
    assert steady_text((Letters(),)) == "(Letters(),)"
    assert steady_text(Named(letters)) == "named"


def test_the_text_of_a_list_that_holds_itself_twice_ends() -> None:
    ring: List[Any] = []
    ring += [ring, ring]
    assert steady_text(ring) == "[" * 60 + "..., ...], [..., ...]], " + steady_text(ring)[84:]


@pytest.mark.parametrize("kind", [Proxied, Says])
def test_a_key_whose_text_compares_otherwise_does_not_come_twice(kind: Any) -> None:
    for value in ({kind(): 1, "k": 2}, {"k": 2, kind(): 1}):
        written = json.dumps(to_json(value)[0])
        assert sorted(json.loads(written, object_pairs_hook=without_repeated_keys)) == ["k", "k'"]
    # The strict conversion takes the text of a proxy only.
    written = encode_json({Proxied(): 1, "k": 2}).decode()
    assert json.loads(written, object_pairs_hook=without_repeated_keys) == {"k": 1, "k'": 2}


def test_a_text_that_a_method_of_a_value_made_is_a_plain_one() -> None:
    plain, _ = to_json({"proxy": Proxied(), "zone": Says(), "day": Day(2026, 1, 2)})
    assert plain == {"proxy": "k", "zone": "k", "day": "today?"}
    assert {type(value) for value in plain.values()} == {str}


def test_the_id_and_the_time_of_an_event_are_found_under_an_enums_member() -> None:
    event_id, value = encode({Field.ID: "mine", Field.TIME: "2026-01-31T12:00:00Z", "workflow_id": "d"})
    written = json.loads(value, object_pairs_hook=without_repeated_keys)
    assert event_id == "mine"
    assert written == {"event_id": "mine", "timestamp": "2026-01-31T12:00:00Z", "workflow_id": "d"}
    event_id, value = encode({"event_id": "first", Field.ID: "second"})
    assert (event_id, json.loads(value)["event_id"], json.loads(value)["event_id'"]) == ("first", "first", "second")


def test_a_field_without_a_name_in_json_is_an_invalid_event() -> None:
    with pytest.raises(InvalidEvent, match="^event: a key of type object is not JSON: turn it into a text$"):
        encode({"event_id": "mine", object(): 1})


def test_a_type_has_a_name_whatever_its_attributes_are() -> None:
    for module in (Unbound(), None, "\ud800"):
        kind = type("Kind", (), {"__module__": module, "__str__": lambda self: next(itertools.repeat(None))})
        plain, notes = to_json({"a": kind()})
        assert "Kind" in plain["a"] and "Kind" in notes[0]
        json.dumps([plain, notes], ensure_ascii=False).encode("utf-8")
