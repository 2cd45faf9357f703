"""Workflow events in Python: what they are, and how they get into Kafka.

Owns the public names. Its invariant: importing the package, or the producer from it, imports neither pydantic nor
asyncio; a model does so when it is first used. What each name means is said where it is defined, and in docs/python.md.
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
_HOMES = {
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


# Not for type checkers, to whom it would say that there is no wrong name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # `importlib` is not needed for this, and `from . import x` would come back here.
        module = __import__(f"{__name__}.{home}", fromlist=(name,))
        value = getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
