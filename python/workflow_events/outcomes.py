"""The outcomes that Python makes: of events that are invalid, or have no outcome in this process."""

from __future__ import annotations

from ._native import Outcome
from .interrupts import interrupts
from .text import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import InvalidEvent


def invalid_outcome(event: object, error: InvalidEvent) -> Outcome:
    event_id = ""
    try:
        found = event.get("event_id") if isinstance(event, dict) else getattr(event, "event_id", None)
        if isinstance(found, str):
            event_id = str.encode(found, "utf-8", "replace").decode()
    except Exception as raised:  # Whatever the event's own methods raise.
        if interrupts(raised):
            raise
    message = f"event {event_id or 'without an id'} cannot be published: {error}"
    return Outcome("failed", "invalid", event_id, message.encode("utf-8", "replace").decode())


def unknown_outcome(event_id: str, encoded: bytes) -> Outcome:
    """The outcome in a process that was forked while its parent published the event in a batch."""
    message = (
        f"event {event_id} has no outcome in this process, which was forked during publish_many (its parent publishes "
        "what it had made by then), or whose client failed"
    )
    return Outcome("failed", "closed", event_id, message, event=encoded.decode())


def refused_outcome(event_id: str, encoded: bytes, error: BaseException) -> Outcome:
    """The outcome of an event that the native client did not take, because the call of it raised."""
    message = f"event {event_id} was not handed over: {type(error).__name__}: {text_of(error)}"
    return Outcome("failed", "closed", event_id, message, event=encoded.decode())


def complete_outcome(outcome: Outcome, event_id: str, encoded: bytes) -> Outcome:
    """The outcome; for a failed event, with the event itself and its id in the message."""
    # Without bytes the event was invalid, and its outcome is complete. An event with a path is on disk, whole.
    if outcome.status != "failed" or outcome.path is not None or not encoded:
        return outcome
    message = outcome.message
    if event_id not in message:
        message = f"event {event_id} cannot be published: {message}"
    return Outcome("failed", outcome.kind, event_id, message, event=encoded.decode())
