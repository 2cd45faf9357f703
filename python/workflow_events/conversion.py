"""The conversion of any value to what JSON can carry.

Its invariants: it always ends (cycles, deep nesting, generators and shared parts included); its result is made
of ``dict`` with ``str`` keys, ``list``, ``str`` without lone surrogates, ``int`` of at most 64 bits, finite ``float``,
``bool`` and ``None``; and no key of a dict is lost or comes twice. What it had to change is noted, the first ten places
by name. It knows nothing of events.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence, Set, ValuesView

from .interrupts import interrupts
from .scalars import has_text, is_of, key_text, scalar
from .text import MAX_DEPTH, sound, steady_text, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, Optional

MAX_NOTES = 10
CUT = "<cut>"

# Said of an object that has no JSON form.
_UNSTEADY = "(when it differs in a retry, so does the id of a generic event: pass key=)"
BECAME_TEXT = f"became its text {_UNSTEADY}"

SMALLEST_INT, LARGEST_INT = -(2**63), 2**64 - 1


class NoJsonForm(ValueError):
    """A value that has no form in JSON. The message says where it is and what it is."""


class Conversion:
    def __init__(self, most: int) -> None:
        self.notes: list[str] = []
        self.more = 0
        self.most = self.left = most
        self.was_cut = False
        self.open: set[int] = set()

    def note(self, path: str, what: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{path}: {what}")
        else:
            self.more += 1

    def all_notes(self) -> list[str]:
        more = self.more + len(self.notes[MAX_NOTES:])
        return [*self.notes[:MAX_NOTES], f"and {more} more"] if more else self.notes

    # What a strict conversion refuses.

    def cut(self, path: str, after: int) -> None:
        """The first cut is noted first: the others follow from it."""
        if not self.was_cut:
            self.was_cut = True
            self.notes.insert(0, f"{path}: more than {self.most} values in all, cut after {after}")

    def too_deep(self, value: Any, path: str) -> str:
        # Not its text: that of a structure that shares its parts can be exponentially long.
        self.note(path, f"nested deeper than {MAX_DEPTH}, cut here")
        return f"<{type_name(value)}>"

    def cycle(self, path: str) -> str:
        self.note(path, "a cycle, cut here")
        return "<cycle>"

    def unreadable(self, value: Any, path: str, error: Exception) -> str:
        self.note(path, f"{type_name(value)} could not be read ({type(error).__name__}), kept as text")
        return _text_of_unreadable(value)

    def formless(self, value: Any, path: str) -> str:
        self.note(path, f"{type_name(value)} {BECAME_TEXT}")
        return steady_text(value)

    def unreadable_key(self, key: Any, path: str, error: Exception) -> str:
        name = _text_of_unreadable(key)
        self.note(path, f"the key {name[:100]!r} could not be read ({type(error).__name__})")
        return name

    def unsound(self, value: str, path: str) -> str:
        self.note(path, "characters that UTF-8 cannot carry became '?'")
        return sound(value)

    def unsteady_key(self, key: Any, name: str, path: str) -> None:
        self.note(path, f"the key {name[:100]!r} was a {type_name(key)} {_UNSTEADY}")

    def is_too_deep(self, depth: int) -> bool:
        return depth >= MAX_DEPTH

    # What both conversions share.

    def convert(self, value: Any, path: str, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            self.cut(path, 0)
            return CUT
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return self.text(value, path)
        if kind is int:
            return self.integer(value, path)
        if kind is float:
            return self.number(value, path)
        if self.is_too_deep(depth):
            return self.too_deep(value, path)
        if id(value) in self.open:
            return self.cycle(path)
        self.open.add(id(value))
        try:
            return self.other(value, path, depth)
        except NoJsonForm:
            raise
        except Exception as error:
            if interrupts(error):
                raise
            return self.unreadable(value, path, error)
        finally:
            self.open.discard(id(value))

    def other(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.convert(value.value, path, depth + 1)
        if isinstance(value, str):
            # A lazy proxy claims to be a `str`, but is not.
            return self.text(str.__str__(value if issubclass(type(value), str) else str(value)), path)
        if isinstance(value, int):
            return self.integer(int(value), path)
        if isinstance(value, float):
            return self.number(float(value), path)
        if isinstance(value, Mapping):
            return self.mapping(((key, value[key]) for key in value), path, depth)
        if isinstance(value, (list, tuple)):
            return self.items(value, path, depth)
        found = scalar(value)
        if found is not None:
            form, what = found
            self.note(path, f"{type_name(value)} became {what}")
            # An integer or a float may need conversion. Anything else is text, perhaps from a method of the value.
            if isinstance(form, (int, float)):
                return self.convert(form, path, depth + 1)
            return None if form is None else self.text(str.__str__(form), path)
        if isinstance(value, type):
            return self.formless(value, path)
        return self.container(value, path, depth)

    def container(self, value: Any, path: str, depth: int) -> Any:
        """Collections other than lists and dicts, and objects that describe their content."""
        if isinstance(value, Set):
            self.note(path, f"{type_name(value)} became a sorted list")
            return sorted(self.items(value, path, depth), key=lambda item: (type(item).__name__, repr(item)))
        if callable(getattr(value, "model_dump", None)):
            return self.model(value, path, depth)
        if callable(getattr(value, "tolist", None)):
            return self.array(value, path, depth)
        if isinstance(value, (Sequence, ValuesView)):
            self.note(path, f"{type_name(value)} became a list")
            return self.items(value, path, depth)
        if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
            self.note(path, f"{type_name(value)} became a number")
            item = value.item()
            return self.formless(value, path) if type(item) is type(value) else self.convert(item, path, depth + 1)
        fields = _fields(value)
        if fields is not None:
            self.note(path, f"{type_name(value)} became its fields")
            return self.mapping(fields, path, depth)
        return self.by_its_methods(value, path, depth)

    def by_its_methods(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if has_text(value) and not hasattr(kind, "keys"):
            self.note(path, f"{type_name(value)} became a text")
            return steady_text(value)
        if callable(getattr(kind, "keys", None)) and hasattr(kind, "__getitem__"):
            self.note(path, f"{type_name(value)} became a dict")
            pairs = (
                value.items() if callable(getattr(kind, "items", None)) else ((key, value[key]) for key in value.keys())
            )
            return self.mapping(pairs, path, depth)
        # Not an iterator: reading it would consume it.
        if hasattr(kind, "__iter__") and hasattr(kind, "__len__"):
            self.note(path, f"{type_name(value)} became a list")
            return self.items(value, path, depth)
        return self.formless(value, path)

    def model(self, value: Any, path: str, depth: int) -> Any:
        return self.convert(value.model_dump(), path, depth + 1)

    def array(self, value: Any, path: str, depth: int) -> Any:
        """A numpy array, a pandas series, or another object with ``tolist``."""
        size = getattr(value, "size", None)
        if isinstance(size, int) and size > self.left:
            self.cut(path, 0)
            return CUT
        self.note(path, f"{type_name(value)} became a list")
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        # `tolist` makes integers of values that are more precise than a microsecond.
        if is_of(value, "numpy", "void") and value.dtype.names:
            return self.items((value[name] for name in value.dtype.names), path, depth)
        if is_of(value, "numpy", "ndarray") and kind in ("M", "m", "V"):
            return self.items(value, path, depth) if value.ndim else self.convert(value[()], path, depth + 1)
        listed = value.tolist()
        return self.formless(value, path) if type(listed) is type(value) else self.convert(listed, path, depth + 1)

    def text(self, value: str, path: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return self.unsound(value, path)
        return value

    def integer(self, value: int, path: str) -> Any:
        if SMALLEST_INT <= value <= LARGEST_INT:
            return value
        self.note(path, "a number of more than 64 bits became a hexadecimal text")
        return hex(value)

    def number(self, value: float, path: str) -> Any:
        if math.isfinite(value):
            return value
        words = "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        self.note(path, f"{words} became a text")
        return words

    def items(self, values: Iterable[Any], path: str, depth: int) -> list[Any]:
        converted = []
        for at, value in enumerate(values):
            if self.left <= 0:
                self.cut(path, at)
                converted.append(CUT)
                break
            converted.append(self.convert(value, f"{path}[{at}]", depth + 1))
        return converted

    def mapping(self, pairs: Iterable[tuple[Any, Any]], path: str, depth: int) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        marks: dict[str, int] = {}
        for key, value in pairs:
            if self.left <= 0:
                self.cut(path, len(converted))
                converted[self.unused(CUT, converted, marks, path)] = CUT
                break
            name = self.unused(self.key(key, path), converted, marks, path)
            converted[name] = self.convert(value, f"{path}.{name[:100]}", depth + 1)
        return converted

    def unused(self, name: str, taken: Mapping[str, Any], marks: dict[str, int], path: str) -> str:
        """A unique name for a key: later keys with the same text get a mark: ``1``, ``1'``, ``1'2``."""
        unmarked = name
        while name in taken:
            marks[unmarked] = marks.get(unmarked, 0) + 1
            name = f"{unmarked}'" if marks[unmarked] == 1 else f"{unmarked}'{marks[unmarked]}"
        if name != unmarked:
            self.note(path, f"two keys read {unmarked[:100]!r}, the second got a mark")
        return name

    def key(self, key: Any, path: str) -> str:
        try:
            return self.key_of(key, path)
        except NoJsonForm:
            raise
        except Exception as error:
            if interrupts(error):
                raise
            return self.text(self.unreadable_key(key, path, error), path)

    def key_of(self, key: Any, path: str) -> str:
        name, is_steady = key_text(key)
        if isinstance(key, str) or (isinstance(key, enum.Enum) and isinstance(key.value, str)):
            return self.text(name, path)
        if is_steady:
            self.note(path, f"the key {name[:100]!r} was a {type_name(key)}")
        else:
            self.unsteady_key(key, name, path)
        return self.text(name, path)


def _text_of_unreadable(value: Any) -> str:
    """For a container its type alone: its text may be endless. Not `isinstance`, which may be what has failed."""
    kind = type(value)
    return f"<{type_name(value)}>" if issubclass(kind, (Mapping, Sequence, Set)) else steady_text(value)


def _fields(value: Any) -> Optional[list[tuple[str, Any]]]:
    """The fields of a dataclass, an attrs or msgspec class, or a pydantic 1 model."""
    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None)
    if isinstance(names, dict):
        return [(name, getattr(value, name)) for name in names]
    names = getattr(kind, "__attrs_attrs__", None)
    if isinstance(names, tuple):
        return [(each.name, getattr(value, each.name)) for each in names]
    names = getattr(kind, "__struct_fields__", None)
    if isinstance(names, tuple):
        return [(name, getattr(value, name)) for name in names]
    as_dict: Optional[Callable[[], Any]] = getattr(value, "dict", None)
    if isinstance(getattr(kind, "__fields__", None), dict) and callable(as_dict):
        held = as_dict()
        return list(held.items()) if isinstance(held, dict) else None
    return None
