"""The schema of an event, under another name for it: the same objects as in `workflow_events`."""

from .models import WorkflowEvent, WorkflowEventMetadata, WorkflowEventPayload
from .names import EventSource, EventType

__all__ = ["EventSource", "EventType", "WorkflowEvent", "WorkflowEventMetadata", "WorkflowEventPayload"]
