"""The log of the helpers: the logger ``airflow_integration``.

Its invariant: a handler or a filter that raises loses one log line, and no event. The line of a lost event goes to the
standard error when no handler has written it.
"""

from __future__ import annotations

import difflib
import functools
import json
import logging

from workflow_events import log as log_of_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

logger = logging.getLogger("airflow_integration")

log = functools.partial(log_of_events.log, logger=logger)
"""One line in the log: level, text and its arguments, ``exc_info=``. Raises nothing that a handler raises."""


def log_lost(event: dict[str, Any]) -> None:
    """Logs an event that is in neither Kafka nor the spool, with the whole event."""
    log_of_events.log_lost("EVENT LOST, keep it and publish it again: %s", json.dumps(event), logger=logger)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that this is most likely a misspelling of."""
    return next(iter(difflib.get_close_matches(word[:100], known, n=1, cutoff=0.76)), None)
