"""The event that is being handled, for what is published meanwhile.

Owns the context variable. It is set for a handler's call alone, and for the tasks and threads that take its context.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple, Optional, Union

from workflow_events import WorkflowEvent

from .events import IntegrationEvent


class Cause(NamedTuple):
    """What an event that is published in a handler inherits, unless it has its own."""

    correlation_id: str
    causation_id: str


_cause: ContextVar[Optional[Cause]] = ContextVar("integration_events_cause", default=None)


def is_handled(event: Union[IntegrationEvent, WorkflowEvent]) -> None:
    """From here on, this context handles the event."""
    about = event if isinstance(event, IntegrationEvent) else event.metadata
    correlation = getattr(about, "correlation_id", None)
    event_id = str(event.event_id)
    _cause.set(Cause(correlation if isinstance(correlation, str) and correlation else event_id, event_id))


def inherited(event: IntegrationEvent) -> dict[str, str]:
    """The fields that an event lacks and the one that is being handled gives it."""
    cause = _cause.get()
    if cause is None:
        return {}
    return {name: value for name, value in cause._asdict().items() if getattr(event, name, None) is None}
