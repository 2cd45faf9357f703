"""Integration events: what one service tells others, published to Kafka by the client of `workflow_events`.

Owns the public names. It publishes and does not consume. docs/integration-events.md documents each name.
"""

from .config import KafkaConfig
from .errors import KafkaConfigurationError, KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from .events import DomainEvent, IntegrationEvent
from .mapper import EventMapper
from .mediator import (
    IntegrationEventMediator,
    Mediator,
    Request,
    RequestHandler,
    create_integration_event_mediator,
)
from .publisher import KafkaIntegrationEventPublisher

__all__ = [
    "DomainEvent",
    "EventMapper",
    "IntegrationEvent",
    "IntegrationEventMediator",
    "KafkaConfig",
    "KafkaConfigurationError",
    "KafkaConnectionError",
    "KafkaError",
    "KafkaIntegrationEventPublisher",
    "Mediator",
    "MessageSizeTooLargeError",
    "Request",
    "RequestHandler",
    "create_integration_event_mediator",
]
