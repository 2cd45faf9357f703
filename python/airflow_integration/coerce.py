"""Makes any value one that JSON can carry, and says where it had to change it.

Its invariant: it never raises an ``Exception`` of its own, always ends (cycles, depth, generators and what is shared
over and over included), and drops nothing silently: the places that were changed are in the list of notes, the first
ten by name. What it gives back is made of ``dict`` with
``str`` keys, ``list``, ``str`` without lone surrogates, ``int`` of at most 64 bits, finite ``float``, ``bool``
and ``None``. It knows nothing of events; libraries such as numpy and pandas are met by what their objects can do,
never by an import.
"""

from __future__ import annotations

import base64
import datetime
import enum
import math
import os
import re
import sys
from collections.abc import Mapping, Set

from workflow_events.interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_DEPTH = 60
MAX_TEXT = 2_000
"""Characters kept of the text of an object that has no form of its own in JSON."""
MAX_NODES = 200_000
"""Values in one payload; what comes after is cut."""
MAX_NOTES = 10
CUT = "<cut>"

# What CPython puts into the text of an object that says nothing of itself, and what is another in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_CONTAINERS = {dict: "{}", list: "[]", tuple: "()", set: "{}", frozenset: "{}"}

# Of an object that has no form of its own in JSON.
_UNSTEADY = "(when it differs in a retry, so does the id of a generic event: pass key=)"
BECAME_TEXT = f"became its text {_UNSTEADY}"

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def to_json(value: Any, path: str = "$") -> tuple[Any, list[str]]:
    """The value as JSON can carry it, and a note (``path: what became of it``) for each place that was changed."""
    coercion = _Coercion()
    try:
        plain = coercion.coerce(value, path, 0)
    except RecursionError:
        coercion.note(path, "nested too deeply, cut here")
        plain = CUT
    return plain, coercion.told()


def text_of(value: Any) -> str:
    """The text of any object, shortened; its type when it has no text."""
    try:
        words = str(value)
        words = words if isinstance(words, str) else repr(type(value))
    except Exception as error:
        if interrupts(error):
            raise
        words = f"<{type_name(value)}>"
    return _sound(words[:MAX_TEXT])


def steady_text(value: Any) -> str:
    """The text of an object so that it is the same in each attempt of a task: without its address, sets in order."""
    if isinstance(value, str):
        return text_of(value)
    if type(value) not in _CONTAINERS:
        return _ADDRESS.sub("", text_of(value))
    try:
        return _sound(_steady(value, 0)[:MAX_TEXT])
    except RecursionError:
        raise
    except Exception as error:
        if interrupts(error):
            raise
        return f"<{type_name(value)}>"


def _steady(value: Any, depth: int) -> str:
    """As `repr` writes Python's own containers."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return _ADDRESS.sub("", repr(value))
    if depth >= MAX_DEPTH:
        return "..."
    if kind is dict:
        within = [f"{_steady(key, depth + 1)}: {_steady(item, depth + 1)}" for key, item in value.items()]
    else:
        within = [_steady(item, depth + 1) for item in value]
    if kind in (set, frozenset):
        # Their order is another one in each process.
        words = "{" + ", ".join(sorted(within)) + "}" if within else ""
        return words if kind is set and within else f"{kind.__name__}({words})"
    opens, closes = _CONTAINERS[kind]
    return opens + ", ".join(within) + ("," if kind is tuple and len(within) == 1 else "") + closes


def type_name(value: Any) -> str:
    """The full name of a value's type."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _sound(words: str) -> str:
    return words.encode("utf-8", "replace").decode("utf-8")


