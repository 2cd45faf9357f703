"""The text of any object: for messages, and for what has no form of its own in JSON.

Its invariant: it never raises an ``Exception`` of its own, and what it returns can be written as UTF-8.
``steady_text`` is the same in each attempt of a task and in each process, as far as the object itself allows that.
"""

from __future__ import annotations

import re

from .interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
        words = str(value)
        words = words if isinstance(words, str) else repr(type(value))
    except Exception as error:
        if interrupts(error):
            raise
        words = f"<{type_name(value)}>"
    return sound(words[:MAX_TEXT])


def steady_text(value: Any) -> str:
    """The text of an object so that it is the same in each attempt of a task: without its address, sets in order."""
    if isinstance(value, str):
        return text_of(value)
    if type(value) not in _CONTAINERS:
        return _ADDRESS.sub("", text_of(value))
    try:
        return sound(_steady(value, 0)[:MAX_TEXT])
    except RecursionError:
        raise
    except Exception as error:
        if interrupts(error):
            raise
        return f"<{type_name(value)}>"


def type_name(value: Any) -> str:
    """The full name of a value's type."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def sound(words: str) -> str:
    """The text with a question mark for each character that UTF-8 cannot carry."""
    return words.encode("utf-8", "replace").decode("utf-8")


def _steady(value: Any, depth: int) -> str:
    """As `repr` writes Python's own containers."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return _ADDRESS.sub("", repr(_of_python(value)))
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


def _of_python(value: Any) -> Any:
    """A number or a text of numpy's as Python's own: their `repr` differs between numpy 1 and 2."""
    if type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in tuple("biufU"):
        return value.item()
    return value
