"""Other names: see `building_blocks`."""

from integration_events import (
    EventMapper,
    IntegrationEventHandler,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
    Reject,
    RetryLater,
    create_integration_event_mediator,
)

__all__ = [
    "EventMapper",
    "IntegrationEventHandler",
    "KafkaConfig",
    "KafkaIntegrationEventConsumer",
    "KafkaIntegrationEventPublisher",
    "Reject",
    "RetryLater",
    "create_integration_event_mediator",
]
