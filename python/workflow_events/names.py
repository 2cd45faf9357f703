"""The names of event types and sources. They are read in any case and spelling.

They are strings: `EventType.WORKFLOW_COMPLETED == "WORKFLOW_COMPLETED"`, and each prints and formats as its value.
"""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _Name = TypeVar("_Name", bound="_Names")


class _Names(str, Enum):
    @classmethod
    def _missing_(cls: type[_Name], value: object) -> _Name | None:
        """`workflow.completed`, `Workflow-Completed` and `workflow completed` are WORKFLOW_COMPLETED."""
        if isinstance(value, str):
            canonical = value.strip().upper().replace(".", "_").replace("-", "_").replace(" ", "_")
            return next((name for name in cls if name.value == canonical), None)
        return None

    # The same in every version of Python; 3.11 and 3.12 changed it.
    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        return str.__format__(str.__str__(self), format_spec)


class EventType(_Names):
    """What happened to a workflow."""

    WORKFLOW_TRIGGERED = "WORKFLOW_TRIGGERED"
    WORKFLOW_COMPLETED = "WORKFLOW_COMPLETED"
    WORKFLOW_FAILED = "WORKFLOW_FAILED"


class EventSource(_Names):
    """The system that published the event."""

    AIRFLOW = "AIRFLOW"
    LANGGRAPH = "LANGGRAPH"
    FASTAPI = "FASTAPI"
    DAGSTER = "DAGSTER"
    RUNNER = "RUNNER"
    OPENLINEAGE = "OPENLINEAGE"
