"""Integration events: what one service tells others by way of Kafka.

Owns the public names. docs/integration-events.md documents each name.
"""

from .config import KafkaConfig
from .consumer import KafkaIntegrationEventConsumer
from .errors import KafkaConfigurationError, KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from .events import DomainEvent, IntegrationEvent
from .handlers import IntegrationEventHandler
from .mapper import EventMapper
from .mediator import (
    IntegrationEventMediator,
    Mediator,
    Request,
    RequestHandler,
    create_integration_event_mediator,
)
from .publisher import KafkaIntegrationEventPublisher
from .verdicts import Reject, RetryLater

__all__ = [
    "DomainEvent",
    "EventMapper",
    "IntegrationEvent",
    "IntegrationEventHandler",
    "IntegrationEventMediator",
    "KafkaConfig",
    "KafkaConfigurationError",
    "KafkaConnectionError",
    "KafkaError",
    "KafkaIntegrationEventConsumer",
    "KafkaIntegrationEventPublisher",
    "Mediator",
    "MessageSizeTooLargeError",
    "Reject",
    "Request",
    "RequestHandler",
    "RetryLater",
    "create_integration_event_mediator",
]
