"""The text of any object: for messages, and for what has no form of its own in JSON.

Its invariant: it never raises an ``Exception`` of its own, and what it returns can be written as UTF-8.
``steady_text`` is the same in each attempt of a task and in each process, as far as the object itself allows that.
"""

from __future__ import annotations

import re

from .interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

MAX_TEXT = 2_000
"""Characters kept of the text of an object that has no form of its own in JSON."""
MAX_DEPTH = 60

# What CPython puts into the text of an object that says nothing of itself, and what is another in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_CONTAINERS: dict[type, tuple[str, str]] = {
    dict: ("{", "}"),
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}


def text_of(value: Any) -> str:
    """The text of any object, shortened; its type when it has no text."""
    try:
        words = str.__str__(str(value))
    except Exception as error:
        if interrupts(error):
            raise
        words = f"<{type_name(value)}>"
    return sound(words[:MAX_TEXT])


def plain_text(value: Any) -> Optional[str]:
    """A text as an exact ``str``, also of a proxy for one; ``None`` for what is no text or cannot be read."""
    try:
        return str.__str__(str(value)) if isinstance(value, str) else None
    except Exception as error:
        if interrupts(error):
            raise
        return None


def steady_text(value: Any) -> str:
    """The text of an object so that it is the same in each attempt of a task: without its address, sets in order."""
    # Never `isinstance`: it reads `__class__`, which raises in a proxy that is not bound.
    if issubclass(type(value), str):
        return text_of(value)
    try:
        if _container(type(value)) is None:
            return _ADDRESS.sub("", text_of(value))
        return sound(_steady(value, 0, {}))
    except Exception as error:
        if interrupts(error):
            raise
        return f"<{type_name(value)}>"


def type_name(value: Any) -> str:
    """The full name of a value's type."""
    kind = type(value)
    # Not its attributes: a metaclass may have others, and `__module__` may be anything.
    name: str = type.__dict__["__qualname__"].__get__(kind)
    try:
        module = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        module = None
    return name if not issubclass(type(module), str) or module == "builtins" else sound(f"{module}.{name}")


def sound(words: str) -> str:
    """The text with a question mark for each character that UTF-8 cannot carry."""
    return words.encode("utf-8", "replace").decode("utf-8")


def _container(kind: type) -> Optional[type]:
    """The container of Python's own that a type is, or is written as."""
    if kind in _CONTAINERS:
        return kind
    for base in (set, frozenset):
        if issubclass(kind, base) and kind.__repr__ is base.__repr__ and kind.__str__ is object.__str__:
            return base
    return None


def _steady(value: Any, depth: int, known: dict[tuple[int, int], str]) -> str:
    """The first ``MAX_TEXT`` characters of what `repr` writes of Python's own containers.

    A longer text of a part would change nothing, the order of a set included. ``known`` has the texts of the containers
    by id and depth, so that what is shared over and over is written once at each depth.
    """
    kind = type(value)
    base = _container(kind)
    if base is None:
        return _ADDRESS.sub("", str.__str__(repr(_of_python(value))))[:MAX_TEXT]
    if depth >= MAX_DEPTH:
        return "..."
    words = known.get((id(value), depth))
    if words is None:
        words = known[id(value), depth] = _written(value, base, depth, known)[:MAX_TEXT]
    return words


def _written(value: Any, base: type, depth: int, known: dict[tuple[int, int], str]) -> str:
    kind = type(value)
    if base is dict:
        pairs = value.items()
        within = [f"{_steady(key, depth + 1, known)}: {_steady(item, depth + 1, known)}" for key, item in pairs]
    else:
        within = [_steady(item, depth + 1, known) for item in base.__iter__(value)]  # type: ignore[attr-defined]
    if base in (set, frozenset):
        # Their order is another one in each process.
        words = "{" + ", ".join(sorted(within)) + "}" if within else ""
        return words if kind is set and within else f"{kind.__name__}({words})"
    opens, closes = _CONTAINERS[base]
    return opens + ", ".join(within) + ("," if base is tuple and len(within) == 1 else "") + closes


def _of_python(value: Any) -> Any:
    """A number or a text of numpy's as Python's own: their `repr` differs between numpy 1 and 2."""
    if type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in tuple("biufU"):
        return value.item()
    return value
