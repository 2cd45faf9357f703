"""Makes any value one that JSON can carry, and says where it had to change it.

Its invariant: it never raises an ``Exception``, always ends (cycles, depth and generators included), and drops
nothing silently: each place that was changed is in the list of notes. What it gives back is made of ``dict`` with
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
import sys
from collections.abc import Mapping, Set
from typing import Any

from workflow_events.interrupts import interrupts

MAX_DEPTH = 60
MAX_TEXT = 2_000
"""Characters kept of the text of an object that has no form of its own in JSON."""

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def to_json(value: Any, path: str = "$") -> tuple[Any, list[str]]:
    """The value as JSON can carry it, and a note (``path: what became of it``) for each place that was changed."""
    notes: list[str] = []
    try:
        return _Coercion(notes).coerce(value, path, 0), notes
    except RecursionError:
        notes.append(f"{path}: nested too deeply, kept as text")
        return text_of(value), notes


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


def type_name(value: Any) -> str:
    """The full name of a value's type."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _sound(words: str) -> str:
    return words.encode("utf-8", "replace").decode("utf-8")


class _Coercion:
    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.open: set[int] = set()

    def note(self, path: str, what: str) -> None:
        self.notes.append(f"{path}: {what}")

    def coerce(self, value: Any, path: str, depth: int) -> Any:
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
            self.note(path, f"nested deeper than {MAX_DEPTH}, kept as text")
            return text_of(value)
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
            return text_of(value)
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
            return sorted(self.items(list(value), path, depth), key=lambda item: (type(item).__name__, repr(item)))
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
        self.note(path, f"{type_name(value)} became its text")
        return text_of(value)

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

    def items(self, values: Any, path: str, depth: int) -> list[Any]:
        return [self.coerce(value, f"{path}[{at}]", depth + 1) for at, value in enumerate(values)]

    def mapping(self, values: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        for key in values:
            name = self.key(key, path)
            while name in carried:
                self.note(path, f"two keys read {name!r}, the second got a mark")
                name += "'"
            carried[name] = self.coerce(values[key], f"{path}.{name}", depth + 1)
        return carried

    def key(self, key: Any, path: str) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if isinstance(key, str):
            return self.words(str.__str__(key), path)
        name = "null" if key is None else str(key).lower() if isinstance(key, bool) else text_of(key)
        self.note(path, f"the key {name!r} was a {type_name(key)}")
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
