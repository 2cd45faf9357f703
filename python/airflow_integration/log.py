"""The log of the helpers: the logger ``airflow_integration``.

Its invariant: a handler or a filter that raises costs a line in the log, and no event; what says that an event is lost
is on the standard error when no handler has written it.
"""

from __future__ import annotations

import difflib
import json
import logging

from workflow_events import log as log_of_events
from workflow_events.interrupts import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

log = logging.getLogger("airflow_integration")


def say(level: int, words: str, *about: object, exc_info: bool = False) -> None:
    """One line in the log, if it will have it."""
    try:
        log.log(level, words, *about, exc_info=exc_info, stacklevel=2)
    except Exception as error:
        if interrupts(error):
            raise


def say_lost(event: dict[str, Any]) -> None:
    """The last line about an event that is in neither Kafka nor the spool: it holds the whole event."""
    log_of_events.say_lost("EVENT LOST, keep it and publish it again: %s", json.dumps(event), logger=log)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that this is most likely a misspelling of."""
    return next(iter(difflib.get_close_matches(word[:100], known, n=1, cutoff=0.76)), None)
