"""The log of the outcomes of events: the logger `workflow_events`.

Owns the levels: published is INFO, spooled a WARNING with the path, an invalid event an ERROR. An event that is neither
in Kafka nor in the spool is CRITICAL, with the whole event, so that it can be recovered from the log. A payload is data
and not a secret; no setting is ever logged. A handler or a filter that raises loses one log line, and affects neither
the event nor the caller. The line of a lost event goes to the standard error when no handler has written it.

The first producer imports Python's `logging`: it would double the import time of the class. It is not imported later,
because a child that is forked during an import may wait for the import lock for ever.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

from .interrupts import call_or, interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Handler, Logger, LogRecord
    from typing import Optional, Union

    from ._native import Outcome

# Logging's own levels.
INFO, WARNING, ERROR, CRITICAL = 20, 30, 40, 50

_LINES = {
    "published": (INFO, "event published: %s%s"),
    "spooled": (
        WARNING,
        "event not in Kafka yet, but safe: %s%s. It is published when a client of these brokers next publishes, or by: "
        "python -m workflow_events drain",
    ),
    "failed": (ERROR, "event not published: %s%s"),
}

_logger: Optional[Logger] = None


def get_logger() -> Logger:
    """The logger. The first call imports `logging`."""
    global _logger
    if _logger is None:
        import logging

        _logger = logging.getLogger("workflow_events")
    return _logger


def log(
    level: int, text: str, *about: object, exc_info: Union[bool, BaseException] = False, logger: Optional[Logger] = None
) -> None:
    """One line in the log. Raises nothing that a handler or a filter raises."""
    try:
        (logger or get_logger()).log(level, text, *about, exc_info=exc_info, stacklevel=2)
    except Exception as error:
        if interrupts(error):
            raise


def log_outcomes(outcomes: list[Outcome]) -> None:
    """Logs the outcomes of events: one line for all of a status, and one for each lost event."""
    if not outcomes:
        return
    by_status: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        # Without a spool an event is as lost as when the spool refused it. Invalid and quarantined events are not.
        kept = outcome.kind == "invalid" or outcome.path is not None
        lost = outcome.status == "lost" or (outcome.status == "failed" and not kept)
        by_status.setdefault("lost" if lost else outcome.status, []).append(outcome)
    raised: list[BaseException] = []
    for status, group in by_status.items():
        for line in _lines(status, group):
            try:
                line()
            except BaseException as error:  # From a signal's handler: it is raised after the last line.
                raised.append(error)
    if raised:
        raise raised[0]


def _lines(status: str, group: list[Outcome]) -> list[Callable[[], None]]:
    """The calls that log events of one status."""
    if status == "lost":
        return [partial(_log_lost_outcome, outcome) for outcome in group]
    level, text = _LINES.get(status, _LINES["failed"])
    if not _is_enabled(level):
        return []
    more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
    return [lambda: log(level, text, group[0].message, more)]


def _is_enabled(level: int) -> bool:
    return call_or(True, lambda: get_logger().isEnabledFor(level))


def _log_lost_outcome(outcome: Outcome) -> None:
    if outcome.event is None:
        # Given up by a close, without the event's id.
        text = "EVENTS MAY BE LOST: %s. Publish what was enqueued last again: what is there already is a duplicate"
        log_lost(text, outcome.message)
    else:
        log_lost("EVENT LOST: %s. Keep it, and publish it again: %s", outcome.message, outcome.event)


def log_lost(text: str, *about: object, logger: Optional[Logger] = None) -> None:
    """Logs a lost event as CRITICAL, and prints it to the standard error when no handler has written it.

    A configuration that is loaded later (`dictConfig`, `fileConfig`, alembic's) disables existing loggers; others have
    no handler, or one whose disk is full.
    """
    written = False
    try:
        written = _write(logger or get_logger(), text, about)
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
    """As `Logger.critical`, but continues after a handler that raises, and returns whether one has written the line."""
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
    return any([_handle(handler, record) for handler in handlers if record.levelno >= handler.level])


def _handle(handler: Handler, record: LogRecord) -> bool:
    """Whether a handler has written the record. Most handlers report their errors by `handleError` and raise
    nothing."""
    failed: list[LogRecord] = []
    report_error, own = handler.handleError, vars(handler).get("handleError")

    def remember(record: LogRecord) -> None:
        failed.append(record)
        report_error(record)

    handler.acquire()  # No other thread may write meanwhile.
    try:
        handler.handleError = remember  # type: ignore[method-assign]
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
