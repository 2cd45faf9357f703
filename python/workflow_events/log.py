"""The log of what became of events: the logger `workflow_events`.

Owns the levels: published is INFO, spooled a WARNING with the path, what is no event an ERROR, and an event that is
neither in Kafka nor in the spool CRITICAL, with the whole event, so that it can be recovered from the log. A payload is
data and not a secret; no setting is ever logged. A handler or a filter that raises costs a line, and neither an event
nor the caller; the line of a lost event goes to the standard error when no handler has written it. Python's `logging`
is imported by the first producer: it is half of what an import of its class would cost. It is not imported later,
because a child that is forked during an import waits for its lock for ever.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

from .interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Handler, Logger, LogRecord
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
        say_lost(text, outcome.message)
    else:
        say_lost("EVENT LOST: %s. Keep it, and publish it again: %s", outcome.message, outcome.event)


def say(level: int, text: str, *about: object, exc_info: bool = False) -> None:
    """One line in the log, if it will have it."""
    try:
        prepare().log(level, text, *about, exc_info=exc_info, stacklevel=2)
    except Exception as error:
        if interrupts(error):
            raise


def say_lost(text: str, *about: object, logger: Optional[Logger] = None) -> None:
    """The last line about an event: in the log, CRITICAL, and on the standard error when no handler has written it.

    A configuration that is loaded later (`dictConfig`, `fileConfig`, alembic's) disables loggers that exist already;
    others have no handler, or one whose disk is full.
    """
    written = False
    try:
        written = _write(logger or prepare(), text, about)
    except Exception as error:
        if interrupts(error):
            raise
    finally:
        if not written:
            error_output = sys.stderr or sys.__stderr__
            if error_output is not None:
                with suppress(Exception):  # It may be closed.
                    print(text % about, file=error_output, flush=True)


def _write(logger: Logger, text: str, about: tuple[object, ...]) -> bool:
    """As `Logger.critical`, but goes on after a handler that raises, and says whether one has written it."""
    import logging

    kind = type(logger)
    if (kind.handle, kind.callHandlers) != (logging.Logger.handle, logging.Logger.callHandlers):
        logger.critical(text, *about)
        return not logger.disabled and logger.isEnabledFor(CRITICAL)
    if logger.disabled or not logger.isEnabledFor(CRITICAL):
        return False
    file, line, function, _ = logger.findCaller(stacklevel=3)
    record = logger.makeRecord(logger.name, CRITICAL, file, line, text, about, None, function)
    # From Python 3.12 a filter may return another record.
    passed = logger.filter(record)
    if not passed:
        return False
    record = record if passed is True else passed
    handlers = []
    source: Optional[Logger] = logger
    while source is not None:
        handlers += source.handlers
        source = source.parent if source.propagate else None
    if not handlers and logging.lastResort is not None:
        handlers = [logging.lastResort]
    return any([_handled(handler, record) for handler in handlers if record.levelno >= handler.level])


def _handled(handler: Handler, record: LogRecord) -> bool:
    """Whether a handler has written it. Most of them report their own errors and raise nothing."""
    failed: list[LogRecord] = []
    report_error, own = handler.handleError, vars(handler).get("handleError")

    def note(record: LogRecord) -> None:
        failed.append(record)
        report_error(record)

    handler.acquire()  # No other thread writes meanwhile.
    try:
        handler.handleError = note  # type: ignore[method-assign]
        return bool(handler.handle(record)) and not failed
    except Exception as error:
        if interrupts(error):
            raise
        return False
    finally:
        if own is not None:
            handler.handleError = own  # type: ignore[method-assign]
        else:
            vars(handler).pop("handleError", None)
        handler.release()


_LINES = {
    "published": (INFO, "event published: %s%s"),
    "spooled": (
        WARNING,
        "event not in Kafka yet, but safe: %s%s. It is published when a client of these brokers next publishes, or by: "
        "python -m workflow_events drain",
    ),
    "failed": (ERROR, "event not published: %s%s"),
}
