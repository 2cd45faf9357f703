"""The log of what became of events: the logger `workflow_events`.

Owns the levels: published is INFO, spooled a WARNING with the path, what is no event an ERROR, and an event that is
neither in Kafka nor in the spool CRITICAL, with the whole event, so that it can be recovered from the log. A payload is
data and not a secret; no setting is ever logged. A handler or a filter that raises costs a line, and neither an event
nor the caller. Python's `logging` is imported by the first producer: it is half of what an import of its class would
cost. It is not imported later, because a child that is forked during an import waits for its lock for ever.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

from .interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger
    from typing import Optional

    from ._native import Outcome

# Logging's own levels.
INFO, WARNING, ERROR, CRITICAL = 20, 30, 40, 50

_logger: Optional[Logger] = None


def prepare() -> Logger:
    """The logger, and all that it takes to log."""
    global _logger
    if _logger is None:
        import logging

        _logger = logging.getLogger("workflow_events")
    return _logger


def _wanted(level: int) -> bool:
    try:
        return prepare().isEnabledFor(level)
    except Exception as error:
        if interrupts(error):
            raise
        return True


def report(outcomes: list[Outcome]) -> None:
    """Logs what became of events: many of one kind in one line, but each that is lost in one of its own."""
    if not outcomes:
        return
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        # What has no spool is as lost as what no spool took. What is no event, or has been put aside whole, is not.
        kept = outcome.kind == "invalid" or outcome.path is not None
        lost = outcome.status == "lost" or (outcome.status == "failed" and not kept)
        alike.setdefault("lost" if lost else outcome.status, []).append(outcome)
    raised: list[BaseException] = []
    for status, group in alike.items():
        for line in _lines(status, group):
            try:
                line()
            except BaseException as error:  # Out of a signal's handler: it passes when all is said.
                raised.append(error)
    if raised:
        raise raised[0]


def _lines(status: str, group: list[Outcome]) -> list[Callable[[], None]]:
    """What says what of events that are alike."""
    if status == "lost":
        return [partial(_lost, outcome) for outcome in group]
    level, text = _LINES.get(status, _LINES["failed"])
    if not _wanted(level):
        return []
    more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
    return [lambda: say(level, text, group[0].message, more)]


def _lost(outcome: Outcome) -> None:
    if outcome.event is None:
        # What a close has given up on, and nobody can name.
        text = "EVENTS MAY BE LOST: %s. Publish what was enqueued last again: what is there already is a duplicate"
        say(CRITICAL, text, outcome.message)
    else:
        say(CRITICAL, "EVENT LOST: %s. Keep it, and publish it again: %s", outcome.message, outcome.event)


def say(level: int, text: str, *about: object, exc_info: bool = False) -> None:
    """One line in the log, if it will have it; what is lost without it goes to the standard error then."""
    try:
        prepare().log(level, text, *about, exc_info=exc_info, stacklevel=2)
    except Exception as error:
        if interrupts(error):
            raise
        if level >= CRITICAL and sys.stderr is not None:
            with suppress(Exception):  # It may be closed.
                print(text % about, file=sys.stderr)


_LINES = {
    "published": (INFO, "event published: %s%s"),
    "spooled": (
        WARNING,
        "event not in Kafka yet, but safe: %s%s. It is published when a client of these brokers next publishes, or by: "
        "python -m workflow_events drain",
    ),
    "failed": (ERROR, "event not published: %s%s"),
}