class _Coercion:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.more = 0
        self.left = MAX_NODES
        self.was_cut = False
        self.open: set[int] = set()

    def note(self, path: str, what: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{path}: {what}")
        else:
            self.more += 1

    def cut(self, path: str, after: int) -> None:
        """The first cut is told, before all else: the others follow from it."""
        if not self.was_cut:
            self.was_cut = True
            self.notes.insert(0, f"{path}: more than {MAX_NODES} values in all, cut after {after}")

    def told(self) -> list[str]:
        more = self.more + len(self.notes[MAX_NOTES:])
        return [*self.notes[:MAX_NOTES], f"and {more} more"] if more else self.notes

    def coerce(self, value: Any, path: str, depth: int) -> Any:
        self.left -= 1
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return self.words(value, path)
        if kind is int:
            return self.whole(value, path)
        if kind is float:
            return self.real(value, path)
        if depth >= MAX_DEPTH:
            # Not its text: that of what is shared over and over is without end.
            self.note(path, f"nested deeper than {MAX_DEPTH}, cut here")
            return f"<{type_name(value)}>"
        if id(value) in self.open:
            self.note(path, "a cycle, cut here")
            return "<cycle>"
        self.open.add(id(value))
        try:
            return self.other(value, path, depth)
        except RecursionError:
            raise
        except Exception as error:
            if interrupts(error):
                raise
            self.note(path, f"{type_name(value)} could not be read ({type(error).__name__}), kept as text")
            return f"<{type_name(value)}>" if isinstance(value, (Mapping, list, tuple, Set)) else steady_text(value)
        finally:
            self.open.discard(id(value))

    def other(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.coerce(value.value, path, depth + 1)
        if isinstance(value, str):
            return self.words(str.__str__(value), path)
        if isinstance(value, int):
            return self.whole(int(value), path)
        if isinstance(value, float):
            return self.real(float(value), path)
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth)
        if isinstance(value, (list, tuple)):
            return self.items(value, path, depth)
        return self.known(value, path, depth)

    def known(self, value: Any, path: str, depth: int) -> Any:
        """Types of the standard library, then objects that can say what they hold."""
        simple = _simple(value)
        if simple is not None:
            self.note(path, f"{type_name(value)} became {simple[1]}")
            return simple[0]
        if isinstance(value, (Set, frozenset)):
            self.note(path, f"{type_name(value)} became a sorted list")
            return sorted(self.items(value, path, depth), key=lambda item: (type(item).__name__, repr(item)))
        size = getattr(value, "size", None)
        if isinstance(size, int) and size > self.left:
            self.note(path, f"{type_name(value)} of {size} values, cut here")
            return CUT
        for method, result in (("model_dump", "its fields"), ("tolist", "a list"), ("item", "a number")):
            convert = getattr(value, method, None) if not isinstance(value, type) else None
            if callable(convert):
                converted = convert()
                if converted is not value:
                    if method != "model_dump":
                        self.note(path, f"{type_name(value)} became {result}")
                    return self.coerce(converted, path, depth + 1)
        names = getattr(type(value), "__dataclass_fields__", None)
        if isinstance(names, dict):
            self.note(path, f"{type_name(value)} became its fields")
            fields = {name: getattr(value, name) for name in names}
            return self.mapping(fields, path, depth)
        self.note(path, f"{type_name(value)} {BECAME_TEXT}")
        return steady_text(value)

    def words(self, value: str, path: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            self.note(path, "characters that UTF-8 cannot carry became '?'")
            return _sound(value)
        return value

    def whole(self, value: int, path: str) -> Any:
        if _SMALLEST <= value <= _LARGEST:
            return value
        self.note(path, "a number of more than 64 bits became a hexadecimal text")
        return hex(value)

    def real(self, value: float, path: str) -> Any:
        if math.isfinite(value):
            return value
        words = "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        self.note(path, f"{words} became a text")
        return words

    def items(self, values: Iterable[Any], path: str, depth: int) -> list[Any]:
        carried = []
        for at, value in enumerate(values):
            if self.left <= 0:
                self.cut(path, at)
                carried.append(CUT)
                break
            carried.append(self.coerce(value, f"{path}[{at}]", depth + 1))
        return carried

    def mapping(self, values: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        marks: dict[str, int] = {}
        for key in values:
            if self.left <= 0:
                self.cut(path, len(carried))
                carried[CUT] = CUT
                break
            name = read = self.key(key, path)
            while name in carried:
                marks[read] = marks.get(read, 0) + 1
                name = f"{read}'" if marks[read] == 1 else f"{read}'{marks[read]}"
            if name != read:
                self.note(path, f"two keys read {read[:100]!r}, the second got a mark")
            carried[name] = self.coerce(values[key], f"{path}.{name[:100]}", depth + 1)
        return carried

    def key(self, key: Any, path: str) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if isinstance(key, str):
            return self.words(str.__str__(key), path)
        name = "null" if key is None else str(key).lower() if isinstance(key, bool) else steady_text(key)
        foreign = type(key).__module__ not in ("builtins", "datetime", "decimal", "uuid", "pathlib")
        self.note(path, f"the key {name[:100]!r} was a {type_name(key)}{' ' + _UNSTEADY if foreign else ''}")
        return name


def _simple(value: Any) -> tuple[Any, str] | None:
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat(), "an ISO 8601 text"
    if isinstance(value, datetime.timedelta):
        return value.total_seconds(), "its seconds"
    if _is(value, "decimal", "Decimal") or _is(value, "uuid", "UUID"):
        return str(value), "a text"
    if isinstance(value, os.PathLike):
        return _sound(os.fsdecode(value)), "a text"
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        try:
            return raw.decode("utf-8"), "a text"
        except UnicodeDecodeError:
            return base64.b64encode(raw).decode("ascii"), "a base64 text"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {text_of(value)}", "a text"
    return None


def _is(value: Any, module: str, name: str) -> bool:
    """Whether it is of a class of a module that is not imported for this: without it, nothing is of that class."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
