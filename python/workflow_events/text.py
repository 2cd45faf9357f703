"""The text of any object, for messages and for objects that have no JSON form.

Its invariant: it never raises an ``Exception`` of its own, and its result can be encoded as UTF-8. ``steady_text`` is
the same in each attempt of a task and in each process, as far as the object allows.
"""

from __future__ import annotations

import re

from .interrupts import call_or, interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

MAX_TEXT = 2_000
"""Characters kept of the text of an object that has no form of its own in JSON."""
MAX_DEPTH = 60

# The address in CPython's default text of an object, which differs between processes.
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
    words = call_or(None, lambda: str.__str__(str(value)))
    return sound((f"<{type_name(value)}>" if words is None else words)[:MAX_TEXT])


def plain_text(value: Any) -> Optional[str]:
    """Text as an exact ``str``, also of a proxy; ``None`` for a value that is no text or cannot be read."""
    return call_or(None, lambda: str.__str__(str(value)) if isinstance(value, str) else None)


def steady_text(value: Any) -> str:
    """The text of an object, the same in each attempt of a task: without its address, sets in order."""
    # Not `isinstance`: it reads `__class__`, which raises in an unbound proxy.
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
    # Not by attribute access: a metaclass may override it, and `__module__` may be anything.
    name: str = type.__dict__["__qualname__"].__get__(kind)
    try:
        module = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        module = None
    return name if not issubclass(type(module), str) or module == "builtins" else sound(f"{module}.{name}")


def sound(words: str) -> str:
    """The text with a question mark for each character that UTF-8 cannot encode."""
    return words.encode("utf-8", "replace").decode("utf-8")


def _container(kind: type) -> Optional[type]:
    """The builtin container whose `repr` a type has."""
    if kind in _CONTAINERS:
        return kind
    for base in (set, frozenset):
        if issubclass(kind, base) and kind.__repr__ is base.__repr__ and kind.__str__ is object.__str__:
            return base
    return None


def _steady(value: Any, depth: int, known: dict[tuple[int, int], str]) -> str:
    """The first ``MAX_TEXT`` characters of the `repr` of a builtin container.

    More text of a part would change nothing, the order of a set included. ``known`` has the texts of the containers by
    id and depth, so that a shared container is written once at each depth.
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
        # Their order differs between processes.
        words = "{" + ", ".join(sorted(within)) + "}" if within else ""
        return words if kind is set and within else f"{kind.__name__}({words})"
    opens, closes = _CONTAINERS[base]
    return opens + ", ".join(within) + ("," if base is tuple and len(within) == 1 else "") + closes


def _of_python(value: Any) -> Any:
    """A number or text of numpy as Python's type: their `repr` differs between numpy 1 and 2."""
    if type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in tuple("biufU"):
        return value.item()
    return value
