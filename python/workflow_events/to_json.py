"""Turns any value into one that JSON can carry, for the producer and for the helpers of Airflow alike.

``to_json`` never raises an ``Exception`` of its own and notes what it had to change. ``to_json_strictly`` gives the
same values, and raises ``NoJsonForm`` where the other one would have to leave something out or fall back to the text of
an object. Event ids of airflow_integration depend on the forms: a changed form is another id.
"""

from __future__ import annotations

from .conversion import (
    BECAME_TEXT,
    CUT,
    LARGEST_INT,
    MAX_NOTES,
    SMALLEST_INT,
    Conversion,
    NoJsonForm,
)
from .text import type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NoReturn

__all__ = ["BECAME_TEXT", "CUT", "MAX_NOTES", "NoJsonForm", "is_plain", "text_keys", "to_json", "to_json_strictly"]

MAX_NODES = 200_000
"""Values in one payload of ``to_json``; what comes after is cut."""
MAX_NODES_STRICTLY = 2_000_000
"""With more, even the smallest event would be 4 MB of JSON."""


def to_json(value: Any, path: str = "$") -> tuple[Any, list[str]]:
    """The value as JSON can carry it, and a note (``path: change``) for each place that was changed."""
    conversion = Conversion(MAX_NODES)
    try:
        plain = conversion.convert(value, path, 0)
    except RecursionError:
        conversion.note(path, "nested too deeply, cut here")
        plain = CUT
    return plain, conversion.all_notes()


def to_json_strictly(value: Any, path: str = "event") -> Any:
    """The value as JSON can carry it. Raises ``NoJsonForm``, ``RecursionError``, and what the value's methods raise."""
    return StrictConversion(MAX_NODES_STRICTLY).convert(value, path, 0)


def text_keys(values: Mapping[Any, Any], path: str = "data") -> dict[str, Any]:
    """The same values under their JSON keys."""
    conversion = StrictConversion(MAX_NODES_STRICTLY)
    marks: dict[str, int] = {}
    named: dict[str, Any] = {}
    for key in values:
        named[conversion.unused(conversion.key(key, path), named, marks, path)] = values[key]
    return named


def is_plain(value: Any) -> bool:
    """Whether JSON can carry a value as it is. Fast; ``False`` also for a value that is too large to check."""
    todo: list[Any] = [[value]]
    left = MAX_NODES
    while todo:
        container = todo.pop()
        left -= len(container)
        if left < 0:
            return False
        if type(container) is dict:
            for key in container:
                if type(key) is not str:
                    return False
            values: Iterable[Any] = container.values()
        else:
            values = container
        for item in values:
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if kind is int:
                if not SMALLEST_INT <= item <= LARGEST_INT:
                    return False
            elif kind is float:
                if item - item != 0.0:  # NaN, or infinite.
                    return False
            elif kind is dict or kind is list or kind is tuple:
                todo.append(item)
            else:
                return False
    return True


class StrictConversion(Conversion):
    """Refuses what would be left out, or would become the text of an object."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.is_in_json_mode = False

    def note(self, path: str, what: str) -> None:
        pass

    def cut(self, path: str, after: int) -> NoReturn:
        raise NoJsonForm(f"{path}: expected at most {self.most} values in all, found more")

    def too_deep(self, value: Any, path: str) -> NoReturn:
        raise NoJsonForm(f"{path}: expected data that ends, found some that is nested too deeply")

    def cycle(self, path: str) -> NoReturn:
        raise NoJsonForm(f"{path}: expected data that ends, found a circular reference")

    def unreadable(self, value: Any, path: str, error: Exception) -> NoReturn:
        raise error

    def unreadable_key(self, key: Any, path: str, error: Exception) -> NoReturn:
        raise error

    def formless(self, value: Any, path: str) -> NoReturn:
        raise NoJsonForm(f"{path}: a value of type {type_name(value)} is not JSON: turn it into one")

    def unsound(self, value: str, path: str) -> NoReturn:
        raise NoJsonForm(f"{path}: expected text, found a lone surrogate, which has no form in UTF-8")

    def unsteady_key(self, key: Any, name: str, path: str) -> NoReturn:
        raise NoJsonForm(f"{path}: a key of type {type_name(key)} is not JSON: turn it into a text")

    def is_too_deep(self, depth: int) -> bool:
        return False  # The interpreter's own limit holds.

    def model(self, value: Any, path: str, depth: int) -> Any:
        try:
            return super().model(value, path, depth)
        except NoJsonForm:
            if self.is_in_json_mode:
                raise
        # It may hold values that only its own JSON serializers can write. There is no retry within this attempt,
        # because in a chain of such objects the number of calls would double with each.
        self.is_in_json_mode = True
        try:
            return self.convert(value.model_dump(mode="json"), path, depth + 1)
        finally:
            self.is_in_json_mode = False
