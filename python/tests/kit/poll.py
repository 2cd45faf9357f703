"""Waiting for something to become true: asked until a deadline, never slept for. A failure prints what was seen."""

import time
from typing import Any, Callable, List, Tuple, TypeVar

T = TypeVar("T")


def poll(within: float, what: str, look: Callable[[], T], until: Callable[[T], Any] = bool, every: float = 0.05) -> T:
    """Looks every ``every`` seconds until ``until(seen)`` holds, and returns what was seen then.

    After ``within`` seconds it raises ``AssertionError`` with ``what`` and the history: each different thing that was
    seen, and when. An exception of ``look`` is no end, it is part of the history.
    """
    began = time.monotonic()
    history: List[Tuple[float, str]] = []
    while True:
        try:
            seen = look()
            if until(seen):
                return seen
            note = repr(seen)
        except Exception as error:  # a broker that is not there yet is what many tests wait for
            note = "{}: {}".format(type(error).__name__, error)
        passed = time.monotonic() - began
        if not history or history[-1][1] != note:
            history.append((passed, note))
        if passed > within:
            lines = "\n".join("  after {:7.2f} s: {}".format(at, text[:2000]) for at, text in history[-40:])
            raise AssertionError("not within {} s: {}. What was seen:\n{}".format(within, what, lines))
        time.sleep(every)
