"""Workflow events, and the producers that publish them to Kafka.

Owns the public names. Its invariant: importing the package, or the producer from it, imports neither pydantic nor
asyncio; they are imported when a model or the asyncio producer is first used. docs/python.md documents each name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._native import Outcome
    from .aio import AsyncWorkflowEventProducer
    from .errors import KafkaConfigurationError, KafkaError, KafkaTimeoutError, NoBrokersAvailable
    from .models import WorkflowEvent, WorkflowEventMetadata, WorkflowEventPayload
    from .names import EventSource, EventType
    from .producer import WorkflowEventProducer
    from .summary import DrainSummary, PublishSummary

    __version__: str

# The module of each public name.
_MODULES = {
    "AsyncWorkflowEventProducer": "aio",
    "DrainSummary": "summary",
    "EventSource": "names",
    "EventType": "names",
    "KafkaConfigurationError": "errors",
    "KafkaError": "errors",
    "KafkaTimeoutError": "errors",
    "NoBrokersAvailable": "errors",
    "Outcome": "_native",
    "PublishSummary": "summary",
    "WorkflowEvent": "models",
    "WorkflowEventMetadata": "models",
    "WorkflowEventPayload": "models",
    "WorkflowEventProducer": "producer",
    "__version__": "_native",
}

__all__ = [
    "AsyncWorkflowEventProducer",
    "DrainSummary",
    "EventSource",
    "EventType",
    "KafkaConfigurationError",
    "KafkaError",
    "KafkaTimeoutError",
    "NoBrokersAvailable",
    "Outcome",
    "PublishSummary",
    "WorkflowEvent",
    "WorkflowEventMetadata",
    "WorkflowEventPayload",
    "WorkflowEventProducer",
    "__version__",
]


# Hidden from type checkers, which would accept any name because of it.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        module_name = _MODULES.get(name)
        if module_name is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Without `importlib`, which takes time; `from . import x` would call this function again.
        module = __import__(f"{__name__}.{module_name}", fromlist=(name,))
        value = getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
