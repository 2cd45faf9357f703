"""The JSON forms of single values that JSON has no type for: times, numbers, bytes, keys.

Its invariant: the same value has the same form, whatever its unit or library. Libraries such as numpy and pandas are
recognised by the names of their types, never imported.
"""

from __future__ import annotations

import binascii
import datetime
import enum
import math
import os
import re
import sys

from .text import sound, steady_text, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

# Modules whose types have a complete text; of the last two only types that have no other form.
_TEXTS = frozenset({"decimal", "fractions", "ipaddress", "uuid", "zoneinfo", "pydantic", "pydantic_core", "pandas"})
# Modules of keys whose text is the same in each attempt of a task.
_STEADY_KEYS = _TEXTS | {"builtins", "datetime", "numpy", "pathlib"}

_UNIT = re.compile(r"\[(\d*)([a-zA-Zµμ]+)\]")
# Attoseconds in each unit of numpy that has a fixed length.
_ATTOSECONDS = {
    "W": 604_800 * 10**18,
    "D": 86_400 * 10**18,
    "h": 3_600 * 10**18,
    "m": 60 * 10**18,
    "s": 10**18,
    "ms": 10**15,
    "us": 10**12,
    "ns": 10**9,
    "ps": 10**6,
    "fs": 10**3,
    "as": 1,
}


def scalar(value: Any) -> Optional[tuple[Any, str]]:
    """The form of a value and its description; `None` for a value that is no scalar. The form may need another
    conversion: a float that is not finite, an integer of any size."""
    if is_missing(value):
        return None, "null"
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat(), "an ISO 8601 text"
    if isinstance(value, datetime.timedelta):
        return value.total_seconds(), "its seconds"
    if isinstance(value, os.PathLike):
        return sound(os.fsdecode(value)), "a text"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value)), "a text"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {text_of(value)}", "a text"
    if isinstance(value, (complex, datetime.tzinfo)):
        return str(value), "a text"
    if is_of(value, "numpy", "generic"):
        return _of_numpy(value)
    if _module(value, _TEXTS - {"pydantic", "pandas"}):
        return text_of(value), "a text"
    return None


def has_text(value: Any) -> bool:
    """Whether it is of a library whose objects have a complete text (a pydantic secret: stars)."""
    return _module(value, _TEXTS)


def key_text(key: Any) -> tuple[str, bool]:
    """The text of a dict's key, and whether it is the same in each process."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        # An exact `str`: a subclass may compare differently, and the key would come twice.
        return str.__str__(key if issubclass(type(key), str) else str(key)), True
    if is_of(key, "numpy", "bool_", "bool"):
        key = bool(key)
    if key is None:
        return "null", True
    if isinstance(key, bool):
        return str(key).lower(), True
    if isinstance(key, (bytes, bytearray)):
        return _bytes(bytes(key)), True
    return steady_text(key), _module(key, _STEADY_KEYS)


def is_missing(value: Any) -> bool:
    """Whether it is pandas' NA or NaT. A NaN is not missing: its name is kept."""
    return type(value).__name__ in ("NAType", "NaTType") and _module(value, frozenset({"pandas"}))


def is_of(value: Any, module: str, *names: str) -> bool:
    """Whether it is of a class of a module. The module is not imported: if it is not loaded, the value is not of it."""
    loaded = sys.modules.get(module)
    kinds = (getattr(loaded, name, None) for name in names) if loaded is not None else ()
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in kinds)


def _module(value: Any, packages: frozenset[str]) -> bool:
    """Whether its type or a base of its type is of these packages."""
    kinds = type(value).__mro__[:-1]
    return any(kind.__module__.partition(".")[0] in packages for kind in kinds)


def _bytes(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return binascii.b2a_base64(raw, newline=False).decode("ascii")


def _of_numpy(value: Any) -> Optional[tuple[Any, str]]:
    kind = value.dtype.kind
    if kind == "M":
        return _moment(value)
    if kind == "m":
        return _span(value)
    if kind == "f":
        number = float(value)
        # A longdouble may be larger than any float.
        fits = math.isfinite(number) or not abs(value) < value.dtype.type("inf")
        return (number, "a number") if fits else (str(value), "a text")
    if kind == "c":
        return str(complex(value)), "a text"
    if kind == "V":
        return None
    return value.item(), "a number"


def _moment(value: Any) -> tuple[Any, str]:
    """One instant has the same text in each unit from hours to nanoseconds."""
    if value != value:  # NaT
        return None, "null"
    _, unit = _count_and_unit(value)
    if unit in ("ns", "ps", "fs", "as"):
        rough = value.astype("datetime64[us]")
        value = rough if rough == value else value
    item = value.item()
    if isinstance(item, datetime.date):
        return item.isoformat(), "an ISO 8601 text"
    return str(value), "an ISO 8601 text"


def _span(value: Any) -> tuple[Any, str]:
    """Seconds; for months and years, which have no fixed length, text."""
    if value != value:  # NaT
        return None, "null"
    count, unit = _count_and_unit(value)
    if unit == "generic":
        return count, "a number"
    if unit not in _ATTOSECONDS:
        return f"{count} {'months' if unit == 'M' else 'years'}", "a text"
    return count * _ATTOSECONDS[unit] / 10**18, "its seconds"


def _count_and_unit(value: Any) -> tuple[int, str]:
    count = int(value.astype("int64"))
    found = _UNIT.search(value.dtype.str)
    if found is None:
        return count, "generic"
    step, unit = found.groups()
    return count * int(step or 1), "us" if unit in ("µs", "μs") else unit
