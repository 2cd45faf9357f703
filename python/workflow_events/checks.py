"""Checks of a call's arguments before they reach the native client."""

from __future__ import annotations

from math import inf

from .wire import InvalidEvent, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_LEGAL = str.maketrans(dict.fromkeys("._-", "a"))


def seconds(value: float) -> float:
    """A time-out in seconds; one that has passed is 0."""
    try:
        # NaN is not above 0.
        return number if (number := float(value)) > 0 else 0.0
    except OverflowError:
        return inf if value > 0 else 0.0
    except (TypeError, ValueError):
        raise TypeError(f"timeout: expected seconds as a number, found {value!r}") from None


def check_topic(topic: Optional[str]) -> Optional[str]:
    """Checks Kafka's rule for topic names: an event with an invalid topic would stay in the spool for ever."""
    if topic is None:
        return None
    if issubclass(type(topic), str) and 0 < len(topic) <= 249 and topic not in (".", ".."):
        if topic.isascii() and topic.translate(_LEGAL).isalnum():
            return topic
    raise InvalidEvent(f"topic: expected 1 to 249 of letters, digits, `.`, `_` and `-`, found {shown(topic)}")


def check_traceparent(value: Optional[str]) -> Optional[str]:
    """The trace context, or None when it is invalid: no event is refused for it."""
    if value is None or not issubclass(type(value), str):
        return None
    return value if value.isascii() and value.isprintable() and value else None
